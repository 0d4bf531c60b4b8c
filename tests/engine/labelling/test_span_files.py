"""`label --level span` and `--level relation`: rows of a file, checked against the text at their line."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from store_factory import synthetic

from biocache.engine import LabelRequest, label
from biocache.store import Run, Store
from biocache.store.errors import BiocacheError

LENGTHS = (3, 4, 9, 2, 5, 2)
RELATIONS = ["sample_id", "start1", "end1", "start2", "end2", "label"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic(LENGTHS).write_all(tmp_path / "s.zarr")


@pytest.fixture
def root(run: Run) -> Path:
    return run.path.parents[6]


def rows(run: Run) -> pd.DataFrame:
    """Make up two relations of each sample that has two words."""
    made = []
    ids, counts = run.column("samples/sample_id"), run.column("samples/word_count")
    for name, count in zip(ids, counts.tolist(), strict=True):
        if count > 1:
            made += [(name, 0, 1, 1, count, f"to-{name}"), (name, 0, count, 0, 1, "whole")]
    return pd.DataFrame(made, columns=RELATIONS)


def written(frame: pd.DataFrame, folder: Path) -> dict[str, Path]:
    """Write relations in every form, in other orders and under other names of columns."""
    paths = {name: folder / name for name in ("x.csv", "x.tsv", "x.jsonl", "x.json", "x.parquet")}
    frame.to_csv(paths["x.csv"], index=False)
    frame.iloc[::-1].to_csv(paths["x.tsv"], index=False, sep="\t")
    named = frame.rename(columns={"start1": "start_1", "end1": "end_1", "start2": "Start 2", "label": "relation"})
    named.to_json(paths["x.jsonl"], orient="records", lines=True)
    frame.to_json(paths["x.json"], orient="records")
    frame.to_parquet(paths["x.parquet"])
    return paths


@pytest.mark.slow
def test_every_form_of_a_file_gives_the_same_relations(run: Run, root: Path, tmp_path: Path) -> None:
    frame = rows(run)
    Store.open(root).add_labels("truth", frame, task="ner", dataset="corpus", split="test", level="relations")
    truth = Run.open(root, run.key).labels("truth")
    for number, (name, path) in enumerate(written(frame, tmp_path).items()):
        (found,) = label(root, f"rel{number}", LabelRequest(file=path, level="relation", splits=("test",)))
        own = Run.open(root, run.key).labels(f"rel{number}")
        assert own.digest == truth.digest, name
        assert found.labels.source == str(path)
        assert found.remarks == ()


def test_spans_with_numbers_and_a_label_that_is_missing(run: Run, root: Path, tmp_path: Path) -> None:
    frame = rows(run).drop(columns=["start2", "end2"]).rename(columns={"start1": "start", "end1": "end"})
    frame["label"] = [str(number) for number in range(len(frame))]
    frame.loc[2, "label"] = ""
    frame.to_csv(tmp_path / "x.csv", index=False)
    (found,) = label(root, "size", LabelRequest(file=tmp_path / "x.csv", level="span", splits=("test",)))
    assert (found.labels.level, found.labels.kind) == ("spans", "number")
    assert found.remarks == ("labels are numbers", f"1 of {len(frame)} spans have no label")
    view = Run.open(root, run.key).spans("size")
    begins = run.column("samples/word_start")[view["sample"].values]
    ids = run.column("samples/sample_id")[view["sample"].values]
    known = {tuple(row[:3]): row[3] for row in frame.itertuples(index=False)}
    found_rows = (ids, view.word.values - begins, view.word_count.values, view.type.values)
    for name, first, count, value in zip(*found_rows, strict=True):
        given = known[name, int(first), int(first + count)]
        assert (value != value) if given == "" else value == float(given)


GOOD = {"sample_id": "s2", "start1": 0, "end1": 1, "start2": 1, "end2": 2, "label": "x"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sample_id": "s9"}, r"x.jsonl:2: ner corpus test has no sample 's9' \(its ids are 's0'"),
        ({"start1": "a"}, "x.jsonl:2: 'a' is not the position of a word, from 0; correct it"),
        ({"start1": 1}, "x.jsonl:2: span 1 to 1 has no word; its end is the word after its last"),
        ({"end2": 40}, "x.jsonl:2: span 1 to 40 is not in sample 's2', whose words are 0 to "),
        ({}, "x.jsonl:2: this relation of sample 's2' has a label already; keep one"),
        ({"label": ["a"], "end1": 2}, r"x.jsonl:2: label \['a'\] is neither text nor a number"),
    ],
)
def test_a_row_that_is_of_no_words_is_refused_at_its_line(
    root: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (GOOD, {**GOOD, **changes})))
    with pytest.raises(BiocacheError, match=says) as caught:
        label(root, "rel", LabelRequest(file=path, level="relation", splits=("test",)))
    assert "\n" not in str(caught.value)
    assert Store.open(root).labels() == []


def test_columns_that_are_missing_and_sources_that_make_no_spans(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    pd.DataFrame([GOOD]).drop(columns="end2").to_csv(path, index=False)
    says = r"x.csv:1: no column end2 \(it has sample_id, start1, end1, start2, label\); .* needs sample_id, start1"
    with pytest.raises(BiocacheError, match=says):
        label(root, "rel", LabelRequest(file=path, level="relation", splits=("test",)))
    pd.DataFrame([GOOD]).drop(columns="sample_id").to_csv(path, index=False)
    with pytest.raises(BiocacheError, match=r"no column of sample ids .* name it in id_column"):
        label(root, "rel", LabelRequest(file=path, level="relation", splits=("test",)))
    with pytest.raises(BiocacheError, match="property labels words, and level is span; leave it out"):
        LabelRequest(property="length", level="span")
    with pytest.raises(BiocacheError, match="from_python labels words or samples, and level is relation; give a file"):
        LabelRequest(from_python="a:b", level="relation")
    pd.DataFrame([GOOD]).to_csv(path, index=False)
    with pytest.raises(BiocacheError, match="none of the labels is an IOB2 tag"):
        label(root, "rel", LabelRequest(file=path, level="relation", splits=("test",), iob2=True))
