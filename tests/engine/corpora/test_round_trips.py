"""One corpus, written in every format by other writers than ours, is one corpus: the same samples and digests."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import read

from biocache.engine.corpora.base import Corpus
from biocache.engine.corpora.tag_schemes import SCHEMES, spans_of, write_tags

SETTINGS = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# Words that begin as comments, headers, quotes and numbers do, and letters of other scripts.
WORDS = st.one_of(
    st.sampled_from(
        ["IL-2", '"', "#", "-DOCSTART-x", "'s", ",", "1-2", "NA", "_", "token", "β", "漢字", "a,b", "[", "{"]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=6),
).filter(lambda word: word.split() == [word] and word != "-DOCSTART-")
TYPES = st.sampled_from(["DNA", "cell_type", "B-cell"])


@st.composite
def sentence(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    words = draw(st.lists(WORDS, min_size=1, max_size=5))
    spans, at = [], 0
    while at < len(words):
        end = min(len(words), at + draw(st.integers(1, 3)))
        if draw(st.booleans()):
            spans.append((draw(TYPES), at, end))
        at = end
    return words, write_tags(spans, len(words), "IOB2")


SENTENCES = st.lists(sentence(), min_size=1, max_size=4)
TEXTS = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["yes", "no", "maybe so", None])), min_size=1, max_size=4)


def conll(rows: list[tuple[list[str], list[str]]], separator: str = "\t", extra: str = "") -> str:
    lines = (
        "\n".join(separator.join([word, *([extra] if extra else []), tag]) for word, tag in zip(*row, strict=True))
        for row in rows
    )
    return "\n\n".join(lines) + "\n"


def conllu(rows: list[tuple[list[str], list[str]]]) -> str:
    blocks = []
    for words, tags in rows:
        lines = [f"# text = {' '.join(words)}"]
        for at, (word, tag) in enumerate(zip(words, tags, strict=True), start=1):
            lines.append("\t".join([str(at), word, "_", tag, *["_"] * 6]))
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def sentence_files(rows: list[tuple[list[str], list[str]]]) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Yield the name, the content and the options of each way to write sentences."""
    objects = [{"tokens": words, "ner_tags": tags} for words, tags in rows]
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)
    for suffix in ("conll", "tsv", "txt", "bio", "iob", "iob2"):
        yield f"train.{suffix}", conll(rows).encode(), {}
    yield "train.conll.gz", gzip.compress(conll(rows).encode()), {}
    yield "x_train.txt", conll(rows, " ").encode(), {}
    yield "train_v1.txt", conll(rows, "\t", "NN").replace("\n", "\r\n").encode(), {}
    yield "train.conllu", conllu(rows).encode(), {"tag_column": "UPOS"}
    yield "train.jsonl", lines.encode(), {}
    yield "train.jsonl.gz", gzip.compress(lines.encode()), {}
    yield "train.json", json.dumps({"data": objects}, indent=1).encode(), {}
    frame = pd.DataFrame({"words": [json.dumps(words) for words, _ in rows], "tags": [str(tags) for _, tags in rows]})
    yield "train.csv", frame.to_csv(index=False).encode(), {}
    for scheme in SCHEMES:
        if scheme != "IO":
            written = [(words, write_tags(spans_of(tags), len(words), scheme)) for words, tags in rows]
            yield f"train.{scheme}.conll", conll(written).encode(), {}


def dataset_folders(folder: Path, made: datasets.Dataset) -> Iterator[Path]:
    """Yield folders of a dataset in each way that the library saves it."""
    for name, save in {
        "parquet": lambda where: made.to_parquet(where / "train.parquet"),
        "json": lambda where: made.to_json(where / "train.json"),
        "saved": lambda where: datasets.DatasetDict(train=made).save_to_disk(where),
    }.items():
        where = folder / name
        where.mkdir(parents=True, exist_ok=True)
        save(where)
        yield where


def same(corpus: Corpus, expected: list[tuple[Any, ...]], digest: str | None) -> str:
    """Assert that a corpus has some texts and labels, and one digest; return the digest."""
    found = [(one.texts, one.label if one.tags is None else one.tags) for one in corpus.splits["train"]]
    assert found == expected
    assert [one.id for one in corpus.splits["train"]] == [f"train-{at}" for at in range(len(found))]
    assert digest in (None, corpus.digest("train"))
    return corpus.digest("train")


@pytest.mark.slow
@SETTINGS
@given(SENTENCES)
def test_sentences(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[list[str], list[str]]]) -> None:
    folder = tmp_path_factory.mktemp("sentences")
    expected = [((tuple(words),), tuple(tags)) for words, tags in rows]
    digest = None
    for name, content, options in sentence_files(rows):
        (folder / name).write_bytes(content)
        settings_of = {"split_files": [f"train={name}"], **options}
        try:
            digest = same(read("ner", folder / name, **settings_of), expected, digest)
        except Exception as error:
            raise AssertionError((name, content)) from error
        (folder / name).unlink()
    made = datasets.Dataset.from_dict({"tokens": [words for words, _ in rows], "ner_tags": [tags for _, tags in rows]})
    for where in dataset_folders(folder, made):
        digest = same(read("ner", where), expected, digest)


def texts_as(rows: list[dict[str, Any]], write: Callable[[Any], None], **options: Any) -> bytes:
    """Write rows with a writer of the `csv` module."""
    target = io.StringIO(newline="")
    write(csv.DictWriter(target, list(rows[0]), lineterminator="\n", **options))
    return target.getvalue().encode()


def text_files(rows: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    lines = "".join(json.dumps(one) + "\n" for one in rows)

    def whole(writer: Any) -> None:
        writer.writeheader()
        writer.writerows([{key: "" if value is None else value for key, value in row.items()} for row in rows])

    yield "train.jsonl", lines.encode()
    yield "train.txt", lines.encode()
    yield "train.json", json.dumps(rows, ensure_ascii=False).encode()
    yield "train.json.gz", gzip.compress(json.dumps({"rows": rows}, indent=2).encode())
    yield "train.csv", texts_as(rows, whole)
    yield "x_train.csv", texts_as(rows, whole, quoting=csv.QUOTE_ALL)
    yield "train_x.csv", pd.DataFrame(rows).to_csv(index=True, sep=";").encode()
    yield "train.tsv", texts_as(rows, whole, delimiter="\t")
    yield "train.tsv.gz", gzip.compress(texts_as(rows, whole, delimiter="\t", quoting=csv.QUOTE_ALL))
    if not any('"' in str(value) for row in rows for value in row.values()):
        yield "train_plain.tsv", texts_as(rows, whole, delimiter="\t", quoting=csv.QUOTE_NONE)


@pytest.mark.slow
@SETTINGS
@given(PAIRS)
def test_pairs_and_texts(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str, str | None]]) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    rows = [{"premise": first, "hypothesis": second, "label": label} for first, second, label in pairs]
    expected = {
        "nli": [((tuple(first.split()), tuple(second.split())), label) for first, second, label in pairs],
        "text": [((tuple(first.split()),), label) for first, _, label in pairs],
    }
    digests: dict[str, str] = {}
    for name, content in text_files(rows):
        (folder / name).write_bytes(content)
        for task, options in {"nli": {}, "text": {"text_column": "premise"}}.items():
            try:
                corpus = read(task, folder / name, split_files=[f"train={name}"], **options)
                digests[task] = same(corpus, expected[task], digests.get(task))
            except Exception as error:
                raise AssertionError((task, name, content)) from error
        (folder / name).unlink()
    made = datasets.Dataset.from_list(rows)
    for where in dataset_folders(folder, made):
        digests["nli"] = same(read("nli", where), expected["nli"], digests["nli"])
