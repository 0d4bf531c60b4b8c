"""What a task is, the rows that a source gives it, and the samples it makes of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Place", "RawSplit", "ReadSplit", "Row", "Sample", "Task"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sentence, one text, or one pair of texts.

    Attributes
    ----------
    id
        Unique within its split.
    texts
        The words of every text: ``(sentence,)``, ``(text,)`` or ``(premise, hypothesis)``. No text is empty, no word is
        empty or holds white space.
    label
        Class or number of the sample; None for none, and for a task that labels words.
    tags
        One tag a word, None for a word without: IOB2 for ``ner``, any for ``tokens``; None for a task that labels
        samples, and for a corpus without labels.
    group
        What the sample belongs to: a document, a premise, a patient; None where nothing says so.
    """

    id: str
    texts: tuple[tuple[str, ...], ...]
    label: str | float | None = None
    tags: tuple[str | None, ...] | None = None
    group: str | None = None

    @property
    def row(self) -> tuple[str, tuple[tuple[str, ...], ...]]:
        """Id and texts: what decides the numbers of a run."""
        return self.id, self.texts

    @property
    def labelled_row(self) -> tuple[object, ...]:
        """Id, texts and labels: what decides the weights of a model that is fine-tuned on it."""
        return self.id, self.texts, self.label, self.tags


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
        Function of a split's name and its rows; it checks the rows and makes samples of them.
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
    iob2
        Whether the labels are IOB2 tags.
    default_dataset
        Hub id of the dataset that is read where none is named; None where there is none.
    no_default
        Message where there is none.
    """

    name: str
    views: Mapping[str, tuple[int, ...]]
    labelled: Literal["words", "samples"]
    read: Callable[[str, RawSplit], ReadSplit]
    columns: Mapping[str, tuple[str, ...]]
    label_column: str
    files: tuple[str, ...]
    expected_files: str
    optional_columns: frozenset[str] = frozenset()
    unlabelled: str | None = None
    iob2: bool = False
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
