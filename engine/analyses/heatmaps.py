"""Heat maps of comparisons: a row of panels for each metric, a panel for each training size, values in the cells."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from biocache.engine.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["heat_figure", "subject_of"]

# Width and height in inches of a cell with its value, the minimum of a panel, and the margin of a panel.
_CELL, _PANEL, _MARGIN = (0.42, 0.3), (2.4, 1.5), (0.9, 0.9)
_SIGNED, _UNSIGNED = "RdBu", "viridis"


def heat_figure(
    dataset: xr.Dataset,
    values: xr.DataArray,
    dims: tuple[str, str],
    what: str,
    limits: Callable[[xr.DataArray, xr.Dataset], tuple[float, float]],
) -> "Figure":
    """Draw values, a row of panels for each metric and a panel for each training size.

    Parameters
    ----------
    dataset
        The result, with ``title`` of each metric and, where it has units, ``unit``.
    values
        What is drawn (metric, training_size, ...).
    dims
        Dimensions of the cells, down and across.
    what
        What the values are, below the title of the metric.
    limits
        Returns the range of colours from the values of a metric and its part of the result.
    """
    rows, columns = dataset.sizes["metric"], dataset.sizes["training_size"]
    height, width = (values.sizes[dim] for dim in dims)
    figure = new_figure(
        columns * (max(width * _CELL[0], _PANEL[0]) + _MARGIN[0]) + _MARGIN[0],
        rows * (max(height * _CELL[1], _PANEL[1]) + _MARGIN[1]) + _MARGIN[1],
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, metric in enumerate(dataset["metric"].values):
        own = dataset.sel(metric=metric)
        bounds = limits(values.sel(metric=metric), own)
        for column, size in enumerate(dataset["training_size"].values):
            panel = axes[row, column]
            cells = values.sel(metric=metric, training_size=size).transpose(*dims)
            image = _draw(panel, cells, bounds)
            panel.set_title(f"{metric}, training size {size} %", fontsize=9)
        bar = figure.colorbar(image, ax=list(axes[row]))
        bar.set_label(f"{own['title'].item()}{_unit(own)}\n{what}", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    figure.suptitle(subject_of(dataset), fontsize=10)
    return figure


def subject_of(dataset: xr.Dataset) -> str:
    """Return what a result compares, as the title of a figure."""
    facts = dataset.attrs
    against = f"{facts['baseline_model']} at {facts['baseline_training_size']} %"
    elsewhere = f", trained on {facts['trained_on']}," if "trained_on" in facts else ""
    return (
        f"{facts['model']}{elsewhere} against {against}\n{facts['dataset']} {facts['split']}, "
        f"{facts['samples']:,} samples, by {facts['level']}"
    )


def _unit(own: xr.Dataset) -> str:
    unit = str(own["unit"].item()) if "unit" in own.coords else "1"
    return "" if unit == "1" else f" ({unit})"


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
