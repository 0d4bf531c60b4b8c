"""BioC documents in JSON, each with the line where it begins."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from biocache.engine.corpora.standoff.texts import read_text
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["json_documents"]

#: Names of the list of documents: BioC's, and that of PubTator 3's exports.
_LISTS = ("documents", "PubTator3")
_SPACE = re.compile(r"[ \t\r\n]*")


def json_documents(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the line and the fields of every document of a file of BioC JSON.

    Parameters
    ----------
    path
        A file of one or more JSON values, such as one a line. Each is a collection, a document, or a list of these.

    Raises
    ------
    DataError
        If the file cannot be read or is not JSON, or if a document is no object.
    """
    text = read_text(path)
    line, counted = 1, 0
    try:
        for start, value in _Scanner(text).documents():
            line, counted = line + text.count("\n", counted, start), start
            if not isinstance(value, dict):
                raise DataError(f"{path}:{line}: {shown(value)} is no document of BioC; write objects")
            yield line, value
    except DataError:
        raise
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg})"
        raise DataError(f"{path}:{error.lineno}: {problem}; correct the file, or export it again") from None
    # Too many digits in a number, or brackets within brackets.
    except (ValueError, RecursionError) as error:
        problem = "nested too deep" if isinstance(error, RecursionError) else "a number has too many digits"
        raise DataError(f"{path}:{line}: not BioC: {problem}; correct the file, or export it again") from None


class _Scanner:
    """Finds documents in JSON with their positions, which the standard library does not give."""

    def __init__(self, text: str) -> None:
        self._text, self._decoder = text, json.JSONDecoder()

    def documents(self) -> Iterator[tuple[int, Any]]:
        position = self._space(0)
        while position < len(self._text):
            position = yield from self._value(position)
            position = self._space(position)

    def _value(self, start: int) -> Any:
        """Yield the documents of the value at a position; return the position behind it."""
        if self._text.startswith("[", start):
            return (yield from self._list(start))
        if not self._text.startswith("{", start):
            value, end = self._decoder.raw_decode(self._text, start)
            yield start, value
            return end
        fields: dict[str, object] = {}
        collection = False
        position = first = self._space(start + 1)
        while not self._text.startswith("}", position):
            if position > first:
                position = self._expect(",", position)
            key, position = self._decoder.raw_decode(self._text, position)
            position = self._expect(":", position)
            if str(key) in _LISTS and self._text.startswith("[", position):
                collection = True
                position = yield from self._list(position)
            elif isinstance(key, str):
                fields[key], position = self._decoder.raw_decode(self._text, position)
            else:
                raise json.JSONDecodeError("Expecting property name", self._text, position)
            position = self._space(position)
        if not collection:
            yield start, fields
        return position + 1

    def _list(self, start: int) -> Any:
        position = self._space(start + 1)
        if self._text.startswith("]", position):
            return position + 1
        while True:
            position = self._space((yield from self._value(position)))
            if self._text.startswith("]", position):
                return position + 1
            position = self._expect(",", position)

    def _expect(self, character: str, position: int) -> int:
        position = self._space(position)
        if not self._text.startswith(character, position):
            raise json.JSONDecodeError(f"Expecting '{character}'", self._text, position)
        return self._space(position + 1)

    def _space(self, position: int) -> int:
        found = _SPACE.match(self._text, position)
        return found.end() if found else position
