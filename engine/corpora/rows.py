"""What a source of text hands to a task: rows that know their place, and what the task makes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from biocache.engine.corpora.base import Sample

__all__ = ["LinePlace", "PairColumns", "Place", "RawSplit", "ReadSplit", "Row", "RowPlace"]


class Place(Protocol):
    """Where a row came from, in words that an error message can begin with."""

    def at(self, offset: int = 0) -> str:
        """Return the place of the row's word number `offset`."""


@dataclass(frozen=True, slots=True)
class LinePlace:
    """A row of a text file, whose words (if it has any) stand on consecutive lines.

    Attributes
    ----------
    path
        The file.
    line
        The row's first line, counted from 1.
    """

    path: Path
    line: int

    def at(self, offset: int = 0) -> str:
        """Return ``path:line`` of the row's word number `offset`."""
        return f"{self.path}:{self.line + offset}"


@dataclass(frozen=True, slots=True)
class RowPlace:
    """A row of a hub data set's split.

    Attributes
    ----------
    table
        ``hub_id[split]``.
    row
        The row, counted from 0 as the `datasets` library does.
    """

    table: str
    row: int

    def at(self, offset: int = 0) -> str:
        """Return ``hub_id[split] row N``, the same for every `offset`."""
        return f"{self.table} row {self.row}"


@dataclass(frozen=True, slots=True)
class Row:
    """One sample as its source holds it, unchecked.

    Attributes
    ----------
    place
        Where it is, for messages.
    fields
        ``words`` and ``tags`` for ``ner``; for ``nli`` the columns that `PairColumns` names.
    """

    place: Place
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PairColumns:
    """The names that a source gives to the fields of an ``nli`` row; the defaults are MedNLI's and SNLI's.

    Attributes
    ----------
    premise, hypothesis
        The two texts.
    label
        The gold label; ``-`` for a pair without one.
    id
        The pair's id; a source need not have it.
    """

    premise: str = "sentence1"
    hypothesis: str = "sentence2"
    label: str = "gold_label"
    id: str = "pairID"


@dataclass(frozen=True, slots=True)
class RawSplit:
    """A split as its source holds it.

    Attributes
    ----------
    place
        Where the split as a whole is, for messages: ``path:1`` or ``hub_id[split]``.
    rows
        Its rows in order.
    columns
        What an ``nli`` source calls its fields.
    notes
        What the source's format left out, counted.
    """

    place: str
    rows: Sequence[Row]
    columns: PairColumns = field(default_factory=PairColumns)
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadSplit:
    """A split after a task has checked it.

    Attributes
    ----------
    samples
        The samples kept, in the source's order.
    places
        The place of each sample.
    notes
        What was repaired or left out, counted.
    """

    samples: tuple[Sample, ...]
    places: tuple[Place, ...]
    notes: Mapping[str, int]
