"""A table: what every format gives of a file, and the hub of a split, before a task reads it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from biocache.engine.corpora.task import Place

__all__ = ["GROUP", "MISSING", "Ordinal", "Rows", "Table", "normalised"]

#: Name of the column of the document that a record is of, where lines of the file begin documents.
GROUP = "(document)"

#: Stands for a value that a record does not have.
MISSING = object()


class Ordinal(int):
    """Number, from 1, of a document without an id of its own; those of other splits are other documents."""


#: Function of names of columns that yields the place and the values of each record, in order.
Rows = Callable[[Sequence[str]], Iterator[tuple[Place, Sequence[object]]]]


@dataclass(frozen=True, slots=True)
class Table:
    """Records with named columns; a sentence of tagged words is a record, whose columns hold a value a word.

    Attributes
    ----------
    place
        Where it is as a whole, for messages: ``path:1`` or ``hub_id[split]``.
    columns
        Names of its columns; numbers from 1 where they have none.
    rows
        Reads the records anew: see `Rows`.
    head
        The cells of the first records, where columns have no names.
    class_names
        Column to the names of the classes whose numbers it holds.
    fixed
        Field of a task to the column that the format itself has for it.
    notes
        Counts of what the format leaves out; complete when all rows were read.
    remarks
        What a user should know of how it is read.
    """

    place: str
    columns: tuple[str, ...]
    rows: Rows
    head: tuple[tuple[str, ...], ...] = ()
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its file or split, for remarks."""
        return self.place.removesuffix(":1").rsplit("/", 1)[-1]


def normalised(name: str) -> str:
    """Return the name of a column without case, spaces and punctuation: ``sentence_A`` is ``sentencea``."""
    return "".join(character for character in name.lower() if character.isalnum())
