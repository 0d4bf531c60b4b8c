"""Texts and pairs of texts with a label: rows checked, and samples made of them."""

import sys
from collections import Counter

from biocache.engine.corpora.labels import is_number, read_label
from biocache.engine.corpora.samples import Collector, encodable
from biocache.engine.corpora.task import RawSplit, ReadSplit, Row
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["LABEL_COLUMNS", "TEXT_FIELDS", "read_texts"]

#: Fields that hold texts, of all tasks that label samples.
TEXT_FIELDS = ("premise", "hypothesis", "text")

LABEL_COLUMNS = (
    *("goldlabel", "label", "entailmentjudgment", "entailmentlabel", "finaldecision", "exactanswer", "labels", "gold"),
    *("class", "category", "relation", "judgment", "target", "answer", "score", "similarity", "relatednessscore", "y"),
)

# Keys of an object that stands for a text.
_TEXT_KEYS = ("text", "contexts", "sentence")

# Texts that are looked up: those of one premise stand together in most corpora.
_LATELY = 1 << 12


def read_texts(raw: RawSplit) -> ReadSplit:
    """Check the rows of a split and make samples of them.

    Parameters
    ----------
    raw
        Rows with fields for their texts, of `TEXT_FIELDS`, and perhaps ``label``. A text may be a list of its parts. A
        row whose label means that there is none is a sample without label.

    Returns
    -------
    ReadSplit
        One sample a row, with the label as it is written, without the white space around it. A row of which a text has
        no word is skipped and counted.

    Raises
    ------
    DataError
        If a field is missing or not text, if a label is neither text nor number, or if no sample is left.
    """
    collector = Collector(raw)
    first: dict[str, str] = {}
    known: dict[str, str] = {}
    fields = [_Words(field, raw.columns[field], known) for field in TEXT_FIELDS if field in raw.columns]
    column = raw.columns.get("label", "label")
    for row in raw.rows:
        texts = tuple([field.of(row) for field in fields])
        label = read_label(row.fields.get("label"), column, row.place)
        if isinstance(label, str):
            label = sys.intern(label if label.isascii() else encodable(row, label))
            if label not in first and not is_number(label):
                first[label] = row.place.at()
        collector.add(row, texts, label=label)
    read = collector.finish(Counter())
    read.first = first
    return read


class _Words:
    """The words of one field: texts that repeat, as premises do, are split once, and each word is in memory once."""

    def __init__(self, field: str, column: str, known: dict[str, str]) -> None:
        self._field, self._column, self._known = field, column, known
        self._lately: dict[str, tuple[str, ...]] = {}

    def of(self, row: Row) -> tuple[str, ...]:
        if self._field not in row.fields:
            raise DataError(f"{row.place.at()}: field {self._column} is missing; add it to this row")
        value = row.fields[self._field]
        text = value if isinstance(value, str) else _joined(value, row, self._column)
        found = self._lately.get(text)
        if found is None:
            words = (text if text.isascii() else encodable(row, text)).split()
            found = tuple(map(self._known.setdefault, words, words))
            if len(self._lately) >= _LATELY:
                self._lately.clear()
            self._lately[text] = found
        return found


def _joined(value: object, row: Row, column: str) -> str:
    """Return a text, its parts joined by blanks; empty for None."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(_joined(one, row, column) for one in value)
    if isinstance(value, dict):
        key = next((key for key in _TEXT_KEYS if key in value), None)
        if key is not None:
            return _joined(value[key], row, column)
    raise DataError(f"{row.place.at()}: {column} is {shown(value)}, not text; write it as a string")
