"""Corpora on the Hugging Face hub, read into the same rows as local files."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from biocache.engine.corpora.folder import SPLIT_NAMES
from biocache.engine.corpora.nli import NO_GOLD_LABEL
from biocache.engine.corpora.rows import PairColumns, RawSplit, Row, RowPlace
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["PUBLISHED_TAGS", "read_hub"]

# The branch on which the hub keeps a data set whose own files are a loading script.
_PARQUET = "refs/convert/parquet"

#: Tag names that a data set's page publishes and its files do not hold.
PUBLISHED_TAGS: Mapping[str, tuple[str, ...]] = {
    "tner/bionlp2004": (
        *("O", "B-DNA", "I-DNA", "B-protein", "I-protein", "B-cell_type", "I-cell_type"),
        *("B-cell_line", "I-cell_line", "B-RNA", "I-RNA"),
    )
}

_REASON_CHARACTERS = 160


def read_hub(hub_id: str, task: str) -> dict[str, RawSplit]:
    """Download a data set, or take it from the hub's local cache, and read its splits.

    Parameters
    ----------
    hub_id
        The data set's id. For ``ner`` it has a column ``tokens`` or ``words`` and one of ``tags``,
        ``ner_tags`` or ``labels``; for ``nli`` the columns ``sentence1`` and ``sentence2``, or ``premise``
        and ``hypothesis``, and ``gold_label`` or ``label``.
    task
        ``ner`` or ``nli``.

    Returns
    -------
    dict of str to RawSplit
        The splits found, in the order train, validation, test. Numbers are replaced by the names of their
        classes, and an ``nli`` label of -1 by ``-``.

    Raises
    ------
    DataError
        If the data set cannot be loaded, has no split or not the columns of the task, or holds numbers for
        classes and no names for them.
    """
    tables = _load(hub_id)
    read = _read_ner if task == "ner" else _read_nli
    return {split: read(hub_id, tables[name], f"{hub_id}[{name}]") for split, name in _splits(hub_id, tables)}


def _load(hub_id: str) -> Mapping[str, Any]:
    import datasets

    hub_log = logging.getLogger("huggingface_hub")
    level = hub_log.level
    # The retries of an unreachable hub would each log a line beside the one error that says it all.
    hub_log.setLevel(logging.CRITICAL)
    try:
        if hub_id.startswith("tner/"):
            return dict(datasets.load_dataset(hub_id, revision=_PARQUET))
        try:
            return dict(datasets.load_dataset(hub_id))
        except RuntimeError:  # a loading script, which the library no longer runs
            return dict(datasets.load_dataset(hub_id, revision=_PARQUET))
    # The library has no common error: the network, the id, the configuration and the files each have theirs.
    except Exception as error:
        reason = " ".join(str(error).split())[:_REASON_CHARACTERS] or type(error).__name__
        problem = f"neither a folder nor a data set that the Hugging Face hub could give ({reason})"
        raise DataError(f"{hub_id}: {problem}; check the id and the network, or pass a folder") from None
    finally:
        hub_log.setLevel(level)


def _splits(hub_id: str, tables: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the splits found, each with the name that the data set gives it."""
    found: list[tuple[str, str]] = []
    for split, names in SPLIT_NAMES.items():
        present = [name for name in names if name in tables]
        if len(present) > 1:
            problem = f"{' and '.join(present)} are both the {split} split"
            raise DataError(f"{hub_id}: {problem}; save the one you mean to a folder and pass that")
        found += [(split, name) for name in present]
    if not found:
        have = ", ".join(tables) or "none"
        raise DataError(f"{hub_id}: no split train, validation or test (it has {have}); pass another data set")
    return found


def _read_ner(hub_id: str, table: Any, place: str) -> RawSplit:
    words, tags = (
        _column(table, place, "tokens", "words"),
        _column(table, place, "tags", "ner_tags", "labels"),
    )
    names = _class_names(table, tags) or PUBLISHED_TAGS.get(hub_id.lower())
    data = table.select_columns([words, tags]).to_dict()
    rows: list[Row] = []
    for number, (row_words, row_tags) in enumerate(zip(data[words], data[tags], strict=True)):
        row_place = RowPlace(place, number)
        if isinstance(row_tags, list):
            row_tags = [_decode(tag, names, row_place) for tag in row_tags]
        rows.append(Row(row_place, {"words": row_words, "tags": row_tags}))
    return RawSplit(place, rows)


def _read_nli(hub_id: str, table: Any, place: str) -> RawSplit:
    columns = PairColumns(
        premise=_column(table, place, "sentence1", "premise"),
        hypothesis=_column(table, place, "sentence2", "hypothesis"),
        label=_column(table, place, "gold_label", "label"),
        id=next((name for name in ("pairID", "pair_id", "id", "uid") if name in table.column_names), "pairID"),
    )
    names = _class_names(table, columns.label)
    wanted = [columns.premise, columns.hypothesis, columns.label, columns.id]
    data = table.select_columns([name for name in wanted if name in table.column_names]).to_dict()
    rows: list[Row] = []
    for number, values in enumerate(zip(*data.values(), strict=True)):
        fields = dict(zip(data, values, strict=True))
        row_place = RowPlace(place, number)
        label = fields[columns.label]
        missing = names is not None and label == -1
        fields[columns.label] = NO_GOLD_LABEL if missing else _decode(label, names, row_place)
        rows.append(Row(row_place, fields))
    return RawSplit(place, rows, columns)


def _column(table: Any, place: str, *names: str) -> str:
    for name in names:
        if name in table.column_names:
            return name
    have = ", ".join(table.column_names) or "none"
    raise DataError(f"{place}: no column {' or '.join(names)} (it has {have}); pass a data set of this task")


def _class_names(table: Any, column: str) -> Sequence[str] | None:
    feature = table.features[column]
    names: Sequence[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return names


def _decode(value: object, names: Sequence[str] | None, place: RowPlace) -> object:
    """Return the name of a class number, or any other value as it is, for the task to check."""
    if not isinstance(value, int):
        return value
    if names is None:
        problem = f"class {value} is a plain number and the data set does not name its classes"
        raise DataError(f"{place.at()}: {problem}; save it to a folder with named labels and pass that")
    if not 0 <= value < len(names):
        problem = f"class {shown(value)} is not one of the {len(names)} that the data set names"
        raise DataError(f"{place.at()}: {problem}; save it to a folder, corrected, and pass that")
    return names[value]
