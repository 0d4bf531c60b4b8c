"""Natural language inference: premise and hypothesis pairs, checked."""

from collections.abc import Mapping, Sequence

from biocache.engine.corpora.task import Place, RawSplit, ReadSplit, Row, Sample, Task
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["NLI", "read_pairs"]

_NO_GOLD_LABEL = "-"


def read_pairs(split: str, raw: RawSplit) -> ReadSplit:
    """Check the rows of a split and make samples of them.

    Parameters
    ----------
    split
        The split's name, the stem of the ids when the source has none: ``train-0``, ``train-1``, ...
    raw
        Rows with the fields ``premise``, ``hypothesis``, ``label`` and perhaps ``id``.

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
    ids = _pair_ids(raw)
    samples: list[Sample] = []
    places: list[Place] = []
    for number, row in enumerate(raw.rows):
        label = _text(row, "label", columns)
        if label == _NO_GOLD_LABEL:
            continue
        texts = (_words(row, "premise", columns), _words(row, "hypothesis", columns))
        if not label.strip():
            raise DataError(f"{row.place.at()}: {columns['label']} is empty; write the label, or - for none")
        sample_id = ids[number] if ids else f"{split}-{len(samples)}"
        samples.append(Sample(sample_id, texts, label=label))
        places.append(row.place)
    if not samples:
        raise DataError(f"{raw.place}: no labelled pair in the {split} split; give it at least one")
    _check_unique(samples, places, columns)
    notes = {**raw.notes, "skipped_pairs": len(raw.rows) - len(samples)}
    return ReadSplit(tuple(samples), tuple(places), notes)


NLI = Task(
    name="nli",
    views={"premise": (0,), "hypothesis": (1,), "pair": (0, 1)},
    labelled="samples",
    read=read_pairs,
    columns={
        "premise": ("sentence1", "premise"),
        "hypothesis": ("sentence2", "hypothesis"),
        "label": ("gold_label", "label"),
        "id": ("pairID", "pair_id", "id", "uid"),
    },
    label_column="label",
    files=("{}.jsonl", "mli_{}_v1.jsonl", "snli_1.0_{}.jsonl"),
    expected_files="train.jsonl, validation.jsonl, test.jsonl (or MedNLI's mli_{train,dev,test}_v1.jsonl, "
    "or SNLI's snli_1.0_{train,dev,test}.jsonl)",
    optional_columns=frozenset({"id"}),
    unlabelled=_NO_GOLD_LABEL,
    no_default="MedNLI, the default dataset of nli, cannot be downloaded freely: PhysioNet gives it to credentialed "
    "accounts (https://physionet.org/content/mednli/); get it there and pass --dataset=FOLDER "
    "holding mli_train_v1.jsonl, mli_dev_v1.jsonl and mli_test_v1.jsonl",
)


def _pair_ids(raw: RawSplit) -> list[str]:
    """Return the id of every row, or nothing when no row has one."""
    ids = [_pair_id(row, raw.columns) for row in raw.rows]
    given = [identifier for identifier in ids if identifier is not None]
    if given and len(given) < len(ids):
        row = raw.rows[ids.index(None)]
        problem = f"no {raw.columns['id']}, which other rows have"
        raise DataError(f"{row.place.at()}: {problem}; give it to all rows or none")
    return given


def _pair_id(row: Row, columns: Mapping[str, str]) -> str | None:
    value = row.fields.get("id")
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        problem = f"{columns['id']} is {shown(value)}, not text or a whole number"
        raise DataError(f"{row.place.at()}: {problem}; write it as a string")
    return _encodable(row, columns["id"], value) if isinstance(value, str) else str(value)


def _text(row: Row, field: str, columns: Mapping[str, str]) -> str:
    column = columns[field]
    if field not in row.fields:
        raise DataError(f"{row.place.at()}: field {column} is missing; add it to this row")
    value = row.fields[field]
    if not isinstance(value, str):
        raise DataError(f"{row.place.at()}: {column} is {shown(value)}, not text; write it as a string")
    return _encodable(row, column, value)


def _encodable(row: Row, column: str, value: str) -> str:
    # JSON can escape half of a surrogate pair, which no tokenizer accepts.
    try:
        value.encode()
    except UnicodeEncodeError as error:
        problem = f"{column} holds half a character, {value[error.start]!a}"
        raise DataError(f"{row.place.at()}: {problem}; replace the broken escape") from None
    return value


def _words(row: Row, field: str, columns: Mapping[str, str]) -> tuple[str, ...]:
    words = tuple(_text(row, field, columns).split())
    if not words:
        raise DataError(f"{row.place.at()}: {columns[field]} has no words; write the text, or remove the row")
    return words


def _check_unique(samples: Sequence[Sample], places: Sequence[Place], columns: Mapping[str, str]) -> None:
    first: dict[str, Place] = {}
    for sample, place in zip(samples, places, strict=True):
        earlier = first.setdefault(sample.id, place)
        if earlier is not place:
            problem = f"{columns['id']} {shown(sample.id)} was used before, at {earlier.at()}"
            raise DataError(f"{place.at()}: {problem}; make the ids of a split unique")
