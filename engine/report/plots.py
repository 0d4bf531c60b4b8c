"""Plots of the page: curves and heat maps by Bokeh, which escapes the texts of tooltips; labels are drawn as text."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import bokeh
from bokeh.document import Document
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Range1d, Rect, Scatter, VArea
from bokeh.models import Line as Stroke
from bokeh.models.annotations import Span
from bokeh.palettes import Cividis256, Plasma256, PuOr11
from bokeh.plotting import figure
from bokeh.transform import linear_cmap

from biocache.engine.palette import CHANGE, DIFFERENCE, SIMILARITY, line_style
from biocache.engine.report.figure import Key, Plot, Row, Scale, interval, plain
from biocache.engine.report.paper import curve_paper, heat_paper, thinned, widened

__all__ = [
    "MAPS",
    "Curve",
    "curve_plot",
    "heat_plot",
    "heat_width",
    "keys_of",
]

# Colours of the maps of the palette, by their names there.
MAPS: Mapping[str, Sequence[str]] = {
    SIMILARITY: tuple(Cividis256[::17]),
    DIFFERENCE: tuple(Plasma256[::-17]),
    CHANGE: tuple(PuOr11[::-1]),
}

# Pixels: height of a curve plot; width and height of a cell, and of the axes and margins around the cells.
_HEIGHT, _CELL, _FRAME = 300, (44, 20), (90, 76)
# Pixels that turned names of columns add.
_NAMES = 40
# Minimum height of all layers together, so that cells of two layers do not become hairlines.
_LEAST = 120


def keys_of(values: Iterable[Any], unit: str = "") -> dict[Any, Key]:
    """Return the key entry of each value, such as a training size or a model, by its place in sorted order."""
    return {
        value: Key(f"{value}{unit}", style.color, " ".join(map(str, style.dash)) or "solid", style.page_marker)
        for place, value in enumerate(sorted(set(values)))
        for style in [line_style(place)]
    }


@dataclass(frozen=True)
class Curve:
    """A curve with its interval.

    Attributes
    ----------
    name
        Shown in its tooltip.
    key
        How it is drawn.
    rows
        Its points: rows with the two coordinates; those with ``_ci_low`` and ``_ci_high`` of the vertical one have an
        interval.
    """

    name: str
    key: Key
    rows: Sequence[Row]


def curve_plot(
    curves: Sequence[Curve],
    lines: Iterable[tuple[float, Key]] = (),
    *,
    axes: tuple[str, str],
    titles: tuple[str, str],
    bounds: tuple[float, float],
    ticks: Sequence[int],
) -> Plot:
    """Draw curves with their intervals as bands.

    Parameters
    ----------
    curves
        The curves.
    lines
        Horizontal lines: the value, and how each is drawn.
    axes
        Names of the horizontal and of the vertical coordinate in the rows of the curves.
    titles
        Titles of the two axes.
    bounds
        Range of the vertical axis, which panels share.
    ticks
        Whole numbers of the horizontal axis.
    """
    lines = list(lines)
    drawn = [_columns(curve, *axes) for curve in curves]
    has_band = [any(text != "-" for text in columns["interval"]) for columns in drawn]
    keys = tuple((curve.key, banded) for curve, banded in zip(curves, has_band, strict=True))
    item: dict[str, Any] = json.loads(_curve_frame(keys, tuple(key for _, key in lines), titles, tuple(ticks)))
    plot = item["doc"]["roots"][0]["attributes"]
    bounds = widened(bounds, 0.05)
    plot["y_range"]["attributes"] = dict(zip(("start", "end"), bounds, strict=True))
    spans = [part["attributes"] for part in plot["center"] if part["name"] == "Span"]
    for span, (value, _) in zip(spans, lines, strict=True):
        span["location"] = value
    _fill(plot, drawn)
    named = [(curve.key, columns) for curve, columns in zip(curves, drawn, strict=True)]
    return Plot(item, curve_paper(named, lines, titles=titles, bounds=bounds, ticks=ticks))


# Bokeh takes 50 to 150 ms to describe a plot, and the many plots of a page differ mostly in their numbers.
@lru_cache(maxsize=256)
def _curve_frame(
    curves: tuple[tuple[Key, bool], ...], lines: tuple[Key, ...], titles: tuple[str, str], ticks: tuple[int, ...]
) -> str:
    """Describe curves, some with a band, and lines without their numbers, as JSON."""
    plot = _plot(_HEIGHT, titles, Range1d(start=0.0, end=1.0))
    plot.xaxis.ticker = FixedTicker(ticks=thinned(ticks))
    start, end = widened((min(ticks), max(ticks)), 0.04)
    plot.x_range = Range1d(start=start, end=end)
    plot.xgrid.visible = False
    for key in lines:
        plot.add_layout(Span(location=0.0, dimension="width", line_color=key.color, line_dash=key.dash, line_width=1.2))
    drawn = []
    for key, has_band in curves:
        # Glyphs added one by one: the methods of a figure make three more of each, for states that are not used here.
        source = ColumnDataSource({name: [] for name in ("x", "y", "low", "high", "interval", "name")})
        if has_band:
            plot.add_glyph(source, VArea(x="x", y1="low", y2="high", fill_color=key.color, fill_alpha=0.16))
        plot.add_glyph(source, Stroke(x="x", y="y", line_color=key.color, line_width=2, line_dash=key.dash))
        points = Scatter(
            x="x",
            y="y",
            marker=key.marker or "circle",
            size=7 if key.marker else 2,
            fill_color=key.color,
            line_color=key.color,
        )
        drawn.append(plot.add_glyph(source, points))
    tips = [("", "@name"), (titles[0], "@x"), (titles[1], "@y{0.000}"), ("95 % interval", "@interval")]
    plot.add_tools(HoverTool(renderers=drawn, tooltips=tips))
    return json.dumps(_item(plot))


def _columns(curve: Curve, x: str, y: str) -> dict[str, Any]:
    values = [plain(row[y]) for row in curve.rows]
    bounds = [(row.get(f"{y}_ci_low"), row.get(f"{y}_ci_high")) for row in curve.rows]
    return {
        "x": [row[x] for row in curve.rows],
        "y": values,
        # A band needs both bounds: without an interval its height is zero.
        "low": [value if low is None else plain(low) for (low, _), value in zip(bounds, values, strict=True)],
        "high": [value if high is None else plain(high) for (_, high), value in zip(bounds, values, strict=True)],
        "interval": [interval(*each) or "-" for each in bounds],
        "name": [curve.name] * len(values),
    }


def heat_plot(
    cells: Sequence[Row],
    *,
    value: str,
    axes: tuple[str, str],
    scale: Scale,
    tips: Sequence[tuple[str, str]],
    names: tuple[Sequence[Any], Sequence[Any]] | None = None,
) -> Plot:
    """Draw a heat map, its first row on top.

    Parameters
    ----------
    cells
        The cells: both places, `value` and what the tooltip shows.
    value
        Name of the number that colours a cell.
    axes
        Names of the horizontal and of the vertical place, such as ``head`` and ``layer``.
    scale
        The colours.
    tips
        Contents of the tooltip: titles and Bokeh's placeholders.
    names
        The horizontal and the vertical places, in order; None for those of the cells, which are numbers.
    """
    columns, rows = names or tuple(sorted({int(cell[axis]) for cell in cells}) for axis in axes)
    item: dict[str, Any] = json.loads(
        _heat_frame(tuple(rows), tuple(columns), value, axes, tuple(scale.colors), tuple(tips))
    )
    known = dict.fromkeys(name for cell in cells for name in cell)
    data: dict[str, Any] = {name: [plain(cell.get(name)) for cell in cells] for name in known}
    for place, axis, own in (("_x", axes[0], columns), ("_y", axes[1], rows)):
        position = {name: number for number, name in enumerate(own)}
        data[place] = [position[cell[axis]] for cell in cells]
    plot = item["doc"]["roots"][0]["attributes"]
    _fill(plot, [data])
    mapper = plot["renderers"][0]["attributes"]["glyph"]["attributes"]["fill_color"]["transform"]["attributes"]
    mapper["low"], mapper["high"] = scale.low, scale.high
    return Plot(item, heat_paper(cells, value=value, axes=axes, names=(columns, rows), scale=scale))


@lru_cache(maxsize=256)
def _heat_frame(
    rows: tuple[Any, ...],
    columns: tuple[Any, ...],
    value: str,
    axes: tuple[str, str],
    colors: tuple[str, ...],
    tips: tuple[tuple[str, str], ...],
) -> str:
    """Describe a heat map without its numbers, as JSON."""
    titles = axes[0].replace("_", " "), axes[1].replace("_", " ")
    plot = _plot(max(_CELL[1] * len(rows), _LEAST) + _FRAME[1], titles, Range1d(start=len(rows) - 0.5, end=-0.5))
    plot.x_range = Range1d(start=-0.5, end=len(columns) - 0.5)
    for axis, found in ((plot.xaxis, columns), (plot.yaxis, rows)):
        ticks = thinned(range(len(found)))
        axis.ticker = FixedTicker(ticks=ticks)
        axis.major_label_overrides = {place: str(found[place]) for place in ticks}
    plot.grid.visible = False
    if not all(isinstance(name, int) for name in columns):
        # Names are wider than their cells.
        plot.xaxis.major_label_orientation = 0.8
        plot.height += _NAMES
    fill = linear_cmap(value, list(colors), 0.0, 1.0, nan_color="rgba(128, 128, 128, 0.25)")
    cell = Rect(x="_x", y="_y", width=0.94, height=0.9, fill_color=fill, line_color=None)
    drawn = plot.add_glyph(ColumnDataSource({"_x": [], "_y": []}), cell)
    plot.add_tools(HoverTool(renderers=[drawn], tooltips=list(tips)))
    return json.dumps(_item(plot))


def heat_width(columns: int) -> int:
    """Return the maximum width in pixels of a heat map of some columns."""
    return _FRAME[0] + _CELL[0] * max(columns, 4)


def _plot(height: int, titles: tuple[str, str], vertical: Range1d) -> Any:
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        min_width=200,
        tools="box_zoom,reset,save",
        # Disable drag zoom so that touch scrolling works.
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
    # Equal to `bokeh.embed.json_item`, which serialises the document twice.
    document = Document(title="")
    document.add_root(plot)
    written = document.to_json(deferred=False)
    return {"target_id": None, "root_id": plot.id, "doc": written, "version": bokeh.__version__}


def _fill(plot: Mapping[str, Any], data: Sequence[Mapping[str, Any]]) -> None:
    """Put columns into the data sources of a described plot, in their order."""
    found = [renderer["attributes"]["data_source"] for renderer in plot.get("renderers", ())]
    # Later renderers of the same source name it by its id alone.
    sources = [source["attributes"]["data"] for source in found if "attributes" in source]
    for source, columns in zip(sources, data, strict=True):
        source["entries"] = [list(column) for column in columns.items()]
