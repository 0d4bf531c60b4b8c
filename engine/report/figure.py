"""A figure of the page: what is drawn, its numbers, and how to make it again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from biocache.engine.exporting import plain_value
from biocache.engine.report.story import Statement

__all__ = [
    "Figure",
    "Key",
    "Panel",
    "Plot",
    "Recipe",
    "Row",
    "Scale",
    "Table",
    "Variant",
    "by",
    "interval",
    "plain",
    "written",
]

#: Names and values of the cells of a table's row.
Row = Mapping[str, Any]

# Significant digits of the numbers on the page: those of float32.
_DIGITS = 7


@dataclass(frozen=True)
class Table:
    """Numbers under titles, as in the CSV of a figure."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Table":
        """Make a table of rows that name their cells; a cell that a row lacks is None."""
        columns = tuple(dict.fromkeys(name for row in rows for name in row))
        return cls(columns, [tuple(plain(row.get(name)) for name in columns) for row in rows])

    def numeric(self, place: int) -> bool:
        """Return whether a column holds numbers alone."""
        cells = [row[place] for row in self.rows]
        return all(cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)) for cell in cells)

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON holds it."""
        return {"columns": self.columns, "rows": self.rows}


@dataclass(frozen=True)
class Plot:
    """A plot, for the screen and for paper.

    Attributes
    ----------
    item
        What `Bokeh.embed.embed_item` takes.
    paper
        The same as a picture: an SVG element, whose texts are escaped.
    """

    item: Mapping[str, Any]
    paper: str


@dataclass(frozen=True)
class Panel:
    """One plot with its heading.

    Attributes
    ----------
    title
        Heading above it.
    plot
        The plot.
    width
        Maximum width in pixels; None for no limit.
    """

    title: str
    plot: Plot
    width: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the panel as the page embeds it."""
        return {"title": self.title, "width": self.width, **vars(self.plot)}


@dataclass(frozen=True)
class Scale:
    """The colour scale of a heat map: `colors` from the value `low` to `high`."""

    title: str
    low: float
    high: float
    colors: Sequence[str]


@dataclass(frozen=True)
class Variant:
    """One view of a figure, such as one score or one metric; the reader switches between them."""

    name: str
    panels: Sequence[Panel]
    scale: Scale | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plots as the page embeds them."""
        return {"panels": [panel.to_json() for panel in self.panels], "scale": self.scale and vars(self.scale)}


@dataclass(frozen=True)
class Key:
    """An entry of a figure's key: how a curve or a line is drawn; `marker` and `dash` are Bokeh's names."""

    text: str
    color: str
    dash: str = "solid"
    marker: str = ""


@dataclass(frozen=True)
class Recipe:
    """How to compute a result again.

    Attributes
    ----------
    command
        Command line for a shell.
    python
        The same in Python.
    note
        A caveat; empty where the command finds exactly this result in the store.
    """

    command: str
    python: str
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure with its numbers, its settings and its recipes.

    Attributes
    ----------
    title, settings, reading
        Heading, the settings of its numbers, and a sentence on how to read it.
    data
        All its numbers; its CSV file.
    variants
        Interactive views, the first shown first; empty for none.
    switch
        What distinguishes the variants, such as ``score``.
    keys
        Entries of its key.
    images
        Names of static images and the images as data URLs.
    extras
        Tables below the figure, each with a title, such as that of the most changed heads.
    findings
        Numbers that the rule of the section picks from it.
    statements
        What was found, in sentences.
    shown_runs
        Which runs of the viewer it is about; None for none.
    recipes
        How to compute its results again.
    name
        Its name in the page and in the names of its files: letters, digits and dashes; the section numbers its figures.
    """

    title: str
    settings: str
    reading: str
    data: Table
    variants: Sequence[Variant] = ()
    switch: str = ""
    keys: Sequence[Key] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    extras: Sequence[tuple[str, Table]] = ()
    findings: Sequence[Row] = ()
    statements: Sequence[Statement] = ()
    shown_runs: Mapping[str, Any] | None = None
    recipes: Sequence[Recipe] = ()
    name: str = ""

    def viewer_group(self, index: Mapping[str, Any]) -> int | None:
        """Return the position of the group of the viewer that shows the runs of this figure; None if there is none."""
        wanted = self.shown_runs
        shown = (wanted is not None and wanted.items() <= group.items() for group in index["groups"])
        return next((place for place, is_shown in enumerate(shown) if is_shown), None)


def by(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Group rows by the values of some of their cells, in the order of the first row of each group."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def written(settings: Mapping[str, Any]) -> str:
    """Write settings as text; those that are None are left out."""
    return ", ".join(
        f"{name.replace('_', ' ')} {_as_text(value)}" for name, value in settings.items() if value is not None
    )


def _as_text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " and ".join(map(_as_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def interval(low: float | None, high: float | None) -> str | None:
    """Write an interval; None where there is none."""
    return None if low is None or high is None or np.isnan(low) else f"{low:.3f} to {high:.3f}"


def plain(value: Any) -> Any:
    """Return a value as JSON has it: numbers to the digits of the page, NaN and infinities as None."""
    value = plain_value(value)
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
