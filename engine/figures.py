"""Figures as files; what is drawn is said beside what it shows."""

from pathlib import Path
from typing import TYPE_CHECKING

from biocache.engine.exporting import check_distinct, check_export, check_target, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_figure", "check_places", "new_figure", "save_figure"]

_SUFFIXES = (".png", ".svg", ".pdf")
_DOTS_PER_INCH = 150


def check_figure(path: Path) -> None:
    """Refuse a place that `save_figure` does not write to, before anything is computed for it; see `check_target`."""
    check_target(path, _SUFFIXES, "plot")


def check_places(output: Path | None, *plots: Path | None) -> None:
    """Refuse places of results before anything is computed for them; see `check_target`.

    Parameters
    ----------
    output
        Where a table is to be written; None for nowhere.
    plots
        Where figures are to be written.

    Raises
    ------
    SettingError
        If one of them is not written to, or two lead to one place.
    """
    if output is not None:
        check_export(output)
    for plot in filter(None, plots):
        check_figure(plot)
    check_distinct((output, *plots))


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches that no window and no global state knows of."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure, in the format that the suffix says. The file appears whole.

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
