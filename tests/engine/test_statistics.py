"""Counts a sample add up to the scores of scikit-learn and seqeval, of all samples and of any draw of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from biocache.engine.metrics import (
    as_iob2,
    sample_counts,
    score_classes,
    score_entities,
    score_names,
    scores_of_counts,
)
from biocache.engine.statistics import bootstrap, holm, interval, paired_p

# Types that look like tags are types: of merged types, B-cell and I-cell are two.
LABELS = {
    "type": ("O", "B-cell", "I-cell", "DNA"),
    "bio": ("O", "B-DNA", "B-B-cell", "I-DNA", "I-B-cell", "B-I-cell", "I-I-cell"),
}


def plain_scores(
    gold: NDArray[Any], predicted: NDArray[Any], sample: NDArray[Any], labels: tuple[str, ...], scheme: str | None
) -> list[float]:
    classes = score_classes(gold, predicted, labels)
    found = [classes.accuracy, classes.macro_f1, classes.micro_f1]
    if scheme is None:
        return found
    sentences = [
        [[labels[code] for code in codes[sample == number]] for number in range(sample.max() + 1)]
        for codes in (gold, predicted)
    ]
    if scheme == "type":
        sentences = [[as_iob2(types) for types in part] for part in sentences]
    return [*found, score_entities(*sentences).f1]


def bootstrap_scores(
    counts: list[NDArray[Any]], labels: tuple[str, ...], scores: tuple[str, ...], resamples: int, seed: int = 0
) -> NDArray[Any]:
    return bootstrap(counts, lambda sums: scores_of_counts(sums, labels, scores), resamples, seed)


def random_case(seed: int, scheme: str | None, samples: int = 12) -> tuple[NDArray[Any], ...]:
    rng = np.random.default_rng(seed)
    labels = LABELS[scheme or "type"]
    sample = np.repeat(np.arange(samples), rng.integers(1, 7, samples))
    gold = rng.integers(0, rng.integers(1, len(labels) + 1), len(sample))
    predicted = np.where(rng.random(len(sample)) < 0.6, gold, rng.integers(0, len(labels), len(sample)))
    return gold, predicted, sample


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["type", "bio", None])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_sums_of_counts_are_the_scores(scheme: str | None, seed: int) -> None:
    gold, predicted, sample = random_case(seed, scheme)
    labels, scores = LABELS[scheme or "type"], score_names(scheme)
    counts = sample_counts(gold, predicted, sample, labels, scheme)
    expected = plain_scores(gold, predicted, sample, labels, scheme)
    np.testing.assert_allclose(scores_of_counts(counts.sum(axis=0), labels, scores), expected, rtol=0, atol=1e-12)


def test_labels_without_an_outside_are_all_decided() -> None:
    gold, predicted = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1])
    counts = sample_counts(gold, predicted, np.arange(4), ("no", "perhaps", "yes"), None)
    assert scores_of_counts(counts.sum(axis=0), ("no", "perhaps", "yes"), ("micro_f1",)).item() == 0.5


def test_an_entity_ends_with_its_sentence_and_where_another_begins() -> None:
    labels = ("O", "B-DNA", "I-DNA")
    gold = np.array([1, 2, 2, 1, 1])
    sample = np.array([0, 0, 1, 1, 1])
    # In gold: words 0-1; word 2, which continues nothing; word 3; word 4.
    predicted = np.array([1, 2, 0, 1, 2])
    counts = sample_counts(gold, predicted, sample, labels, "bio")
    np.testing.assert_array_equal(counts[:, -3:], [[1, 1, 1], [0, 1, 3]])


def naive_bootstrap(case: tuple[NDArray[Any], ...], resamples: int, seed: int) -> list[list[float]]:
    """Score concatenated copies of the drawn samples, one draw after another."""
    gold, predicted, sample = case
    count = int(sample.max()) + 1
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        drawn = rng.integers(0, count, count)
        rows = [np.flatnonzero(sample == number) for number in drawn]
        again = np.repeat(np.arange(count), [len(part) for part in rows])
        picked = np.concatenate(rows)
        found.append(plain_scores(gold[picked], predicted[picked], again, LABELS["type"], "type"))
    return found


@pytest.mark.slow
def test_resamples_are_whole_samples() -> None:
    case = random_case(3, "type")
    counts = sample_counts(*case, LABELS["type"], "type")
    found = bootstrap_scores([counts], LABELS["type"], score_names("type"), 40, seed=9)
    np.testing.assert_allclose(found[0], naive_bootstrap(case, 40, 9), rtol=0, atol=1e-12)


def test_all_predictions_have_the_same_resamples_whatever_their_number() -> None:
    gold, predicted, sample = random_case(4, "type")
    counts = [sample_counts(gold, other, sample, LABELS["type"], "type") for other in (predicted, gold, predicted)]
    found = bootstrap_scores(counts, LABELS["type"], score_names("type"), 300)
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[:1], bootstrap_scores(counts[:1], LABELS["type"], score_names("type"), 300))
    assert (found[1, :, 0] == 1).all()
    assert len(np.unique(found[0, :, 0])) > 10


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    labels, hits, trials = ("no", "yes"), 0, 200
    for trial in range(trials):
        # Words of a sample are right together: as many words, but only 60 draws of the truth, 0.7.
        right = np.repeat(rng.random(60) < 0.7, 10)
        counts = sample_counts(np.ones(600, int), right.astype(int), np.repeat(np.arange(60), 10), labels, None)
        low, high = interval(bootstrap_scores([counts], labels, ("accuracy",), 400, seed=trial)[0], axis=0)
        hits += bool(low[0] <= 0.7 <= high[0])
    # 95 % less three standard errors; an interval over words would hold it about 45 % of the time.
    assert 0.90 < hits / trials <= 1.0


def test_the_interval_is_of_percentiles() -> None:
    low, high = interval(np.arange(1001.0)[:, np.newaxis], axis=0)
    assert (low.item(), high.item()) == (25.0, 975.0)


def test_paired_values() -> None:
    differences = np.array([[1.0] * 99, [-1.0] * 99, [0.0] * 99, [1.0] * 90 + [-1.0] * 9])
    np.testing.assert_allclose(paired_p(differences), [0.02, 0.02, 1.0, 0.2])


def test_the_paired_value_is_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(1)
    found = []
    for trial in range(200):
        right = rng.random((2, 80)) < 0.6
        counts = [
            sample_counts(np.ones(80, int), each.astype(int), np.arange(80), ("no", "yes"), None) for each in right
        ]
        scores = bootstrap_scores(counts, ("no", "yes"), ("accuracy",), 200, seed=trial)[..., 0]
        found.append(paired_p(scores[1] - scores[0]).item())
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.11
    assert 0.35 < np.median(found) < 0.7


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm(values: list[float]) -> None:
    p = np.array(values)
    expected = np.empty(len(p))
    order = sorted(range(len(p)), key=lambda place: p[place])
    worst = 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[place]))
        expected[place] = worst
    np.testing.assert_allclose(holm(p), expected)
    assert (holm(p) >= p).all()


def test_holm_of_the_textbook() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
