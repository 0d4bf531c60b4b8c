"""What results show: numbers that a rule picks, and nothing beyond them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from biocache.engine.report.figure import Table

__all__ = ["Finding", "Findings", "interval"]


@dataclass(frozen=True)
class Finding:
    """A value that the rule picked.

    Attributes
    ----------
    cells
        Where it is, and what: titles and texts or numbers.
    figure
        Name of the figure that shows it.
    """

    cells: dict[str, Any]
    figure: str


@dataclass(frozen=True)
class Findings:
    """Values that one rule picked.

    Attributes
    ----------
    title, rule
        What they are of, and how they were picked.
    rows
        The values.
    """

    title: str
    rule: str
    rows: Sequence[Finding]

    @property
    def table(self) -> Table:
        """The values as a table."""
        return Table.of([row.cells for row in self.rows])


def interval(low: float | None, high: float | None) -> str | None:
    """Write an interval; None where there is none."""
    return None if low is None or high is None or low != low else f"{low:.3f} to {high:.3f}"
