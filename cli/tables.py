"""Tables that fit a terminal: whole where there is room, else fewer columns, or one block a row."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

__all__ = ["Styled", "field_lines", "table_lines"]

_GAP = 2
_INDENT = "  "
# Leading columns that may become headings of blocks.
_MOST_HEADINGS = 3
# A line may end after these: a space, and inside of paths and lists.
_PIECE = re.compile(r"[^\s/,]*(?:[/,]|\s+|$)")


@dataclass(frozen=True, slots=True)
class Styled:
    """A line of a table, and whether it is a title or a heading.

    Attributes
    ----------
    text
        The line.
    bold
        Whether it is one.
    """

    text: str
    bold: bool = False


@dataclass(frozen=True, slots=True)
class _Table:
    """Columns of cells.

    Attributes
    ----------
    titles
        Title of each column.
    rows
        Cells of each row.
    right
        Whether the cells of a column stand on the right.
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]

    def only(self, columns: Sequence[int], rows: Sequence[int] | None = None) -> "_Table":
        taken = range(len(self.rows)) if rows is None else rows
        return _Table(
            tuple(self.titles[column] for column in columns),
            tuple(tuple(self.rows[row][column] for column in columns) for row in taken),
            tuple(self.right[column] for column in columns),
        )

    def blocks(self, count: int) -> list[list[int]]:
        """Return runs of rows whose first cells, so many, are the same."""
        return [list(block) for _, block in groupby(range(len(self.rows)), lambda row: self.rows[row][:count])]

    @property
    def widths(self) -> list[int]:
        return [
            max(_length(title), *(_length(row[column]) for row in self.rows)) if self.rows else _length(title)
            for column, title in enumerate(self.titles)
        ]

    @property
    def width(self) -> int:
        return sum(self.widths) + _GAP * (len(self.titles) - 1)

    def lines(self) -> Iterator[Styled]:
        widths = self.widths
        yield Styled(self._line(self.titles, widths), bold=True)
        for row in self.rows:
            yield Styled(self._line(row, widths))

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        filled = (
            " " * (width - _length(cell)) + cell if right else cell + " " * (width - _length(cell))
            for cell, width, right in zip(cells, widths, self.right, strict=True)
        )
        return (" " * _GAP).join(filled).rstrip()


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines at spaces, and after ``/`` and ``,``; a longer word has a line of its own."""
    lines = [""]
    for piece in filter(None, _PIECE.findall(text)):
        if lines[-1] and _length(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


def _length(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def table_lines(
    titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], width: int | None
) -> Iterator[Styled]:
    """Lay out a table. No cell is cut, nor broken inside a word.

    What is too wide is made narrower by the first of these that suffices: columns with one value in all rows become a
    line above; leading columns become headings of blocks; the others stand in several tables one below the other, the
    first column again in each; every row becomes a block of lines, one a cell.

    Parameters
    ----------
    titles
        Titles of the columns.
    rows
        Cells of each row.
    right
        Whether the cells of a column stand on the right.
    width
        Columns of the terminal; None for a table that is as wide as it is.
    """
    table = _Table(tuple(titles), tuple(map(tuple, rows)), tuple(right))
    if width is None or table.width <= width:
        yield from table.lines()
        return
    if len(table.rows) > 1:
        constant = [at for at in range(1, len(titles)) if len({row[at] for row in table.rows}) == 1]
        if constant and len(constant) < len(titles):
            yield from _heading(table, table.rows[0], constant, width)
            yield Styled("")
            table = table.only([at for at in range(len(titles)) if at not in constant])
        if table.width <= width:
            yield from table.lines()
            return
    yield from _narrowed(table, width)


def _narrowed(table: _Table, width: int) -> Iterator[Styled]:
    """Lay out a table of which no column is the same in all rows."""
    for count in range(1, min(_MOST_HEADINGS, len(table.titles) - 1) + 1):
        blocks = table.blocks(count)
        if 2 * len(blocks) > len(table.rows):
            break
        rest = range(count, len(table.titles))
        if table.only(rest).width <= width:
            yield from _blocks(table, blocks, count, width, lambda block: block.lines())
            return
    for count in range(_MOST_HEADINGS):
        blocks = table.blocks(count)
        rest = range(count, len(table.titles))
        if len(rest) < 2 or (count and 2 * len(blocks) > len(table.rows)):
            break
        if _splits(table.only(rest), width):
            yield from _blocks(table, blocks, count, width, lambda block: _split(block, width))
            return
    for place, row in enumerate(table.rows):
        if place:
            yield Styled("")
        yield from _heading(table, row, [0], width)
        cells = [(f"{_INDENT}{title}", cell) for title, cell in zip(table.titles[1:], row[1:], strict=True)]
        yield from field_lines(cells, width)


def _blocks(
    table: _Table, blocks: list[list[int]], count: int, width: int, lines: Callable[[_Table], Iterator[Styled]]
) -> Iterator[Styled]:
    """Lay out blocks of rows, below headings of the first columns."""
    for place, block in enumerate(blocks):
        if place:
            yield Styled("")
        yield from _heading(table, table.rows[block[0]], range(count), width)
        yield from lines(table.only(range(count, len(table.titles)), block))


def _splits(table: _Table, width: int) -> bool:
    """Return whether every column fits beside the first, which is not most of the width."""
    first, *others = table.widths
    return 2 * first <= width and all(first + _GAP + other <= width for other in others)


def _split(table: _Table, width: int) -> Iterator[Styled]:
    """Lay out several tables of the same rows, each with the first column."""
    widths = table.widths
    parts: list[list[int]] = [[0]]
    for column in range(1, len(widths)):
        if sum(widths[at] + _GAP for at in parts[-1]) + widths[column] > width:
            parts.append([0])
        parts[-1].append(column)
    for place, columns in enumerate(parts):
        if place:
            yield Styled("")
        yield from table.only(columns).lines()


def _heading(table: _Table, row: Sequence[str], columns: Sequence[int], width: int) -> Iterator[Styled]:
    """Write the cells of some columns as a line: ``model biogpt, seed 42``; the first column's, alone, as it is."""
    if not columns:
        return
    parts = [f"{table.titles[at]} {row[at]}".strip() for at in columns if row[at]]
    text = row[0] if list(columns) == [0] and "/" in row[0] else ", ".join(parts)
    for line in wrapped(text, width):
        yield Styled(line, bold=True)


def field_lines(fields: Sequence[tuple[str, str]], width: int | None) -> Iterator[Styled]:
    """Lay out names and values, a line each; a field without a value is a heading, a long value goes on below itself.

    Parameters
    ----------
    fields
        The names and values.
    width
        Columns of the terminal; None to wrap nothing.
    """
    column = max((_length(name) for name, value in fields if value), default=0) + _GAP
    for name, value in fields:
        if not value:
            yield Styled(name, bold=True)
            continue
        beside, lines = column, [value] if width is None else wrapped(value, max(width - column, 1))
        if width is not None and any(column + _length(line) > width for line in lines):
            # Below its name there is more room.
            yield from (Styled(line) for line in wrapped(name, width))
            name, beside = "", 2 * len(_INDENT)
            lines = wrapped(value, width - beside)
        for place, line in enumerate(lines):
            start = "" if place else name
            yield Styled((start + " " * (beside - _length(start)) + line).rstrip())
