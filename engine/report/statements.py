"""Sentences of what results show: numbers that a rule picks, and nothing beyond them."""

from dataclasses import dataclass

__all__ = ["Statement", "bounds"]


@dataclass(frozen=True)
class Statement:
    """A sentence, and the figure whose numbers it says.

    Attributes
    ----------
    text
        The sentence.
    figure
        Name of the figure.
    """

    text: str
    figure: str


def bounds(low: float | None, high: float | None) -> str:
    """Write an interval after its value; nothing where there is none."""
    return "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
