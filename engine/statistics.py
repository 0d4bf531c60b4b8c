"""Uncertainty over groups of samples: intervals, paired comparison, Holm's correction.

All intervals are at the level of 95 %, over whole groups of samples (see `biocache.engine.grouping`): neither the words
of a sentence nor the sentences of a document are independent [1]_. Percentiles of resamples of few groups cover too
seldom. Up to `FEW_GROUPS` groups the jackknife leaves out each in turn, and Student's t bounds the interval; above, the
bootstrap draws groups with replacement. `estimate` does either. Sums over attention maps are computed pack by pack in
any process, which Poisson weights suit; see `biocache.engine.analyses.attention.resampling`.

References
----------
.. [1] A. C. Cameron, J. B. Gelbach and D. L. Miller, "Bootstrap-based improvements for inference with clustered
   errors", Review of Economics and Statistics 90(3), 2008. https://doi.org/10.1162/rest.90.3.414
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FEW_GROUPS",
    "SIGNIFICANCE",
    "Estimates",
    "drawn_samples",
    "drawn_weights",
    "estimate",
    "holm",
    "interval_of_known",
    "jackknife_interval",
    "jackknife_p",
    "paired_p",
    "ratio",
    "weighted_correlations",
]

Values = NDArray[np.float64]

#: Probability of an error in a family of comparisons.
SIGNIFICANCE = 0.05

#: Most groups whose intervals and tests are of the jackknife and Student's t.
FEW_GROUPS = 50

# Quantiles that bound a 95 % interval.
_BOUNDS = (0.025, 0.975)
# Resamples whose weights are in memory at once.
_CHUNK = 256


def ratio(part: Values, whole: NDArray[np.floating | np.integer], empty: float = np.nan) -> Values:
    """Return ``part / whole``, and `empty` where `whole` is not positive; both of one shape."""
    filled: Values = np.divide(part, whole, out=np.full(np.shape(part), empty), where=np.asarray(whole) > 0)
    return filled


@dataclass(frozen=True, eq=False)
class Estimates:
    """Statistics of all groups, and of other sets of groups, from which their uncertainty follows.

    Differences and means of estimates of one `estimate` are paired: their sets are the same.

    Attributes
    ----------
    whole
        Of all groups, float64 (...).
    others
        Of the other sets, float64 (..., set); NaN where a set has nothing to measure.
    size
        Size of each group where the sets are all groups but one, each left out in turn, float64 (set) or (..., set);
        None where they are resamples.
    """

    whole: Values
    others: Values
    size: Values | None

    def __getitem__(self, place: Any) -> "Estimates":
        size = self.size if self.size is None or self.size.ndim == 1 else self.size[place]
        return Estimates(self.whole[place], self.others[place], size)

    def __sub__(self, other: "Estimates") -> "Estimates":
        return Estimates(self.whole - other.whole, self.others - other.others, self.size)

    @classmethod
    def mean(cls, estimates: "Sequence[Estimates]") -> "Estimates":
        """Return the mean of estimates of one shape."""
        count = len(estimates)
        whole = sum((each.whole for each in estimates[1:]), start=estimates[0].whole) / count
        others = sum((each.others for each in estimates[1:]), start=estimates[0].others) / count
        return cls(np.asarray(whole), np.asarray(others), estimates[0].size)

    def interval(self) -> tuple[Values, Values]:
        """Return the bounds of the 95 % intervals, float64 (...); NaN where fewer than two groups are measured."""
        if self.size is None:
            return interval_of_known(self.others, axis=-1)
        return jackknife_interval(self.whole, self.others, self.size)

    def p(self) -> Values:
        """Return two-sided p-values of the statistics being 0, float64 (...); NaN as `interval`."""
        return paired_p(self.others) if self.size is None else jackknife_p(self.whole, self.others, self.size)


def estimate(score: Callable[[Values], Values], size: Values, resamples: int, seed: int = 0) -> Estimates:
    """Score all groups, and the sets of groups that tell how uncertain the scores are.

    Parameters
    ----------
    score
        Scores of sets of groups (set, ...), given how often each holds each group (set, group).
    size
        Rows of each group (group). Up to `FEW_GROUPS` groups each is left out in turn; of more there are resamples.
    resamples
        Number of resamples.
    seed
        Seed of their draw.
    """
    groups = len(size)
    few = groups <= FEW_GROUPS
    sets = [1 - np.eye(groups)] if few else drawn_weights(groups, resamples, seed)
    others = np.concatenate([score(weights) for weights in sets])
    return Estimates(score(np.ones((1, groups)))[0], np.moveaxis(others, 0, -1), size if few else None)


def drawn_weights(groups: int, resamples: int, seed: int) -> Iterator[Values]:
    """Yield how often each resample, drawn with replacement, holds each group (resample, group); some at a time."""
    rng = np.random.default_rng(seed)
    for first in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - first)
        drawn = rng.integers(0, groups, (count, groups)) + groups * np.arange(count)[:, np.newaxis]
        yield np.bincount(drawn.ravel(), minlength=count * groups).reshape(count, groups).astype(np.float64)


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
    gold: Values, predicted: Values, weights: Values, group: NDArray[np.integer]
) -> NDArray[np.float64]:
    r"""Score predicted numbers on resamples.

    Ranks are those of each resample, in which a row counts as often as its group was drawn; equal numbers share the
    mean of their ranks.

    Parameters
    ----------
    gold, predicted
        Numbers (row).
    weights
        How often each resample holds each group (resample, group).
    group
        Group of every row (row).

    Returns
    -------
    numpy.ndarray
        float64 (resample, score): R\ :sup:`2`, Pearson's and Spearman's correlation; NaN where a resample has one
        number only.
    """
    equal = [np.unique(values, return_inverse=True)[1] for values in (gold, predicted)]
    return np.array([_correlations(gold, predicted, equal, each[group]) for each in weights])


def _correlations(
    gold: Values, predicted: Values, equal: Sequence[NDArray[np.integer]], weight: Values
) -> tuple[float, float, float]:
    spread = _moments(gold, gold, weight)
    residual = float(weight @ (gold - predicted) ** 2)
    ranks = []
    for own in equal:
        size = np.bincount(own, weight)
        ranks.append((np.cumsum(size) - (size - 1) / 2)[own])
    r2 = 1 - residual / spread if spread > 0 else np.nan
    return r2, _correlation(gold, predicted, weight), _correlation(ranks[0], ranks[1], weight)


def _correlation(first: Values, second: Values, weight: Values) -> float:
    spread = _moments(first, first, weight) * _moments(second, second, weight)
    return _moments(first, second, weight) / float(np.sqrt(spread)) if spread > 0 else np.nan


def _moments(first: Values, second: Values, weight: Values) -> float:
    """Return the weighted sum of products of deviations from the weighted means."""
    total = weight.sum()
    return float(weight @ ((first - weight @ first / total) * (second - weight @ second / total)))


def interval_of_known(resampled: Values, axis: int) -> tuple[Values, Values]:
    """Return the bounds (without `axis`) of the 95 % percentile interval of resamples along an axis.

    Resamples that are NaN do not count; where all are, the bounds are NaN.

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


def jackknife_interval(whole: Values, deleted: Values, size: Values | None = None) -> tuple[Values, Values]:
    r"""Return the bounds of a 95 % interval by the jackknife over groups, or blocks of them [1]_.

    .. math:: s^2 = \frac{K - 1}{K} \sum_k (\theta_{(k)} - \bar\theta_{(\cdot)})^2, \qquad
        \theta \pm t_{K' - 1,\, 0.975}\, s, \qquad K' = \frac{(\sum_k n_k)^2}{\sum_k n_k^2}

    For a mean of groups it is the cluster-robust t interval [2]_. Groups of unequal sizes are worth fewer equal ones
    [3]_, which the degrees of freedom say. It also suits statistics that must not see a unit
    twice, as a resample does: the pairs of a unit with its copy are alike.

    Parameters
    ----------
    whole
        The statistic of all blocks (...).
    deleted
        The statistic without each block (..., block); NaN for a block that has no part in it.
    size
        Size n of each block (block) or (..., block); None for equal ones.

    Returns
    -------
    lower, upper
        float64 (...); NaN for fewer than two blocks.

    References
    ----------
    .. [1] B. Efron and C. Stein, "The jackknife estimate of variance", Annals of Statistics 9(3), 1981.
       https://doi.org/10.1214/aos/1176345462
    .. [2] J. G. MacKinnon, M. O. Nielsen and M. D. Webb, "Fast and reliable jackknife and bootstrap methods for
       cluster-robust inference", Journal of Applied Econometrics 38(5), 2023. https://doi.org/10.1002/jae.2969
    .. [3] L. Kish, "Survey sampling", Wiley, 1965. The number of equal groups with the variance of unequal ones; as
       degrees of freedom: A. V. Carter, K. T. Schnepel and D. G. Steigerwald, "Asymptotic behavior of a t-test robust
       to cluster heterogeneity", Review of Economics and Statistics 99(4), 2017. https://doi.org/10.1162/REST_a_00639
    """
    from scipy.special import stdtrit

    spread, freedom, _ = _jackknife(deleted, size)
    half = stdtrit(freedom, _BOUNDS[1]) * spread
    return whole - half, whole + half


def jackknife_p(whole: Values, deleted: Values, size: Values | None = None) -> Values:
    r"""Return two-sided p-values of statistics being 0, which invert `jackknife_interval`.

    .. math:: p = \max(2^{1 - K},\, P(|T_{K' - 1}| \ge |\theta| / s))

    K groups that all differ in one direction do so by chance with the probability :math:`2^{1 - K}`, however alike
    their differences are.

    Parameters
    ----------
    whole, deleted, size
        As `jackknife_interval`.
    """
    from scipy.special import stdtr

    spread, freedom, count = _jackknife(deleted, size)
    # A statistic that is 0 whatever is left out differs from 0 nowhere.
    errors = np.where(whole == 0, 0.0, ratio(np.abs(whole), spread, np.inf))
    p = np.clip(2 * stdtr(freedom, -errors), 2.0 ** (1 - np.maximum(count, 1)), 1.0)
    return np.where(np.isnan(spread) | np.isnan(whole), np.nan, p)


def _jackknife(deleted: Values, size: Values | None) -> tuple[Values, Values, Values]:
    """Return standard errors (...), NaN for fewer than two known blocks, degrees of freedom, and known blocks."""
    known = ~np.isnan(deleted)
    count = known.sum(axis=-1).astype(np.float64)
    mean = ratio(np.where(known, deleted, 0.0).sum(axis=-1), count)
    square = (np.where(known, deleted - mean[..., np.newaxis], 0.0) ** 2).sum(axis=-1)
    spread = np.sqrt(ratio((count - 1) * square, count))
    held = known * (np.ones(deleted.shape[-1]) if size is None else size)
    equal = ratio(held.sum(axis=-1) ** 2, (held**2).sum(axis=-1), 0.0)
    return np.where(count > 1, spread, np.nan), np.maximum(equal - 1, 1), count


def paired_p(differences: Values) -> Values:
    r"""Return two-sided p-values of differences between paired scores.

    .. math:: p = \min(1, 2 (1 + \min(\#\{d \le 0\}, \#\{d \ge 0\})) / (B + 1))

    which inverts the percentile interval [1]_. The smallest value of B resamples is 2 / (B + 1). Resamples that are NaN
    count on both sides.

    Parameters
    ----------
    differences
        Differences between the scores of every resample (..., resample).

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman and Hall, 1993.
       https://doi.org/10.1201/9780429246593
    """
    tail = np.minimum((~(differences > 0)).sum(axis=-1), (~(differences < 0)).sum(axis=-1))
    return np.asarray(np.minimum(1.0, 2 * (1 + tail) / (differences.shape[-1] + 1)))


def holm(p: Values) -> Values:
    r"""Correct the p-values of a family of comparisons [1]_.

    With the m values in ascending order,

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) p_{(j)})

    Rejecting those below 0.05 errs in any of them with a probability of at most 0.05.

    Parameters
    ----------
    p
        p-values (comparison), in [0, 1]; NaN for what cannot be tested, which is not of the family.

    Returns
    -------
    numpy.ndarray
        Corrected values (comparison), in [0, 1]; NaN as `p`.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2),
       1979. https://www.jstor.org/stable/4615733
    """
    # NaN comes last.
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]
    scaled = np.minimum(1.0, p[order] * np.arange(len(order), 0, -1))
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected
