"""Spans: the entity mentions that the labels of words spell, each with its words, type and text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biocache.store.data import RunData
from biocache.store.errors import SettingError
from biocache.store.labels import Labels
from biocache.store.schema import OUTSIDE, entity_type
from biocache.store.text import shown

__all__ = ["Spans", "find_spans"]


@dataclass(frozen=True, eq=False)
class Spans:
    """Spans of the words of a run, in their order.

    Attributes
    ----------
    first, count
        Position of the first word among all words of the run, and number of words, of every span; int64 (span).
    sample
        Position of its sample, int64 (span).
    type
        Its type, object (span).
    text
        Its words, joined by blanks, object (span).
    """

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    sample: NDArray[np.int64]
    type: NDArray[np.object_]
    text: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.first)

    def of_words(self, words: int) -> NDArray[np.int64]:
        """Return the span of every word of the run (word), -1 for none."""
        owner = np.full(words, -1)
        places = np.repeat(self.first - (np.cumsum(self.count) - self.count), self.count) + np.arange(self.count.sum())
        owner[places] = np.repeat(np.arange(len(self)), self.count)
        return owner


def find_spans(run: RunData, labels: str) -> Spans:
    """Return the spans that a label set of words spells.

    IOB2 tags begin one with ``B-X``, or with an ``I-X`` that continues nothing, as the CoNLL shared tasks read them; of
    classes, a stretch of words of one class, but for ``O``, is a span. None goes on in another text.

    Raises
    ------
    SettingError
        If the set labels samples, or with numbers.
    RunNotFoundError, DataError, IntegrityError
        As `RunData.labels`.
    """
    found = run.labels(labels)
    if found.level != "words" or found.kind == "number":
        what = "samples" if found.level != "words" else "words with numbers"
        raise SettingError(f"label set {shown(labels)} labels {what}, and spans are made of tags or classes of words")
    kind, begins = _kinds(found)
    sample, segment = run.column("words/sample").astype(np.int64), run.column("words/segment")
    inside = kind >= 0
    starts = np.ones(len(kind), np.bool_)
    starts[1:] = (kind[1:] != kind[:-1]) | (sample[1:] != sample[:-1]) | (segment[1:] != segment[:-1])
    starts = (starts | begins) & inside
    first = np.flatnonzero(starts)
    # A span ends where the next begins, or the first word outside of all.
    bounds = np.append(np.flatnonzero(starts | ~inside), len(kind))
    end = bounds[np.searchsorted(bounds, first, side="right")]
    names = np.array(sorted({_type(found, name) for name in found.names} - {OUTSIDE}), dtype=object)
    words = run.column("words/word_text").tolist()
    texts = [" ".join(words[a:b]) for a, b in zip(first.tolist(), end.tolist(), strict=True)]
    return Spans(first, end - first, sample[first], names[kind[first]], np.array(texts, dtype=object))


def _type(labels: Labels, name: str) -> str:
    return entity_type(name) if labels.kind == "iob2" else name


def _kinds(labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the type of every word, as a position in the sorted types, -1 for none, and whether its tag begins one."""
    types = sorted({_type(labels, name) for name in labels.names} - {OUTSIDE})
    codes = [types.index(_type(labels, name)) if _type(labels, name) != OUTSIDE else -1 for name in labels.names]
    starts = [labels.kind == "iob2" and name.startswith("B-") for name in labels.names]
    return np.array([*codes, -1], np.int64)[labels.values], np.array([*starts, False], np.bool_)[labels.values]
