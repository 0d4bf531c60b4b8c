"""Find the dataset that a user names, and read and check it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from biocache.engine.corpora.base import TASKS, Corpus
from biocache.engine.corpora.folder import read_folder
from biocache.engine.corpora.hub import read_hub
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
        Its folder, or its hub id.
    """

    name: str
    place: Path | str


def read_corpus(
    task: str,
    dataset: str | None,
    *,
    splits: Sequence[str] | None = None,
    limit: int | None = None,
) -> Corpus:
    """Read and check a corpus.

    Parameters
    ----------
    task
        ``ner`` or ``nli``.
    dataset
        A local folder, whose name becomes the dataset's; a hub id, whose last part does, in lower case;
        ``NAME=FOLDER`` or ``NAME=HUB_ID`` to choose the name; None for the task's default.
    splits
        The splits to keep; None for all that exist.
    limit
        Most samples to keep of every split, from its start.

    Returns
    -------
    Corpus
        The splits kept, in the order train, validation, test.

    Raises
    ------
    SettingError
        If the task, the limit or the dataset's name cannot be used.
    DataError
        If the source cannot be found or is malformed, or if a split asked for does not exist. The message begins with
        the file and line.
    """
    _check_settings(task, splits, limit)
    source, kind = locate(task, dataset), TASKS[task]
    place = source.place
    raw = read_folder(place, kind) if isinstance(place, Path) else read_hub(place, kind)
    absent = [split for split in splits or () if split not in raw]
    if absent:
        raise DataError(f"{place}: no split {shown(absent[0])}; it has {', '.join(raw)}")
    kept = {split: kind.read(split, part) for split, part in raw.items() if splits is None or split in splits}
    return Corpus(
        name=source.name,
        source=str(resolved(place) if isinstance(place, Path) else place),
        task=kind,
        splits={split: part.samples[:limit] for split, part in kept.items()},
        notes=_positive_notes(kept),
    )


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
        name = resolved(path).name if path else source.rsplit("/", 1)[-1].lower()
    if not _NAME.fullmatch(name):
        problem = f"{shown(name)} cannot name a dataset (letters, digits, . _ - only, a letter or digit first)"
        raise SettingError(f"{problem}; pass NAME=FOLDER or NAME=HUB_ID to choose its name")
    return DatasetSource(name, path or source)


def _positive_notes(read: Mapping[str, ReadSplit]) -> dict[str, dict[str, int]]:
    counts = {split: {note: count for note, count in part.notes.items() if count} for split, part in read.items()}
    return {split: notes for split, notes in counts.items() if notes}
