"""Figures of a comparison: a heat map of layers and heads for each metric and training size, values in the cells."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.attention.metrics import METRICS
from biocache.engine.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["above_chance_figure", "mean_figure", "mean_best_match"]

# Width and height in inches of a cell with its value, the minimum of a panel, and the margin of a panel.
_CELL, _PANEL, _MARGIN = (0.42, 0.3), (2.4, 1.5), (0.9, 0.9)
_SIGNED, _UNSIGNED = "RdBu", "viridis"


def mean_figure(dataset: xr.Dataset) -> "Figure":
    """Draw means over samples, a row of panels for each metric and a panel for each training size.

    Parameters
    ----------
    dataset
        From `compare_attention`. With all pairs, the cells are layers of the two runs: the mean over the baseline's
        heads of the most similar head of the other run.
    """
    if "pair_mean" in dataset:
        return _figure(dataset, mean_best_match(dataset), ("layer", "other_layer"), "mean of best matches")
    return _figure(dataset, dataset["mean"], ("layer", "head"), "mean over samples")


def above_chance_figure(dataset: xr.Dataset) -> "Figure | None":
    """Draw means scaled to 0 at the chance level and 1 for identical maps; None without a chance level."""
    if "above_chance" not in dataset:
        return None
    known = dataset["above_chance"].notnull().any([dim for dim in dataset["above_chance"].dims if dim != "metric"])
    if not known.any():
        return None
    part = dataset.isel(metric=np.flatnonzero(known.to_numpy()))
    return _figure(part, part["above_chance"], ("layer", "head"), "0: chance, 1: equal maps", bounds=(-1.0, 1.0))


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


def _figure(
    dataset: xr.Dataset,
    values: xr.DataArray,
    dims: tuple[str, str],
    what: str,
    bounds: tuple[float, float] | None = None,
) -> "Figure":
    rows, columns = dataset.sizes["metric"], dataset.sizes["training_size"]
    height, width = (values.sizes[dim] for dim in dims)
    figure = new_figure(
        columns * (max(width * _CELL[0], _PANEL[0]) + _MARGIN[0]) + _MARGIN[0],
        rows * (max(height * _CELL[1], _PANEL[1]) + _MARGIN[1]) + _MARGIN[1],
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, metric in enumerate(dataset["metric"].values):
        own = dataset.sel(metric=metric)
        limits = bounds or _limits(values.sel(metric=metric).to_numpy(), float(own["identity"]), str(metric))
        unit = "" if str(own["unit"].item()) == "1" or bounds else f" ({own['unit'].item()})"
        for column, size in enumerate(dataset["training_size"].values):
            panel = axes[row, column]
            cells = values.sel(metric=metric, training_size=size).transpose(*dims)
            image = _draw(panel, cells, limits)
            panel.set_title(f"{metric}, training size {size} %", fontsize=9)
        bar = figure.colorbar(image, ax=list(axes[row]))
        bar.set_label(f"{own['title'].item()}{unit}\n{what}", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    against = f"{dataset.attrs['baseline_model']} at {dataset.attrs['baseline_training_size']} %"
    elsewhere = f", trained on {dataset.attrs['trained_on']}," if "trained_on" in dataset.attrs else ""
    figure.suptitle(
        f"{dataset.attrs['model']}{elsewhere} against {against}\n{dataset.attrs['dataset']} {dataset.attrs['split']}, "
        f"{dataset.attrs['samples']:,} samples, by {dataset.attrs['level']}",
        fontsize=10,
    )
    return figure


def _limits(values: NDArray[Any], identity: float, metric: str) -> tuple[float, float]:
    """Return the range of colours: symmetric about 0 for a change, else including the value for identical maps."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if metric in METRICS and not METRICS[metric].has_chance:
        farthest = max(-low, high) or 1.0
        return -farthest, farthest
    low, high = min(low, identity), max(high, identity)
    return (low, high) if high > low else (low, low + 1.0)


def _draw(panel: "Axes", cells: xr.DataArray, limits: tuple[float, float]) -> Any:
    down, across = map(str, cells.dims)
    image = panel.imshow(
        cells.to_numpy(), vmin=limits[0], vmax=limits[1], cmap=_SIGNED if limits[0] < 0 else _UNSIGNED, aspect="auto"
    )
    panel.set_xticks(np.arange(cells.sizes[across]), cells[across].values, fontsize=7)
    panel.set_yticks(np.arange(cells.sizes[down]), cells[down].values, fontsize=7)
    panel.set_xlabel(across.replace("_", " "), fontsize=8)
    panel.set_ylabel(down, fontsize=8)
    for (row, column), value in np.ndenumerate(cells.to_numpy()):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            ink = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
            panel.text(
                column, row, f"{round(float(value), 2) + 0.0:.2f}", ha="center", va="center", color=ink, fontsize=7
            )
    return image
