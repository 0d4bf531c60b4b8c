"""Plots for paper, and for a browser without JavaScript: pictures in SVG that scale with the page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import escape

from biocache.engine.report.figure import Key, Row, Scale

__all__ = ["MARKERS", "curve_paper", "heat_paper", "strokes", "thinned", "widened"]

#: Bokeh's name of a marker to its outline, as a path that begins in its middle.
MARKERS: Mapping[str, str] = {
    "circle": "m-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
    "square": "m-3.5-3.5h7v7h-7z",
    "triangle": "m0-4.5l4.5 8h-9z",
    "diamond": "m0-5l4 5-4 5-4-5z",
    "inverted_triangle": "m0 4.5l4.5-8h-9z",
    "hex": "m-4.5 0l2.25-4h4.5l2.25 4-2.25 4h-4.5z",
}
_DASHES = {"solid": "", "dashed": "6 4", "dotted": "2 3", "dashdot": "6 3 2 3"}
_NEUTRAL = "#59626e"
_RULE = "#dfe3e8"
_UNKNOWN = "#c4c6ca"

# Units of the picture, which are pixels where it has room: of curves, and of what surrounds them.
_WIDTH, _HEIGHT = 330, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 8, 38
# Largest and smallest width and height of a cell, and the width that all cells have at most.
_CELLS, _LEAST, _ROOM = (44.0, 20.0), (3.0, 10.0), 560.0
_TICKS = 5
# Widths of a digit, and of the distance between a tick and its label.
_DIGIT, _GAP = 6.0, 5


def strokes(dash: str) -> str:
    """Return the lengths of strokes and gaps of a dash, as SVG takes them; empty for a solid line."""
    return _DASHES.get(dash, dash)


def thinned(ticks: Sequence[int]) -> list[int]:
    """Drop ticks whose labels would overlap in a narrow panel."""
    step = -(-len(ticks) // 13)
    return list(ticks)[::step]


def widened(bounds: tuple[float, float], share: float) -> tuple[float, float]:
    """Widen a range on both sides by a share of its length."""
    room = (bounds[1] - bounds[0]) * share or 0.5 * share
    return bounds[0] - room, bounds[1] + room


def curve_paper(
    curves: Sequence[tuple[Key, Mapping[str, Sequence[Any]]]],
    lines: Iterable[tuple[float, Key]],
    *,
    titles: tuple[str, str],
    bounds: tuple[float, float],
    ticks: Sequence[int],
) -> str:
    """Draw curves with their bands.

    Parameters
    ----------
    curves
        How each is drawn, and its columns: ``x``, ``y``, ``low`` and ``high``, which is None where there is no number.
    lines
        Horizontal lines: the value, and how each is drawn.
    titles
        Titles of the two axes.
    bounds
        Range of the vertical axis.
    ticks
        Whole numbers of the horizontal axis.

    Returns
    -------
    str
        An SVG element whose texts are escaped.
    """
    across = _Axis(widened((min(ticks), max(ticks)), 0.04), (_LEFT, _WIDTH - _RIGHT))
    up = _Axis(bounds, (_HEIGHT - _BOTTOM, _TOP))
    parts = [
        f'<path d="M{_LEFT} {up(value):.1f}H{_WIDTH - _RIGHT}" stroke="{_RULE}"/>'
        + _text(_LEFT - _GAP, up(value) + 3.5, f"{value:g}", "end")
        for value in _rounded(bounds)
    ]
    parts += [_text(across(tick), _HEIGHT - _BOTTOM + 14, str(tick)) for tick in thinned(ticks)]
    for value, key in lines:
        if bounds[0] <= value <= bounds[1]:
            parts.append(f'<path d="M{_LEFT} {up(value):.1f}H{_WIDTH - _RIGHT}" {_stroke(key, 1.2)}/>')
    for key, columns in curves:
        parts += _curve(key, columns, across, up)
    parts += _titles(titles, (_LEFT, _WIDTH - _RIGHT), (_TOP, _HEIGHT - _BOTTOM), _HEIGHT)
    return _svg(_WIDTH, _HEIGHT, parts)


def _curve(key: Key, columns: Mapping[str, Sequence[Any]], across: "_Axis", up: "_Axis") -> list[str]:
    """Draw the band, the line and the points of a curve; a missing number interrupts it."""
    rows = sorted(zip(*(columns[name] for name in ("x", "y", "low", "high")), strict=True), key=lambda row: row[0])
    pieces: list[list[tuple[float, ...]]] = [[]]
    for x, y, low, high in rows:
        if y is None:
            pieces.append([])
        else:
            bounds = (y if bound is None else bound for bound in (low, high))
            pieces[-1].append((across(x), up(y), *(up(bound) for bound in bounds)))
    known = [piece for piece in pieces if piece]
    ends = [(x, low) for piece in known for x, _, low, _ in piece if low is not None]
    drawn = []
    if ends and any(low != high for piece in known for _, _, low, high in piece):
        band = "".join(
            f"M{'L'.join(f'{x:.1f} {low:.1f}' for x, _, low, _ in piece)}"
            f"L{'L'.join(f'{x:.1f} {high:.1f}' for x, *_, high in reversed(piece))}z"
            for piece in known
        )
        drawn.append(f'<path d="{band}" fill="{key.color}" fill-opacity=".16"/>')
    line = "".join(f"M{'L'.join(f'{x:.1f} {y:.1f}' for x, y, *_ in piece)}" for piece in known)
    drawn.append(f'<path d="{line}" {_stroke(key, 2)}/>')
    if key.marker:
        points = "".join(f"M{x:.1f} {y:.1f}{MARKERS[key.marker]}" for piece in known for x, y, *_ in piece)
        drawn.append(f'<path d="{points}" fill="{key.color}"/>')
    return drawn if known else []


def heat_paper(
    cells: Sequence[Row],
    *,
    value: str,
    axes: tuple[str, str],
    names: tuple[Sequence[Any], Sequence[Any]],
    scale: Scale,
) -> str:
    """Draw a heat map, its first row on top.

    Parameters
    ----------
    cells
        Rows with `value` and both places.
    value
        Name of the number that colours a cell.
    axes
        Names of the horizontal and of the vertical place.
    names
        The horizontal and the vertical places, in order.
    scale
        The colours.

    Returns
    -------
    str
        An SVG element whose texts are escaped.
    """
    columns, rows = ([str(name) for name in own] for own in names)
    widest = [max(map(len, own)) * _DIGIT for own in (columns, rows)]
    left = max(_LEFT, widest[1] + 26)
    wide = min(_CELLS[0], max(_LEAST[0], _ROOM / len(columns)))
    high = min(_CELLS[1], max(_LEAST[1], _ROOM / len(rows)))
    # Names that are wider than their columns are turned.
    turned = widest[0] > wide and not columns[0].isdecimal()
    right, below = left + wide * len(columns), _TOP + high * len(rows)
    bottom = below + _BOTTOM + (widest[0] - 12 if turned else 0)
    places = [{name: place for place, name in enumerate(own)} for own in names]
    drawn: dict[str, list[str]] = {}
    for cell in cells:
        x = left + wide * places[0][cell[axes[0]]]
        y = _TOP + high * places[1][cell[axes[1]]]
        outline = f"M{x:.1f} {y:.1f}h{wide * 0.94:.1f}v{high * 0.9:.1f}h-{wide * 0.94:.1f}z"
        drawn.setdefault(_color(cell.get(value), scale), []).append(outline)
    parts = [f'<path d="{"".join(outlines)}" fill="{color}"/>' for color, outlines in drawn.items()]
    every = 1 if turned else math.ceil((widest[0] + 4) / wide)
    for place, name in list(enumerate(columns))[::every]:
        middle = left + wide * (place + 0.5)
        parts.append(
            _text(middle + 3.5, below + 8, name, "end", turned=True) if turned else _text(middle, below + 14, name)
        )
    parts += [_text(left - _GAP, _TOP + high * (place + 0.5) + 3.5, name, "end") for place, name in enumerate(rows)]
    titles = axes[0].replace("_", " "), axes[1].replace("_", " ")
    parts += _titles(titles, (left, right), (_TOP, below), bottom)
    # The title of an axis may be longer than the cells of a small map.
    return _svg(max(right + _RIGHT, left + 100), max(bottom, 90), parts)


def _color(value: Any, scale: Scale) -> str:
    """Return the colour of a value, as Bokeh's linear mapper has it."""
    if value is None or not math.isfinite(value):
        return _UNKNOWN
    share = (value - scale.low) / (scale.high - scale.low)
    return scale.colors[min(max(int(share * len(scale.colors)), 0), len(scale.colors) - 1)]


class _Axis:
    """From a value to a place in the picture."""

    def __init__(self, bounds: tuple[float, float], ends: tuple[float, float]) -> None:
        self._start, self._first = bounds[0], ends[0]
        self._slope = (ends[1] - ends[0]) / (bounds[1] - bounds[0])

    def __call__(self, value: float) -> float:
        return self._first + (value - self._start) * self._slope


def _rounded(bounds: tuple[float, float]) -> list[float]:
    """Return about five round numbers in a range."""
    raw = (bounds[1] - bounds[0]) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first, last = math.ceil(bounds[0] / step), math.floor(bounds[1] / step)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _stroke(key: Key, width: float) -> str:
    dash = strokes(key.dash)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'fill="none" stroke="{key.color}" stroke-width="{width:g}"{dashes}'


def _text(x: float, y: float, text: str, anchor: str = "middle", turned: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'


def _titles(
    titles: tuple[str, str], across: tuple[float, float], down: tuple[float, float], bottom: float
) -> list[str]:
    return [
        _text(sum(across) / 2, bottom - 6, titles[0]),
        _text(13, sum(down) / 2, titles[1], turned=True),
    ]


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'<svg {size} font-size="10.5" fill="{_NEUTRAL}">{"".join(parts)}</svg>'
