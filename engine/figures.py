"""Figures as files, ready for print, and grids of panels."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biocache.engine.exporting import check_distinct, check_export, check_target, replacing
from biocache.engine.tables import TABLES
from biocache.store.errors import SettingError
from biocache.store.text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "SMALL",
    "TEXT",
    "check_figure",
    "check_places",
    "drawing",
    "figure_width",
    "new_figure",
    "new_panels",
    "parse_width",
    "save_figure",
]

_SUFFIXES = (".png", ".svg", ".pdf")
# What journals ask of pictures with lines and text.
_DOTS_PER_INCH = 300
# Inches of one and of two columns of a page.
_WIDTHS = {"single": 3.3, "double": 6.3}
_LEAST_WIDTH, _MOST_WIDTH = 2.0, 40.0
# Points of text: titles and labels, and what stands in cells and at ticks. No journal takes less than 6.
TEXT, SMALL = 7.5, 6.5

_STYLE: Any = {
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "figure.titlesize": TEXT + 1,
    "legend.fontsize": SMALL,
    # Long enough to show the dash of a line.
    "legend.handlelength": 3.4,
    "legend.title_fontsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    # TrueType: printers refuse Type 3, and text in it cannot be searched or changed.
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
}
_WIDTH: ContextVar[float] = ContextVar("biocache.figure-width", default=_WIDTHS["double"])


def parse_width(text: str) -> float:
    """Return the inches of a width: ``single``, ``double``, or a number.

    Raises
    ------
    SettingError
        If it is none of these, or is not between 2 and 40 inches.
    """
    if text in _WIDTHS:
        return _WIDTHS[text]
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not _LEAST_WIDTH <= width <= _MOST_WIDTH:
        raise SettingError(
            f"--plot-width {shown(text)} is not single ({_WIDTHS['single']} in), double ({_WIDTHS['double']} in), or "
            f"inches from {_LEAST_WIDTH:g} to {_MOST_WIDTH:g}"
        )
    return width


@contextmanager
def drawing(width: float | None = None) -> Iterator[None]:
    """Let figures that are drawn and saved in the context have a width, and the sizes of text that print needs.

    Parameters
    ----------
    width
        Inches; None for those of two columns.
    """
    from matplotlib import rc_context

    before = _WIDTH.set(_WIDTHS["double"] if width is None else width)
    try:
        with rc_context(_STYLE):
            yield
    finally:
        _WIDTH.reset(before)


def figure_width() -> float:
    """Return the inches of the width that figures have here; see `drawing`."""
    return _WIDTH.get()


def check_figure(path: Path) -> None:
    """Refuse a path that `save_figure` cannot write, before anything is computed; see `check_target`."""
    check_target(path, _SUFFIXES, "plot")


def check_places(output: Path | None, *plots: Path | None) -> None:
    """Refuse output paths before anything is computed; see `check_target`.

    Parameters
    ----------
    output
        Path of the table; None for no table.
    plots
        Paths of figures; None for no figure.

    Raises
    ------
    SettingError
        If one of them cannot be written, or two lead to one place.
    """
    if output is not None:
        check_export(output, TABLES)
    for plot in filter(None, plots):
        check_figure(plot)
    check_distinct((output, *plots))


def new_figure(height: float) -> "Figure":
    """Return an empty figure of the width of the context and a height in inches, without a window or global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(figure_width(), height), layout="constrained")


def new_panels(
    count: int, *, least: float, height: float, margin: tuple[float, float], most: int = 8, **shared: Any
) -> "tuple[Figure, list[Axes]]":
    """Return an empty figure with a grid of panels, row by row: as many in a row as have room.

    Parameters
    ----------
    count
        Number of panels.
    least
        Smallest width of a panel, in inches.
    height
        Height of a panel, in inches.
    margin
        Width and height, in inches, of what the figure adds.
    most
        Most panels in a row.
    **shared
        ``sharex`` and ``sharey`` of Matplotlib.
    """
    room = int((figure_width() - margin[0]) // least)
    columns = max(1, min(room, most, count))
    rows = -(-count // columns)
    # Rows of equal numbers, where the last would be short.
    columns = -(-count // rows)
    figure = new_figure(height * rows + margin[1])
    grid = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, grid[:count]


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure in the format of the suffix. The file appears whole.

    Raises
    ------
    SettingError
        As `check_figure`.
    ResourceError
        If it cannot be written.
    """
    check_figure(path)
    with drawing(figure_width()), replacing(path) as made:
        # Without a date, the same figure is the same file.
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
        figure.savefig(made, dpi=_DOTS_PER_INCH, metadata=metadata)
