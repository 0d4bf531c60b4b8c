"""Uncertainty over samples: bootstrap, percentile intervals, paired comparison, Holm's correction.

All intervals are percentile intervals at the level of 95 %, over resamples of whole samples: the words of a sentence
are not independent [1]_. Counts of a test split are small, so that `bootstrap` draws its resamples with replacement.
Sums over attention maps are computed pack by pack in any process, which Poisson weights suit; see
`biocache.engine.analyses.attention.resampling`.

References
----------
.. [1] A. C. Cameron, J. B. Gelbach and D. L. Miller, "Bootstrap-based improvements for inference with clustered
   errors", Review of Economics and Statistics 90(3), 2008. https://doi.org/10.1162/rest.90.3.414
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SIGNIFICANCE",
    "bootstrap",
    "drawn_samples",
    "drawn_weights",
    "holm",
    "interval",
    "interval_of_known",
    "jackknife_interval",
    "paired_p",
    "ratio",
    "weighted_correlations",
]

Values = NDArray[np.float64]

#: Probability of an error in a family of comparisons.
SIGNIFICANCE = 0.05

# Quantiles that bound a 95 % interval.
_BOUNDS = (0.025, 0.975)
# Resamples whose weights are in memory at once.
_CHUNK = 256


def ratio(part: Values, whole: NDArray[np.floating | np.integer], empty: float = np.nan) -> Values:
    """Return ``part / whole``, and `empty` where `whole` is not positive; both of one shape."""
    filled: Values = np.divide(part, whole, out=np.full(np.shape(part), empty), where=np.asarray(whole) > 0)
    return filled


def bootstrap(counts: Sequence[Values], finalise: Callable[[Values], Values], resamples: int, seed: int = 0) -> Values:
    """Score resamples of the samples, drawn with replacement.

    All predictions are scored on the same resamples, so that differences between them are paired.

    Parameters
    ----------
    counts
        What was counted in each sample for each prediction (sample, count); all of the same samples.
    finalise
        Turns sums of counts (resample, count) into scores (resample, score).
    resamples
        Number of resamples.
    seed
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        float64 (prediction, resample, score).
    """
    parts = [
        [finalise(weights @ each) for each in counts] for weights in drawn_weights(len(counts[0]), resamples, seed)
    ]
    return np.concatenate(parts, axis=1)


def drawn_weights(samples: int, resamples: int, seed: int) -> Iterator[Values]:
    """Yield how often each resample, drawn with replacement, holds each sample (resample, sample); some at a time."""
    rng = np.random.default_rng(seed)
    for first in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - first)
        drawn = rng.integers(0, samples, (count, samples)) + samples * np.arange(count)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=count * samples).reshape(count, samples).astype(np.float64)


def drawn_samples(count: int, most: int | None, seed: int) -> NDArray[np.int64]:
    """Draw some of many samples, without replacement; a smaller draw of the same seed is part of a larger one.

    Parameters
    ----------
    count
        Number of samples.
    most
        Maximum number of samples to draw; None for all.
    seed
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        Positions (drawn sample), int64, ascending.
    """
    if most is None or most >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def weighted_correlations(
    gold: Values, predicted: Values, weights: Values, sample: NDArray[np.integer]
) -> NDArray[np.float64]:
    r"""Score predicted numbers on resamples.

    Ranks are those of each resample, in which a row counts as often as its sample was drawn; equal numbers share the
    mean of their ranks.

    Parameters
    ----------
    gold, predicted
        Numbers (row).
    weights
        How often each resample holds each sample (resample, sample).
    sample
        Sample of every row (row).

    Returns
    -------
    numpy.ndarray
        float64 (resample, score): R\ :sup:`2`, Pearson's and Spearman's correlation; NaN where a resample has one
        number only.
    """
    groups = [np.unique(values, return_inverse=True)[1] for values in (gold, predicted)]
    return np.array([_correlations(gold, predicted, groups, each[sample]) for each in weights])


def _correlations(
    gold: Values, predicted: Values, groups: Sequence[NDArray[np.integer]], weight: Values
) -> tuple[float, float, float]:
    spread = _moments(gold, gold, weight)
    residual = float(weight @ (gold - predicted) ** 2)
    ranks = []
    for group in groups:
        size = np.bincount(group, weight)
        ranks.append((np.cumsum(size) - (size - 1) / 2)[group])
    r2 = 1 - residual / spread if spread > 0 else np.nan
    return r2, _correlation(gold, predicted, weight), _correlation(ranks[0], ranks[1], weight)


def _correlation(first: Values, second: Values, weight: Values) -> float:
    spread = _moments(first, first, weight) * _moments(second, second, weight)
    return _moments(first, second, weight) / float(np.sqrt(spread)) if spread > 0 else np.nan


def _moments(first: Values, second: Values, weight: Values) -> float:
    """Return the weighted sum of products of deviations from the weighted means."""
    total = weight.sum()
    return float(weight @ ((first - weight @ first / total) * (second - weight @ second / total)))


def interval(resampled: Values, axis: int) -> tuple[Values, Values]:
    """Return the lower and the upper bound (without `axis`) of the 95 % percentile interval of resamples along an axis.

    See `interval_of_known` for resamples that may be NaN.
    """
    lower, upper = np.quantile(resampled, _BOUNDS, axis=axis)
    return np.asarray(lower), np.asarray(upper)


def interval_of_known(resampled: Values, axis: int) -> tuple[Values, Values]:
    """Return `interval` of the resamples that are not NaN; NaN where there is none.

    NumPy's ``nanquantile`` computes the same up to the last bit, but takes a Python call for each interval.
    """
    ordered = np.moveaxis(np.sort(resampled, axis=axis), axis, -1)
    known = (~np.isnan(ordered)).sum(axis=-1, keepdims=True)
    place = np.maximum(np.multiply(_BOUNDS, known - 1), 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(known - 1, 0))
    smaller, larger = np.take_along_axis(ordered, below, -1), np.take_along_axis(ordered, above, -1)
    lower, upper = np.moveaxis(smaller + (place - below) * (larger - smaller), -1, 0)
    return lower, upper


def jackknife_interval(whole: Values, deleted: Values) -> tuple[Values, Values]:
    r"""Return the bounds of a 95 % interval by the jackknife over blocks of about equal size [1]_.

    .. math:: s^2 = \frac{K - 1}{K} \sum_k (\theta_{(k)} - \bar\theta_{(\cdot)})^2, \qquad
        \theta \pm t_{K - 1,\, 0.975}\, s

    It suits statistics that must not see a unit twice, as a resample does: the pairs of a unit with its copy are alike.

    Parameters
    ----------
    whole
        The statistic of all blocks (...).
    deleted
        The statistic without each block (..., block).

    Returns
    -------
    lower, upper
        float64 (...); NaN for fewer than two blocks.

    References
    ----------
    .. [1] B. Efron and C. Stein, "The jackknife estimate of variance", Annals of Statistics 9(3), 1981.
       https://doi.org/10.1214/aos/1176345462
    """
    blocks = deleted.shape[-1]
    if blocks < 2:
        return np.full(whole.shape, np.nan), np.full(whole.shape, np.nan)
    from scipy.special import stdtrit

    spread = np.sqrt((blocks - 1) * deleted.var(axis=-1))
    half = float(stdtrit(blocks - 1, _BOUNDS[1])) * spread
    return whole - half, whole + half


def paired_p(differences: Values) -> Values:
    r"""Return two-sided p-values of differences between paired scores.

    .. math:: p = \min(1, 2 (1 + \min(\#\{d \le 0\}, \#\{d \ge 0\})) / (B + 1))

    which inverts the percentile interval [1]_. The smallest value of B resamples is 2 / (B + 1).

    Parameters
    ----------
    differences
        Differences between the scores of every resample (..., resample).

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman and Hall, 1993.
       https://doi.org/10.1201/9780429246593
    """
    tail = np.minimum((differences <= 0).sum(axis=-1), (differences >= 0).sum(axis=-1))
    return np.asarray(np.minimum(1.0, 2 * (1 + tail) / (differences.shape[-1] + 1)))


def holm(p: Values) -> Values:
    r"""Correct the p-values of a family of comparisons [1]_.

    With the m values in ascending order,

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) p_{(j)})

    Rejecting those below 0.05 errs in any of them with a probability of at most 0.05.

    Parameters
    ----------
    p
        p-values (comparison), in [0, 1].

    Returns
    -------
    numpy.ndarray
        Corrected values (comparison), in [0, 1].

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2),
       1979. https://www.jstor.org/stable/4615733
    """
    order = np.argsort(p, kind="stable")
    scaled = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected
