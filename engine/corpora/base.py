"""What a task is, and the corpus every reader produces."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from biocache.store.schema import LABELLED

__all__ = ["SPLITS", "TASKS", "VIEWS", "Corpus", "Sample", "Task", "digest_samples"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Task:
    """How text is read and which views of a sample can be encoded.

    Attributes
    ----------
    name
        ``ner`` or ``nli``.
    views
        View name to the positions in `Sample.texts` that it encodes.
    """

    name: str
    views: Mapping[str, tuple[int, ...]]

    @property
    def whole_view(self) -> str:
        """The view that encodes all texts of a sample; classifiers and attention maps use it."""
        return max(self.views, key=lambda view: len(self.views[view]))

    @property
    def labels_words(self) -> bool:
        """Whether words have the labels, not samples."""
        return LABELLED[self.name] == "words"


TASKS: Mapping[str, Task] = {
    "ner": Task("ner", {"sentence": (0,)}),
    "nli": Task("nli", {"premise": (0,), "hypothesis": (1,), "pair": (0, 1)}),
}

VIEWS = tuple(view for task in TASKS.values() for view in task.views)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sentence (``ner``) or one premise/hypothesis pair (``nli``).

    Attributes
    ----------
    id
        Unique within its split.
    texts
        The words of every text: ``(sentence,)`` or ``(premise, hypothesis)``. No text is empty, no word is
        empty or holds white space.
    label
        The pair's label for ``nli``; None for ``ner``.
    word_labels
        One label a word of the sentence for ``ner``; None for ``nli``.
    tags
        One IOB2 tag a word for ``ner``, whatever the labels; None for ``nli``.
    """

    id: str
    texts: tuple[tuple[str, ...], ...]
    label: str | None = None
    word_labels: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Corpus:
    """A named corpus, read and checked.

    Attributes
    ----------
    name
        The dataset's name in run keys.
    source
        Where it was read from: a folder or a hub id.
    task
        The task it was read for.
    labels
        The label set found in the data: ``O`` first, the others sorted.
    label_scheme
        ``type`` (IOB2 tags merged by type) or ``bio`` (tags kept); ``type`` for ``nli``, where it says
        nothing.
    splits
        Split name to its samples, in the order of the source.
    notes
        What the reader repaired or left out, by split: ``{"train": {"repaired_tags": 2}}``. Only counts
        above zero are present.
    """

    name: str
    source: str
    task: Task
    labels: tuple[str, ...]
    label_scheme: str
    splits: Mapping[str, tuple[Sample, ...]]
    notes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def digest(self, split: str) -> str:
        """Return the SHA-256 (hexadecimal) of a split's ids, words and labels, in their order."""
        return digest_samples(self.splits[split])


def digest_samples(samples: Iterable[Sample]) -> str:
    """Return the SHA-256 (hexadecimal) of the ids, words and labels of some samples, in their order."""
    sha = hashlib.sha256()
    for sample in samples:
        row = (sample.id, sample.texts, sample.label, sample.word_labels)
        sha.update(json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode())
        sha.update(b"\n")
    return sha.hexdigest()
