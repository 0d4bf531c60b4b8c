"""What a task is, the rows that a source gives it, and the samples it makes of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Place", "RawSplit", "ReadSplit", "Row", "Sample", "Task"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sentence (``ner``) or one pair of texts (``nli``).

    Attributes
    ----------
    id
        Unique within its split.
    texts
        The words of every text: ``(sentence,)`` or ``(premise, hypothesis)``. No text is empty, no word is
        empty or holds white space.
    label
        Label of the sample; None for a task that labels words.
    word_labels
        One label a word; None for a task that labels samples.
    tags
        One IOB2 tag a word for ``ner``, whatever the labels; None for ``nli``.
    """

    id: str
    texts: tuple[tuple[str, ...], ...]
    label: str | None = None
    word_labels: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None

    @property
    def row(self) -> tuple[str, tuple[tuple[str, ...], ...], str | None, tuple[str, ...] | None]:
        """What `biocache.store.digests.digest_samples` takes of it."""
        return self.id, self.texts, self.label, self.word_labels

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the words, or the one label of the sample."""
        return self.word_labels or (self.label or "",)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row came from, for messages.

    Attributes
    ----------
    source
        What comes before the number: ``path:`` of a file, or ``hub_id[split] row``.
    number
        The row's first line in a file, from 1; or its number in a dataset of the hub, from 0.
    step
        1 where the words of a row are on consecutive lines; 0 where a row has one place.
    """

    source: str
    number: int
    step: int = 0

    def at(self, offset: int = 0) -> str:
        """Return the place of the row's word number `offset`."""
        return f"{self.source}{self.number + self.step * offset}"


@dataclass(frozen=True, slots=True)
class Row:
    """One sample as its source holds it, unchecked.

    Attributes
    ----------
    place
        Where it is, for messages.
    fields
        The values that were found, by the task's names of the fields (`Task.columns`).
    """

    place: Place
    fields: Mapping[str, object]


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
        Field of a row to the source's own name of it, for messages.
    notes
        Counts of what the source's format left out.
    """

    place: str
    rows: Sequence[Row]
    columns: Mapping[str, str]
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReadSplit:
    """A split after its task has checked it.

    Attributes
    ----------
    samples
        The samples kept, in the source's order.
    places
        The place of each sample.
    notes
        Counts of what was repaired or left out.
    """

    samples: tuple[Sample, ...]
    places: tuple[Place, ...]
    notes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Task:
    """A shape of text and labels: how it is read, what can be encoded of a sample, and what has the labels.

    Attributes
    ----------
    name
        Its name in run keys.
    views
        View name to the positions in `Sample.texts` that it encodes.
    labelled
        What has a label: ``words`` or ``samples``.
    read
        Function of a split's name, its rows and the label scheme; it checks the rows and makes samples of them.
    columns
        Field of a row to the names that datasets of the hub give it; the first is its name in local files.
    label_column
        The field that holds the labels.
    files
        Names of the file of a split, with ``{}`` for the name of the split.
    expected_files
        The same in words, for messages.
    optional_columns
        Fields that a source need not have.
    unlabelled
        Label that stands for a class number of -1; None where that number is an error.
    label_schemes
        Label schemes that the task distinguishes; the first is recorded in place of any other.
    labels
        Labels that every corpus has, whatever its samples.
    default_dataset
        Hub id of the dataset that is read where none is named; None where there is none.
    no_default
        Message where there is none.
    """

    name: str
    views: Mapping[str, tuple[int, ...]]
    labelled: Literal["words", "samples"]
    read: Callable[[str, RawSplit, str], ReadSplit]
    columns: Mapping[str, tuple[str, ...]]
    label_column: str
    files: tuple[str, ...]
    expected_files: str
    optional_columns: frozenset[str] = frozenset()
    unlabelled: str | None = None
    label_schemes: tuple[str, ...] = ("type",)
    labels: tuple[str, ...] = ()
    default_dataset: str | None = None
    no_default: str = ""

    @property
    def whole_view(self) -> str:
        """The view that encodes all texts of a sample; classifiers and attention maps use it."""
        return max(self.views, key=lambda view: len(self.views[view]))

    @property
    def labels_words(self) -> bool:
        """Whether words have the labels, not samples."""
        return self.labelled == "words"
