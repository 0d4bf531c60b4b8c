"""The splits of a corpus, wherever it is: each the tables that hold it, in their order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biocache.engine.corpora.arrow_tables import table_of
from biocache.engine.corpora.columns import choose_columns, read_rows
from biocache.engine.corpora.files import Found, assign_splits, find_files, parse_split_files, splits_named
from biocache.engine.corpora.formats import open_table, read_label_names
from biocache.engine.corpora.hub import PUBLISHED_TAGS, is_saved_dataset, load_hub, load_saved
from biocache.engine.corpora.request import ReadingRequest
from biocache.engine.corpora.table import Table
from biocache.engine.corpora.task import SPLITS, RawSplit, ReadSplit, Task
from biocache.store.errors import DataError, SettingError
from biocache.store.text import printable, shown

__all__ = ["Source", "find_source"]


@dataclass(frozen=True, slots=True)
class Source:
    """A corpus whose splits are found and not yet read.

    Attributes
    ----------
    place
        The folder, file or hub id, for messages.
    found
        Its splits under the names of the source.
    open
        Function of such a name that returns the table.
    class_names
        Names of the classes where the tables do not name them; None for none.
    remarks
        What a user should know of how it was found.
    """

    place: str
    found: Found
    open: Callable[[str], Table]
    class_names: Sequence[str] | None
    remarks: tuple[str, ...]

    def splits(self, wanted: Sequence[str] | None, usual: Sequence[str]) -> list[str]:
        """Return the splits to read: those that are asked for, or the usual ones that exist.

        Raises
        ------
        DataError
            If one that is asked for does not exist, or cannot be told; or if none of the usual ones does.
        """
        have = [split for split in SPLITS if split in self.found.names]
        chosen = usual if wanted is None else wanted
        for split in chosen:
            if split in self.found.refusals:
                problem = self.found.refusals[split]
                raise DataError(f"{self.place}: {problem}; name its file: --split-files={split}=FILE")
        absent = [split for split in chosen if split not in have]
        if absent and (wanted is not None or len(absent) == len(usual)):
            raise DataError(
                f"{self.place}: no split {' or '.join(map(shown, absent[:1] if wanted else absent))} "
                f"(it has {', '.join(have) or 'none'}); name others in --split, or its file in --split-files"
            )
        return [split for split in have if split in chosen]

    def read(self, split: str, task: Task, reading: ReadingRequest) -> ReadSplit:
        """Read a split.

        Raises
        ------
        DataError
            If it is malformed. The message begins with the file and line.
        """
        tables = [self.open(name) for name in self.found.names[split]]
        columns = [choose_columns(table, task, reading) for table in tables]
        for table, own in zip(tables, columns, strict=True):
            if own.names != columns[0].names:
                raise DataError(
                    f"{table.place}: other columns than {tables[0].place} of the same split "
                    f"({printable(', '.join(own.names.values()))}); name the columns, or give the files the same"
                )
        rows = (
            row
            for table, own in zip(tables, columns, strict=True)
            for row in read_rows(table, own, task, self.class_names)
        )
        shown_names = {field: printable(name) for field, name in columns[0].names.items()}
        part = task.read(RawSplit(split, tables[0].place, rows, shown_names, columns[0].asked))
        for table in tables:
            part.notes.update(table.notes)
        said = [remark for table in tables for remark in table.remarks]
        part.remarks = [*said, *filter(None, dict.fromkeys(own.remark for own in columns)), *part.remarks]
        return part


def find_source(place: Path | str, task: Task, reading: ReadingRequest) -> Source:
    """Find the splits of a corpus.

    Parameters
    ----------
    place
        A folder, a file or a hub id.
    task
        The task.
    reading
        How it is read where its files do not tell.

    Raises
    ------
    SettingError
        If a setting does not fit the place.
    DataError
        If the corpus cannot be found or loaded, or has no split.
    """
    named = parse_split_files(reading.split_files)
    if isinstance(place, Path):
        if reading.config is not None:
            raise SettingError(f"--config is for datasets of the hub, and {place} is a folder; leave it out")
        if not is_saved_dataset(place):
            found, remarks = find_files(place, task, named)
            names = read_label_names(place if place.is_dir() else place.parent)
            return Source(str(place), found, lambda name: open_table(Path(name), task, reading), names, tuple(remarks))
        return _of_datasets(str(place), load_saved(place), named, read_label_names(place))
    return _of_datasets(place, load_hub(place, reading.config), named, PUBLISHED_TAGS.get(place.lower()))


def _of_datasets(
    place: str, tables: Mapping[str, Any], named: Mapping[str, Sequence[str]], class_names: Sequence[str] | None
) -> Source:
    """Return the splits of a dataset of the library."""
    for split, names in named.items():
        for name in names:
            if name not in tables:
                has = ", ".join(tables) or "none"
                raise DataError(
                    f"{place}: no split {shown(name)} (it has {has}); name one in --split-files={split}=NAME"
                )
    taken = {name for names in named.values() for name in names}
    found, remarks = assign_splits(name for name in tables if name not in taken), []
    if len(tables) == 1 and not named and not found.names:
        (only,) = tables
        found = Found({"train": [only]}, {}, [])
        remarks.append(f"{only} is the train split, the only one; --split-files names it otherwise")
    splits = {split: named.get(split) or found.names.get(split) for split in SPLITS}
    known = {split: list(names) for split, names in splits.items() if names}
    refusals = {split: why for split, why in found.refusals.items() if split not in named}
    if not known and not refusals:
        has = ", ".join(tables) or "none"
        raise DataError(
            f"{place}: no split train, validation or test (it has {has}); name them: --split-files=train=NAME"
        )
    read = {name for names in known.values() for name in names}
    unread = [name for name in tables if name not in read and not splits_named(name) & refusals.keys()]
    if unread:
        remarks.append(f"split {', '.join(unread)} not read; --split-files can name it")
    return Source(
        place,
        Found(known, refusals, unread),
        lambda name: table_of(tables[name], f"{place}[{name}]"),
        class_names,
        tuple(remarks),
    )
