"""Heat maps: for each metric a row of panels, a panel for each training size or run, values in the cells."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from biocache.engine.figures import SMALL, TEXT, figure_width, new_figure
from biocache.engine.palette import Colors, ink_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["heat_figure", "subject_of"]

# Inches: of a cell with its value in it, and what a sign adds; of the smallest cell; of the axes of a panel, and of the
# colour bar.
_CELL, _SIGN, _LEAST, _FRAME, _BAR = (0.195, 0.15), 0.035, (0.05, 0.05), (0.42, 0.5), 0.75
# Inches of the title and of that of each metric, and of the height above which values leave their cells.
_TITLE, _SUBTITLE, _PAGE = 0.45, 0.2, 9.0
# Panels of two cells are no hairlines.
_PANEL = (0.95, 0.6)
# Inches that the label of a tick needs.
_TICK = (0.2, 0.12)


@dataclass(frozen=True, slots=True)
class _Grid:
    """How panels are laid out.

    Attributes
    ----------
    columns
        Panels in a row.
    cell
        Width and height of a cell, in inches.
    written
        Whether cells have their values written in them.
    height
        Of the figure, in inches.
    """

    columns: int
    cell: tuple[float, float]
    written: bool
    height: float


def heat_figure(
    dataset: xr.Dataset,
    values: xr.DataArray,
    dims: tuple[str, str],
    what: str,
    colors: Callable[[xr.DataArray, xr.Dataset], Colors],
    panels: tuple[str, Mapping[Any, str]] | None = None,
    title: str | None = None,
) -> "Figure":
    """Draw values, rows of panels for each metric and a panel for each training size, or what `panels` names.

    Where cells are too small for their values to be read, they have colours only.

    Parameters
    ----------
    dataset
        The result, with ``title`` of each metric and, where it has units, ``unit``.
    values
        What is drawn (metric, training_size, ...).
    dims
        Dimensions of the cells, down and across.
    what
        What the values are, beside the title of the metric.
    colors
        Returns the colours from the values of a metric and its part of the result.
    panels
        Dimension of the panels of a metric, and the title of each of its labels; None for training sizes.
    title
        Title of the figure; None for what is compared.
    """
    if panels is None:
        panels = "training_size", {size: f"training size {size} %" for size in dataset["training_size"].values.tolist()}
    panel_dim, panel_titles = panels
    metrics, labels = dataset["metric"].values, dataset[panel_dim].values.tolist()
    down, across = (values.sizes[dim] for dim in dims)
    grid = _laid_out(len(metrics), len(labels), down, across, signed=bool((values < 0).any()))
    rows = -(-len(labels) // grid.columns)
    figure = new_figure(grid.height)
    parts = figure.subfigures(len(metrics), 1, squeeze=False)[:, 0]
    for part, metric in zip(parts, metrics, strict=True):
        own = dataset.sel(metric=metric)
        scale = colors(values.sel(metric=metric), own)
        axes = part.subplots(rows, grid.columns, squeeze=False).ravel()
        for panel in axes[len(labels) :]:
            panel.set_visible(False)
        for panel, label in zip(axes, labels, strict=False):
            cells = values.sel({"metric": metric, panel_dim: label}).transpose(*dims)
            image = _draw(panel, cells, scale, grid)
            panel.set_title(panel_titles[label])
        bar = part.colorbar(image, ax=list(axes), aspect=min(30.0, 8 * grid.height / len(metrics)), fraction=0.04)
        bar.ax.tick_params(labelsize=SMALL)
        part.suptitle(f"{own['title'].item()}{_unit(own)}, {what}", fontsize=TEXT)
    figure.suptitle(subject_of(dataset) if title is None else title)
    return figure


def _laid_out(metrics: int, sizes: int, down: int, across: int, *, signed: bool) -> _Grid:
    """Return the layout of most panels in a row in which values can be read; without values where that is too high."""
    room = figure_width() - _BAR
    for cell, written in (((_CELL[0] + _SIGN * signed, _CELL[1]), True), (_LEAST, False)):
        width = max(across * cell[0], _PANEL[0]) + _FRAME[0]
        most = max(1, min(sizes, int(room // width)))
        # Without values, more than four in a row are small pictures.
        columns = most if written else min(most, 4)
        columns = -(-sizes // -(-sizes // columns))
        wide = room / columns - _FRAME[0]
        tall = max(down * cell[1], _PANEL[1]) if written else max(_PANEL[1], min(wide * down / across, 2.5))
        rows = metrics * -(-sizes // columns)
        height = rows * (tall + _FRAME[1]) + metrics * _SUBTITLE + _TITLE
        fits = wide / across >= cell[0]
        if (written and fits and height <= _PAGE) or not written:
            return _Grid(columns, (wide / across, tall / down), written, height)
    raise ValueError("no layout without values")


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


def _draw(panel: "Axes", cells: xr.DataArray, scale: Colors, grid: _Grid) -> Any:
    down, across = map(str, cells.dims)
    image = panel.imshow(cells.to_numpy(), vmin=scale.low, vmax=scale.high, cmap=scale.map, aspect="auto")
    for axis, dim, size, least in zip(("x", "y"), (across, down), grid.cell, _TICK, strict=True):
        # As many labels as have room.
        step = int(-(-least // size))
        places = np.arange(0, cells.sizes[dim], step)
        panel.set(**{f"{axis}ticks": places, f"{axis}ticklabels": cells[dim].values[places]})
        panel.set(**{f"{axis}label": dim.replace("_", " ")})
    if grid.written:
        for (row, column), value in np.ndenumerate(cells.to_numpy()):
            if np.isfinite(value):
                ink = ink_on(image.cmap(image.norm(value)))
                text = f"{round(float(value), 2) + 0.0:.2f}"
                panel.text(column, row, text, ha="center", va="center", color=ink, fontsize=6)
    return image
