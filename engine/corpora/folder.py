"""Corpora in a local folder: a ``.conll`` or ``.jsonl`` file for each split."""

import codecs
import json
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from biocache.engine.corpora.task import Place, RawSplit, Row, Task
from biocache.store.errors import DataError
from biocache.store.paths import resolved
from biocache.store.text import shown

__all__ = ["SPLIT_NAMES", "read_folder"]

SPLIT_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "dev", "valid"),
    "test": ("test",),
}

_DOCUMENT_START = "-DOCSTART-"


def read_folder(folder: Path, task: Task) -> dict[str, RawSplit]:
    """Read every file of a folder that is a split of a task.

    Parameters
    ----------
    folder
        For ``ner`` it holds ``train.conll``, ``validation.conll`` and ``test.conll``, a word, a tab and its
        tag on each line and a blank line between sentences. For ``nli`` it holds ``train.jsonl``,
        ``validation.jsonl`` and ``test.jsonl``, one JSON object a line, or the files of MedNLI or SNLI under
        their own names. ``dev`` and ``valid`` also name the validation split. Not all need be there.
    task
        The task; see `Task.files`.

    Returns
    -------
    dict of str to RawSplit
        The splits found, in the order train, validation, test. Notes count ``docstart_lines``.

    Raises
    ------
    DataError
        If the folder is missing or holds no split, if two files are the same split, or if a file cannot be
        read, is empty, is not UTF-8 or not in its format.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{resolved(folder)}: {problem}; pass the folder that holds {task.expected_files}")
    found: dict[str, Path] = {}
    for split, names in SPLIT_NAMES.items():
        paths = [folder / pattern.format(name) for pattern in task.files for name in names]
        paths = [path for path in paths if path.is_file()]
        if len(paths) > 1:
            both = " and ".join(path.name for path in paths)
            raise DataError(f"{folder}: {both} are both the {split} split; keep one of them")
        if paths:
            found[split] = paths[0]
    if not found:
        raise DataError(f"{resolved(folder)}: no {task.name} file here; it needs any of {task.expected_files}")
    return {split: _READERS[path.suffix](path, task) for split, path in found.items()}


def _read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file of UTF-8, one in memory at a time."""
    begun = False
    try:
        with path.open("rb") as file:
            # Lines end at a line feed, and not at U+2028 and the like, which may be inside a text.
            for number, data in enumerate(file, start=1):
                line = data.removeprefix(codecs.BOM_UTF8) if number == 1 else data
                begun = begun or bool(line)
                yield _decoded(path, number, line).removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise DataError(f"{path}:1: cannot be read ({error.strerror}); check the file's permissions") from None
    if not begun:
        raise DataError(f"{path}:1: the file is empty; fill it, or remove it if the split does not exist")


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        problem = f"byte 0x{line[error.start]:02x} is not UTF-8"
        raise DataError(f"{path}:{number}: {problem}; save the file as UTF-8") from None


def _read_conll(path: Path, _task: Task) -> RawSplit:
    rows: list[Row] = []
    words: list[str] = []
    tags: list[str] = []
    source, document_starts = f"{path}:", 0
    for number, line in enumerate(chain(_read_lines(path), [""]), start=1):
        document_start = line.startswith(_DOCUMENT_START) and line.split()[0] == _DOCUMENT_START
        if document_start or not line.strip(" "):
            document_starts += document_start
            if words:
                rows.append(Row(Place(source, number - len(words), step=1), {"words": words, "tags": tags}))
                words, tags = [], []
            continue
        columns = line.split("\t")
        if len(columns) != 2:
            raise DataError(f"{path}:{number}: {_column_problem(columns)}")
        # A corpus repeats its words: one copy of each is kept.
        words.append(sys.intern(columns[0]))
        tags.append(sys.intern(columns[1]))
    notes = {"docstart_lines": document_starts}
    return RawSplit(f"{path}:1", rows, {"words": "words", "tags": "tags"}, notes)


def _column_problem(columns: list[str]) -> str:
    if len(columns) == 1:
        return f"{shown(columns[0])} has no tag; write the word, a tab and its tag"
    return f"{len(columns)} columns; keep two, the word and its tag, with one tab between"


def _read_jsonl(path: Path, task: Task) -> RawSplit:
    source, columns = f"{path}:", {field: names[0] for field, names in task.columns.items()}
    rows: list[Row] = []
    for number, line in enumerate(_read_lines(path), start=1):
        if line.strip():
            values = _json_object(path, number, line)
            fields = {field: values[name] for field, name in columns.items() if name in values}
            rows.append(Row(Place(source, number), fields))
    return RawSplit(f"{path}:1", rows, columns)


def _json_object(path: Path, number: int, line: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    # ValueError also covers numbers of too many digits.
    except (ValueError, RecursionError):
        raise DataError(f"{path}:{number}: {shown(line)} is not JSON; write one object a line") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}:{number}: {shown(line)} is not a JSON object; write one object a line")
    return value


_READERS = {".conll": _read_conll, ".jsonl": _read_jsonl}
