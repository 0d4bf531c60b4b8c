"""JSON files: one object a line, or one document that holds the records."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from biocache.engine.corpora.lines import read_lines
from biocache.engine.corpora.table import MISSING, Table
from biocache.engine.corpora.task import Place
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["open_json"]

_SPACE = " \t\r\n"
# Questions of BioASQ whose answer is no class; those of the type yesno are read.
_OTHER_QUESTIONS = ("factoid", "list", "summary")

Record = dict[str, object]
_RECORD = msgspec.json.Decoder(Record)
_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])


def open_json(path: Path) -> Table:
    """Return the records of a JSON file as a table.

    Records are objects: one a line; or the items of the array that the file is; or those of the one array that the
    file's object holds, as in ``{"data": [...]}``; or the values of the file's object, whose keys are then the column
    ``id``.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    DataError
        If the file cannot be read, or a record is malformed.
    """
    by_line = _is_lines(path)
    notes: Counter[str] = Counter()

    def records() -> Iterator[tuple[int, Record]]:
        return _records_of_lines(path) if by_line else _Document(path).records()

    columns: dict[str, None] = {}
    for names in _names_of_lines(path) if by_line else (record for _, record in records()):
        if not names.keys() <= columns.keys():
            columns.update(dict.fromkeys(names))
    source = f"{path}:"

    def rows(wanted: Sequence[str]) -> Iterator[tuple[Place, Sequence[object]]]:
        notes.clear()
        for number, record in records():
            if "snippets" in record and record.get("type") in _OTHER_QUESTIONS:
                notes["other_questions"] += 1
            else:
                yield Place(source, number), [record.get(name, MISSING) for name in wanted]

    return Table(f"{path}:1", tuple(columns), rows, notes=notes)


def _is_lines(path: Path) -> bool:
    """Return whether a file has an object a line, as opposed to one JSON document; one object alone is a document."""
    filled = (line for line in read_lines(path) if line.strip())
    first, second = next(filled, ""), next(filled, "")
    try:
        return isinstance(json.loads(first), dict) and second != ""
    except (ValueError, RecursionError):
        # A line that is no object by itself: a document that begins there, or a malformed first line.
        return not first.lstrip().startswith(("{", "[")) or _is_record(second)


def _is_record(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict) and line.startswith("{")
    except (ValueError, RecursionError):
        return False


def _records_of_lines(path: Path) -> Iterator[tuple[int, Record]]:
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield number, _object(path, number, line)


def _names_of_lines(path: Path) -> Iterator[Mapping[str, object]]:
    """Yield the names of each record, whose values are not decoded where that is not needed."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            names: Mapping[str, object] | None = None
            with suppress(msgspec.DecodeError, RecursionError):
                names = _NAMES.decode(line)
            yield _object(path, number, line) if names is None else names


def _object(path: Path, number: int, line: str) -> Record:
    # Most lines are what msgspec takes, which is faster and stricter.
    with suppress(msgspec.DecodeError, RecursionError):
        return _RECORD.decode(line)
    line = line.rstrip("\r\n")
    try:
        value = json.loads(line)
    # ValueError also covers numbers with too many digits.
    except (ValueError, RecursionError):
        raise DataError(f"{path}:{number}: {shown(line)} is not JSON; write one object a line") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}:{number}: {shown(line)} is not a JSON object; write one object a line")
    return value


@dataclass(slots=True)
class _Cursor:
    """A position in a text, and its line."""

    at: int = 0
    line: int = 1


class _Document:
    """One JSON document, whose records are read one at a time, each with its line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = "".join(read_lines(path))
        self._decoder = json.JSONDecoder()
        self._cursor = _Cursor()

    def records(self) -> Iterator[tuple[int, Record]]:
        """Yield each record with the line that it begins on."""
        opening = self._next()
        if opening == "[":
            yield from self._items()
        elif opening == "{":
            yield from self._of_object()
        elif opening:
            self._refuse("is not a JSON object or array")
        self._end()

    def _of_object(self) -> Iterator[tuple[int, Record]]:
        """Yield the records that an object holds: see `open_json`."""
        begin = _Cursor(self._cursor.at, self._cursor.line)
        whole = self._value()
        if not isinstance(whole, dict):
            self._refuse("is not a JSON object")
        arrays = [name for name, value in whole.items() if isinstance(value, list) and _holds_objects(value)]
        by_id = bool(whole) and all(isinstance(value, dict) for value in whole.values())
        if not by_id and len(arrays) != 1:
            yield begin.line, whole
            return
        # The object is read again, its records by themselves, for their lines.
        wanted = arrays[0] if arrays and not by_id else None
        del whole
        self._cursor = begin
        self._skip("{")
        while self._next() != "}":
            name = self._value()
            self._skip(":")
            self._next()
            if wanted is None:
                line = self._cursor.line
                yield line, {"id": name, **self._record()}
            elif name == wanted:
                yield from self._items()
            else:
                self._value()
            if self._next() == ",":
                self._skip(",")
        self._skip("}")

    def _items(self) -> Iterator[tuple[int, Record]]:
        self._skip("[")
        while self._next() != "]":
            line = self._cursor.line
            yield line, self._record()
            if self._next() == ",":
                self._skip(",")
            elif self._next() != "]":
                self._refuse("is not a comma or the end of the array")
        self._skip("]")

    def _record(self) -> Record:
        begin = self._cursor.line
        value = self._value()
        if not isinstance(value, dict):
            problem = f"{shown(value)} is not a JSON object"
            raise DataError(f"{self._path}:{begin}: {problem}; give each record as an object")
        return value

    def _value(self) -> Any:
        """Read the value at the cursor."""
        self._next()
        try:
            value, end = self._decoder.raw_decode(self._text, self._cursor.at)
        except json.JSONDecodeError as error:
            line = self._cursor.line + self._text.count("\n", self._cursor.at, error.pos)
            where = self._text[error.pos : error.pos + 40].partition("\n")[0]
            problem = f"not JSON at {shown(where)} ({error.msg})" if where else f"not JSON: {error.msg} at its end"
            raise DataError(f"{self._path}:{line}: {problem}; correct it, or save the file again") from None
        except (ValueError, RecursionError):
            self._refuse("is not JSON that can be read")
        self._move(end)
        return value

    def _next(self) -> str:
        """Move to the next character that is no space, and return it; empty at the end."""
        end = self._cursor.at
        while end < len(self._text) and self._text[end] in _SPACE:
            end += 1
        self._move(end)
        return self._text[end : end + 1]

    def _skip(self, character: str) -> None:
        if self._next() != character:
            self._refuse(f"is not {character}")
        self._move(self._cursor.at + 1)

    def _move(self, end: int) -> None:
        self._cursor.line += self._text.count("\n", self._cursor.at, end)
        self._cursor.at = end

    def _end(self) -> None:
        if self._next():
            self._refuse("comes after the end of the JSON document")

    def _refuse(self, problem: str) -> NoReturn:
        line = self._text[self._cursor.at : self._cursor.at + 200].partition("\n")[0]
        advice = "write an array of objects, or one object a line"
        # Raised where another error is handled, too.
        raise DataError(f"{self._path}:{self._cursor.line}: {shown(line)} {problem}; {advice}") from None


def _holds_objects(values: list[object]) -> bool:
    return bool(values) and isinstance(values[0], dict)
