"""Scores against counts made by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biocache.engine.corpora.readers import read_corpus
from biocache.engine.metrics import as_iob2, score_classes, score_entities
from biocache.store.schema import entity_type

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "jnlpba"

LABELS = ["O", "DNA", "RNA", "protein"]
CLASSES = st.integers(0, len(LABELS) - 1)


def f1(hits: int, guessed: int, true: int) -> float:
    return 2 * hits / (guessed + true) if guessed + true else 0.0


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(CLASSES, CLASSES), min_size=1, max_size=40))
def test_class_scores_are_ratios_of_counts(items: list[tuple[int, int]]) -> None:
    gold, predicted = (np.array(column) for column in zip(*items, strict=True))
    scores = score_classes(gold, predicted, LABELS)
    assert scores.accuracy == pytest.approx(np.mean(gold == predicted))
    each = []
    for position in range(len(LABELS)):
        hits = sum(g == p == position for g, p in items)
        guessed, true = sum(p == position for _, p in items), sum(g == position for g, _ in items)
        assert scores.precision[position] == pytest.approx(hits / guessed if guessed else 0)
        assert scores.recall[position] == pytest.approx(hits / true if true else 0)
        assert scores.f1[position] == pytest.approx(f1(hits, guessed, true))
        assert scores.support[position] == true
        assert scores.confusion[position].tolist() == [
            sum((g, p) == (position, other) for g, p in items) for other in range(len(LABELS))
        ]
        if guessed or true:
            each.append(f1(hits, guessed, true))
    assert scores.macro_f1 == pytest.approx(np.mean(each))
    hits = sum(g == p != 0 for g, p in items)
    assert scores.micro_f1 == pytest.approx(f1(hits, sum(p != 0 for _, p in items), sum(g != 0 for g, _ in items)))


def test_micro_f1_without_an_outside_class_is_the_accuracy() -> None:
    rng = np.random.default_rng(0)
    gold, predicted = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    scores = score_classes(gold, predicted, ["contradiction", "entailment", "neutral"])
    assert scores.micro_f1 == pytest.approx(scores.accuracy)


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """Return the entities of a sentence, read word by word."""
    found, begin = set(), None
    for place, tag in enumerate([*tags, "O"]):
        if begin is not None and (tag[0] != "I" or tag[2:] != tags[begin][2:]):
            found.add((begin, place, tags[begin][2:]))
            begin = None
        if tag != "O" and begin is None:
            begin = place
    return found


TAGS = st.sampled_from(["O", "B-DNA", "I-DNA", "B-RNA", "I-RNA"])
SENTENCES = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=5)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(SENTENCES)
def test_entities_count_where_type_and_both_ends_are_right(sentences: list[list[tuple[str, str]]]) -> None:
    gold = [[tag for tag, _ in sentence] for sentence in sentences]
    predicted = [[tag for _, tag in sentence] for sentence in sentences]
    true = [(index, *span) for index, tags in enumerate(gold) for span in spans(tags)]
    guessed = [(index, *span) for index, tags in enumerate(predicted) for span in spans(tags)]
    hits = len(set(true) & set(guessed))
    scores = score_entities(gold, predicted)
    assert scores.support == len(true)
    assert scores.precision == pytest.approx(hits / len(guessed) if guessed else 0)
    assert scores.recall == pytest.approx(hits / len(true) if true else 0)
    assert scores.f1 == pytest.approx(f1(hits, len(guessed), len(true)))


def test_stretches_of_one_type_are_entities() -> None:
    assert as_iob2(["DNA", "DNA", "O", "DNA", "RNA", "RNA"]) == ["B-DNA", "I-DNA", "O", "B-DNA", "B-RNA", "I-RNA"]
    assert as_iob2([]) == []
    scores = score_entities([as_iob2(["DNA", "DNA", "O", "RNA"])], [as_iob2(["DNA", "DNA", "O", "DNA"])])
    assert (scores.precision, scores.recall, scores.f1, scores.support) == (0.5, 0.5, 0.5, 2)


def test_a_type_that_looks_like_a_tag_is_a_type() -> None:
    scores = score_entities([as_iob2(["B-cell", "B-cell"])], [as_iob2(["B-cell", "O"])])
    assert (scores.f1, scores.support) == (0.0, 1)


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the real corpora are not beside this checkout")
def test_touching_entities_of_a_real_corpus() -> None:
    samples = read_corpus("ner", str(DATA), splits=["test"]).splits["test"]
    own = [[str(tag) for tag in sample.tags or ()] for sample in samples]
    merged = [as_iob2([entity_type(str(tag)) for tag in tags]) for tags in own]
    scores = score_entities(own, merged)
    assert scores.support == 8_662
    assert score_entities(merged, merged).support == 8_579
    assert 0.97 < scores.f1 < 1
