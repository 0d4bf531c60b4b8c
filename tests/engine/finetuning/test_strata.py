"""Training subsets: nested, fair to every class, and the same every time."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biocache.engine.corpora.task import Sample
from biocache.engine.finetuning.subset import strata, training_subset
from biocache.store.errors import SettingError

CLASSES = st.lists(st.integers(1, 120), min_size=1, max_size=9)
SEEDS = st.integers(0, 2**32)
SIZES = st.integers(1, 100)

KNOWN_DRAW = [3, 9, 10, 14, 18, 19]


def pairs(counts: list[int], order: int = 0) -> list[Sample]:
    """Make samples of as many classes as there are counts, mixed."""
    labels = [f"class-{number}" for number, count in enumerate(counts) for _ in range(count)]
    np.random.default_rng(order).shuffle(labels)
    return [Sample(str(number), (("a",), ("b",)), label=label) for number, label in enumerate(labels)]


def sentence(*types: str) -> Sample:
    return tagged(*(name if name == "O" else f"B-{name}" for name in types))


def tagged(*tags: str) -> Sample:
    return Sample("s", (tuple("w" for _ in tags),), tags=tags)


def half_up(count: int, size: int) -> int:
    return max(1, int(Fraction(count * size, 100) + Fraction(1, 2)))


@pytest.mark.slow
@settings(deadline=None)
@given(CLASSES, SEEDS)
def test_every_size_is_exact_nested_and_fair(counts: list[int], seed: int) -> None:
    samples = pairs(counts)
    totals = Counter(strata(samples))
    before: set[int] = set()
    for size in (1, 2, 10, 30, 45, 50, 77, 99, 100):
        chosen = training_subset(samples, size, seed)
        assert chosen.dtype == np.int64
        assert (np.diff(chosen) > 0).all()
        assert len(chosen) == half_up(len(samples), size)
        drawn = Counter(samples[index].label for index in chosen)
        for name, total in totals.items():
            assert abs(drawn[name] - Fraction(total * size, 100)) < 1, (name, size)
        assert before <= set(chosen.tolist())
        before = set(chosen.tolist())


@pytest.mark.slow
@settings(deadline=None)
@given(CLASSES, SEEDS, SIZES)
def test_the_same_every_time(counts: list[int], seed: int, size: int) -> None:
    samples = pairs(counts)
    np.testing.assert_array_equal(training_subset(samples, size, seed), training_subset(samples, size, seed))


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 400), min_size=40, max_size=60), st.integers(1, 99))
def test_fair_with_many_classes(counts: list[int], size: int) -> None:
    samples = pairs(counts)
    drawn = Counter(samples[index].label for index in training_subset(samples, size, 0))
    for name, total in Counter(strata(samples)).items():
        assert abs(drawn[name] - Fraction(total * size, 100)) < 1, name


def test_one_large_class_beside_many_of_one_sample() -> None:
    samples = pairs([90, *[1] * 10])
    drawn = Counter(samples[index].label for index in training_subset(samples, 45, 3))
    assert drawn["class-0"] in (40, 41)
    assert sum(drawn.values()) == 45


def test_seeds_differ_and_every_sample_can_be_drawn() -> None:
    samples = pairs([40, 20])
    draws = [training_subset(samples, 10, seed) for seed in range(120)]
    assert len({tuple(draw) for draw in draws}) > 100
    times = np.bincount(np.concatenate(draws), minlength=60)
    assert times.sum() == 120 * 6
    assert times.min() > 0


def test_classes_are_drawn_independently() -> None:
    """The order within a class does not change when another class joins the data."""
    few = [sample for sample in pairs([40, 40]) if sample.label == "class-0"]
    many = [*few, *(sample for sample in pairs([40, 40]) if sample.label == "class-1")]
    alone = training_subset(few, 50, 7)
    beside = training_subset(many, 50, 7)
    np.testing.assert_array_equal(alone, beside[beside < len(few)])


def test_all_and_the_least() -> None:
    samples = pairs([3, 4])
    np.testing.assert_array_equal(training_subset(samples, 100, 0), np.arange(7))
    assert len(training_subset(samples, 1, 0)) == 1
    np.testing.assert_array_equal(training_subset(samples[:1], 1, 0), [0])


def test_a_known_draw_does_not_change_between_releases() -> None:
    """Stores and checkpoints of one seed must be about the same samples for ever."""
    assert training_subset(pairs([12, 8]), 30, 42).tolist() == KNOWN_DRAW


def test_strata_of_sentences_are_their_rarest_types() -> None:
    samples = [
        sentence("protein", "O", "RNA"),
        sentence("protein", "DNA"),
        sentence("protein", "protein"),
        sentence("DNA"),
        sentence("O", "O"),
    ]
    assert strata(samples) == ["RNA", "DNA", "protein", "DNA", "O"]


def test_strata_are_of_entity_types() -> None:
    tags = [("B-DNA", "I-DNA", "O"), ("B-RNA",), ("O",), ("B-DNA", "B-RNA", "I-RNA"), ("B-DNA",)]
    assert strata([tagged(*own) for own in tags]) == ["DNA", "RNA", "O", "RNA", "DNA"]


def test_types_that_look_like_tags_are_types() -> None:
    assert strata([tagged("B-B-cell"), tagged("B-I-cell"), tagged("B-cell")]) == ["B-cell", "I-cell", "cell"]


def test_numbers_fall_into_fifths() -> None:
    samples = [Sample(str(n), (("a",),), label=float(n)) for n in range(10)]
    assert strata(samples) == ["0", "0", "1", "1", "2", "2", "3", "3", "4", "4"]
    assert len(training_subset(samples, 50, 0)) == 5
    equal = [Sample(str(n), (("a",),), label=1.5) for n in range(4)]
    assert len(set(strata(equal))) == 1


def test_equally_rare_types_are_told_apart_by_name() -> None:
    assert strata([sentence("b", "a")]) == ["a"]


@pytest.mark.parametrize(
    ("size", "seed", "count", "part"),
    [
        (0, 0, 5, "training size 0"),
        (101, 0, 5, "size 101"),
        (-1, 0, 5, "-1"),
        (10, -2, 5, "seed -2"),
        (10, 0, 0, "no s"),
    ],
)
def test_settings_that_cannot_be_used(size: int, seed: int, count: int, part: str) -> None:
    with pytest.raises(SettingError, match=part):
        training_subset(pairs([count]), size, seed)
