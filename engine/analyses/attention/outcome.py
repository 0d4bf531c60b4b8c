"""From sums to the numbers of a comparison: means, intervals, chance levels, matched heads."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from biocache.engine.analyses.attention.blocks import Measures
from biocache.engine.analyses.attention.metrics import METRICS
from biocache.engine.analyses.attention.sums import Moments, Resamples, Sums
from biocache.engine.statistics import interval_of_known, ratio

__all__ = ["finish"]

Values = NDArray[np.float64]


def finish(sums: Sums, measures: Measures) -> dict[str, NDArray[Any]]:
    """Turn the sums of a layer into its numbers.

    Parameters
    ----------
    sums
        Over all samples.
    measures
        What was measured.

    Returns
    -------
    dict of str to numpy.ndarray
        By variable of the result, without the dimensions training_size and layer: (metric, ...).
    """
    numbers: dict[str, NDArray[Any]] = {}
    if sums.own is not None and sums.resamples is not None:
        numbers |= _of_likes(sums.own.over(0), sums.chance, sums.resamples.over_groups(), measures)
        if measures.labels is not None:
            numbers |= _of_groups(sums.own, sums.resamples, measures)
        if sums.pairs is not None:
            numbers |= _matched(sums.pairs, measures)
    elif sums.pairs is not None:
        numbers = {
            "pair_mean": _finalised(sums.pairs.mean(), measures),
            "pair_std": sums.pairs.deviation(),
            "pair_count": sums.pairs.count.astype(np.int64),
        }
    if sums.samples:
        order = np.argsort(np.concatenate([positions for positions, _ in sums.samples]))
        numbers["value"] = np.moveaxis(np.concatenate([values for _, values in sums.samples])[order], 0, -1)
    return numbers


def _of_likes(
    own: Moments, chance: Moments | None, resamples: Resamples, measures: Measures
) -> dict[str, NDArray[Any]]:
    mean = _finalised(own.mean(), measures)
    means = _finalised(np.moveaxis(resamples.means()[0], 0, 1), measures)
    low, high = interval_of_known(means, axis=1)
    layer_low, layer_high = interval_of_known(_mean_over_heads(means), axis=1)
    by_chance = np.full(mean.shape, np.nan) if chance is None else _finalised(chance.mean(), measures)
    by_chance[[not METRICS[name].has_chance for name in measures.metrics]] = np.nan
    identity = np.array([METRICS[name].identity for name in measures.metrics])[:, np.newaxis]
    room = identity - by_chance
    return {
        "mean": mean,
        "std": own.deviation(),
        "ci_low": low,
        "ci_high": high,
        "chance": by_chance,
        "above_chance": np.divide(mean - by_chance, room, out=np.full(mean.shape, np.nan), where=room != 0),
        "count": own.count.astype(np.int64),
        "layer_mean": _mean_over_heads(mean),
        "layer_ci_low": layer_low,
        "layer_ci_high": layer_high,
    }


def _of_groups(own: Moments, resamples: Resamples, measures: Measures) -> dict[str, NDArray[Any]]:
    """Return the numbers of every label (metric, label, head)."""
    means = _finalised(np.moveaxis(resamples.means(), 2, 0), measures)
    low, high = interval_of_known(means, axis=2)
    return {
        "label_mean": _finalised(np.swapaxes(own.mean(), 0, 1), measures),
        "label_std": np.swapaxes(own.deviation(), 0, 1),
        "label_ci_low": low,
        "label_ci_high": high,
        "label_count": np.swapaxes(own.count, 0, 1).astype(np.int64),
    }


def _matched(pairs: Moments, measures: Measures) -> dict[str, NDArray[Any]]:
    """Match heads one to one so that the sum of their alikeness is greatest, metric by metric.

    References
    ----------
    Kuhn HW. The Hungarian method for the assignment problem. Nav Res Logist Q 1955;2:83-97.
    https://doi.org/10.1002/nav.3800020109
    """
    mean, deviation = _finalised(pairs.mean(), measures), pairs.deviation()
    matched = np.empty(mean.shape[:2], np.int64)
    for index, name in enumerate(measures.metrics):
        # A pair that no sample measured is worse than any other, and the same as its like.
        alike = np.nan_to_num(METRICS[name].alikeness(mean[index]), nan=-1e6)
        matched[index] = linear_sum_assignment(alike, maximize=True)[1]
    return {
        "matched_head": matched,
        "matched_mean": np.take_along_axis(mean, matched[..., np.newaxis], 2)[..., 0],
        "matched_std": np.take_along_axis(deviation, matched[..., np.newaxis], 2)[..., 0],
    }


def _finalised(means: Values, measures: Measures) -> Values:
    finalisers: list[Callable[[Values], Values]] = [METRICS[name].finalise for name in measures.metrics]
    return np.stack([finalise(mean) for finalise, mean in zip(finalisers, means, strict=True)])


def _mean_over_heads(values: Values) -> Values:
    """Average over the last axis what is not NaN; NaN where nothing is."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))
