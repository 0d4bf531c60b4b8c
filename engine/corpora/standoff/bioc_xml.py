"""BioC documents in XML, with the line of every element."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from biocache.engine.corpora.lines import open_bytes, refuse_unreadable
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["Element", "xml_documents"]

# Name of an element that may come several times, to the name of their list, as in BioC JSON.
_LISTS = {
    "passage": "passages",
    "sentence": "sentences",
    "annotation": "annotations",
    "relation": "relations",
    "location": "locations",
}
_TEXTS = ("id", "offset", "text")
_CHUNK = 1 << 20


class Element(dict[str, object]):
    """The fields of an element of BioC, named as in BioC JSON.

    Attributes
    ----------
    line
        Line of the file on which it begins.
    text_line
        Line on which its text begins.
    """

    def __init__(self, line: int, attributes: dict[str, str]) -> None:
        super().__init__(attributes)
        self.line = self.text_line = line


def xml_documents(path: Path) -> Iterator[tuple[int, Element]]:
    """Yield the line and the fields of every document of a file of BioC XML, one in memory at a time.

    Parameters
    ----------
    path
        The file. Its DTD is not read: entities that are defined elsewhere are refused.

    Raises
    ------
    DataError
        If the file cannot be read, is not XML, or is not a collection of documents.
    """
    tree = _Tree(path)
    try:
        with open_bytes(path) as file:
            while chunk := file.read(_CHUNK):
                yield from tree.read(chunk)
            yield from tree.read(b"", last=True)
    except (OSError, EOFError, zlib.error) as error:
        refuse_unreadable(path, tree.line, error)


class _Tree:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._parser: Any = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.SkippedEntityHandler = self._entity
        self._open: list[tuple[str, Element]] = []
        self._written: list[str] = []
        self._documents: list[tuple[int, Element]] = []

    @property
    def line(self) -> int:
        """The line that is being read."""
        return int(self._parser.CurrentLineNumber)

    def read(self, data: bytes, *, last: bool = False) -> list[tuple[int, Element]]:
        """Parse more of the file; return the documents that are complete."""
        try:
            self._parser.Parse(data, last)
        except expat.ExpatError as error:
            problem = f"not XML ({expat.ErrorString(error.code)})"
            raise DataError(f"{self._path}:{error.lineno}: {problem}; correct the file, or export it again") from None
        except DataError:
            raise
        # An encoding that expat or Python does not know.
        except (LookupError, ValueError) as error:
            raise DataError(f"{self._path}:1: not XML ({error}); save the file as UTF-8") from None
        done, self._documents = self._documents, []
        return done

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        line = self.line
        if not self._open and tag != "collection":
            problem = f"the element {shown(tag)} is no collection of BioC"
            raise DataError(f"{self._path}:{line}: {problem}; pass BioC XML, or another format under its own ending")
        if self._open and self._open[-1][0] in (*_TEXTS, "infon"):
            problem = f"the element {shown(tag)} within {shown(self._open[-1][0])}, which holds text only"
            raise DataError(f"{self._path}:{line}: {problem}; remove the element, or write its < as &lt;")
        self._open.append((tag, Element(line, attributes)))
        self._written.clear()

    def _end(self, tag: str) -> None:
        _, element = self._open.pop()
        written = "".join(self._written)
        self._written.clear()
        if not self._open:
            return
        parent = self._open[-1][1]
        if tag == "document":
            self._documents.append((element.line, element))
        elif tag in _LISTS:
            items = parent.setdefault(_LISTS[tag], [])
            if isinstance(items, list):
                items.append(element)
        elif tag == "infon":
            infons = parent.setdefault("infons", {})
            if isinstance(infons, dict):
                infons[element.get("key")] = written
        elif tag in _TEXTS:
            parent[tag] = written
            if tag == "text":
                parent.text_line = element.line

    def _characters(self, data: str) -> None:
        self._written.append(data)

    def _entity(self, name: str, _is_parameter: bool) -> None:
        line, problem = self.line, f"the entity &{name}; is defined in another file"
        raise DataError(f"{self._path}:{line}: {problem}; write the character itself")
