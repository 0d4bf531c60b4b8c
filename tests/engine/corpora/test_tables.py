"""Tables in JSON, CSV, Parquet and Arrow files, and in folders that `datasets` saved."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import message, read, write

from biocache.engine.corpora.base import Corpus

ROWS = [
    {"id": "a", "premise": "Cells grow .", "hypothesis": "They do .", "label": "yes"},
    {"id": "b", "premise": "No .", "hypothesis": "Yes .", "label": None},
]
CLASSES = datasets.ClassLabel(names=["no", "yes"])
TAGS = datasets.ClassLabel(names=["O", "B-x", "I-x"])


def shown(corpus: Corpus, split: str = "train") -> list[tuple[Any, ...]]:
    return [(one.id, one.texts, one.label or one.tags) for one in corpus.splits[split]]


EXPECTED = [
    ("a", (("Cells", "grow", "."), ("They", "do", ".")), "yes"),
    ("b", (("No", "."), ("Yes", ".")), None),
]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "txt", "json.gz"])
@pytest.mark.parametrize(
    "content",
    [
        "\n".join(map(json.dumps, ROWS)),
        "\n\n".join(map(json.dumps, ROWS)) + "\n",
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({"version": 1.0, "data": ROWS}),
        json.dumps({"version": {"major": 1}, "data": ROWS, "more": [1, 2]}, indent=1),
        json.dumps({row["id"]: {k: v for k, v in row.items() if k != "id"} for row in ROWS}),
        json.dumps({row["id"]: row for row in ROWS}, indent=4),
        "\ufeff" + json.dumps(ROWS),
    ],
    ids=["lines", "spaced", "array", "indented", "inside", "inside indented", "by id", "by id indented", "marked"],
)
def test_json(tmp_path: Path, suffix: str, content: str) -> None:
    if suffix == "txt" and not content.lstrip("\ufeff").startswith(('{"', "[{")):
        pytest.skip("text files are JSON only where they begin so")
    assert shown(read("nli", write(tmp_path / "x", {f"train.{suffix}": content}))) == EXPECTED


def test_columns_that_begin_late(tmp_path: Path) -> None:
    lines = [json.dumps({"premise": f"a{at}", "hypothesis": "b"}) for at in range(1500)]
    lines.append(json.dumps({"premise": "c", "hypothesis": "d", "label": "yes"}))
    corpus = read("nli", write(tmp_path / "x", {"train.jsonl": "\n".join(lines)}))
    assert [one.label for one in corpus.splits["train"][-2:]] == [None, "yes"]
    assert corpus.notes == {"train": {"unlabelled": 1500}}


def test_one_object_is_one_record(tmp_path: Path) -> None:
    for content in (json.dumps(ROWS[0]), json.dumps(ROWS[0], indent=1)):
        assert shown(read("nli", write(tmp_path / "x", {"train.json": content}))) == EXPECTED[:1]
    row = {"tokens": ["a", "b"], "ner_tags": ["O", "B-x"]}
    corpus = read("ner", write(tmp_path / "y", {"train.json": json.dumps(row)}))
    assert shown(corpus) == [("train-0", (("a", "b"),), ("O", "B-x"))]


@pytest.mark.parametrize(
    ("content", "line", "substance"),
    [
        ('[{"premise": "a",\n "hypothesis": "b"},\n {"premise": 3,\n "hypothesis": "b"}]', 3, "premise is 3, not text"),
        ('[{"premise": "a",\n "hypothesis": "b"},\n 7]', 3, "7 is not a JSON object"),
        ('[{"premise": "a",\n "hypothesis": "b"},\n {"x": }]', 3, "not JSON at '}]'"),
        ('[{"premise": "a",\n "hypothesis": "b"}\n {"x": 1}]', 3, "is not a comma or the end of the array"),
        ('[{"premise": "a",\n "hypothesis": "b"},', 2, "not JSON: "),
        ('[{"premise": "a",\n "hypothesis": "b"}]\n]', 3, "comes after the end of the JSON document"),
        ('{"data": [{"premise": "a",\n "hypothesis": "b"}, 7]\n}', 2, "7 is not a JSON object"),
        ('{"1": {"premise": "a",\n "hypothesis": "b"},\n "2": {"premise": "c"}}', 3, "hypothesis is missing"),
        ('"text"', 1, "is not a JSON object"),
        ("[]", 1, "no column of premise and hypothesis"),
        ("{}", 1, "no column of premise and hypothesis"),
        ("[" * 100_000, 1, "is not JSON"),
        ("[" + "9" * 5000 + "]", 1, "is not JSON that can be read"),
    ],
)
def test_malformed_json(tmp_path: Path, content: str, line: int, substance: str) -> None:
    text = message("nli", write(tmp_path / "x", {"train.json": content}))
    assert text.startswith(f"{tmp_path}/x/train.json:{line}: ")
    assert substance in text


@pytest.mark.parametrize(
    "content",
    [
        "id,premise,hypothesis,label\na,Cells grow .,They do .,yes\nb,No .,Yes .,\n",
        "id;premise;hypothesis;label\na;Cells grow .;They do .;yes\nb;No .;Yes .;\n",
        'label,id,premise,hypothesis\n"yes","a","Cells\ngrow .","They do ."\n"","b","No .","Yes ."',
        "\ufeffid,premise,hypothesis,label\r\na,Cells grow .,They do .,yes\r\n\r\nb,No .,Yes .,NA\r\n",
        ",id,Premise,Hypothesis,label,extra\n0,a,Cells grow .,They do .,yes,1\n1,b,No .,Yes .,-1,2\n",
        "id|premise|hypothesis|label\na|Cells grow .|They do .|yes\nb|No .|Yes .|_\n",
    ],
    ids=["plain", "semicolons", "quoted", "windows", "of pandas", "bars"],
)
def test_csv(tmp_path: Path, content: str) -> None:
    assert shown(read("nli", write(tmp_path / "x", {"train.csv": content}))) == EXPECTED


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('id\tpremise\thypothesis\n1\t"a ""b"" c"\td\n', 'a "b" c'),
        ('id\tpremise\thypothesis\n1\t"a" b\td\n', '"a" b'),
        ('id\tpremise\thypothesis\n1\t"a b\td\n2\tc\t"d\n', '"a b'),
        ('id\tpremise\thypothesis\n1\ta "b" c\td\n', 'a "b" c'),
    ],
)
def test_quotation_marks_in_files_of_tabs(tmp_path: Path, content: str, text: str) -> None:
    corpus = read("nli", write(tmp_path / "x", {"train.tsv": content}))
    assert " ".join(corpus.splits["train"][0].texts[0]) == text
    said = any("quotation marks" in remark for remark in corpus.remarks)
    assert said == text.startswith('"')


def test_long_cells(tmp_path: Path) -> None:
    content = f"text,label\n{'word ' * 50_000},x\n"
    assert len(read("text", write(tmp_path / "x", {"train.csv": content})).splits["train"][0].texts[0]) == 50_000


@pytest.mark.parametrize(
    ("content", "line", "substance"),
    [
        ("premise,hypothesis\na,b\nc\n", 3, "1 cell, and the header has 2; give all rows as many"),
        ("premise,hypothesis\na,b,c\n", 2, "3 cells, and the header has 2"),
        ('premise,hypothesis\na,b\n"c,d\n', 3, "a quotation mark is not closed"),
        ('premise,hypothesis\na,"b"c\n', 2, "expected after"),
        ("premise,hypothesis,premise\na,b,c\n", 1, "two columns are named 'premise'"),
        ("premise,links\na,b\n", 1, "no column of premise and hypothesis"),
        ("premise,hypothesis\n", 1, "no sample with a word"),
        (b"premise,hypothesis\na,b\nc,\xff\n", 3, "byte 0xff is not UTF-8"),
        ("", 1, "the file is empty"),
    ],
)
def test_malformed_csv(tmp_path: Path, content: str | bytes, line: int, substance: str) -> None:
    text = message("nli", write(tmp_path / "x", {"train.csv": content}))
    assert text.startswith(f"{tmp_path}/x/train.csv:{line}: ")
    assert substance in text


def table(features: dict[str, Any], **columns: list[Any]) -> datasets.Dataset:
    whole = datasets.Dataset.from_dict(columns)
    return whole.cast(datasets.Features({**whole.features, **features}))


def saved(folder: Path, kind: str, rows: datasets.Dataset) -> Path:
    """Save a dataset as a train split in one of the ways that `datasets` has."""
    if kind == "parquet":
        folder.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(folder / "train.parquet")
    elif kind == "dataset":
        rows.save_to_disk(folder)
    elif kind == "dict":
        datasets.DatasetDict(train=rows, extra=rows).save_to_disk(folder)
    else:
        rows.save_to_disk(folder.parent / "made")
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / "made" / "data-00000-of-00001.arrow").rename(folder / "train.arrow")
    return folder


KINDS = ("parquet", "arrow", "dataset", "dict")


@pytest.mark.parametrize("kind", KINDS)
def test_classes_of_saved_datasets_have_their_names(tmp_path: Path, kind: str) -> None:
    rows = table({"label": CLASSES}, premise=["a b", "c", "d"], hypothesis=["e", "f", "g"], label=[1, -1, 0])
    corpus = read("nli", saved(tmp_path / "x", kind, rows))
    assert [one.label for one in corpus.splits["train"]] == ["yes", None, "no"]
    assert (corpus.remarks == ()) == (kind in ("parquet", "arrow"))
    rows = table({"ner_tags": datasets.List(TAGS)}, tokens=[["a", "b"], [], ["c"]], ner_tags=[[1, 2], [], [-100]])
    corpus = read("ner", saved(tmp_path / "y", kind, rows))
    assert [one.tags for one in corpus.splits["train"]] == [("B-x", "I-x"), None]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "feather"])
@pytest.mark.parametrize("words", [pa.large_list(pa.large_string()), pa.list_(pa.string()), pa.list_(pa.string(), 2)])
def test_types_of_arrow(tmp_path: Path, kind: str, words: pa.DataType) -> None:
    made = pa.table(
        {
            "tokens": pa.array([["a", "b"], None, ["c", "a"]], words),
            "tags": pa.array([["B-x", None], None, ["O", "O"]], words),
            "id": pa.array([3, 5, 7], pa.int32()),
            "pmid": pa.array(["p", "p", None]).dictionary_encode(),
        }
    )
    path = write(tmp_path / "x", {}) / ("train.parquet" if kind == "parquet" else "train.arrow")
    if kind == "parquet":
        pq.write_table(made, path, row_group_size=2)
    else:
        with pa.OSFile(str(path), "wb") as sink:
            opened = pa.ipc.new_file if kind == "feather" else pa.ipc.new_stream
            with opened(sink, made.schema) as writer:
                writer.write_table(made, max_chunksize=2)
    corpus = read("ner", tmp_path / "x")
    assert shown(corpus) == [("3", (("a", "b"),), ("B-x", None)), ("7", (("c", "a"),), ("O", "O"))]
    assert [one.group for one in corpus.splits["train"]] == ["p", None]
    assert corpus.remarks == (f"samples without a word skipped: 1 ({path} row 1)",)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_damaged_files_have_a_row(tmp_path: Path, kind: str) -> None:
    rows = table({}, premise=["a"] * 5000, hypothesis=["b"] * 5000, label=["x"] * 5000)
    folder = saved(tmp_path / "x", kind, rows)
    path = folder / f"train.{kind}"
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], whole[:-50] if kind == "parquet" else whole[: len(whole) // 2], b"x" * 2000):
        path.write_bytes(damaged)
        text = message("nli", folder)
        assert text.startswith(f"{path} row ")
        assert "cannot be read (" in text


def test_damaged_saved_datasets(tmp_path: Path) -> None:
    folder = saved(tmp_path / "x", "dataset", table({}, premise=["a"], hypothesis=["b"]))
    (folder / "state.json").write_text("{")
    text = message("nli", folder)
    assert text.startswith(f"{folder}: cannot be read as a dataset that save_to_disk wrote (")
    assert text.endswith("; save or copy it again")


def test_rows_of_arrow_are_named_in_messages(tmp_path: Path) -> None:
    rows = table({}, tokens=[["a"]] * 1500 + [["b c"]], tags=[["O"]] * 1501)
    folder = saved(tmp_path / "x", "parquet", rows)
    assert message("ner", folder).startswith(f"{folder}/train.parquet row 1500: word 'b c' holds white space")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv", "conll"])
def test_files_are_read_as_a_stream(tmp_path: Path, suffix: str) -> None:
    """Reading takes little more memory than the samples, of which each differs from the others."""
    rows = [[f"w{at}", f"v{at}", *(f"x{(at * step) % 997}" for step in range(1, 17))] for at in range(15_000)]
    tags = [["B-x" if (at >> place) % 2 else "O" for place in range(18)] for at in range(15_000)]
    path = write(tmp_path / "x", {}) / f"train.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"tokens": rows, "tags": tags}), path, row_group_size=1000)
    elif suffix == "conll":
        sentences = ("\n".join(map("\t".join, zip(*row, strict=True))) for row in zip(rows, tags, strict=True))
        path.write_text("\n\n".join(sentences) + "\n")
    else:
        made = datasets.Dataset.from_dict({"tokens": rows, "tags": tags})
        _ = made.to_json(path) if suffix == "jsonl" else write(tmp_path / "x", {path.name: as_csv(rows, tags)})
    del rows, tags
    read("ner", write(tmp_path / "y", {"train.conll": "a\tO\n"}))
    tracemalloc.start()
    corpus = read("ner", path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(corpus.splits["train"]) == 15_000
    assert peak < 1.5 * kept


def as_csv(rows: list[list[str]], tags: list[list[str]]) -> str:
    return "tokens,tags\n" + "".join(f"{' '.join(a)},{' '.join(b)}\n" for a, b in zip(rows, tags, strict=True))
