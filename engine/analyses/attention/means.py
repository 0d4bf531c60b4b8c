"""Means of values of heads, and of layers over heads, from sums; with what their uncertainty follows from."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.sums import Moments, Resamples
from biocache.engine.estimates import Estimates
from biocache.engine.statistics import ratio

__all__ = ["Bounded", "estimates_of", "finalised", "over_heads"]

Values = NDArray[np.float64]


class Bounded(Protocol):
    """A metric: its means over samples are brought within its range."""

    def finalise(self, mean: Values) -> Values:
        """Return means over samples, of any shape, within the range of the metric."""


def finalised(means: Values, metrics: Iterable[Bounded]) -> Values:
    """Return means (metric, ...) within the ranges of their metrics."""
    return np.stack([metric.finalise(mean) for metric, mean in zip(metrics, means, strict=True)])


def estimates_of(own: Moments, resamples: Resamples, metrics: Iterable[Bounded]) -> Estimates:
    """Return the means of groups of values, (metric, group, head)."""
    found = tuple(metrics)
    others = finalised(np.moveaxis(resamples.means(), 2, 0), found)
    sizes = None if resamples.sizes is None else np.moveaxis(resamples.sizes, (2, 1), (0, -1))
    return Estimates(finalised(np.swapaxes(own.mean(), 0, 1), found), np.moveaxis(others, 2, -1), sizes)


def over_heads(estimates: Estimates) -> Estimates:
    """Return the means over heads (...) of estimates (..., head)."""
    others, size = estimates.others, estimates.size
    if size is not None:
        # Without a unit that has no part in a head, the head's mean is what it was.
        kept = np.isnan(others) & ~np.isnan(others).all(axis=-2, keepdims=True)
        others = np.where(kept, estimates.whole[..., np.newaxis], others)
        size = size.max(axis=-2)
    return Estimates(_known_mean(estimates.whole, -1), _known_mean(others, -2), size)


def _known_mean(values: Values, heads: int) -> Values:
    """Average over the axis of heads what is not NaN; NaN where nothing is."""
    return ratio(np.nansum(values, axis=heads), (~np.isnan(values)).sum(axis=heads))
