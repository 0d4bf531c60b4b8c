"""Uncertainty over groups of samples: intervals, paired comparison, Holm's correction.

All intervals are at the level of 95 %, over whole groups of samples (see `biocache.engine.grouping`): neither the words
of a sentence nor the sentences of a document are independent [1]_. Percentiles of resamples of few groups cover too
seldom. Up to `FEW_GROUPS` groups the jackknife leaves out each in turn, and Student's t bounds the interval; above, the
bootstrap draws groups with replacement. `estimate` does either. Where a statistic is a mean over models that were
fine-tuned with several seeds, the seed is another source of error: `Estimates.over_seeds`. Sums over attention maps are
computed pack by pack in any process, which Poisson weights suit; see `biocache.engine.analyses.attention.resampling`.

References
----------
.. [1] A. C. Cameron, J. B. Gelbach and D. L. Miller, "Bootstrap-based improvements for inference with clustered
   errors", Review of Economics and Statistics 90(3), 2008. https://doi.org/10.1162/rest.90.3.414
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    seeds
        Statistic of each seed of the training, whose mean the statistic is, float64 (..., seed); None where seeds take
        no part in the uncertainty.
    """

    whole: Values
    others: Values
    size: Values | None
    seeds: Values | None = None

    def __getitem__(self, place: Any) -> "Estimates":
        size = self.size if self.size is None or self.size.ndim == 1 else self.size[place]
        return Estimates(self.whole[place], self.others[place], size, None if self.seeds is None else self.seeds[place])

    def __sub__(self, other: "Estimates") -> "Estimates":
        """Return the differences, paired by set; by seed too, where both have seeds, which must be the same ones."""
        seeds = None
        if self.seeds is not None or other.seeds is not None:
            own, others = (each.whole[..., np.newaxis] if each.seeds is None else each.seeds for each in (self, other))
            seeds = own - others
        return Estimates(self.whole - other.whole, self.others - other.others, self.size, seeds)

    @classmethod
    def mean(cls, estimates: "Sequence[Estimates]") -> "Estimates":
        """Return the mean of estimates of one shape."""
        count = len(estimates)
        whole = sum((each.whole for each in estimates[1:]), start=estimates[0].whole) / count
        others = sum((each.others for each in estimates[1:]), start=estimates[0].others) / count
        seeds = [each.seeds for each in estimates if each.seeds is not None]
        if seeds and len(seeds) < count:
            raise ValueError("some estimates have seeds and others have none")
        return cls(
            np.asarray(whole),
            np.asarray(others),
            estimates[0].size,
            np.asarray(sum(seeds[1:], start=seeds[0]) / count) if seeds else None,
        )

    @classmethod
    def over_seeds(cls, estimates: "Sequence[Estimates]") -> "Estimates":
        r"""Return the mean over seeds of the training, of an estimate each; its uncertainty is that of both.

        With the variance :math:`V_G` of the mean over other groups, and the variance :math:`s^2` between S seeds,

        .. math:: V = V_G + \frac{s^2}{S}, \qquad
            \nu = \frac{V^2}{V_G^2 / \nu_G + (s^2 / S)^2 / (S - 1)}

        and the interval is :math:`\theta \pm t_{\nu, 0.975} \sqrt V` [1]_ [2]_. Both parts hold what seeds and groups
        do together, so V is rather too large than too small. Drawing seeds with replacement [3]_ would be the other
        way; of the three to five seeds of most studies it draws too little variance.

        Parameters
        ----------
        estimates
            Of the same groups and sets, one a seed. One alone is returned without seeds: nothing tells what another
            seed would have given.

        References
        ----------
        .. [1] A. C. Cameron, J. B. Gelbach and D. L. Miller, "Robust inference with multiway clustering", Journal of
           Business and Economic Statistics 29(2), 2011. https://doi.org/10.1198/jbes.2010.07136
        .. [2] F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics
           Bulletin 2(6), 1946. https://doi.org/10.2307/3002019
        .. [3] T. Sellam et al., "The MultiBERTs: BERT reproductions for robustness analysis", ICLR 2022.
           https://arxiv.org/abs/2106.16163
        """
        mean = cls.mean(estimates)
        if len(estimates) == 1:
            return mean
        return cls(mean.whole, mean.others, mean.size, np.stack([each.whole for each in estimates], axis=-1))

    @classmethod
    def between_seeds(cls, estimates: "Mapping[tuple[int, int], Estimates]") -> "Estimates":
        r"""Return the mean over pairs of seeds of the training, of an estimate each; its uncertainty is that of both.

        Pairs share seeds. With the mean U of all pairs of S seeds, and :math:`U_{(-s)}` of those without seed s,
        the values :math:`S U - (S - 1) U_{(-s)}` stand for the seeds in `over_seeds`: the jackknife of a U-statistic
        [1]_.

        Parameters
        ----------
        estimates
            Every two seeds to their estimate, of the same groups and sets. Two seeds alone are returned without seeds:
            one pair does not tell how pairs differ.

        References
        ----------
        .. [1] J. N. Arvesen, "Jackknifing U-statistics", Annals of Mathematical Statistics 40(6), 1969.
           https://doi.org/10.1214/aoms/1177697287
        """
        mean, seeds = cls.mean(list(estimates.values())), sorted({seed for pair in estimates for seed in pair})
        if len(seeds) < 3:
            return mean
        without = [cls.mean([each for pair, each in estimates.items() if seed not in pair]).whole for seed in seeds]
        values = [len(seeds) * mean.whole - (len(seeds) - 1) * each for each in without]
        return cls(mean.whole, mean.others, mean.size, np.stack(values, axis=-1))

    def interval(self) -> tuple[Values, Values]:
        """Return the bounds of the 95 % intervals, float64 (...); NaN where fewer than two groups are measured."""
        if self.seeds is not None:
            from scipy.special import stdtrit

            error, freedom = self._with_seeds(self.seeds)
            half = stdtrit(freedom, _BOUNDS[1]) * error
            return self.whole - half, self.whole + half
        if self.size is None:
            return interval_of_known(self.others, axis=-1)
        return jackknife_interval(self.whole, self.others, self.size)

    def p(self) -> Values:
        """Return two-sided p-values of the statistics being 0, float64 (...); NaN as `interval`."""
        if self.seeds is not None:
            from scipy.special import stdtr

            error, freedom = self._with_seeds(self.seeds)
            errors = np.where(self.whole == 0, 0.0, ratio(np.abs(self.whole), error, np.inf))
            return np.where(np.isnan(error) | np.isnan(self.whole), np.nan, 2 * stdtr(freedom, -errors))
        return paired_p(self.others) if self.size is None else jackknife_p(self.whole, self.others, self.size)

    def _with_seeds(self, seeds: Values) -> tuple[Values, Values]:
        """Return the standard error over groups and seeds, and its degrees of freedom, both float64 (...)."""
        if self.size is None:
            # NaN of a set counts not; degrees of freedom of so many groups make no difference.
            known = ~np.isnan(self.others)
            mean = ratio(np.where(known, self.others, 0.0).sum(axis=-1), known.sum(axis=-1))
            square = np.where(known, self.others - mean[..., np.newaxis], 0.0) ** 2
            groups = ratio(square.sum(axis=-1), known.sum(axis=-1) - 1)
            share = np.zeros_like(groups)
        else:
            spread, freedom, _ = _jackknife(self.others, self.size)
            groups = spread**2
            share = groups**2 / freedom
        count = seeds.shape[-1]
        between = seeds.var(axis=-1, ddof=1) / count
        total = groups + between
        return np.sqrt(total), ratio(total**2, share + between**2 / (count - 1), np.inf)


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
