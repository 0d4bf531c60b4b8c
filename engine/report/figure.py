"""A figure of the page: what is drawn, its numbers, and how to make it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Figure", "Key", "Panel", "Recipe", "Scale", "Table", "Variant", "plain"]

# Significant digits of the numbers on the page: those of float32.
_DIGITS = 7


@dataclass(frozen=True)
class Table:
    """Numbers under titles; what a figure's CSV holds."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> "Table":
        """Make a table of rows that name their cells; what a row lacks is None."""
        columns = tuple(dict.fromkeys(name for row in rows for name in row))
        return cls(columns, [tuple(plain(row.get(name)) for name in columns) for row in rows])

    def numeric(self, place: int) -> bool:
        """Return whether a column holds numbers alone."""
        cells = [row[place] for row in self.rows]
        return all(cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)) for cell in cells)

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON holds it."""
        return {"columns": list(self.columns), "rows": [list(row) for row in self.rows]}


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes
    ----------
    title
        What stands above it.
    item
        The plot, as Bokeh embeds it.
    width
        Most pixels that it is wide; None for all there are.
    """

    title: str
    item: Mapping[str, Any]
    width: int | None = None


@dataclass(frozen=True)
class Scale:
    """What the colours of a heat map mean: `colors` from the value `low` to `high`."""

    title: str
    low: float
    high: float
    colors: Sequence[str]


@dataclass(frozen=True)
class Variant:
    """What a figure can be switched to: another score, another metric."""

    name: str
    panels: Sequence[Panel]
    scale: Scale | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plots as the page embeds them."""
        scale = None if self.scale is None else vars(self.scale) | {"colors": list(self.scale.colors)}
        return {"panels": [{**vars(panel), "item": dict(panel.item)} for panel in self.panels], "scale": scale}


@dataclass(frozen=True)
class Key:
    """An entry of a figure's key; `marker` and `dash` as `biocache.engine.report.plots` names them."""

    text: str
    color: str
    dash: str = "solid"
    marker: str = ""


@dataclass(frozen=True)
class Recipe:
    """How a result is made again.

    Attributes
    ----------
    command
        For a shell.
    python
        The same in Python.
    note
        What to know before; empty where the command finds the very result in the store.
    """

    command: str
    python: str
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A figure and all that stands with it.

    Attributes
    ----------
    name
        What it is called in the page and in the names of its files: letters, digits and dashes.
    title, settings, reading
        Heading, the settings of its numbers, and a sentence on how to read it.
    variants
        What it shows, the first of them at first.
    switch
        What tells the variants apart, such as ``score``.
    keys
        Entries of its key.
    data
        All its numbers.
    extra
        A table that stands below it, with a title; such as that of the most changed heads.
    recipes
        How its results are made.
    shown_runs
        Which runs of the viewer it is about; None for none.
    """

    name: str
    title: str
    settings: str
    reading: str
    variants: Sequence[Variant]
    switch: str
    data: Table
    keys: Sequence[Key] = ()
    extra: tuple[str, Table] | None = None
    recipes: Sequence[Recipe] = field(default_factory=tuple)
    shown_runs: Mapping[str, Any] | None = None

    def viewer_group(self, index: Mapping[str, Any]) -> int | None:
        """Return which runs of the viewer, by position, are those of this figure; None where they are not there."""
        if self.shown_runs is None:
            return None
        for place, group in enumerate(index["groups"]):
            if all(group[name] == value for name, value in self.shown_runs.items()):
                return place
        return None


def plain(value: Any) -> Any:
    """Return a value as JSON has it: numbers to the digits of the page, not-a-numbers as None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
    return value
