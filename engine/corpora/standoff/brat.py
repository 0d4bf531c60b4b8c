"""brat: a text file, and a file of annotations beside it."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from biocache.engine.corpora.lines import is_no_data
from biocache.engine.corpora.standoff.documents import Block, Document, Mention, Passage, assembled, whole_number
from biocache.engine.corpora.standoff.texts import read_text
from biocache.engine.corpora.task import Place
from biocache.store.errors import DataError
from biocache.store.paths import resolved
from biocache.store.text import counted, shown

__all__ = ["brat_documents", "holds_annotations", "holds_texts", "looks_like_brat"]

#: Endings of files of annotations: brat's own, and those of the BioNLP shared tasks (proteins given, answers).
ANNOTATIONS = (".ann", ".a1", ".a2")

_SKIPPED = {
    "R": "skipped_relations",
    "*": "skipped_equivalences",
    "E": "skipped_events",
    "A": "skipped_attributes",
    "M": "skipped_attributes",
    "N": "skipped_normalizations",
    "#": "skipped_comments",
}
_OTHER = re.compile(r"(?:[REAMN#]\S*|\*)\t.*", re.DOTALL)
_TEXT_BOUND = "write T1, a tab, TYPE START END, a tab and the text"


def looks_like_brat(folder: Path) -> bool:
    """Return whether a folder, or one below it, holds a file of annotations."""
    return folder.is_dir() and any(any(folder.rglob(f"*{ending}")) for ending in ANNOTATIONS)


def holds_annotations(folder: Path) -> bool:
    """Return whether a folder itself holds a file of annotations, and is no folder of folders."""
    return any(path.suffix in ANNOTATIONS for path in folder.iterdir())


def holds_texts(folder: Path) -> bool:
    """Return whether a folder, or one below it, holds a text of a document or a file of annotations."""
    return folder.is_dir() and any(path.suffix in (".txt", *ANNOTATIONS) for path in folder.rglob("*"))


def brat_documents(folder: Path, notes: Counter[str]) -> Iterator[Document]:
    """Yield the documents of a folder of brat, and of the folders below it, in the order of their names.

    Parameters
    ----------
    folder
        For every document it holds ``NAME.txt`` and beside it ``NAME.ann``, or ``NAME.a1`` and ``NAME.a2``. Positions
        count the characters of the text file, line breaks included. A text without annotations is a document
        without spans, unless its name is that of a README or a licence. The document id is the name with its folders,
        without the ending.
    notes
        Where texts without annotations are counted, as ``documents_without_annotations``, and the lines that are no
        spans, as ``skipped_relations`` and so on.

    Raises
    ------
    DataError
        If there is no text, if annotations have no text beside them, or if a file cannot be read, is not UTF-8, or has
        a line that is none of brat's.
    """
    paths = sorted(folder.rglob("*")) if folder.is_dir() else []
    for path in paths:
        if path.suffix in ANNOTATIONS and not path.with_suffix(".txt").is_file():
            raise DataError(f"{path}:1: no {path.with_suffix('.txt').name} beside it; add the text, or remove the file")
    texts = [path for path in paths if path.suffix == ".txt" and (_beside(path) or not is_no_data(path))]
    if not texts:
        raise DataError(f"{resolved(folder)}: no .txt file here; pass a folder with .txt and .ann files")
    for path in texts:
        yield _document(folder, path, notes)


def _document(folder: Path, path: Path, notes: Counter[str]) -> Document:
    text, place = read_text(path), Place(f"{path}:", 1)
    beside = _beside(path)
    notes["documents_without_annotations"] += not beside
    mentions = [mention for annotations in beside for mention in _mentions(annotations, notes)]
    block = Block(0, text, (Passage(0, len(text), place, lines=True),))
    return assembled(path.relative_to(folder).with_suffix("").as_posix(), [block], mentions, place)


def _beside(text: Path) -> list[Path]:
    return [path for ending in ANNOTATIONS if (path := text.with_suffix(ending)).is_file()]


def _mentions(path: Path, notes: Counter[str]) -> Iterator[Mention]:
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line, place = line.removesuffix("\r"), Place(f"{path}:", number)
        if line.startswith("T"):
            yield _text_bound(line, place)
        elif _OTHER.fullmatch(line):
            notes[_SKIPPED[line[0]]] += 1
        elif line.strip():
            raise DataError(f"{place.at()}: {shown(line)} is no line of brat; {_TEXT_BOUND}")


def _text_bound(line: str, place: Place) -> Mention:
    columns = line.split("\t", 2)
    if len(columns) < 3:
        raise DataError(f"{place.at()}: {shown(line)} has {counted(len(columns), 'column')}, not three; {_TEXT_BOUND}")
    kind, _, positions = columns[1].strip().partition(" ")
    fragments: list[tuple[int, int]] = []
    for part in positions.split(";"):
        start, end = (whole_number(value) for value in part.split()) if len(part.split()) == 2 else (None, None)
        if start is None or end is None:
            problem = f"{shown(part)} is not a start and an end"
            raise DataError(f"{place.at()}: {problem}; {_TEXT_BOUND}, with ; between the parts of the span")
        fragments.append((start, end))
    return Mention(columns[0], kind, tuple(fragments), columns[2], place)
