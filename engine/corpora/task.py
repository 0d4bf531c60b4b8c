"""What a task is, the rows that a source gives it, and the samples it makes of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

__all__ = ["SPLITS", "Place", "RawSplit", "ReadSplit", "Row", "Sample", "Task"]

SPLITS = ("train", "validation", "test")


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


class Place(NamedTuple):
    """Where a row came from, for messages.

    Attributes
    ----------
    source
        What comes before the number: ``path:`` of a file, or ``hub_id[split] row``.
    number
        The row's first line in a file, from 1; or its number in a dataset of the hub, from 0.
    step
        1 where the words of a row are on consecutive lines; 0 where a row has one place.
    lines
        The line of each word where they are not consecutive; empty otherwise.
    """

    source: str
    number: int
    step: int = 0
    lines: tuple[int, ...] = ()

    def at(self, offset: int = 0) -> str:
        """Return the place of the row's word number `offset`."""
        return f"{self.source}{self.lines[offset] if self.lines else self.number + self.step * offset}"


class Row(NamedTuple):
    """One sample as its source holds it, unchecked.

    Attributes
    ----------
    place
        Where it is, for messages.
    fields
        The values that were found, by the fields of the task: `Task.columns`, ``id`` and ``group``.
    """

    place: Place
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RawSplit:
    """A split as its source holds it.

    Attributes
    ----------
    name
        Its name, the stem of the ids of samples without an id of their own: ``train-0``, ``train-1``, ...
    place
        Where the split as a whole is, for messages: ``path:1`` or ``hub_id[split]``.
    rows
        Its rows in order; they are read once.
    columns
        Field of a row to the source's own name of it, for messages.
    asked
        Fields whose columns the user named, and did not leave to a guess.
    """

    name: str
    place: str
    rows: Iterable[Row]
    columns: Mapping[str, str]
    asked: frozenset[str] = frozenset()


@dataclass(slots=True)
class ReadSplit:
    """A split after its task has checked it.

    Attributes
    ----------
    samples
        The samples kept, in the source's order.
    notes
        Counts of what was repaired or left out.
    remarks
        What a user should know of it.
    first
        Each tag or label as it was read, and the place that has it first; of the labels of samples, only those that
        are no numbers.
    """

    samples: list[Sample]
    notes: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)
    first: Mapping[str, str] = field(default_factory=dict)


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
    texts
        The fields of a row that hold its texts.
    columns
        Field of a row to the names that its column usually has, as `biocache.engine.corpora.table.normalised` gives
        them, the likeliest first; those of the texts are in parallel.
    label_field
        The field that holds the labels.
    read
        Function that checks the rows of a split and makes samples of them.
    settle
        Function of all splits that are read, by name, and of what labels are (``number``, ``class``, or None where the
        labels tell it). It gives the labels of their samples their last form and returns remarks for the user.
    expected_files
        Names of files that it reads, for messages.
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
    texts: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    label_field: str
    read: Callable[[RawSplit], ReadSplit]
    settle: Callable[[Mapping[str, ReadSplit], str | None], list[str]]
    expected_files: str
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
