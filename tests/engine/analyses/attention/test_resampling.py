"""The bootstrap's weights against plain Python, its intervals against plain NumPy."""

from math import exp, factorial

import numpy as np
import pytest
from scipy.special import stdtrit

from biocache.engine.analyses.attention.blocks import Measures
from biocache.engine.analyses.attention.finishing import finish
from biocache.engine.analyses.attention.resampling import resample
from biocache.engine.analyses.attention.sums import Moments, Resamples, Sums, rounded

WORD = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def mixed(number: int) -> int:
    """The output function of SplitMix64."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & WORD
    return number ^ (number >> 31)


def drawn(seed: int, stream: int, sample: int) -> int:
    begin = mixed((seed + (stream + 1) * GOLDEN) & WORD)
    return mixed((begin + (sample + 1) * GOLDEN) & WORD)


def poisson(number: int) -> int:
    share, count = exp(-1), 0
    while number / 2**64 >= share:
        count += 1
        share += exp(-1) / factorial(count)
    return count


def poisson_weights(seed: int, resamples: int, samples: np.ndarray) -> np.ndarray:
    """Return the weights (resample, sample) by which samples count: the sums of values that are 1 for one sample."""
    count = len(samples)
    totals, weights = np.zeros((1, resamples, count)), np.zeros((1, resamples, count))
    resample(np.eye(count), samples, np.zeros(count, int), seed, totals, weights)
    np.testing.assert_array_equal(weights[0], totals[0].sum(axis=1, keepdims=True).repeat(count, axis=1))
    return totals[0].astype(int)


def test_splitmix_gives_its_published_numbers() -> None:
    # The first three outputs from the seed 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [mixed((1234567 + n * GOLDEN) & WORD) for n in (1, 2, 3)] == expected


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_weights_are_those_of_plain_python(seed: int) -> None:
    samples = np.array([0, 3, 4, 1000, 10**6])
    expected = [[poisson(drawn(seed, resample + 1, int(sample))) for sample in samples] for resample in range(40)]
    np.testing.assert_array_equal(poisson_weights(seed, 40, samples), expected)


def test_weights_are_poisson_and_independent() -> None:
    weights = poisson_weights(1, 1000, np.arange(500))
    shares = np.bincount(weights.ravel(), minlength=6)[:6] / weights.size
    np.testing.assert_allclose(shares, [exp(-1) / factorial(n) for n in range(6)], atol=0.003)
    between = np.corrcoef(weights.T[:50]) - np.eye(50)
    assert abs(between).max() < 0.2
    assert abs(np.corrcoef(weights[:50]) - np.eye(50)).max() < 0.25


def sums_of(values: np.ndarray, group: np.ndarray, groups: int, resamples: int, seed: int) -> Sums:
    """Return the sums of values (sample, metric, head), added sample by sample."""
    metrics, heads = values.shape[1:]
    own = Moments.zero((groups, metrics, heads))
    repeated = Resamples.zero(groups, len(values), resamples, metrics, heads)
    for sample in range(len(values)):
        one = slice(sample, sample + 1)
        part = own.count[group[sample]], own.total[group[sample]], own.square[group[sample]]
        Moments(*part).add(values[one])
        repeated.add(values[one], np.array([sample]), group[one], seed)
    return Sums(own, None, repeated, None, None)


def measures(metrics: tuple[str, ...], labels: int | None, resamples: int) -> Measures:
    return Measures(metrics, labels, resamples, seed=4, units=0, diagonal=True, all_heads=False, per_sample=False)


def test_intervals_are_percentiles_of_resamples_computed_in_numpy() -> None:
    rng = np.random.default_rng(0)
    values = rounded(rng.beta(5, 2, (60, 2, 3)))
    values[rng.random(values.shape) < 0.2] = np.nan
    group = rng.integers(0, 2, 60)
    numbers = finish([sums_of(values, group, 2, 200, 4)], measures(("cosine", "tv"), 2, 200))
    weights = poisson_weights(4, 200, np.arange(60)).astype(float)

    def means(members: np.ndarray) -> np.ndarray:
        known = ~np.isnan(values[members])
        total = np.einsum("rs,smh->rmh", weights[:, members], np.where(known, values[members], 0))
        return total / np.einsum("rs,smh->rmh", weights[:, members], known.astype(float))

    everyone = means(np.arange(60))
    low, high = np.percentile(everyone, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(numbers["ci_low"], low, rtol=1e-12)
    np.testing.assert_allclose(numbers["ci_high"], high, rtol=1e-12)
    low, high = np.percentile(everyone.mean(axis=-1), [2.5, 97.5], axis=0)
    np.testing.assert_allclose(numbers["layer_ci_low"], low, rtol=1e-12)
    np.testing.assert_allclose(numbers["layer_ci_high"], high, rtol=1e-12)
    for label in (0, 1):
        low, high = np.percentile(means(np.flatnonzero(group == label)), [2.5, 97.5], axis=0)
        np.testing.assert_allclose(numbers["label_ci_low"][:, label], low, rtol=1e-12)
        np.testing.assert_allclose(numbers["label_ci_high"][:, label], high, rtol=1e-12)


def test_intervals_are_close_to_those_of_drawing_with_replacement() -> None:
    rng = np.random.default_rng(1)
    values = rng.beta(5, 2, (300, 1, 1))
    numbers = finish([sums_of(rounded(values), np.zeros(300, int), 1, 4000, 4)], measures(("tv",), None, 4000))
    drawn_means = values[rng.integers(0, 300, (4000, 300)), 0, 0].mean(axis=1)
    low, high = np.percentile(drawn_means, [2.5, 97.5])
    width = high - low
    assert abs(numbers["ci_low"].item() - low) < 0.06 * width
    assert abs(numbers["ci_high"].item() - high) < 0.06 * width


def test_resamples_that_draw_no_sample_are_left_out() -> None:
    values = np.full((60, 1, 2), np.nan)
    # One of many samples has a value.
    values[7] = 0.25
    numbers = finish([sums_of(values, np.zeros(60, int), 1, 50, 4)], measures(("tv",), None, 50))
    assert (poisson_weights(4, 50, np.array([7])) == 0).any()
    assert (numbers["ci_low"] == 0.25).all()
    assert (numbers["ci_high"] == 0.25).all()
    assert np.isnan(numbers["std"]).all()


def test_what_no_sample_has_is_not_a_number() -> None:
    values = np.full((3, 1, 2), np.nan)
    values[:, :, 1] = 0.5
    numbers = finish([sums_of(values, np.zeros(3, int), 1, 50, 4)], measures(("tv",), None, 50))
    assert numbers["count"].tolist() == [[0, 3]]
    for name in ("mean", "ci_low", "ci_high", "std"):
        assert np.isnan(numbers[name][0, 0])
        assert np.isfinite(numbers[name][0, 1])
    assert numbers["layer_mean"].tolist() == [0.5]


def test_intervals_of_few_samples_are_those_of_t() -> None:
    values = rounded(np.random.default_rng(3).beta(5, 2, (20, 2, 3)))
    # One head has no value of two samples, and one sample has none.
    values[[4, 9], :, 1] = np.nan
    values[13] = np.nan
    group = np.arange(20) % 2
    numbers = finish([sums_of(values, group, 2, 50, 4)], measures(("cosine", "tv"), 2, 50))
    for metric in range(2):
        for head in range(3):
            own = values[:, metric, head]
            for prefix, part, place in (("", own, (metric, head)), ("label_", own[group == 1], (metric, 1, head))):
                known = part[~np.isnan(part)]
                half = stdtrit(len(known) - 1, 0.975) * known.std(ddof=1) / np.sqrt(len(known))
                bounds = [numbers[f"{prefix}{end}"][place] for end in ("ci_low", "ci_high")]
                np.testing.assert_allclose(bounds, np.clip([known.mean() - half, known.mean() + half], 0, 1))
    # The layer is of all samples that have a head.
    rest = [np.nanmean(np.delete(values, sample, 0), axis=0).mean(axis=-1) for sample in range(20) if sample != 13]
    spread = np.sqrt(18 / 19 * ((np.array(rest) - np.mean(rest, axis=0)) ** 2).sum(axis=0))
    mean = np.nanmean(values, axis=0).mean(axis=-1)
    np.testing.assert_allclose(numbers["layer_ci_low"], mean - stdtrit(18, 0.975) * spread)
    np.testing.assert_allclose(numbers["layer_ci_high"], mean + stdtrit(18, 0.975) * spread)


def test_one_sample_has_no_interval() -> None:
    numbers = finish([sums_of(np.full((1, 1, 2), 0.25), np.zeros(1, int), 1, 50, 4)], measures(("tv",), None, 50))
    assert numbers["mean"].tolist() == [[0.25, 0.25]]
    for name in ("ci_low", "ci_high", "layer_ci_low", "layer_ci_high"):
        assert np.isnan(numbers[name]).all()


def test_moments_are_those_of_numpy() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(1, 1e-4, (400, 3))
    values[5, 1] = np.nan
    whole, halves = Moments.zero((3,)), [Moments.zero((3,)), Moments.zero((3,))]
    whole.add(values)
    halves[0].add(values[:150])
    halves[1].add(values[150:])
    joined = halves[0] + halves[1]
    for moments in (whole, joined):
        np.testing.assert_allclose(moments.mean(), np.nanmean(values, axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.deviation(), np.nanstd(values, axis=0, ddof=1), rtol=1e-6)
        assert moments.count.tolist() == [400, 399, 400]
