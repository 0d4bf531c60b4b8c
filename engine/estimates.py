"""Statistics with what their uncertainty follows from: other sets of groups of samples, and seeds of the training.

`estimate` leaves out each of few groups in turn, and draws resamples of many; see `biocache.engine.statistics`. Where a
statistic is a mean over models that were fine-tuned with several seeds, the seed is another source of error:
`Estimates.over_seeds`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.statistics import (
    BOUNDS,
    FEW_GROUPS,
    drawn_weights,
    interval_of_known,
    jackknife,
    jackknife_interval,
    jackknife_p,
    paired_p,
    ratio,
)

__all__ = ["Estimates", "estimate"]

Values = NDArray[np.float64]


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
            half = stdtrit(freedom, BOUNDS[1]) * error
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
            spread, freedom, _ = jackknife(self.others, self.size)
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
