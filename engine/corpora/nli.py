"""Natural language inference: premise and hypothesis pairs, checked."""

from collections.abc import Sequence

from biocache.engine.corpora.base import Sample
from biocache.engine.corpora.rows import Place, RawSplit, ReadSplit, Row
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["NO_GOLD_LABEL", "read_pairs"]

NO_GOLD_LABEL = "-"


def read_pairs(split: str, raw: RawSplit) -> ReadSplit:
    """Check the rows of a split and make samples of them.

    Parameters
    ----------
    split
        The split's name, the stem of the ids when the source has none: ``train-0``, ``train-1``, ...
    raw
        Rows with the fields that ``raw.columns`` names.

    Returns
    -------
    ReadSplit
        One sample a pair with a gold label; its notes count the others as ``skipped_pairs``.

    Raises
    ------
    DataError
        If a field is missing or not text, if a text or label is empty, if an id is on some rows only or on
        two rows, or if there is no pair.
    """
    columns = raw.columns
    ids = _pair_ids(raw.rows, columns.id)
    samples: list[Sample] = []
    places: list[Place] = []
    for number, row in enumerate(raw.rows):
        label = _text(row, columns.label)
        if label == NO_GOLD_LABEL:
            continue
        texts = (_words(row, columns.premise), _words(row, columns.hypothesis))
        if not label.strip():
            raise DataError(f"{row.place.at()}: {columns.label} is empty; write the label, or - for none")
        sample_id = ids[number] if ids else f"{split}-{len(samples)}"
        samples.append(Sample(sample_id, texts, label=label))
        places.append(row.place)
    if not samples:
        raise DataError(f"{raw.place}: no labelled pair in the {split} split; give it at least one")
    _check_unique(samples, places, columns.id)
    notes = {**raw.notes, "skipped_pairs": len(raw.rows) - len(samples)}
    return ReadSplit(tuple(samples), tuple(places), notes)


def _pair_ids(rows: Sequence[Row], column: str) -> list[str]:
    """Return the id of every row, or nothing when no row has one."""
    ids = [_pair_id(row, column) for row in rows]
    if all(identifier is None for identifier in ids):
        return []
    for row, identifier in zip(rows, ids, strict=True):
        if identifier is None:
            raise DataError(f"{row.place.at()}: no {column}, which other rows have; give it to all rows or none")
    return [identifier for identifier in ids if identifier is not None]


def _pair_id(row: Row, column: str) -> str | None:
    value = row.fields.get(column)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        problem = f"{column} is {shown(value)}, not text or a whole number"
        raise DataError(f"{row.place.at()}: {problem}; write it as a string")
    return _encodable(row, column, value) if isinstance(value, str) else str(value)


def _text(row: Row, column: str) -> str:
    if column not in row.fields:
        raise DataError(f"{row.place.at()}: field {column} is missing; add it to this row")
    value = row.fields[column]
    if not isinstance(value, str):
        raise DataError(f"{row.place.at()}: {column} is {shown(value)}, not text; write it as a string")
    return _encodable(row, column, value)


def _encodable(row: Row, column: str, value: str) -> str:
    # JSON can escape half a surrogate pair, which no tokenizer accepts.
    try:
        value.encode()
    except UnicodeEncodeError as error:
        problem = f"{column} holds half a character, {value[error.start]!a}"
        raise DataError(f"{row.place.at()}: {problem}; replace the broken escape") from None
    return value


def _words(row: Row, column: str) -> tuple[str, ...]:
    words = tuple(_text(row, column).split())
    if not words:
        raise DataError(f"{row.place.at()}: {column} has no words; write the text, or remove the row")
    return words


def _check_unique(samples: Sequence[Sample], places: Sequence[Place], column: str) -> None:
    first: dict[str, Place] = {}
    for sample, place in zip(samples, places, strict=True):
        earlier = first.setdefault(sample.id, place)
        if earlier is not place:
            problem = f"{column} {shown(sample.id)} was used before, at {earlier.at()}"
            raise DataError(f"{place.at()}: {problem}; make the ids of a split unique")
