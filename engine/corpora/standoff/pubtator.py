"""PubTator: a title line, an abstract line, and a line of columns for each annotation."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from biocache.engine.corpora.standoff.documents import Block, Document, Mention, Passage, assembled, whole_number
from biocache.engine.corpora.standoff.texts import beginning, read_text
from biocache.engine.corpora.task import Place
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["looks_like_pubtator", "pubtator_documents"]

_TEXT = re.compile(r"([^|\t]*)\|([ta])\|(.*)", re.DOTALL)
_RELATION = re.compile(r"[A-Za-z]")
_ANNOTATION = "write PMID, start, end, text and type with tabs between"


def looks_like_pubtator(path: Path) -> bool:
    """Return whether the first line of a file that is not blank is a title of PubTator, which holds no tab."""
    written = _TEXT.fullmatch(beginning(path).lstrip().partition("\n")[0])
    return written is not None and written[2] == "t" and "\t" not in written[3]


@dataclass
class _Draft:
    """A document that is being read: its texts with their places, and its annotations."""

    id: str
    texts: list[tuple[str, Place]]
    mentions: list[Mention] = field(default_factory=list)

    def document(self) -> Document:
        # One block: positions go on from the title to the abstract.
        passages: list[Passage] = []
        for text, place in self.texts:
            start = passages[-1].end + 1 if passages else 0
            passages.append(Passage(start, start + len(text), place))
        block = Block(0, " ".join(text for text, _ in self.texts), tuple(passages))
        return assembled(self.id, [block], self.mentions, passages[0].place)


def pubtator_documents(path: Path, notes: Counter[str]) -> Iterator[Document]:
    """Yield the documents of a PubTator file.

    Parameters
    ----------
    path
        Its documents have a line ``PMID|t|title``, mostly a line ``PMID|a|abstract``, and for each annotation a line of
        PMID, start, end, text and type, with tabs between; a concept id behind them is not read. Positions count
        from the first character of the title; the abstract begins one after the title's end. The document id is the
        PMID.
    notes
        Where lines of relations are counted, as ``skipped_relations``.

    Raises
    ------
    DataError
        If the file cannot be read, is not UTF-8, holds no document, or has a line that is none of these.
    """
    draft: _Draft | None = None
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, start=1):
        line, place = line.removesuffix("\r"), Place(f"{path}:", number)
        written = _TEXT.fullmatch(line)
        begins = written is not None and written[2] == "t"
        if draft is not None and (begins or not line.strip()):
            yield draft.document()
            draft = None
        if begins and written:
            draft = _Draft(written[1].strip(), [(written[3], place)])
        elif line.strip() and draft is None:
            raise DataError(f"{place.at()}: {shown(line)} is in no document; begin it with a line PMID|t|title")
        elif written and draft:
            _check_abstract(draft, written[1].strip(), place)
            draft.texts.append((written[3], place))
        elif draft:
            _add_annotation(draft, line.split("\t"), place, notes)
    if draft is not None:
        yield draft.document()
    elif not any(line.strip() for line in lines):
        raise DataError(f"{path}:1: no document in this file; begin one with a line PMID|t|title")


def _check_abstract(draft: _Draft, name: str, place: Place) -> None:
    _check_name(draft, name, place)
    if len(draft.texts) > 1:
        problem = f"a second abstract in document {shown(draft.id)}, after that at {draft.texts[1][1].at()}"
        raise DataError(f"{place.at()}: {problem}; keep one, or begin another document with PMID|t|title")


def _check_name(draft: _Draft, name: str, place: Place) -> None:
    if name != draft.id:
        problem = f"{shown(name)} in document {shown(draft.id)}, which begins at {draft.texts[0][1].at()}"
        raise DataError(f"{place.at()}: {problem}; correct the id, or begin another document with PMID|t|title")


def _add_annotation(draft: _Draft, columns: list[str], place: Place, notes: Counter[str]) -> None:
    if len(columns) < 4:
        raise DataError(f"{place.at()}: {len(columns)} columns are no annotation; {_ANNOTATION}")
    _check_name(draft, columns[0].strip(), place)
    start, end = whole_number(columns[1]), whole_number(columns[2])
    if start is None and end is None and _RELATION.match(columns[1]):
        notes["skipped_relations"] += 1
        return
    for value, position in zip(columns[1:3], (start, end), strict=True):
        if position is None:
            raise DataError(f"{place.at()}: position {shown(value)} is not a whole number; {_ANNOTATION}")
    if len(columns) < 5 or start is None or end is None:
        raise DataError(f"{place.at()}: the annotation has no type; {_ANNOTATION}")
    mention = Mention(":".join(columns[1:3]), columns[4], ((start, end),), columns[3], place)
    draft.mentions.append(mention)
