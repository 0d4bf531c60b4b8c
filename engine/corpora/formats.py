"""The format of a file, told by its name and its first character, and the table that it holds."""

from pathlib import Path

from biocache.engine.corpora.arrow_tables import open_arrow, open_parquet
from biocache.engine.corpora.columns import known_names
from biocache.engine.corpora.csv_tables import open_csv
from biocache.engine.corpora.files import format_of
from biocache.engine.corpora.json_tables import open_json
from biocache.engine.corpora.lines import read_lines
from biocache.engine.corpora.request import ReadingRequest
from biocache.engine.corpora.standoff.reading import open_standoff
from biocache.engine.corpora.table import Table
from biocache.engine.corpora.tagged_words import open_tagged_words
from biocache.engine.corpora.task import Task
from biocache.store.errors import DataError

__all__ = ["LABEL_NAMES", "open_table", "read_label_names"]

#: The file beside a corpus that names the classes of its numbers, one a line.
LABEL_NAMES = "labels.txt"


def open_table(path: Path, task: Task, reading: ReadingRequest) -> Table:
    """Return what a file, or a folder of brat, holds as a table.

    Raises
    ------
    DataError
        If the file cannot be read as its format.
    """
    suffix = format_of(path)
    if task.labels_words and (standoff := open_standoff(path)):
        return standoff
    if suffix == ".parquet":
        return open_parquet(path)
    if suffix == ".arrow":
        return open_arrow(path)
    if suffix in (".jsonl", ".json") or (suffix in (".txt", ".tsv") and _begins_json(path)):
        return open_json(path)
    if suffix == ".csv":
        return open_csv(path, known_names(task, reading), tabs=False)
    if task.labels_words:
        return open_tagged_words(path, conllu=suffix == ".conllu")
    return open_csv(path, known_names(task, reading), tabs=True)


def _begins_json(path: Path) -> bool:
    """Return whether a text file holds JSON: ``.txt`` and ``.tsv`` say little."""
    first = next((line for line in read_lines(path) if line.strip()), "").strip()
    return first.startswith('{"') or first.startswith("[{")


def read_label_names(folder: Path) -> list[str] | None:
    """Return the names of classes that a folder gives in `LABEL_NAMES`; None where there is no such file.

    Raises
    ------
    DataError
        If the file is malformed, or names a class twice.
    """
    path = folder / LABEL_NAMES
    if not path.is_file():
        return None
    names = [line.strip() for line in read_lines(path)]
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, start=1):
        if not name or names.index(name) < number - 1:
            problem = f"class {name!r} was named before" if name else "a class without a name"
            raise DataError(f"{path}:{number}: {problem}; write the name of each class on a line of its own")
    return names
