"""Figures of a comparison of representations: heat maps of layers against layers, and curves over equal layers."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from biocache.engine.analyses.heatmaps import heat_figure, subject_of
from biocache.engine.analyses.representations.result import TITLES
from biocache.engine.figures import new_panels
from biocache.engine.palette import CHANGE, GREY, SIMILARITY, Colors, LineStyle, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_figure", "layer_figure"]

# Inches: smallest width and height of a panel, and what a figure adds for its legend and title.
_PANEL, _MARGIN = (2.2, 1.9), (1.1, 0.5)
_BY_CHANCE = "by chance"


def layer_figure(result: xr.Dataset) -> "Figure":
    """Draw the values of all pairs of layers, a row of panels for each metric and a panel for each training size.

    Parameters
    ----------
    result
        From `compare_representations`.
    """
    return heat_figure(result, result["value"], ("layer", "other_layer"), f"of {result.attrs['level']}s", _colors)


def _colors(values: xr.DataArray, own: xr.Dataset) -> Colors:
    """Return the colours: from 0, or the smallest value below it, to the value that means most."""
    largest = TITLES[str(own["metric"].item())][2][1]
    known = values.to_numpy()[np.isfinite(values.to_numpy())]
    low = min(0.0, float(known.min())) if known.size else 0.0
    # Noise about 0 is no reason for colours of two signs.
    return Colors(low, largest, CHANGE) if low < -0.05 else Colors(0.0, largest, SIMILARITY)


def curve_figure(result: xr.Dataset) -> "Figure | None":
    """Draw the values of equal layers, a panel for each metric and a curve for each training size; None without any.

    Bands are 95 % intervals, dotted lines chance levels, dashed ones the mean between two seeds of the training size.

    Parameters
    ----------
    result
        From `compare_representations`.
    """
    from matplotlib.ticker import MaxNLocator

    layers = np.intersect1d(result["layer"], result["other_layer"])
    if not layers.size:
        return None
    equal = xr.DataArray(layers, dims="equal")
    part = result.sel(layer=equal, other_layer=equal)
    metrics, sizes = part["metric"].values.tolist(), part["training_size"].values.tolist()
    figure, panels = new_panels(len(metrics), least=_PANEL[0], height=_PANEL[1], margin=_MARGIN)
    for panel, metric in zip(panels, metrics, strict=True):
        for place, size in enumerate(sizes):
            own = part.sel(metric=metric, training_size=size)
            _draw_curve(panel, layers, own, line_style(place), f"{size} %")
        panel.set_xlabel("layer")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_ylabel(str(part["title"].sel(metric=metric).item()))
    handles, names = panels[0].get_legend_handles_labels()
    # The chance level after the training sizes.
    entries = dict(sorted(zip(names, handles, strict=True), key=lambda entry: entry[0] == _BY_CHANCE))
    figure.legend(entries.values(), entries.keys(), loc="outside right upper", frameon=False, title="training size")
    figure.suptitle(subject_of(result))
    return figure


def _draw_curve(panel: "Axes", layers: np.ndarray, own: xr.Dataset, style: LineStyle, name: str) -> None:
    color = style.color
    dash = (0, style.dash) if style.dash else "-"
    panel.plot(layers, own["value"], color=color, linestyle=dash, marker=style.marker, label=name)
    panel.fill_between(layers, own["value_ci_low"], own["value_ci_high"], color=color, alpha=0.18, linewidth=0)
    panel.plot(layers, own["chance"], color=GREY, linestyle=":", linewidth=1, label=_BY_CHANCE)
    if "between_seeds" in own and own["between_seeds"].notnull().any():
        between = f"{name}, between seeds"
        panel.plot(layers, own["between_seeds"], color=color, linestyle="--", linewidth=0.7, label=between)
