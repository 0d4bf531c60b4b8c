"""Plots of the page: curves and heat maps by Bokeh, without text from data but names that a path can hold."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import bokeh
from bokeh.document import Document
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Range1d, Rect, Scatter, VArea
from bokeh.models import Line as Stroke
from bokeh.models.annotations import Span
from bokeh.palettes import Cividis256, PuOr11
from bokeh.plotting import figure
from bokeh.transform import linear_cmap

from biocache.engine.report.figure import Scale, plain

__all__ = [
    "GREY",
    "SIGNED",
    "UNSIGNED",
    "Curve",
    "Line",
    "color_of",
    "curve_plot",
    "heat_plot",
    "heat_width",
    "marker_of",
]

# Okabe M, Ito K. Color universal design, 2008: told apart by the colour-blind, and seen on white and on black.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
# And without any colour.
_MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex")
GREY = "#8a8f98"

UNSIGNED: Sequence[str] = tuple(Cividis256[::8])
SIGNED: Sequence[str] = tuple(PuOr11)

# Pixels: of a plot, of a cell across and down, and of what stands beside the cells.
_HEIGHT, _CELL, _FRAME = 300, (44, 20), (90, 76)
# The least that some layers are high together, so that two of them are no hairlines.
_LEAST = 120


def color_of(place: int) -> str:
    """Return the colour of the training size, or model, that has this place among all of the page."""
    return _COLORS[place % len(_COLORS)]


def marker_of(place: int) -> str:
    """Return the marker that goes with `color_of`."""
    return _MARKERS[place % len(_MARKERS)]


@dataclass(frozen=True)
class Curve:
    """A curve with its interval.

    Attributes
    ----------
    name
        What the pointer is told.
    x, y, low, high
        Its points; low and high are None where there is no interval.
    color, marker, dash
        How it is drawn.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float | None]
    high: Sequence[float | None]
    color: str
    marker: str = "circle"
    dash: str = "solid"


@dataclass(frozen=True)
class Line:
    """A level, drawn across."""

    y: float
    color: str
    dash: str


def curve_plot(
    curves: Sequence[Curve],
    lines: Sequence[Line],
    *,
    titles: tuple[str, str],
    bounds: tuple[float, float],
    ticks: Sequence[int],
) -> dict[str, Any]:
    """Draw curves with their intervals as bands.

    Parameters
    ----------
    curves, lines
        What is drawn.
    titles
        Of the two axes.
    bounds
        Of the vertical axis, that panels share.
    ticks
        Whole numbers of the horizontal axis.

    Returns
    -------
    dict
        What `Bokeh.embed.embed_item` takes.
    """
    plot = _plot(_HEIGHT, titles, _range(*_margin(bounds, 0.05)))
    plot.xaxis.ticker = FixedTicker(ticks=_thinned(ticks))
    plot.x_range = _range(*_margin((min(ticks), max(ticks)), 0.04))
    plot.xgrid.visible = False
    for line in lines:
        plot.add_layout(
            Span(location=line.y, dimension="width", line_color=line.color, line_dash=line.dash, line_width=1.2)
        )
    drawn = []
    for curve in curves:
        # Glyphs added one by one: the methods of a figure make three more of each, for states that nothing here has.
        source = ColumnDataSource(_columns(curve))
        if any(low is not None for low in curve.low):
            plot.add_glyph(source, VArea(x="x", y1="low", y2="high", fill_color=curve.color, fill_alpha=0.16))
        plot.add_glyph(source, Stroke(x="x", y="y", line_color=curve.color, line_width=2, line_dash=curve.dash))
        points = Scatter(x="x", y="y", marker=curve.marker, size=7, fill_color=curve.color, line_color=curve.color)
        drawn.append(plot.add_glyph(source, points))
    tips = [("", "@name"), (titles[0], "@x"), (titles[1], "@y{0.000}"), ("95 % interval", "@interval")]
    plot.add_tools(HoverTool(renderers=drawn, tooltips=tips))
    return _item(plot)


def _columns(curve: Curve) -> dict[str, Any]:
    return {
        "x": list(curve.x),
        "y": [plain(value) for value in curve.y],
        # A band needs both its ends: without an interval it has no height.
        "low": [plain(y if low is None else low) for low, y in zip(curve.low, curve.y, strict=True)],
        "high": [plain(y if high is None else high) for high, y in zip(curve.high, curve.y, strict=True)],
        "interval": [_interval(*bounds) for bounds in zip(curve.low, curve.high, strict=True)],
        "name": [curve.name] * len(curve.x),
    }


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def heat_plot(
    cells: Sequence[Mapping[str, Any]],
    *,
    value: str,
    across: str,
    scale: Scale,
    tips: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Draw a heat map with the layers downwards.

    Parameters
    ----------
    cells
        The cells: ``layer``, `across`, `value` and what the pointer is told.
    value, across
        Names of the number that colours a cell, and of what lies beside the layers.
    scale
        The colours.
    tips
        What the pointer is told: titles and Bokeh's placeholders.

    Returns
    -------
    dict
        What `Bokeh.embed.embed_item` takes.
    """
    layers = sorted({int(cell["layer"]) for cell in cells})
    columns = sorted({int(cell[across]) for cell in cells})
    item: dict[str, Any] = json.loads(
        _frame(tuple(layers), tuple(columns), value, across, tuple(scale.colors), tuple(tips))
    )
    names = dict.fromkeys(name for cell in cells for name in cell)
    data: dict[str, Any] = {name: [plain(cell.get(name)) for cell in cells] for name in names}
    data["_x"] = [columns.index(int(cell[across])) for cell in cells]
    data["_y"] = [layers.index(int(cell["layer"])) for cell in cells]
    drawn = item["doc"]["roots"][0]["attributes"]["renderers"][0]["attributes"]
    drawn["data_source"]["attributes"]["data"]["entries"] = [list(column) for column in data.items()]
    mapper = drawn["glyph"]["attributes"]["fill_color"]["transform"]["attributes"]
    mapper["low"], mapper["high"] = scale.low, scale.high
    return item


# Bokeh takes some 50 ms to describe a plot, and the many heat maps of a page differ in their numbers alone.
@lru_cache(maxsize=256)
def _frame(
    layers: tuple[int, ...],
    columns: tuple[int, ...],
    value: str,
    across: str,
    colors: tuple[str, ...],
    tips: tuple[tuple[str, str], ...],
) -> str:
    """Describe a heat map without its numbers, as JSON."""
    titles = (across.replace("_", " "), "layer")
    plot = _plot(max(_CELL[1] * len(layers), _LEAST) + _FRAME[1], titles, _range(len(layers) - 0.5, -0.5))
    plot.x_range = _range(-0.5, len(columns) - 0.5)
    for axis, found in ((plot.xaxis, columns), (plot.yaxis, layers)):
        ticks = _thinned(range(len(found)))
        axis.ticker = FixedTicker(ticks=ticks)
        axis.major_label_overrides = {place: str(found[place]) for place in ticks}
    plot.grid.visible = False
    fill = linear_cmap(value, list(colors), 0.0, 1.0, nan_color="rgba(128, 128, 128, 0.25)")
    cell = Rect(x="_x", y="_y", width=0.94, height=0.9, fill_color=fill, line_color=None)
    drawn = plot.add_glyph(ColumnDataSource({"_x": [], "_y": []}), cell)
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=list(tips)))
    return json.dumps(_item(plot))


def heat_width(columns: int) -> int:
    """Return the most pixels that a heat map of so many columns is wide."""
    return _FRAME[0] + _CELL[0] * max(columns, 4)


def _plot(height: int, titles: tuple[str, str], vertical: Range1d) -> Any:
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        min_width=200,
        tools="box_zoom,reset,save",
        # A finger that scrolls the page is not to zoom.
        active_drag=None,
        y_range=vertical,
        x_axis_label=titles[0],
        y_axis_label=titles[1],
        toolbar_location="above",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
    )
    plot.toolbar.autohide = True
    plot.toolbar.logo = None
    for axis in plot.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font = axis.major_label_text_font = "system-ui, sans-serif"
        axis.minor_tick_line_color = None
    return plot


def _item(plot: Any) -> dict[str, Any]:
    # As `bokeh.embed.json_item`, which writes the document twice.
    document = Document(title="")
    document.add_root(plot)
    written = document.to_json(deferred=False)
    return {"target_id": None, "root_id": plot.id, "doc": written, "version": bokeh.__version__}


def _range(start: float, end: float) -> Range1d:
    return Range1d(start=start, end=end)


def _margin(bounds: tuple[float, float], share: float) -> tuple[float, float]:
    room = (bounds[1] - bounds[0]) * share or 0.5 * share or 0.05
    return bounds[0] - room, bounds[1] + room


def _thinned(ticks: Sequence[int]) -> list[int]:
    """Leave out ticks whose labels would touch each other in a narrow panel."""
    step = -(-len(ticks) // 13)
    return list(ticks)[::step]
