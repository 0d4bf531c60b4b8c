"""Figures of a comparison: a heat map of layers and heads for each metric and training size, values in the cells."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from biocache.engine.analyses.attention.metrics import METRICS
from biocache.engine.analyses.heatmaps import heat_figure
from biocache.engine.palette import CHANGE, DIFFERENCE, SIMILARITY, Colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["above_chance_figure", "between_seeds_figure", "mean_best_match", "mean_figure"]


def mean_figure(dataset: xr.Dataset) -> "Figure":
    """Draw means over samples, a row of panels for each metric and a panel for each training size.

    Parameters
    ----------
    dataset
        From `compare_attention`. With all pairs, the cells are layers of the two runs: the mean over the baseline's
        heads of the most similar head of the other run.
    """
    if "pair_mean" in dataset:
        return heat_figure(dataset, mean_best_match(dataset), ("layer", "other_layer"), "mean of best matches", _colors)
    return heat_figure(dataset, dataset["mean"], ("layer", "head"), "mean over samples", _colors)


def above_chance_figure(dataset: xr.Dataset) -> "Figure | None":
    """Draw means scaled to 0 at the chance level and 1 for identical maps; None without a chance level."""
    if "above_chance" not in dataset:
        return None
    known = dataset["above_chance"].notnull().any([dim for dim in dataset["above_chance"].dims if dim != "metric"])
    if not known.any():
        return None
    part = dataset.isel(metric=np.flatnonzero(known.to_numpy()))
    # Whatever the unit of a metric, these have none.
    part = part.drop_vars("unit")
    what = "0: chance, 1: identical maps"
    return heat_figure(part, part["above_chance"], ("layer", "head"), what, lambda *_: Colors(-1.0, 1.0, CHANGE))


def between_seeds_figure(dataset: xr.Dataset) -> "Figure | None":
    """Draw means between the runs of two seeds, in the colours of `mean_figure`; None where no size has several."""
    if "between_seeds" not in dataset:
        return None

    def colors(values: xr.DataArray, own: xr.Dataset) -> Colors:
        return _colors(xr.concat([values, own["mean"]], "kind"), own)

    return heat_figure(dataset, dataset["between_seeds"], ("layer", "head"), "mean between two seeds", colors)


def mean_best_match(dataset: xr.Dataset) -> xr.DataArray:
    """Return the mean over the baseline's heads of the value of each head's best match.

    The best match of a head is the one of the other layer whose mean is nearest to the value for identical maps.

    Parameters
    ----------
    dataset
        From `compare_attention`, of all pairs.

    Returns
    -------
    xarray.DataArray
        (metric, training_size, layer, other_layer), in the unit of the metric.
    """
    mean = dataset["pair_mean"]
    distance = abs(mean - dataset["identity"])
    return mean.where(distance == distance.min("other_head")).mean("other_head").mean("head")


def _colors(values: xr.DataArray, own: xr.Dataset) -> Colors:
    """Return the colours: symmetric about 0 for a change, else including the value for identical maps."""
    numbers = values.to_numpy()
    known = numbers[np.isfinite(numbers)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    metric, identity = str(own["metric"].item()), float(own["identity"])
    if metric in METRICS and not METRICS[metric].has_chance:
        farthest = max(-low, high) or 1.0
        return Colors(-farthest, farthest, CHANGE)
    low, high = min(low, identity), max(high, identity)
    return Colors(low, high if high > low else low + 1.0, SIMILARITY if identity >= high else DIFFERENCE)
