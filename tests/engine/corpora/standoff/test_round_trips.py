"""One random corpus in every format gives one set of rows, and every span is counted once."""

import tempfile
from collections import Counter
from pathlib import Path

import bioc as reference
import pytest
from bioc import biocjson, biocxml
from hypothesis import given, settings
from hypothesis import strategies as st
from standoff import (
    Split,
    Written,
    by_loops,
    fates,
    split_of,
    write_bioc_json,
    write_bioc_xml,
    write_brat,
    write_pubtator,
)

from biocache.engine.corpora.standoff.reading import open_bioc, open_brat, open_pubtator
from biocache.engine.corpora.standoff.tagging import NOTES

PIECES = (
    "IL-2",
    "gene",
    "E. coli",
    "e.g.",
    "0.5",
    "\u03b2-TGF",
    "\U0001d6fc",
    "<b>&",
    "NF-kappa B.",
    "binds.",
    "p53",
    "(x)",
)
TYPES = ("Gene", "Disease", "Cell_line")


def sentence(first: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map(lambda pieces: " ".join([first, *pieces]))


@st.composite
def documents(draw: st.DrawFn, parts: int = 1) -> list[Written]:
    found = []
    for number in range(draw(st.integers(1, 3))):
        title, abstract = draw(sentence("A")), draw(sentence("We"))
        length = len(title) + 1 + len(abstract)
        spans = []
        for _ in range(draw(st.integers(0, 6))):
            borders = sorted(
                draw(st.lists(st.integers(0, length), min_size=2 * parts, max_size=2 * parts, unique=True))
            )
            pairs = tuple(zip(borders[::2], borders[1::2], strict=True))
            spans.append((draw(st.sampled_from(TYPES)), pairs))
        found.append(Written(f"doc-{number}", title, abstract, tuple(spans)))
    return found


def read_all(documents: list[Written], pubtator: bool = True) -> list[Split]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = [split_of(open_pubtator, write_pubtator(folder / "a.txt", documents))] if pubtator else []
        read.append(split_of(open_bioc, write_bioc_xml(folder / "a.xml", documents)))
        read.append(split_of(open_bioc, write_bioc_json(folder / "a.json", documents)))
        read.append(split_of(open_brat, write_brat(folder / "brat", documents)))
    return read


@pytest.mark.slow
@settings(deadline=None)
@given(documents())
def test_every_format_gives_the_rows_and_counts_of_plain_loops(corpus: list[Written]) -> None:
    expected = [by_loops(document) for document in corpus]
    counts = sum((part for *_, part in expected), Counter())
    for raw in read_all(corpus):
        rows = raw.rows
        assert [row["words"] for row in rows] == [words for sentences, *_ in expected for words in sentences]
        assert [row["tags"] for row in rows] == [tags for _, sentences, _ in expected for tags in sentences]
        assert fates(raw) == dict(counts)
        assert raw.notes.keys() <= NOTES.keys()
        assert sum(fates(raw).values()) == sum(len(document.spans) for document in corpus)
        ids = [(document.id, n) for document, (s, *_) in zip(corpus, expected, strict=True) for n in range(len(s))]
        assert [(row["group"], row["id"]) for row in rows] == [(name, f"{name}-{n}") for name, n in ids]


@pytest.mark.slow
@settings(deadline=None)
@given(documents(parts=2))
def test_spans_of_several_parts_are_counted_alike_in_bioc_and_brat(corpus: list[Written]) -> None:
    total = sum(len(document.spans) for document in corpus)
    first, *others = read_all(corpus, pubtator=False)
    assert sum(fates(first).values()) == total
    for other in others:
        assert other.rows == first.rows
        assert fates(other) == fates(first)
    # Parts of white space alone are none.
    apart = sum(
        all(document.text[start:end].strip() for start, end in (one, (one[1], two[0]), two))
        for document in corpus
        for _, (one, two) in document.spans
    )
    assert fates(first).get("discontinuous", 0) == apart


@pytest.mark.slow
@settings(deadline=None)
@given(documents(), st.data())
def test_spans_whose_text_is_elsewhere_are_counted_and_never_tagged(corpus: list[Written], data: st.DataObject) -> None:
    document = corpus[0]
    moved = data.draw(st.integers(1, 400))
    ends = [(kind, parts, document.mention(parts)) for kind, parts in document.spans]
    lines = [f"{document.id}|t|{document.title}", f"{document.id}|a|{document.abstract}"]
    wrong = 0
    for kind, ((start, end),), text in ends:
        lines.append(f"{document.id}\t{start + moved}\t{end + moved}\t{text}\t{kind}")
        there = document.text[start + moved : end + moved]
        wrong += end + moved > len(document.text) or "".join(there.split()) != "".join(text.split())
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "a.txt")
        path.write_text("\n".join(lines), encoding="utf-8")
        raw = split_of(open_pubtator, path)
    assert sum(fates(raw).values()) == len(ends)
    if not any(note.startswith("documents_in") for note in raw.notes):
        assert fates(raw).get("mismatched", 0) == wrong
        if wrong == len(ends):
            assert {tag for row in raw.rows for tag in row["tags"]} == {"O"}


@pytest.mark.slow
@settings(deadline=None)
@given(documents())
def test_what_the_bioc_package_writes_is_read_alike(corpus: list[Written]) -> None:
    collection = reference.BioCCollection()
    for document in corpus:
        made = reference.BioCDocument()
        made.id = document.id
        for offset, text in ((0, document.title), (len(document.title) + 1, document.abstract)):
            passage = reference.BioCPassage()
            passage.offset, passage.text = offset, text
            made.add_passage(passage)
        for number, (kind, ((start, end),)) in enumerate(document.spans):
            annotation = reference.BioCAnnotation()
            annotation.id, annotation.text = f"T{number}", document.text[start:end]
            annotation.infons["type"] = kind
            annotation.add_location(reference.BioCLocation(start, end - start))
            made.add_annotation(annotation)
        collection.add_document(made)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for ending, write in ((".xml", biocxml.dump), (".json", biocjson.dump)):
            with (folder / f"a{ending}").open("w", encoding="utf-8") as file:
                write(collection, file)
        read = [split_of(open_bioc, folder / "a.xml"), split_of(open_bioc, folder / "a.json")]
        expected = split_of(open_pubtator, write_pubtator(folder / "a.txt", corpus))
    for raw in read:
        assert raw.rows == expected.rows
        assert fates(raw) == fates(expected)
