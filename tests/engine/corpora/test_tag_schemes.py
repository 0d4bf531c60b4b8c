"""Schemes of entity tags: spans are the same before and after, and each scheme is recognised, against seqeval."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOB2, IOBES, IOE2, Entities

from biocache.engine.corpora.tag_schemes import (
    SCHEMES,
    count_repairs,
    recognise,
    spans_of,
    to_iob2,
    trigrams_of,
    with_prefixes,
    write_tags,
)
from biocache.store.errors import DataError

TYPES = ("DNA", "RNA", "B-cell", "I-x")
# Of IOB1 and IOE1, seqeval is stricter than the scheme: it finds no entity that touches one of another type.
STRICT = {"IOB2": IOB2, "IOBES": IOBES, "BILOU": BILOU, "IOE2": IOE2}
FEW = settings(max_examples=30)


@st.composite
def sentences(draw: st.DrawFn) -> tuple[list[tuple[str, int, int]], int]:
    """Spans of a sentence, some of them touching, and its length."""
    spans, position = [], 0
    for kind in draw(st.lists(st.sampled_from(TYPES), max_size=6)):
        begin = position + draw(st.integers(0, 2))
        position = begin + draw(st.integers(1, 4))
        spans.append((kind, begin, position))
    return spans, position + draw(st.integers(0, 3))


MANY = st.lists(sentences().filter(lambda one: one[1] > 0), min_size=1, max_size=6)
PREFIXED = st.lists(
    st.one_of(st.just("O"), st.builds("{}-{}".format, st.sampled_from("BIES"), st.sampled_from(TYPES))), min_size=1
)


def lossless(spans: list[tuple[str, int, int]], scheme: str) -> bool:
    """Return whether a scheme can tell the spans: IO cannot tell two of a type that touch."""
    return scheme != "IO" or all(a[0] != b[0] or a[2] < b[1] for a, b in pairwise(spans))


@pytest.mark.parametrize("scheme", SCHEMES)
@FEW
@given(MANY)
def test_spans_are_the_same_before_and_after(scheme: str, many: list[tuple[list[tuple[str, int, int]], int]]) -> None:
    for spans, length in many:
        written = write_tags(spans, length, scheme)
        assert len(written) == length
        if lossless(spans, scheme):
            assert spans_of(written) == spans
            assert to_iob2(written) == write_tags(spans, length, "IOB2")


@pytest.mark.parametrize("scheme", SCHEMES)
@FEW
@given(MANY)
def test_what_is_recognised_has_nothing_to_repair(
    scheme: str, many: list[tuple[list[tuple[str, int, int]], int]]
) -> None:
    tags = Counter(tuple(write_tags(spans, length, scheme)) for spans, length in many)
    trigrams = trigrams_of(tags.elements())
    assert count_repairs(trigrams, recognise(trigrams)) == 0
    assert [spans_of(one) for one in tags] == [spans_of(to_iob2(one)) for one in tags]


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("IOB2", ["B-a I-a B-a", "O B-a"]),
        ("IO", ["I-a I-a O I-b"]),
        ("IOB1", ["I-a I-a B-a O I-a"]),
        ("IOBES", ["B-a I-a E-a S-b"]),
        ("IOBES", ["S-b O"]),
        ("BILOU", ["B-a I-a L-a U-b"]),
        ("BMES", ["B-a M-a E-a S-b"]),
        ("IOE2", ["I-a E-a E-b"]),
        ("IOE1", ["I-a E-a I-a O I-b"]),
        ("", ["B-a L-a", "S-b"]),
        ("IOB2", ["O O"]),
    ],
)
def test_schemes_are_recognised(scheme: str, tags: list[str]) -> None:
    assert recognise(trigrams_of(tuple(one.split()) for one in tags)) == scheme


@pytest.mark.parametrize("scheme", STRICT)
@FEW
@given(sentences().filter(lambda one: one[1] > 0))
def test_spans_are_those_that_seqeval_finds_strictly(
    scheme: str, sentence: tuple[list[tuple[str, int, int]], int]
) -> None:
    spans, length = sentence
    written = write_tags(spans, length, scheme)
    (strict,) = Entities([written], STRICT[scheme]).entities
    assert [(one.tag, one.start, one.end) for one in strict] == spans_of(written) == spans


@given(PREFIXED)
def test_any_sequence_is_read_as_the_lenient_readers_read_it(tags: list[str]) -> None:
    assert [(kind, begin, end + 1) for kind, begin, end in get_entities(tags)] == spans_of(tags)


@pytest.mark.slow
@given(st.lists(st.lists(st.sampled_from(("O", "B-a", "I-a", "B-b", "I-b")), min_size=1), min_size=1))
def test_iob2_is_repaired_as_before(many: list[list[str]]) -> None:
    """An I that continues nothing becomes a B, and nothing else changes."""
    for tags in many:
        expected, inside = [], "O"
        for tag in tags:
            expected.append(f"B{tag[1:]}" if tag[0] == "I" and tag[2:] != inside else tag)
            inside = tag[2:] if tag != "O" else "O"
        assert to_iob2(tags) == expected
        assert count_repairs(trigrams_of([tuple(tags)] * 2), "IOB2") / 2 == sum(
            a != b for a, b in zip(tags, expected, strict=True)
        )


def test_words_without_a_tag_stay_so_and_end_entities() -> None:
    assert to_iob2(["B-a", None, "I-a", "I-a"]) == ["B-a", None, "B-a", "I-a"]
    assert count_repairs(trigrams_of([("B-a", None, "I-a")] * 3), "IOB2") == 3
    assert recognise(trigrams_of([(None, None)])) == "IOB2"


@pytest.mark.parametrize(
    ("tags", "written", "lacks"),
    [
        (["O", "B-DNA", "I-DNA"], ["O", "B-DNA", "I-DNA"], ""),
        (["B", "O", "I"], ["B-entity", "O", "I-entity"], "no type"),
        (["O", "DNA", "cell_type", "Amino-acid"], ["O", "I-DNA", "I-cell_type", "I-Amino-acid"], "no prefix"),
        (["O"], ["O"], ""),
        ([], [], ""),
    ],
)
def test_tags_that_lack_a_part(tags: list[str], written: list[str], lacks: str) -> None:
    names, what = with_prefixes(dict.fromkeys(tags, "x:1"))
    assert [names[tag] for tag in tags] == written
    assert what.startswith(lacks)
    assert bool(what) == bool(lacks)
    assert names[None] is None


@pytest.mark.parametrize(
    ("tags", "refused"),
    [
        (["O", "B-DNA", "X-DNA"], "X-DNA"),
        (["O", "B-DNA", "DNA"], "DNA"),
        (["O", "X-DNA"], "X-DNA"),
        (["B-O"], "B-O"),
        (["O", "B-"], "B-"),
        (["NN", "VB"], "NN"),
        (["O", "b-DNA"], "b-DNA"),
        (["O", "cell line"], "cell line"),
    ],
)
def test_tags_of_no_scheme_are_refused_at_their_place(tags: list[str], refused: str) -> None:
    places = {tag: f"x.tsv:{number}" for number, tag in enumerate(tags, start=1)}
    with pytest.raises(DataError, match=rf"^{places[refused]}: tag '{refused}' is not an entity tag; .*task='tokens'"):
        with_prefixes(places)
