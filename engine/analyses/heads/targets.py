"""Targets of attention: which keys the mass of each query is on, such as the previous word, or words of entities."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.alignment import Alignment
from biocache.engine.analyses.heads.request import NEIGHBOURS, PAIR_TARGETS, TARGET
from biocache.store import Run
from biocache.store.errors import SettingError
from biocache.store.labels import Labels
from biocache.store.schema import GOLD, OUTSIDE, VIEW_TEXTS
from biocache.store.text import shown

__all__ = ["Rows", "Targets", "find_targets", "labels_of_target", "words_of_target"]

_ENTITIES, _PUNCTUATION = "entities", "punctuation"


class Targets(NamedTuple):
    """The keys that are targets of each query: those in its range that are of a kind it seeks.

    Attributes
    ----------
    begin, end
        Place in its map of the first key, and after the last, that may be targets, int32 (row). Equal ones: the query
        has no choice, as it sees no target, or nothing else.
    sought
        Kinds that the query seeks, as bits, uint8 (row).
    kind
        Kinds that the row's group is of as a key, as bits, uint8 (row).
    """

    begin: NDArray[Any]
    end: NDArray[Any]
    sought: NDArray[Any]
    kind: NDArray[Any]

    def part(self, rows: slice) -> "Targets":
        """Return the targets of consecutive rows."""
        return Targets(*(each[rows].copy() for each in self))


@dataclass(frozen=True, eq=False)
class Rows:
    """What the rows of the prepared maps of a run are of.

    Attributes
    ----------
    word
        Word of a row, or of its token, among all words of the run; -1 for special tokens, int64 (row).
    text
        Text of that word, 0 or 1; -1 for special tokens, int64 (row).
    position
        Position in the sample, in words or tokens, float32 (row).
    place
        Place in the map, int64 (row).
    size
        Rows of the map, int64 (row).
    causal
        Whether a query sees no later key.
    """

    word: NDArray[np.int64]
    text: NDArray[np.int64]
    position: NDArray[np.float32]
    place: NDArray[np.int64]
    size: NDArray[np.int64]
    causal: bool

    @classmethod
    def of(cls, run: Run, alignment: Alignment) -> "Rows":
        """Return the rows of an alignment of a run with itself."""
        tokens = run.token_column("tokens/word").astype(np.int64)
        group = alignment.first.group
        kept = group >= 0
        word = np.full(len(alignment.position), -1)
        word[(np.repeat(alignment.start, alignment.first.count) + group)[kept]] = tokens[kept]
        # The last text is that of special tokens.
        text = np.append(run.column("words/segment").astype(np.int64), -1)[word]
        place = np.arange(len(word)) - np.repeat(alignment.start, alignment.size)
        size = np.repeat(alignment.size, alignment.size)
        return cls(word, text, alignment.position, place, size, run.spec.causal)

    @property
    def seen(self) -> NDArray[np.int64]:
        """How many keys a query sees, the first ones of its map, int64 (row)."""
        return self.place + 1 if self.causal else self.size


def find_targets(metric: str, run: Run, rows: Rows) -> Targets | None:
    """Return the targets of a metric; None for one that has none.

    Raises
    ------
    SettingError
        If the target is of pairs and the run is not, or its label set does not label words with classes, or has no
        such class.
    RunNotFoundError
        If there is no such label set.
    """
    if metric in NEIGHBOURS:
        return _neighbours(rows, NEIGHBOURS[metric])
    if not metric.startswith(TARGET):
        return None
    name = metric.removeprefix(TARGET)
    if name in PAIR_TARGETS:
        return _of_texts(metric, name, run, rows)
    # The last word is that of special tokens.
    kind = np.append(words_of_target(metric, run), False)[rows.word]
    return _chosen(rows, np.zeros(len(kind), np.int64), rows.size, np.ones(len(kind), np.uint8), kind.astype(np.uint8))


def _neighbours(rows: Rows, step: int) -> Targets:
    """Return the row that many positions on, of the same text, as the target of each query of a text."""
    other = rows.place + step
    there = (other >= 0) & (other < rows.size) & (rows.text >= 0)
    at = np.arange(len(other)) + np.where(there, step, 0)
    there &= (rows.text[at] == rows.text) & (rows.position[at] == rows.position + step)
    every = np.ones(len(other), np.uint8)
    return _chosen(rows, np.where(there, other, 0), np.where(there, other + 1, 0), every, every)


def _of_texts(metric: str, name: str, run: Run, rows: Rows) -> Targets:
    """Return a text, or the other one than the query's, as the target."""
    if len(VIEW_TEXTS[run.key.view]) < 2:
        raise SettingError(
            f"--metric={metric} needs pairs of texts, and run {run.key} reads its {run.key.view}; name runs of pairs "
            "with --view pair"
        )
    first, second = (rows.text == 0).astype(np.uint8), (rows.text == 1).astype(np.uint8)
    kind = first + 2 * second
    of_every_query = np.full(len(kind), 1 if name == "premise" else 2, np.uint8)
    sought = 2 * first + second if name == "other-text" else of_every_query
    return _chosen(rows, np.zeros(len(kind), np.int64), rows.size, sought, kind)


def labels_of_target(metric: str, run: Run) -> Labels | None:
    """Return the labels of the words of a run that name a target; None for a target without."""
    name = metric.removeprefix(TARGET).partition("=")[0]
    if not metric.startswith(TARGET) or name in (*PAIR_TARGETS, _PUNCTUATION):
        return None
    labels = run.labels(GOLD if name == _ENTITIES else name)
    if labels.level != "words" or labels.kind == "number":
        what = f"{labels.level} with numbers" if labels.kind == "number" else labels.level
        raise SettingError(
            f"label set {shown(labels.name)} labels {what}, and --metric={metric} is of classes of words; name another "
            "label set, or leave the metric out"
        )
    return labels.merged()


def words_of_target(metric: str, run: Run) -> NDArray[np.bool_]:
    """Return which words of a run are targets, bool (word); raises as `find_targets`.

    A word is of punctuation if all its characters are, by Unicode.
    """
    labels = labels_of_target(metric, run)
    if labels is None:
        return np.array([_is_punctuation(text) for text in run.column("words/word_text")], bool)
    wanted = metric.removeprefix(TARGET).partition("=")[2]
    if wanted and wanted not in labels.names:
        raise SettingError(
            f"label set {shown(labels.name)} has no class {shown(wanted)}, which --metric={metric} names; it has "
            f"{', '.join(labels.names)}"
        )
    chosen: Callable[[str], bool] = (lambda own: own == wanted) if wanted else (lambda own: own != OUTSIDE)
    words: NDArray[np.bool_] = np.array([*map(chosen, labels.names), False], bool)[labels.values]
    return words


def _is_punctuation(text: str) -> bool:
    return bool(text) and all(category(character).startswith("P") for character in text)


def _chosen(
    rows: Rows,
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    sought: NDArray[np.uint8],
    kind: NDArray[np.uint8],
) -> Targets:
    """Return targets; queries that see none, or nothing but targets, have no choice and take no part."""
    end = np.minimum(end, rows.seen)
    first = np.arange(len(begin)) - rows.place
    held = np.zeros(len(begin), np.int64)
    for bit in np.unique(sought[sought > 0]).tolist():
        count = np.concatenate(([0], np.cumsum((kind & bit) > 0)))
        held += np.where(sought == bit, count[first + end] - count[first + begin], 0)
    choice = (held > 0) & (held < rows.seen)
    low, high = (np.where(choice, bound, 0).astype(np.int32) for bound in (begin, end))
    return Targets(low, high, sought, kind)
