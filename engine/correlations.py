"""Correlations of predicted numbers on resamples of groups."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["weighted_correlations"]

Values = NDArray[np.float64]


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
