"""Figures as files, and grids of panels."""

from pathlib import Path
from typing import TYPE_CHECKING

from biocache.engine.exporting import check_distinct, check_export, check_target, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_figure", "check_places", "new_figure", "new_panels", "save_figure"]

_SUFFIXES = (".png", ".svg", ".pdf")
_DOTS_PER_INCH = 150


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
        check_export(output)
    for plot in filter(None, plots):
        check_figure(plot)
    check_distinct((output, *plots))


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches, without a window or global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def new_panels(
    count: int, columns: int, size: tuple[float, float], margin: tuple[float, float], *, sharey: bool = False
) -> "tuple[Figure, list[Axes]]":
    """Return an empty figure with a grid of panels, row by row.

    Parameters
    ----------
    count
        Number of panels.
    columns
        Maximum number of panels in a row.
    size, margin
        Width and height, in inches, of a panel and of what the figure adds.
    sharey
        Whether the panels have one y axis.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(size[0] * columns + margin[0], size[1] * rows + margin[1])
    grid = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
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
    with replacing(path) as made:
        # Without a date, the same figure is the same file.
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
        figure.savefig(made, dpi=_DOTS_PER_INCH, metadata=metadata)
