"""Uncertainty over groups of samples: intervals, paired comparison, Holm's correction.

All intervals are at the level of 95 %, over whole groups of samples (see `biocache.engine.grouping`): neither the words
of a sentence nor the sentences of a document are independent [1]_. Percentiles of resamples of few groups cover too
seldom. Up to `FEW_GROUPS` groups the jackknife leaves out each in turn, and Student's t bounds the interval; above, the
bootstrap draws groups with replacement; `biocache.engine.estimates` does either. Sums over attention maps are computed
pack by pack in any process, which Poisson weights suit; see `biocache.engine.analyses.attention.resampling`.

References
----------
.. [1] A. C. Cameron, J. B. Gelbach and D. L. Miller, "Bootstrap-based improvements for inference with clustered
   errors", Review of Economics and Statistics 90(3), 2008. https://doi.org/10.1162/rest.90.3.414
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BOUNDS",
    "FEW_GROUPS",
    "SIGNIFICANCE",
    "drawn_samples",
    "drawn_weights",
    "holm",
    "interval_of_known",
    "jackknife",
    "jackknife_interval",
    "jackknife_p",
    "paired_p",
    "ratio",
]

Values = NDArray[np.float64]

#: Probability of an error in a family of comparisons.
SIGNIFICANCE = 0.05

#: Most groups whose intervals and tests are of the jackknife and Student's t.
FEW_GROUPS = 50

#: Quantiles that bound a 95 % interval.
BOUNDS = (0.025, 0.975)
# Resamples whose weights are in memory at once.
_CHUNK = 256


def ratio(part: Values, whole: NDArray[np.floating | np.integer], empty: float = np.nan) -> Values:
    """Return ``part / whole``, and `empty` where `whole` is not positive; both of one shape."""
    filled: Values = np.divide(part, whole, out=np.full(np.shape(part), empty), where=np.asarray(whole) > 0)
    return filled


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


def interval_of_known(resampled: Values, axis: int) -> tuple[Values, Values]:
    """Return the bounds (without `axis`) of the 95 % percentile interval of resamples along an axis.

    Resamples that are NaN do not count; where all are, the bounds are NaN.

    NumPy's ``nanquantile`` computes the same up to the last bit, but takes a Python call for each interval.
    """
    ordered = np.moveaxis(np.sort(resampled, axis=axis), axis, -1)
    known = (~np.isnan(ordered)).sum(axis=-1, keepdims=True)
    place = np.maximum(np.multiply(BOUNDS, known - 1), 0)
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

    spread, freedom, _ = jackknife(deleted, size)
    half = stdtrit(freedom, BOUNDS[1]) * spread
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

    spread, freedom, count = jackknife(deleted, size)
    # A statistic that is 0 whatever is left out differs from 0 nowhere.
    errors = np.where(whole == 0, 0.0, ratio(np.abs(whole), spread, np.inf))
    p = np.clip(2 * stdtr(freedom, -errors), 2.0 ** (1 - np.maximum(count, 1)), 1.0)
    return np.where(np.isnan(spread) | np.isnan(whole), np.nan, p)


def jackknife(deleted: Values, size: Values | None) -> tuple[Values, Values, Values]:
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
