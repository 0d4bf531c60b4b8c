"""The colours of figures, on paper and on the page: one palette for both.

Lines have a contrast of at least 3 : 1 on white and on the page's dark ground, which WCAG asks of graphics [1]_, hues
that the colour-blind tell apart (after Okabe and Ito [2]_), and a marker and a dash of their own, seen in grey too.
Heat maps of what is similar, of what differs, of what changed and of amounts have maps of their own, so that no colour
means two things. All are perceptually uniform [3]_ but that of changes, which has two hues from a white middle.

References
----------
.. [1] W3C, "Web content accessibility guidelines 2.2", criterion 1.4.11. https://www.w3.org/TR/WCAG22/
.. [2] M. Okabe and K. Ito, "Color universal design", 2008. https://jfly.uni-koeln.de/color/
.. [3] J. R. Nunez, C. R. Anderton and R. S. Renslow, "Optimizing colormaps with consideration for color vision
   deficiency", PLoS ONE 13(7), 2018. https://doi.org/10.1371/journal.pone.0199239
"""

from dataclasses import dataclass
from typing import Any

__all__ = ["AMOUNT", "CHANGE", "DIFFERENCE", "GREY", "SIMILARITY", "Colors", "LineStyle", "ink_on", "line_style"]

#: Matplotlib's names of the colour maps of similarities, of divergences and distances, of signed changes, and of
#: amounts of one run.
SIMILARITY, DIFFERENCE, CHANGE, AMOUNT = "cividis", "plasma_r", "PuOr", "viridis"
#: Baselines, and what is not of the comparison.
GREY = "#7c8189"


@dataclass(frozen=True, slots=True)
class LineStyle:
    """How a curve is drawn.

    Attributes
    ----------
    color
        Of the line and its markers.
    marker, page_marker
        Of its points: Matplotlib's and Bokeh's name.
    dash
        Lengths of strokes and gaps, in line widths on paper and in pixels on the page; empty for a whole line.
    """

    color: str
    marker: str
    page_marker: str
    dash: tuple[int, ...] = ()


_LINES = (
    LineStyle("#0072b2", "o", "circle"),
    LineStyle("#d55e00", "s", "square", (7, 2)),
    LineStyle("#008f68", "^", "triangle", (4, 2)),
    LineStyle("#b8609a", "D", "diamond", (7, 2, 2, 2)),
    LineStyle("#8f7100", "v", "inverted_triangle", (4, 2, 2, 2)),
    LineStyle("#6a74c9", "h", "hex", (2, 2)),
)


def line_style(place: int) -> LineStyle:
    """Return how the curve at a place, from 0, is drawn; after the sixth they begin again."""
    return _LINES[place % len(_LINES)]


def ink_on(color: Any) -> str:
    """Return black or white, whichever has more contrast [1]_ on a colour: red, green and blue, in [0, 1]."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Equal contrasts: (1 + 0.05) / (L + 0.05) = (L + 0.05) / 0.05.
    return "black" if luminance > 0.179 else "white"


@dataclass(frozen=True, slots=True)
class Colors:
    """The colours of a heat map.

    Attributes
    ----------
    low, high
        Values of the first and the last colour.
    map
        Matplotlib's name of the colour map.
    """

    low: float
    high: float
    map: str
