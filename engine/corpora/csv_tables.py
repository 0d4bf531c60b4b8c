"""Files of comma- or tab-separated values, with a header or without."""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn

from biocache.engine.corpora.lines import read_lines
from biocache.engine.corpora.table import GROUP, Table, normalised
from biocache.engine.corpora.task import Place
from biocache.store.errors import DataError
from biocache.store.text import counted, shown

__all__ = ["open_csv"]

_DOCUMENT = "###"
_DELIMITERS = ",;\t|"
_HEAD = 200
_NAME = re.compile(r"[^\W\d][\w.-]*")


@dataclass(frozen=True, slots=True)
class _Dialect:
    """How a file is written."""

    delimiter: str
    quoted: bool

    @property
    def options(self) -> Mapping[str, object]:
        """Options of `csv.reader`."""
        quoting = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
        return {"delimiter": self.delimiter, "quoting": quoting, "strict": True}


def open_csv(path: Path, names: frozenset[str], *, tabs: bool) -> Table:
    """Return the rows of a file of separated values as a table.

    The first row is a header where one of its cells is the name of a known column, or where it is of names and the
    rows below it have texts; then columns have names that only a user can tell. Quotation marks are read as quotes
    in a file of commas; in a file of tabs, only where all are in pairs around whole cells, because many such files
    are written without quoting. Lines ``###ID``, as PubMed RCT has them, begin a document.

    Parameters
    ----------
    path
        The file.
    names
        Names of columns, as `normalised` gives them, by which a header is known.
    tabs
        Whether tabs separate the cells; otherwise the one of ``, ; |`` and the tab that the first line has most of.

    Raises
    ------
    DataError
        If the file cannot be read; and while rows are read, if one has another number of cells or a quote is not
        closed.
    """
    first = next((line for line in read_lines(path) if line.strip() and not line.startswith(_DOCUMENT)), "")
    delimiter = "\t" if tabs else max(_DELIMITERS, key=first.count)
    dialect = _Dialect(delimiter, quoted=not tabs or _is_quoted(path))
    head = [tuple(cells) for _, _, cells in islice(_rows(path, dialect), _HEAD)]
    count = len(head[0]) if head else 0
    header = bool(head) and (_is_header(head[0], names) or _looks_like_header(head))
    columns = tuple(cell.strip() for cell in head[0]) if header else tuple(str(at) for at in range(1, count + 1))
    if header:
        columns = _repaired(path, columns)
    source = f"{path}:"

    def rows(wanted: Sequence[str]) -> Iterator[tuple[Place, Sequence[object]]]:
        positions = [None if name == GROUP else columns.index(name) for name in wanted]
        for number, document, cells in islice(_rows(path, dialect), int(header), None):
            if len(cells) != count:
                _refuse_length(path, number, cells, count, header)
            yield Place(source, number), [document if at is None else cells[at] for at in positions]

    grouped = any(document is not None for _, document, _ in islice(_rows(path, dialect), 1))
    unquoted = tabs and not dialect.quoted and any(cell.startswith('"') for cells in head for cell in cells)
    remarks = ("quotation marks are part of the text, because not all are in pairs",) if unquoted else ()
    return Table(
        f"{path}:1",
        (*columns, GROUP) if grouped else columns,
        rows,
        head=() if header else tuple(head),
        fixed={"group": GROUP} if grouped else {},
        remarks=remarks,
    )


def _rows(path: Path, dialect: _Dialect) -> Iterator[tuple[int, str | None, list[str]]]:
    """Yield the first line, the document and the cells of each row that is not empty."""
    document: str | None = None
    number = 1
    state: dict[str, str | None] = {}

    def lines() -> Iterator[str]:
        for line in read_lines(path):
            if line.startswith(_DOCUMENT) and dialect.delimiter not in line:
                state["document"] = line[len(_DOCUMENT) :].strip() or None
                yield "\n"
            else:
                yield line

    reader = csv.reader(lines(), **dialect.options)  # type: ignore[arg-type]
    with _long_fields():
        try:
            for cells in reader:
                document = state.get("document")
                if any(cells):
                    yield number, document, cells
                number = reader.line_num + 1
        except csv.Error as error:
            problem = str(error).replace("unexpected end of data", "a quotation mark is not closed")
            raise DataError(f"{path}:{number}: {problem}; correct the row, or save the file as JSON lines") from None


@contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _is_quoted(path: Path) -> bool:
    """Return whether all quotation marks of a file of tabs are in pairs around whole cells."""
    counts = set()
    try:
        for _, _, cells in _rows(path, _Dialect("\t", quoted=True)):
            counts.add(len(cells))
            if len(counts) > 1:
                return False
    except DataError:
        return False
    return True


def _is_header(cells: Sequence[str], names: frozenset[str]) -> bool:
    known = [normalised(cell) in names or cell.strip() in names for cell in cells]
    return any(known) and all(len(cell) < 60 for cell in cells)


def _looks_like_header(head: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row is of names, and each column below it that has texts begins with a name."""
    first, rows = head[0], [row for row in head[1:] if len(row) == len(head[0])]
    if len(first) < 2 or not rows or len({*first}) < len(first):
        return False
    if not all(_NAME.fullmatch(cell.strip()) for cell in first):
        return False
    # Some text is a single word, such as "Yes".
    return any(sum(" " in row[at].strip() for row in rows) * 2 >= len(rows) for at in range(len(first)))


def _repaired(path: Path, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of columns; an empty one, as pandas writes it for its index, is its number."""
    named = tuple(name or str(at) for at, name in enumerate(columns, start=1))
    repeated = next((name for name, count in Counter(named).items() if count > 1), None)
    if repeated is not None:
        raise DataError(f"{path}:1: two columns are named {shown(repeated)}; rename one of them")
    return named


def _refuse_length(path: Path, number: int, cells: Sequence[str], count: int, header: bool) -> NoReturn:
    whose = "the header" if header else "the first row"
    raise DataError(f"{path}:{number}: {counted(len(cells), 'cell')}, and {whose} has {count}; give all rows as many")
