"""Counts a sample add up to the scores of scikit-learn and seqeval, of all samples and of any draw of them."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from biocache.engine.estimates import Estimates, estimate
from biocache.engine.metrics import (
    as_iob2,
    sample_counts,
    score_classes,
    score_entities,
    score_names,
    scores_of_counts,
)
from biocache.engine.statistics import FEW_GROUPS, holm, interval_of_known, jackknife_p, paired_p

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


def estimated_scores(
    counts: list[NDArray[Any]], labels: tuple[str, ...], scores: tuple[str, ...], resamples: int, seed: int = 0
) -> Estimates:
    def scored(weights: NDArray[Any]) -> NDArray[Any]:
        return np.stack([scores_of_counts(weights @ each, labels, scores) for each in counts], axis=1)

    return estimate(scored, np.ones(len(counts[0])), resamples, seed)


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
    case = random_case(3, "type", FEW_GROUPS + 1)
    counts = sample_counts(*case, LABELS["type"], "type")
    found = estimated_scores([counts], LABELS["type"], score_names("type"), 40, seed=9)
    np.testing.assert_allclose(found.others[0].T, naive_bootstrap(case, 40, 9), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.whole[0], plain_scores(*case, LABELS["type"], "type"))
    low, high = np.quantile(found.others, [0.025, 0.975], axis=-1)
    np.testing.assert_allclose(found.interval(), [low, high])
    np.testing.assert_array_equal(found.p(), paired_p(found.others))


def test_of_few_samples_each_is_left_out() -> None:
    gold, predicted, sample = random_case(3, "type")
    counts = sample_counts(gold, predicted, sample, LABELS["type"], "type")
    found = estimated_scores([counts], LABELS["type"], score_names("type"), 40)
    left = []
    for out in range(12):
        kept = sample != out
        number = np.unique(sample[kept], return_inverse=True)[1]
        left.append(plain_scores(gold[kept], predicted[kept], number, LABELS["type"], "type"))
    np.testing.assert_allclose(found.others[0].T, left, rtol=0, atol=1e-12)
    whole = np.array(plain_scores(gold, predicted, sample, LABELS["type"], "type"))
    spread = np.sqrt(11 / 12 * ((np.array(left) - np.mean(left, axis=0)) ** 2).sum(axis=0))
    low, high = found[0].interval()
    np.testing.assert_allclose(low, whole - stats.t.ppf(0.975, 11) * spread)
    np.testing.assert_allclose(high, whole + stats.t.ppf(0.975, 11) * spread)


def test_few_groups_are_tested_as_a_t_test_tests_them() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, 9)
    found = estimate(lambda weights: weights @ values / weights.sum(axis=1), np.ones(9), 0)
    assert found.p() == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    np.testing.assert_allclose(found.interval(), stats.t.interval(0.95, 8, values.mean(), stats.sem(values)))
    paired = found - estimate(lambda weights: weights @ values**2 / weights.sum(axis=1), np.ones(9), 0)
    assert paired.p() == pytest.approx(stats.ttest_rel(values, values**2).pvalue)
    halves = Estimates.mean([found, paired])
    assert halves.p() == pytest.approx(stats.ttest_1samp((2 * values - values**2) / 2, 0).pvalue)


def test_groups_of_unequal_sizes_are_worth_fewer() -> None:
    values, size = np.random.default_rng(1).normal(0.4, 1, 9), np.array([9.0, *[1.0] * 8])
    found = estimate(lambda weights: weights @ values / weights.sum(axis=1), size, 0)
    t = stats.ttest_1samp(values, 0).statistic
    # 17 rows: 17**2 / (81 + 8) groups, less one.
    freedom = 17**2 / 89 - 1
    assert found.p() == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    half = stats.t.ppf(0.975, freedom) * stats.sem(values)
    np.testing.assert_allclose(found.interval(), [values.mean() - half, values.mean() + half])


def test_groups_that_all_differ_alike_are_no_more_certain_than_their_number() -> None:
    ones = np.ones(6)
    assert jackknife_p(np.array(1.0), ones) == 2.0**-5
    assert jackknife_p(np.array(0.0), 0 * ones) == 1.0


def test_what_one_group_holds_has_neither_interval_nor_value() -> None:
    for deleted in (np.array([np.nan]), np.array([np.nan, np.nan, 0.3])):
        found = Estimates(np.array(0.5), deleted, np.ones(len(deleted)))
        assert np.isnan([found.p(), *found.interval()]).all()
    # A group that has no part in a statistic is not one of those that it is over.
    values = np.array([0.3, 0.5, 0.9])
    deleted = np.array([values[[1, 2]].mean(), np.nan, values[[0, 2]].mean(), values[[0, 1]].mean()])
    low, high = Estimates(values.mean(), deleted, np.ones(4)).interval()
    np.testing.assert_allclose([low, high], stats.t.interval(0.95, 2, values.mean(), stats.sem(values)))


def test_all_predictions_have_the_same_resamples_whatever_their_number() -> None:
    gold, predicted, sample = random_case(4, "type", 60)
    counts = [sample_counts(gold, other, sample, LABELS["type"], "type") for other in (predicted, gold, predicted)]
    found = estimated_scores(counts, LABELS["type"], score_names("type"), 300).others
    np.testing.assert_array_equal(found[0], found[2])
    alone = estimated_scores(counts[:1], LABELS["type"], score_names("type"), 300).others
    np.testing.assert_array_equal(found[:1], alone)
    assert (found[1, 0] == 1).all()
    assert len(np.unique(found[0, 0])) > 10


def test_the_interval_is_of_percentiles() -> None:
    low, high = interval_of_known(np.append(np.arange(1001.0), np.nan)[:, np.newaxis], axis=0)
    assert (low.item(), high.item()) == (25.0, 975.0)


def test_paired_values() -> None:
    differences = np.array([[1.0] * 99, [-1.0] * 99, [0.0] * 99, [1.0] * 90 + [-1.0] * 9, [1.0] * 90 + [np.nan] * 9])
    np.testing.assert_allclose(paired_p(differences), [0.02, 0.02, 1.0, 0.2, 0.2])


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


def test_what_cannot_be_tested_is_not_of_the_family() -> None:
    p = np.array([0.01, np.nan, 0.04])
    np.testing.assert_allclose(holm(p), [0.02, np.nan, 0.04])


def by_seed(values: NDArray[np.float64]) -> Estimates:
    """Return the mean over seeds of the mean over groups of values (seed, group)."""
    size = np.ones(values.shape[1])
    return Estimates.over_seeds(
        [estimate(lambda weights, own=own: weights @ own / weights.sum(axis=1), size, 2000) for own in values]
    )


@pytest.mark.parametrize("groups", [12, FEW_GROUPS + 30])
def test_seeds_add_to_the_variance_of_groups(groups: int) -> None:
    rng = np.random.default_rng(groups)
    values = rng.normal(0, 1, (4, groups)) + rng.normal(0, 0.5, (4, 1)) + rng.normal(0, 1, groups)
    found = by_seed(values)
    of_groups = values.mean(axis=0).var(ddof=1) / groups
    of_seeds = values.mean(axis=1).var(ddof=1) / 4
    if groups > FEW_GROUPS:
        of_groups = found.others.var(ddof=1)
        freedom = (of_groups + of_seeds) ** 2 / (of_seeds**2 / 3)
    else:
        freedom = (of_groups + of_seeds) ** 2 / (of_groups**2 / (groups - 1) + of_seeds**2 / 3)
    error = np.sqrt(of_groups + of_seeds)
    np.testing.assert_allclose(found.whole, values.mean())
    np.testing.assert_allclose(found.interval(), stats.t.interval(0.95, freedom, values.mean(), error), rtol=1e-6)
    np.testing.assert_allclose(found.p(), 2 * stats.t.sf(abs(values.mean() / error), freedom), rtol=1e-6)


def test_one_group_apart_seeds_alone_are_a_t_test_over_seeds() -> None:
    seeds = np.array([0.1, 0.4, 0.3, 0.7])
    found = by_seed(np.repeat(seeds[:, np.newaxis], 10, axis=1))
    np.testing.assert_allclose(found.p(), stats.ttest_1samp(seeds, 0).pvalue)
    np.testing.assert_allclose(found.interval(), stats.t.interval(0.95, 3, seeds.mean(), stats.sem(seeds)))


def test_seeds_are_paired_and_what_has_no_seed_is_compared_with_each() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 5, (5, 1))
    own, other, plain = (rng.normal(0, 0.1, (5, 20)) for _ in range(3))
    difference = by_seed(own + shared) - by_seed(other + shared)
    np.testing.assert_allclose(difference.interval(), by_seed(own - other).interval())
    without = by_seed(own) - by_seed(plain[:1])
    np.testing.assert_allclose(without.interval(), by_seed(own - plain[:1]).interval())
    np.testing.assert_allclose((by_seed(plain[:1]) - by_seed(own)).interval(), by_seed(plain[:1] - own).interval())
    both = Estimates.mean([by_seed(own), by_seed(other)])
    np.testing.assert_allclose(both.interval(), by_seed((own + other) / 2).interval())


def test_one_seed_says_nothing_of_others() -> None:
    values = np.random.default_rng(4).normal(size=(1, 20))
    assert by_seed(values).seeds is None
    with pytest.raises(ValueError, match="others have none"):
        Estimates.mean([by_seed(values), by_seed(np.repeat(values, 2, axis=0))])


@pytest.mark.parametrize("groups", [12, FEW_GROUPS + 30])
def test_between_seeds_is_a_u_statistic_whose_pairs_share_seeds(groups: int) -> None:
    rng = np.random.default_rng(groups)
    values = rng.normal(0, 1, (4, groups)) + rng.normal(0, 0.5, (4, 1))
    pairs = {pair: np.abs(values[pair[0]] - values[pair[1]]) for pair in combinations(range(4), 2)}
    size = np.ones(groups)
    estimates = {
        pair: estimate(lambda weights, own=own: weights @ own / weights.sum(axis=1), size, 2000)
        for pair, own in pairs.items()
    }
    found = Estimates.between_seeds(estimates)
    whole = np.mean([own.mean() for own in pairs.values()])
    np.testing.assert_allclose(found.whole, whole)
    # The jackknife's variance over seeds, and that of the mean over groups.
    without = np.array([np.mean([own.mean() for pair, own in pairs.items() if seed not in pair]) for seed in range(4)])
    of_seeds = 3 / 4 * ((without - without.mean()) ** 2).sum()
    mean = np.mean(list(pairs.values()), axis=0)
    of_groups = found.others.var(ddof=1) if groups > FEW_GROUPS else mean.var(ddof=1) / groups
    share = 0.0 if groups > FEW_GROUPS else of_groups**2 / (groups - 1)
    freedom = (of_groups + of_seeds) ** 2 / (share + of_seeds**2 / 3)
    expected = stats.t.interval(0.95, freedom, whole, np.sqrt(of_groups + of_seeds))
    np.testing.assert_allclose(found.interval(), expected, rtol=1e-6)


def test_one_pair_of_seeds_says_nothing_of_others() -> None:
    own = by_seed(np.random.default_rng(5).normal(size=(1, 20)))
    assert Estimates.between_seeds({(3, 8): own}).seeds is None
