"""IOB2 repair against an independent implementation, and the label schemes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biocache.engine.corpora.ner import read_sentences, repair_iob2
from biocache.engine.corpora.task import Place, RawSplit, Row
from biocache.store.schema import entity_type

TYPES = ("DNA", "RNA", "cell_type")
TAGS = st.sampled_from(("O", *(f"{prefix}-{name}" for prefix in "BI" for name in TYPES)))
SENTENCES = st.lists(TAGS, min_size=1, max_size=12)


def entities(tags: list[str]) -> list[tuple[str, int, int]]:
    """Return (type, start, end) of every entity, as lenient IOB readers (conlleval's rules) find them."""
    found: list[tuple[str, int, int]] = []
    for position, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        goes_on = found and prefix == "I" and found[-1][0] == kind and found[-1][2] == position
        if goes_on:
            found[-1] = (kind, found[-1][1], position + 1)
        elif kind:
            found.append((kind, position, position + 1))
    return found


def render(spans: list[tuple[str, int, int]], length: int) -> list[str]:
    tags = ["O"] * length
    for kind, start, end in spans:
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return tags


def split_of(*sentences: list[str]) -> RawSplit:
    rows = [
        Row(Place("t row ", number), {"words": [f"w{position}" for position in range(len(tags))], "tags": tags})
        for number, tags in enumerate(sentences)
    ]
    return RawSplit("t", rows, {"words": "words", "tags": "tags"})


@pytest.mark.parametrize(
    ("tags", "repaired", "count"),
    [
        ("O I-DNA I-DNA", "O B-DNA I-DNA", 1),
        ("I-DNA", "B-DNA", 1),
        ("B-DNA I-RNA I-RNA", "B-DNA B-RNA I-RNA", 1),
        ("B-DNA O I-DNA", "B-DNA O B-DNA", 1),
        ("I-DNA I-RNA I-DNA", "B-DNA B-RNA B-DNA", 3),
        ("B-DNA B-DNA I-DNA", "B-DNA B-DNA I-DNA", 0),
        ("O O", "O O", 0),
    ],
)
def test_repair_by_example(tags: str, repaired: str, count: int) -> None:
    assert repair_iob2(tags.split()) == (repaired.split(), count)


@given(SENTENCES)
def test_repair_agrees_with_decoding_and_rendering_entities(tags: list[str]) -> None:
    repaired, count = repair_iob2(tags)
    assert repaired == render(entities(tags), len(tags))
    assert count == sum(old != new for old, new in zip(tags, repaired, strict=True))
    assert repair_iob2(repaired) == (repaired, 0)


@given(st.lists(SENTENCES, min_size=1, max_size=5))
def test_every_word_has_a_tag(sentences: list[list[str]]) -> None:
    read = read_sentences("test", split_of(*sentences))
    for tags, tagged in zip(sentences, read.samples, strict=True):
        assert list(tagged.tags or ()) == render(entities(tags), len(tags))
        assert len(tagged.texts[0]) == len(tags)
    assert read.notes["repaired_tags"] == sum(repair_iob2(tags)[1] for tags in sentences)


def test_repairs_do_not_reach_across_sentences() -> None:
    read = read_sentences("train", split_of(["B-DNA"], ["I-DNA"]))
    assert [sample.tags for sample in read.samples] == [("B-DNA",), ("B-DNA",)]


@pytest.mark.parametrize(
    ("label", "kind"),
    [("O", "O"), ("B-DNA", "DNA"), ("I-cell_line", "cell_line"), ("B-a-b", "a-b"), ("I-B-cell", "B-cell")],
)
def test_entity_type(label: str, kind: str) -> None:
    assert entity_type(label) == kind


def test_the_tags_of_the_corpus_are_kept() -> None:
    (sample,) = read_sentences("train", split_of(["B-B-cell", "B-B-cell", "I-B-cell", "O"])).samples
    assert sample.tags == ("B-B-cell", "B-B-cell", "I-B-cell", "O")
