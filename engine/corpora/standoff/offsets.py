"""Positions in a text, counted in the units that tools of standoff corpora count in."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

__all__ = ["UNITS", "Layout", "Unit"]


@dataclass(frozen=True, slots=True)
class Unit:
    """What positions count.

    Attributes
    ----------
    name
        Its name, in notes.
    counts
        What it counts, in words.
    width
        Function of a character: how many units it is.
    """

    name: str
    counts: str
    width: Callable[[str], int]


#: The units, the most usual first: characters as Python has them; bytes of UTF-8 (tools in C, Perl or Python 2);
#: units of UTF-16 (tools in Java or JavaScript); and characters of a file whose line breaks were one character when it
#: was annotated and are two now, or the reverse.
UNITS = (
    Unit("characters", "characters", lambda _: 1),
    Unit("utf8_bytes", "bytes", lambda character: len(character.encode())),
    Unit("utf16_units", "units of UTF-16", lambda character: 1 + (character > "\uffff")),
    Unit("short_line_breaks", "a line break as one character", lambda character: int(character != "\r")),
    Unit("long_line_breaks", "a line break as two characters", lambda character: 1 + (character == "\n")),
)
_WIDTHS = {unit.name: unit.width for unit in UNITS[1:]}


class Layout:
    """The blocks of text of a document as one text, and the positions of the source in it.

    Parameters
    ----------
    texts
        The text of each block.
    offsets
        Position of each block's first character, as the source counts.

    Attributes
    ----------
    text
        The text of all blocks, with a line break between two.
    bases
        Position of each block's first character in the text.
    """

    def __init__(self, texts: Sequence[str], offsets: Sequence[int]) -> None:
        self.text = "\n".join(texts)
        self.bases = tuple(accumulate((len(text) + 1 for text in texts[:-1]), initial=0))
        self._texts, self._offsets = texts, offsets
        self._order = sorted(range(len(texts)), key=offsets.__getitem__)
        self._ordered = [offsets[index] for index in self._order]
        self._counted: dict[tuple[str, int], list[int]] = {}

    def located(self, start: int, end: int, unit: str, block: int | None) -> tuple[int, int] | None:
        """Return the positions in the text of two positions of the source.

        Parameters
        ----------
        start, end
            The positions, as the source counts; ``start <= end``.
        unit
            What it counts: a name in `UNITS`.
        block
            The block that should hold both; None, or where it does not hold both, the block of each is found by its
            offset.

        Returns
        -------
        tuple of int, or None
            None if a position is in no block or within a character.
        """
        if block is not None:
            inside = self._within(block, start, unit), self._within(block, end, unit)
            if inside[0] is not None and inside[1] is not None:
                return inside[0], inside[1]
        first = self._found(start, start, unit)
        # The end of a span belongs to the block of its last character.
        last = first if end == start else self._found(end - 1, end, unit)
        return (first, last) if first is not None and last is not None and first <= last else None

    def _found(self, inside: int, position: int, unit: str) -> int | None:
        """Return a position in the block that begins last before `inside`; its end, where only a gap is behind it."""
        index = bisect_right(self._ordered, inside) - 1
        if index < 0:
            return None
        block = self._order[index]
        found = self._within(block, position, unit)
        last = self._ends(block, unit)[-1] if unit in _WIDTHS else len(self._texts[block])
        if found is None and position - self._offsets[block] > last and index + 1 < len(self._order):
            return self.bases[block] + len(self._texts[block])
        return found

    def _within(self, block: int, position: int, unit: str) -> int | None:
        local, length = position - self._offsets[block], len(self._texts[block])
        if unit not in _WIDTHS:
            return self.bases[block] + local if 0 <= local <= length else None
        ends = self._ends(block, unit)
        index = bisect_left(ends, local)
        return self.bases[block] + index if index <= length and ends[index] == local else None

    def _ends(self, block: int, unit: str) -> list[int]:
        """Return the units before each character of a block, and of all of it."""
        if (unit, block) not in self._counted:
            self._counted[unit, block] = list(accumulate(map(_WIDTHS[unit], self._texts[block]), initial=0))
        return self._counted[unit, block]
