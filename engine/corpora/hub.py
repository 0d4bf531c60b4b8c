"""Corpora on the Hugging Face hub, read into the same rows as local files."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from biocache.engine.corpora.folder import SPLIT_NAMES
from biocache.engine.corpora.task import Place, RawSplit, Row, Task
from biocache.engine.machine import quiet_loggers
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["PUBLISHED_TAGS", "read_hub"]

# The branch on which the hub keeps a dataset whose own files are a loading script.
_PARQUET = "refs/convert/parquet"

#: Tag names that a dataset's page publishes and its files do not hold.
PUBLISHED_TAGS: Mapping[str, tuple[str, ...]] = {
    "tner/bionlp2004": (
        *("O", "B-DNA", "I-DNA", "B-protein", "I-protein", "B-cell_type", "I-cell_type"),
        *("B-cell_line", "I-cell_line", "B-RNA", "I-RNA"),
    )
}

_REASON_CHARACTERS = 160


def read_hub(hub_id: str, task: Task) -> dict[str, RawSplit]:
    """Download a dataset, or take it from the hub's local cache, and read its splits.

    Parameters
    ----------
    hub_id
        The dataset's id. It has one column for each of `Task.columns`: for ``ner`` a column ``tokens`` or ``words``
        and one of ``tags``, ``ner_tags`` or ``labels``; for ``nli`` the columns ``sentence1`` and ``sentence2``, or
        ``premise`` and ``hypothesis``, and ``gold_label`` or ``label``.
    task
        The task.

    Returns
    -------
    dict of str to RawSplit
        The splits found, in the order train, validation, test. Class numbers are replaced by the names of their
        classes, and -1 by `Task.unlabelled`.

    Raises
    ------
    DataError
        If the dataset cannot be loaded, has no split or not the columns of the task, or holds numbers for
        classes and no names for them.
    """
    tables = _load(hub_id)
    return {split: _read_table(hub_id, task, name, tables[name]) for split, name in _splits(hub_id, tables)}


def _load(hub_id: str) -> Mapping[str, Any]:
    import datasets

    try:
        # Each retry of an unreachable hub would log a line beside the one error that says it all.
        with quiet_loggers("huggingface_hub", level=logging.CRITICAL):
            if hub_id.startswith("tner/"):
                return dict(datasets.load_dataset(hub_id, revision=_PARQUET))
            try:
                return dict(datasets.load_dataset(hub_id))
            except RuntimeError:  # a loading script, which the library no longer runs
                return dict(datasets.load_dataset(hub_id, revision=_PARQUET))
    # The library has no common error: the network, the id, the configuration and the files each have theirs.
    except Exception as error:
        reason = " ".join(str(error).split())[:_REASON_CHARACTERS] or type(error).__name__
        problem = f"neither a folder nor a dataset that the Hugging Face hub could give ({reason})"
        raise DataError(f"{hub_id}: {problem}; check the id and the network, or pass a folder") from None


def _splits(hub_id: str, tables: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the splits found, each with the name that the dataset gives it."""
    found: list[tuple[str, str]] = []
    for split, names in SPLIT_NAMES.items():
        present = [name for name in names if name in tables]
        if len(present) > 1:
            problem = f"{' and '.join(present)} are both the {split} split"
            raise DataError(f"{hub_id}: {problem}; save the one you mean to a folder and pass that")
        found += [(split, name) for name in present]
    if not found:
        have = ", ".join(tables) or "none"
        raise DataError(f"{hub_id}: no split train, validation or test (it has {have}); pass another dataset")
    return found


def _read_table(hub_id: str, task: Task, split: str, table: Any) -> RawSplit:
    place = f"{hub_id}[{split}]"
    columns = _columns(task, table.column_names, place)
    names = _class_names(table, columns[task.label_column]) or PUBLISHED_TAGS.get(hub_id.lower())
    data = table.select_columns(list(columns.values())).to_dict()
    rows: list[Row] = []
    for number, values in enumerate(zip(*(data[column] for column in columns.values()), strict=True)):
        row = Row(Place(f"{place} row ", number), dict(zip(columns, values, strict=True)))
        label = row.fields[task.label_column]
        if not task.labels_words:
            label = _decode(label, names, row.place, task.unlabelled)
        elif isinstance(label, list):
            label = [_decode(one, names, row.place, task.unlabelled) for one in label]
        rows.append(Row(row.place, {**row.fields, task.label_column: label}))
    return RawSplit(place, rows, columns)


def _columns(task: Task, present: Sequence[str], place: str) -> dict[str, str]:
    """Return each field of the task with the column of a table that holds it."""
    columns: dict[str, str] = {}
    for field, names in task.columns.items():
        found = [name for name in names if name in present]
        if found:
            columns[field] = found[0]
        elif field not in task.optional_columns:
            have = ", ".join(present) or "none"
            raise DataError(f"{place}: no column {' or '.join(names)} (it has {have}); pass a dataset of this task")
    return columns


def _class_names(table: Any, column: str) -> Sequence[str] | None:
    feature = table.features[column]
    names: Sequence[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return names


def _decode(value: object, names: Sequence[str] | None, place: Place, unlabelled: str | None) -> object:
    """Return the name of a class number, or any other value as it is, for the task to check."""
    if not isinstance(value, int):
        return value
    if names is None:
        problem = f"class {value} is a plain number and the dataset does not name its classes"
        raise DataError(f"{place.at()}: {problem}; save it to a folder with named labels and pass that")
    if value == -1 and unlabelled is not None:
        return unlabelled
    if not 0 <= value < len(names):
        problem = f"class {shown(value)} is not one of the {len(names)} that the dataset names"
        raise DataError(f"{place.at()}: {problem}; save it to a folder, corrected, and pass that")
    return names[value]
