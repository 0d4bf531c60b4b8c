"""Figures as files; what is drawn is said beside what it shows."""

from pathlib import Path
from typing import TYPE_CHECKING

from biocache.engine.exporting import check_target, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_figure", "new_figure", "save_figure"]

_SUFFIXES = (".png", ".svg", ".pdf")
_DOTS_PER_INCH = 150


def check_figure(path: Path) -> None:
    """Refuse a file that `save_figure` cannot write, before anything is computed for it.

    Raises
    ------
    SettingError
        If the suffix is not ``.png``, ``.svg`` or ``.pdf``, or the folder does not exist.
    """
    check_target(path, _SUFFIXES, "plot")


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
    with replacing(path) as scratch:
        # Without a date, the same figure is the same file.
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
        figure.savefig(scratch, dpi=_DOTS_PER_INCH, metadata=metadata)
