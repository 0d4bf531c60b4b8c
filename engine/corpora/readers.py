"""Find the dataset that a user names, and read and check it."""

import gc
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from biocache.engine.corpora.base import SPLITS, TASKS, Corpus
from biocache.engine.corpora.duplicates import count_duplicates
from biocache.engine.corpora.files import stem_of
from biocache.engine.corpora.request import ReadingRequest
from biocache.engine.corpora.splits import find_source
from biocache.engine.corpora.task import ReadSplit
from biocache.engine.sources import folder_of, split_name
from biocache.store.errors import DataError, SettingError
from biocache.store.paths import resolved
from biocache.store.text import shown

__all__ = ["DatasetSource", "locate", "read_corpus"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """The name and the place of a dataset.

    Attributes
    ----------
    name
        Its name in run keys.
    place
        Its folder or file, or its hub id.
    """

    name: str
    place: Path | str


def read_corpus(
    task: str,
    dataset: str | None,
    *,
    splits: Sequence[str] | None = None,
    usual_splits: Sequence[str] = SPLITS,
    limit: int | None = None,
    reading: ReadingRequest | None = None,
) -> Corpus:
    """Read and check a corpus.

    Parameters
    ----------
    task
        A name in `TASKS`.
    dataset
        A local folder or file, whose name becomes the dataset's; a hub id, whose last part does, in lower case;
        ``NAME=FOLDER`` or ``NAME=HUB_ID`` to choose the name; None for the task's default.
    splits
        The splits to read; None for those of `usual_splits` that exist. Others are not opened.
    usual_splits
        The splits that are read where none is asked for; at least one must exist.
    limit
        Most samples to keep of every split, from its start.
    reading
        How it is read where its files do not tell; None to leave all to the files.

    Returns
    -------
    Corpus
        The splits kept, in the order train, validation, test.

    Raises
    ------
    SettingError
        If the task, the limit, the dataset's name or a setting of the reading cannot be used.
    DataError
        If the source cannot be found or is malformed, or if a split asked for does not exist. The message begins with
        the file and line.
    """
    _check_settings(task, splits, limit)
    reading = reading or ReadingRequest()
    reading.refuse_unfit(task)
    location, kind = locate(task, dataset), TASKS[task]
    source = find_source(location.place, kind, reading)
    with _uncollected():
        read = {split: source.read(split, kind, reading) for split in source.splits(splits, usual_splits)}
    remarks = [*source.remarks, *_said(read), *kind.settle(read, reading.label_type)]
    count_duplicates(read)
    place = location.place
    return Corpus(
        name=location.name,
        source=str(resolved(place) if isinstance(place, Path) else place),
        task=kind,
        splits={split: tuple(part.samples[:limit]) for split, part in read.items()},
        notes={split: notes for split, part in read.items() if (notes := dict(+part.notes))},
        remarks=tuple(remarks),
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the search for cycles: samples are many and have none, and each search would look at all of them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _said(read: Mapping[str, ReadSplit]) -> Iterator[str]:
    """Yield the remarks of splits; one of several splits once, with their names."""
    splits: dict[str, list[str]] = {}
    for split, part in read.items():
        for remark in part.remarks:
            splits.setdefault(remark, []).append(split)
    for remark, names in splits.items():
        yield remark if len(names) == len(read) else f"{', '.join(names)}: {remark}"


def _check_settings(task: str, splits: Sequence[str] | None, limit: int | None) -> None:
    if task not in TASKS:
        raise SettingError(f"task {shown(task)} does not exist; use {' or '.join(TASKS)}")
    if splits is not None and not splits:
        raise SettingError("no split was asked for; name one or more, or leave splits out for all")
    if limit is not None and limit < 1:
        raise SettingError(f"limit {limit} keeps no sample; use 1 or more")


def locate(task: str, dataset: str | None) -> DatasetSource:
    """Resolve a dataset to a name and a folder or hub id, without reading it.

    Parameters
    ----------
    task, dataset
        As `read_corpus`.

    Raises
    ------
    SettingError
        If the dataset's name cannot be used.
    DataError
        If there is no default.
    """
    if dataset is None:
        dataset = TASKS[task].default_dataset
    if dataset is None:
        raise DataError(TASKS[task].no_default)
    name, source = split_name(dataset)
    path = folder_of(source, "dataset")
    if not source:
        raise SettingError("the dataset is empty; pass a folder or a hub id")
    if source == dataset:
        name = _name_of(resolved(path)) if path else source.rsplit("/", 1)[-1].lower()
    if not _NAME.fullmatch(name):
        problem = f"{shown(name)} cannot name a dataset (letters, digits, . _ - only, a letter or digit first)"
        raise SettingError(f"{problem}; pass NAME=FOLDER or NAME=HUB_ID to choose its name")
    return DatasetSource(name, path or source)


def _name_of(path: Path) -> str:
    """Return the name of a folder, or of a file without the suffixes of its format."""
    return stem_of(path) if path.is_file() else path.name
