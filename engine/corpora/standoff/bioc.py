"""BioC: documents of passages with annotations, as XML or JSON."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from biocache.engine.corpora.standoff.bioc_json import json_documents
from biocache.engine.corpora.standoff.bioc_xml import Element, xml_documents
from biocache.engine.corpora.standoff.documents import Block, Document, Mention, Passage, assembled, whole_number
from biocache.engine.corpora.standoff.texts import beginning
from biocache.engine.corpora.task import Place
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["bioc_documents", "looks_like_bioc"]

_XML = re.compile(r"\s*(?:<[?!][^>]*>\s*)*<collection\b")
_JSON = re.compile(r'\s*[{\[].*"(?:documents|passages|PubTator3)"\s*:\s*\[', re.DOTALL)


def looks_like_bioc(path: Path) -> bool:
    """Return whether a file begins as a BioC collection in XML, or as BioC documents in JSON."""
    text = beginning(path)
    return bool(_XML.match(text) or _JSON.match(text))


def bioc_documents(path: Path, notes: Counter[str]) -> Iterator[Document]:
    """Yield the documents of a BioC collection.

    Parameters
    ----------
    path
        A file of BioC XML; or of BioC JSON, with the documents of a collection or as PubTator exports them, in a list,
        or one a line. Sentences that the file gives are kept; other passages are split. Positions count from the
        beginning of the document, and so do the offsets of passages and sentences.
    notes
        Where annotations without a location are counted, as ``skipped_annotations_without_location``, and relations, as
        ``skipped_relations``. Annotations of several locations are spans of several parts.

    Raises
    ------
    DataError
        If the file cannot be read, is not XML or JSON, holds no document, or if a document, passage, sentence or
        annotation lacks what BioC asks of it.
    """
    read = xml_documents if beginning(path).lstrip().startswith("<") else json_documents
    empty = True
    for line, fields in read(path):
        yield _Reader(path, line, notes).document(fields)
        empty = False
    if empty:
        raise DataError(f"{path}:1: no document in this collection; give it at least one")


class _Reader:
    """Reads one document, as the elements of XML or the objects of JSON."""

    def __init__(self, path: Path, line: int, notes: Counter[str]) -> None:
        self._source, self._line, self._notes = f"{path}:", line, notes
        self._blocks: list[Block] = []
        self._mentions: list[Mention] = []

    def document(self, fields: Mapping[str, object]) -> Document:
        for passage in self._items(fields, "passages"):
            self._read_passage(passage)
        self._read_annotations(fields, None)
        place = self._place(fields)
        name = fields.get("id")
        name = str(name) if isinstance(name, int) else name
        if not isinstance(name, str):
            raise DataError(f"{place.at()}: the document's id is {shown(name)}, not text; give every document one")
        return assembled(name, self._blocks, self._mentions, place)

    def _read_passage(self, passage: Mapping[str, object]) -> None:
        sentences = self._items(passage, "sentences")
        text, own = self._text(passage), [self._text(sentence) for sentence in sentences]
        given = "".join("".join(own).split())
        if given and given == "".join((text or given).split()):
            for sentence, written in zip(sentences, own, strict=True):
                self._read_annotations(sentence, self._add_block(sentence, written, whole=True))
            self._read_annotations(passage, None)
        else:
            block = self._add_block(passage, text, whole=False)
            for part in (passage, *sentences):
                self._read_annotations(part, block)

    def _add_block(self, part: Mapping[str, object], text: str, *, whole: bool) -> int | None:
        """Add the text of a passage or sentence; return the block's index, or None where there is no text."""
        if not text:
            return None
        offset = whole_number(part.get("offset"))
        if offset is None:
            kind, problem = "sentence" if whole else "passage", f"offset {shown(part.get('offset'))} is no whole number"
            raise DataError(f"{self._place(part).at()}: {problem}; give every {kind} the position of its text")
        # Line breaks of a text in XML are those of the file; in JSON they are escaped.
        place = Place(self._source, part.text_line) if isinstance(part, Element) else self._place(part)
        lines = isinstance(part, Element)
        self._blocks.append(Block(offset, text, (Passage(0, len(text), place, lines, whole),)))
        return len(self._blocks) - 1

    def _read_annotations(self, part: Mapping[str, object], block: int | None) -> None:
        self._notes["skipped_relations"] += len(self._items(part, "relations"))
        for annotation in self._items(part, "annotations"):
            place, infons = self._place(annotation), annotation.get("infons")
            kind = infons.get("type") if isinstance(infons, Mapping) else None
            name, text = str(annotation.get("id") or ""), annotation.get("text")
            if not isinstance(kind, str) or not kind.strip():
                problem = f"annotation {shown(name)} has no type"
                raise DataError(f"{place.at()}: {problem}; give it an infon with the key type")
            if text is not None and not isinstance(text, str):
                problem = f"annotation {shown(name)} has {shown(text)} for its text"
                raise DataError(f"{place.at()}: {problem}; write what is annotated, or leave it out")
            fragments = tuple(self._fragment(location) for location in self._items(annotation, "locations"))
            self._notes["skipped_annotations_without_location"] += not fragments
            if fragments:
                self._mentions.append(Mention(name, kind, fragments, text, place, block))

    def _fragment(self, location: Mapping[str, object]) -> tuple[int, int]:
        start, length = whole_number(location.get("offset")), whole_number(location.get("length"))
        if start is None or length is None:
            problem = f"offset {shown(location.get('offset'))} and length {shown(location.get('length'))}"
            raise DataError(f"{self._place(location).at()}: {problem} are no location; give two whole numbers")
        return start, start + length

    def _items(self, part: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
        items = part.get(key)
        if items is None:
            return []
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise DataError(f"{self._place(part).at()}: {key} are {shown(items)}, not a list of objects; list them")
        return items

    def _text(self, part: Mapping[str, object]) -> str:
        text = part.get("text")
        if text is not None and not isinstance(text, str):
            raise DataError(f"{self._place(part).at()}: the text is {shown(text)}; write it as a string")
        return text or ""

    def _place(self, part: Mapping[str, object]) -> Place:
        # Objects of JSON have no lines of their own: the place is the document's.
        return Place(self._source, part.line if isinstance(part, Element) else self._line)
