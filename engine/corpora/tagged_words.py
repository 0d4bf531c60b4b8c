"""Files of tagged words: a word a line with its columns, an empty line between sentences."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from biocache.engine.corpora.lines import UNREADABLE, read_blocks, read_lines
from biocache.engine.corpora.table import GROUP, Ordinal, Table, normalised
from biocache.engine.corpora.task import Place
from biocache.store.errors import DataError
from biocache.store.text import counted, shown

__all__ = ["open_tagged_words"]

_DOCUMENT_START = "-DOCSTART-"
_NEW_DOCUMENT = re.compile(r"#\s*newdoc(?:\s+id\s*=\s*(.*\S))?\s*\Z|###\s*(\S.*?)\s*\Z")
_COLUMN_NAMES = re.compile(r"#\s*global\.columns\s*=\s*(.*\S)\s*\Z")
_CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
# Ids of a CoNLL-U line that is no word of its own: 3-4 spans two words, 3.1 is not in the text.
_NO_WORD = re.compile(r"\d+[-.]\d+")
_WORD_ID = re.compile(r"\d+(?:[-.]\d+)?")

_WORDS = frozenset({"word", "words", "token", "tokens", "form", "text"})
_TAGS = frozenset({"tag", "tags", "nertag", "nertags", "ner", "label", "labels", "bio", "iob", "entity", "pos", "upos"})

_HEAD = 1000

_Sentence = tuple[Place, Sequence[object]]


@dataclass(frozen=True, slots=True)
class _Shape:
    """The columns of a file.

    Attributes
    ----------
    tab
        Whether tabs separate them; blanks otherwise.
    count
        Their number.
    names
        Their names; numbers from 1 where there is no header.
    header
        Line of the header, which is no word; 0 for none.
    conllu
        Whether it is CoNLL-U.
    trailing
        Whether each line ends with one more separator.
    """

    tab: bool
    count: int
    names: tuple[str, ...]
    header: int = 0
    conllu: bool = False
    trailing: bool = False

    def cells(self, line: str) -> list[str]:
        """Return the cells of a line."""
        if not self.tab:
            return _blanks(line)
        cells = line.split("\t")
        return cells[:-1] if self.trailing and len(cells) > self.count and not cells[-1] else cells


def _blanks(line: str) -> list[str]:
    """Split at blanks and tabs alone: other white space may be part of a word, which is refused later."""
    return [cell for cell in re.split(r"[ \t]+", line) if cell]


def open_tagged_words(path: Path, conllu: bool = False) -> Table:
    """Return the sentences of a file of tagged words as a table.

    The separator and the number of columns are those of most lines. A line of another number of columns is refused;
    a line of one column that begins with ``#`` is a comment; ``-DOCSTART-``, ``# newdoc`` and ``###ID`` begin a
    document, which is the column `GROUP`.

    Parameters
    ----------
    path
        The file.
    conllu
        Whether its name says that it is CoNLL-U.

    Raises
    ------
    DataError
        If the file cannot be read; and while rows are read, if a line has another number of columns.
    """
    shape = _find_shape(path, conllu)
    notes: Counter[str] = Counter()

    def rows(wanted: Sequence[str]) -> Iterator[_Sentence]:
        notes.clear()
        return _Sentences(path, shape, notes).read(wanted)

    last = "" if shape.conllu else shape.names[-1] if shape.count > 1 else ""
    if shape.conllu:
        fixed = {"words": _named(shape, _CONLLU[1]), "tags": _named(shape, _CONLLU[3])}
    elif shape.header:
        fixed = {"words": next(name for name in shape.names if normalised(name) in _WORDS)}
    else:
        fixed = {"words": shape.names[0], "tags": last}
    fixed = {field: column for field, column in fixed.items() if column} | {"group": GROUP}
    return Table(f"{path}:1", (*shape.names, GROUP), rows, fixed=fixed, notes=notes)


def _named(shape: _Shape, name: str) -> str:
    return next((column for column in shape.names if column == name), "")


class _Sentences:
    """Reads the sentences of a file, one at a time."""

    def __init__(self, path: Path, shape: _Shape, notes: Counter[str]) -> None:
        self._path, self._shape, self._notes = path, shape, notes
        self._source = f"{path}:"
        self._document: str | Ordinal | None = None
        self._documents = 0
        self._lines: list[int] = []
        self._cells: list[list[str]] = []

    def read(self, wanted: Sequence[str]) -> Iterator[_Sentence]:
        """Yield the place and the wanted columns of each sentence."""
        positions = [None if name == GROUP else self._shape.names.index(name) for name in wanted]
        shape, done = self._shape, 0
        if not shape.conllu and not shape.trailing and shape.count > 1:
            with suppress(*UNREADABLE):
                for block in read_blocks(self._path):
                    yield from self._of_block(block, done + 1, positions)
                    done += block.count("\n")
                return
        lines = (line.removesuffix("\n").removesuffix("\r") for line in read_lines(self._path))
        yield from self._of_lines(islice(lines, done, None), done + 1, positions)

    def _of_block(self, block: str, number: int, positions: Sequence[int | None]) -> Iterator[_Sentence]:
        """Read lines that begin with number `number` and end with a sentence."""
        if "\r" in block:
            *lines, last = block.split("\n")
            yield from self._of_lines([*lines, *filter(None, [last.removesuffix("\r")])], number, positions)
            return
        for part in block.split("\n\n"):
            sentence = part.strip("\n")
            if sentence:
                first = number + len(part) - len(part.lstrip("\n"))
                columns = self._columns(sentence, first)
                if columns is None:
                    yield from self._of_lines(sentence.split("\n"), first, positions)
                else:
                    values = [self._document if at is None else columns[at] for at in positions]
                    yield Place(self._source, first, step=1), values
            number += part.count("\n") + 2

    def _columns(self, sentence: str, first: int) -> list[list[str]] | None:
        """Return the columns of a sentence all of whose lines are words; None where a line may be another thing."""
        shape, lines = self._shape, sentence.count("\n") + 1
        if sentence[0] == "#" or "\n#" in sentence or _DOCUMENT_START in sentence:
            return None
        if first <= shape.header < first + lines or (not shape.tab and "\t" in sentence):
            return None
        separator, width = "\t" if shape.tab else " ", shape.count + 1
        # Each line feed is a cell: they are where they should be if every line has as many cells.
        cells = sentence.replace("\n", f"{separator}\n{separator}").split(separator)
        if len(cells) != lines * width - 1 or cells[shape.count :: width].count("\n") != lines - 1:
            return None
        # Of a line that is empty but for its separators, and of two blanks side by side.
        if "" in (cells[::width] if shape.tab else cells):
            return None
        return [cells[at::width] for at in range(shape.count)]

    def _of_lines(self, lines: Iterable[str], number: int, positions: Sequence[int | None]) -> Iterator[_Sentence]:
        """Read lines one by one; the first has number `number`, after the last a sentence ends."""
        cells_of, header = self._shape.cells, self._shape.header
        plain = -1 if self._shape.conllu or self._shape.count == 1 else self._shape.count
        for at, line in enumerate(lines, start=number):
            cells = cells_of(line)
            # Almost all lines are words and nothing else.
            if len(cells) == plain and cells[0] and line[0] not in "#-" and at != header:
                self._lines.append(at)
                self._cells.append(cells)
            elif not line.strip(" \t"):
                yield from self._finish(positions)
            elif at != header:
                yield from self._odd(at, line, cells, positions)
        yield from self._finish(positions)

    def _odd(self, number: int, line: str, cells: list[str], positions: Sequence[int | None]) -> Iterator[_Sentence]:
        """Read a line that may be no word."""
        if not self._is_comment(line, cells):
            self._add(number, cells)
        elif (found := _document(line)) is not None:
            yield from self._finish(positions)
            self._documents += 1
            self._document = found or Ordinal(self._documents)
        elif not self._shape.conllu:
            self._notes["comment_lines"] += 1

    def _is_comment(self, line: str, cells: list[str]) -> bool:
        """Return whether a line has no word."""
        if line.startswith(_DOCUMENT_START):
            return line.split()[0] == _DOCUMENT_START
        if not line.startswith("#"):
            return False
        return self._shape.conllu or (self._shape.count > 1 and len(cells) != self._shape.count)

    def _add(self, number: int, cells: list[str]) -> None:
        shape = self._shape
        if len(cells) != shape.count:
            raise DataError(f"{self._path}:{number}: {_problem(cells, shape)}")
        if shape.conllu and _NO_WORD.fullmatch(cells[0]):
            self._notes["multiword_tokens" if "-" in cells[0] else "empty_nodes"] += 1
            return
        self._lines.append(number)
        self._cells.append(cells)

    def _finish(self, positions: Sequence[int | None]) -> Iterator[_Sentence]:
        if not self._lines:
            return
        lines, cells = self._lines, self._cells
        self._lines, self._cells = [], []
        consecutive = lines[-1] - lines[0] == len(lines) - 1
        place = Place(self._source, lines[0], step=1, lines=() if consecutive else tuple(lines))
        columns = list(zip(*cells, strict=True))
        yield place, [self._document if at is None else [*columns[at]] for at in positions]


def _document(line: str) -> str | None:
    """Return the id of the document that a line begins, empty where it has none; None where it begins none."""
    if line.startswith(_DOCUMENT_START):
        named = re.search(r"\((\S+)\)\s*\Z", line)
        return named[1] if named else ""
    match = _NEW_DOCUMENT.match(line)
    return None if match is None else match[1] or match[2] or ""


def _problem(cells: Sequence[str], shape: _Shape) -> str:
    if len(cells) == 1:
        return f"{shown(cells[0])} has no tag; write the word, {'a tab' if shape.tab else 'a blank'} and its tag"
    separated = "tabs" if shape.tab else "blanks"
    count = counted(len(cells), "column")
    return f"{count}, and most lines have {shape.count}; give all lines as many, with {separated} between"


def _find_shape(path: Path, conllu: bool) -> _Shape:
    """Tell the separator and the columns of a file by its first lines."""
    numbered = enumerate(islice(read_lines(path), _HEAD), start=1)
    lines = [(number, line.rstrip("\r\n")) for number, line in numbered if line.strip()]
    named = next((match[1].split() for _, line in lines if (match := _COLUMN_NAMES.match(line))), None)
    words = [(number, line) for number, line in lines if _is_word(line)]
    if not words:
        return _Shape(tab=True, count=2, names=("1", "2"))
    tab = sum("\t" in line for _, line in words) * 2 >= len(words)
    split: Callable[[str], list[str]] = (lambda line: line.split("\t")) if tab else _blanks
    rows = [split(line) for _, line in words]
    count = Counter(map(len, rows)).most_common(1)[0][0]
    regular = [row for row in rows if len(row) == count]
    trailing = tab and count > 1 and not any(row[-1].strip() for row in regular)
    count -= trailing
    conllu = conllu or (count == len(_CONLLU) and all(_WORD_ID.fullmatch(row[0]) for row in regular))
    if conllu:
        names = tuple(named or _CONLLU)
        known = names if count == len(names) else tuple(str(at) for at in range(1, count + 1))
        return _Shape(tab, count, known, conllu=count == len(names), trailing=trailing)
    first = rows[0][:count]
    header = words[0][0] if len(rows[0]) >= count > 1 and _is_header(first) else 0
    names = tuple(cell.strip() for cell in first) if header else tuple(str(at) for at in range(1, count + 1))
    return _Shape(tab, count, names, header, trailing=trailing)


def _is_word(line: str) -> bool:
    start = line.split(maxsplit=1)[0]
    return start != _DOCUMENT_START and not (line.startswith("#") and "\t" not in line)


def _is_header(cells: Sequence[str]) -> bool:
    names = [normalised(cell) for cell in cells]
    return len(set(names)) == len(names) and bool(_WORDS & {*names}) and bool(_TAGS & {*names})
