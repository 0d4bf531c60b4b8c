"""The samples of a split as its rows are read: their ids, their groups, and what is skipped."""

import sys
from collections import Counter
from dataclasses import replace

from biocache.engine.corpora.table import Ordinal
from biocache.engine.corpora.task import Place, RawSplit, ReadSplit, Row, Sample
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["Collector", "encodable"]


class Collector:
    """Collects the samples of a split.

    Ids are those of the source where each row has one of its own. Where a column of ids was guessed and is no such
    column, samples are numbered and a remark says why; where the user named it, that is an error.

    Parameters
    ----------
    raw
        The split.
    """

    def __init__(self, raw: RawSplit) -> None:
        self._raw = raw
        self._samples: list[Sample] = []
        self._skipped: list[Place] = []
        self._ids: dict[str, int] = {}
        self._places: list[Place] = []
        self._no_ids = "" if "id" in raw.columns else "no column"
        self._remarks: list[str] = []

    def add(
        self,
        row: Row,
        texts: tuple[tuple[str, ...], ...],
        *,
        label: str | float | None = None,
        tags: tuple[str | None, ...] | None = None,
    ) -> None:
        """Add the sample of a row; it is skipped where one of its texts has no word."""
        if not all(texts):
            self._skipped.append(row.place)
            return
        identifier = self._numbered(len(self._samples)) if self._no_ids else self._id(row)
        self._samples.append(Sample(identifier, texts, label, tags, self._group(row)))

    def finish(self, notes: Counter[str]) -> ReadSplit:
        """Return the split.

        Raises
        ------
        DataError
            If it has no sample.
        """
        raw = self._raw
        if not self._samples:
            what = "a word" if not self._skipped else f"a word, {len(self._skipped)} without one"
            raise DataError(f"{raw.place}: the {raw.name} split has no sample with {what}; give it at least one")
        if self._skipped:
            notes["empty_samples"] = len(self._skipped)
            some = ", ".join(place.at() for place in self._skipped[:3])
            more = ", ..." if len(self._skipped) > 3 else ""
            self._remarks.append(f"samples without a word skipped: {len(self._skipped):,} ({some}{more})")
        return ReadSplit(self._samples, notes, self._remarks)

    def _group(self, row: Row) -> str | None:
        value = row.fields.get("group")
        if value is None or value == "":
            return None
        if isinstance(value, Ordinal):
            return f"{self._raw.name}-{value}"
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            column = self._raw.columns["group"]
            if "group" not in self._raw.asked:
                return None
            raise DataError(f"{row.place.at()}: {column} is {shown(value)}, not text or a number; write it as a string")
        return sys.intern(_text_of(value, row))

    def _id(self, row: Row) -> str:
        """Return the id of a row: its own, or its number where the column is no column of ids."""
        column, value = self._raw.columns["id"], row.fields.get("id")
        if value is None or value == "":
            return self._refuse(row, f"no {column}, which other rows have", "give it to all rows or none")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return self._refuse(row, f"{column} is {shown(value)}, not text or a whole number", "write it as a string")
        identifier = _text_of(value, row)
        earlier = self._ids.setdefault(identifier, len(self._samples))
        if earlier != len(self._samples):
            place = self._places[earlier].at()
            return self._refuse(
                row, f"{column} {shown(identifier)} was used before, at {place}", "make the ids of a split unique"
            )
        self._places.append(row.place)
        return identifier

    def _refuse(self, row: Row, problem: str, advice: str) -> str:
        if "id" in self._raw.asked:
            raise DataError(f"{row.place.at()}: {problem}; {advice}, or leave --id-column out to number the samples")
        self._no_ids = problem
        self._remarks.append(f"samples are numbered: {row.place.at()}: {problem}")
        self._ids.clear()
        self._places.clear()
        self._samples = [replace(one, id=self._numbered(at)) for at, one in enumerate(self._samples)]
        return self._numbered(len(self._samples))

    def _numbered(self, number: int) -> str:
        return f"{self._raw.name}-{number}"


def _text_of(value: object, row: Row) -> str:
    """Return an id or a group as text; a whole number as such, whatever the type of its column."""
    if isinstance(value, str) and value.isascii():
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return encodable(row, str(value).strip())


def encodable(row: Row, value: str) -> str:
    """Return a text that UTF-8 can hold.

    Raises
    ------
    DataError
        If it holds half a surrogate pair, which JSON can escape and no tokenizer accepts.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        problem = f"half a character, {value[error.start]!a}"
        raise DataError(f"{row.place.at()}: {problem} in {shown(value)}; replace the broken escape") from None
    return value
