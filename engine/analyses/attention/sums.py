"""Sums over samples, from which every number of a comparison is made; sums of any packs add.

Values are rounded to multiples of 2**-30 before they are summed. Sums of such numbers are exact in float64 below 2**23,
so that means and intervals do not depend on the order of packs, not even in the last bit.
"""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.resampling import resample
from biocache.engine.statistics import FEW_GROUPS, ratio

__all__ = ["Moments", "Resamples", "RunSums", "Sums", "rounded"]

_GRID = 2.0**30

Values = NDArray[np.float64]


def rounded(values: Values) -> Values:
    """Round to multiples of 2**-30, about 1e-9."""
    return np.rint(values * _GRID) / _GRID


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, sum and sum of squares of the values of some samples.

    Attributes
    ----------
    count, total, square
        float64, all of one shape.
    """

    count: Values
    total: Values
    square: Values

    @classmethod
    def zero(cls, shape: tuple[int, ...]) -> Self:
        """Return the moments of no sample."""
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape))

    def add(self, values: Values) -> None:
        """Add values (sample, ...); NaN does not count."""
        known = ~np.isnan(values)
        counted = np.where(known, values, 0.0)
        self.count[...] += known.sum(axis=0)
        self.total[...] += counted.sum(axis=0)
        self.square[...] += (counted**2).sum(axis=0)

    def __add__(self, other: Self) -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.square + other.square)

    def over_groups(self) -> "Moments":
        """Return the moments of all samples, as of one group: the first axis."""
        return Moments(*(part.sum(axis=0, keepdims=True) for part in (self.count, self.total, self.square)))

    def of_groups(self, groups: slice) -> "Moments":
        """Return the moments of some groups."""
        return Moments(self.count[groups], self.total[groups], self.square[groups])

    def mean(self) -> Values:
        """Return the mean; NaN where nothing counted."""
        return ratio(self.total, self.count)

    def deviation(self) -> Values:
        """Return the standard deviation of the samples (with n - 1); NaN where fewer than two counted."""
        spread = self.square - self.total * ratio(self.total, self.count)
        return np.sqrt(np.maximum(ratio(spread, self.count - 1), 0.0))


@dataclass(frozen=True, eq=False)
class Resamples:
    """Weighted sums of the bootstrap's resamples (see `resampling`), or of few units the sums of each.

    Attributes
    ----------
    total, weight
        Sums of weighted values and of weights, float64 (group, resample or unit, metric, head).
    few
        Whether they are of each unit.
    """

    total: Values
    weight: Values
    few: bool

    @classmethod
    def zero(cls, groups: int, units: int, resamples: int, metrics: int, heads: int) -> Self:
        """Return the sums of no sample."""
        few = units <= FEW_GROUPS
        shape = (groups, units if few else resamples, metrics, heads)
        return cls(np.zeros(shape), np.zeros(shape), few)

    @staticmethod
    def bytes_of(groups: int, units: int, resamples: int, columns: int) -> int:
        """Return the bytes of the sums of some columns."""
        return 2 * 8 * groups * (units if units <= FEW_GROUPS else resamples) * columns

    def add(self, values: Values, units: NDArray[np.int64], group: NDArray[np.int64], seed: int) -> None:
        """Add the values of samples, (sample, metric, head)."""
        if self.few:
            known = ~np.isnan(values)
            np.add.at(self.total, (group, units), np.where(known, values, 0.0))
            np.add.at(self.weight, (group, units), known.astype(np.float64))
            return
        columns = (*self.total.shape[:2], -1)
        resample(
            np.ascontiguousarray(values).reshape(len(values), -1),
            units,
            group,
            seed,
            self.total.reshape(columns),
            self.weight.reshape(columns),
        )

    def __add__(self, other: Self) -> "Resamples":
        return Resamples(self.total + other.total, self.weight + other.weight, self.few)

    def over_groups(self) -> "Resamples":
        """Return the sums of all samples, as of one group."""
        return Resamples(self.total.sum(axis=0, keepdims=True), self.weight.sum(axis=0, keepdims=True), self.few)

    def of_groups(self, groups: slice) -> "Resamples":
        """Return the sums of some groups."""
        return Resamples(self.total[groups], self.weight[groups], self.few)

    @property
    def sizes(self) -> Values | None:
        """How many samples of each unit are measured (group, unit, metric, head); None of resamples."""
        return self.weight if self.few else None

    def means(self) -> Values:
        """Return the means of resamples, or without each unit, (group, resample or unit, metric, head).

        NaN where a resample drew no sample, or a unit has none.
        """
        if not self.few:
            return ratio(self.total, self.weight)
        rest = ratio(
            self.total.sum(axis=1, keepdims=True) - self.total, self.weight.sum(axis=1, keepdims=True) - self.weight
        )
        return np.where(self.weight > 0, rest, np.nan)


@dataclass(frozen=True, eq=False)
class Sums:
    """All sums over some samples of one layer of the baseline and one of another run.

    Attributes
    ----------
    own
        Moments of equal head indices (group, metric, head); None where all pairs are compared.
    chance
        Moments of the means over mismatched heads (1, metric, head); None as `own`, or where there is one head or no
        metric has a chance level.
    resamples, chance_resamples
        What the intervals of `own` and `chance` are computed from; None as these.
    pairs
        Moments of all pairs of heads (metric, head, other head); None where they are not asked for.
    samples
        Positions of samples (sample) with their values (sample, metric, head); empty where they are not kept.
    """

    own: Moments | None
    chance: Moments | None
    resamples: Resamples | None
    chance_resamples: Resamples | None
    pairs: Moments | None
    samples: tuple[tuple[NDArray[np.int64], NDArray[np.float32]], ...] = ()

    def __add__(self, other: Self) -> "Sums":
        return Sums(*(_added(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class RunSums:
    """Sums over some samples, one for each run that is compared with the baseline; those of any packs add."""

    runs: tuple[Sums, ...]

    def __add__(self, other: "RunSums") -> "RunSums":
        return RunSums(tuple(own + more for own, more in zip(self.runs, other.runs, strict=True)))


def _added(own: Any, other: Any) -> Any:
    return None if own is None else own + other
