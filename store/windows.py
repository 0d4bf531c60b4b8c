"""Windows: the overlapping parts in which a text that is longer than a model goes through it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from biocache.store.packing import PackPlan

__all__ = ["Context", "Windows", "context_of_words"]


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of the samples of a run; a sample that fits the model is one window.

    Attributes
    ----------
    count
        Windows of every sample, int64 (sample).
    plan
        Where every window lies: a layout whose samples are windows, in the packs of the run.
    """

    count: NDArray[np.int64]
    plan: PackPlan

    @classmethod
    def whole(cls, plan: PackPlan) -> Self:
        """Return the windows of samples that all fit."""
        return cls(np.ones(len(plan.tokens.count), np.int64), plan)

    @classmethod
    def of(
        cls,
        token_count: NDArray[np.integer],
        number: NDArray[np.integer],
        first_sample: NDArray[np.integer],
        entry_count: Callable[[NDArray[np.int64]], Any],
    ) -> Self:
        """Lay out windows.

        Parameters
        ----------
        token_count
            Tokens of every sample, (sample).
        number
            Number of the window, in its sample, of every token (token).
        first_sample
            First sample of every pack and, last, the number of samples (pack + 1).
        entry_count
            Returns the map entries of windows of some tokens (window).

        Raises
        ------
        ValueError
            If the windows of a sample are not numbered from 0 one after the other.
        """
        sample = np.repeat(np.arange(len(token_count)), token_count)
        begins = np.ones(len(sample), np.bool_)
        begins[1:] = (sample[1:] != sample[:-1]) | (number[1:] != number[:-1])
        first = np.flatnonzero(begins)
        count = np.bincount(sample[first], minlength=len(token_count))
        ends = np.concatenate(([0], np.cumsum(count)))
        if not np.array_equal(number[first], np.arange(len(first)) - ends[sample[first]]):
            raise ValueError("the windows of a sample are not numbered one after the other")
        tokens = np.diff(np.append(first, len(sample)))
        return cls(count, PackPlan.of(tokens, entry_count(tokens), ends[np.asarray(first_sample, np.int64)]))

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """First window of every sample and, last, the number of windows, int64 (sample + 1)."""
        return np.concatenate(([0], np.cumsum(self.count)))

    @cached_property
    def sample(self) -> NDArray[np.int64]:
        """Sample of every window, int64 (window)."""
        return np.repeat(np.arange(len(self.count)), self.count)

    @cached_property
    def entries(self) -> NDArray[np.int64]:
        """Map entries of every sample: those of all its windows, int64 (sample)."""
        return np.diff(self.plan.entries.dense_start[self.first])

    @cached_property
    def of_token(self) -> NDArray[np.int64]:
        """Window of every token among all windows, int64 (token)."""
        return np.repeat(np.arange(len(self.sample)), self.plan.tokens.count)

    def of_sample(self, sample: int) -> range:
        """Return the windows of a sample."""
        return range(int(self.first[sample]), int(self.first[sample + 1]))


@dataclass(frozen=True, eq=False)
class Context:
    """The tokens by which words are read: those of the window in which a word has most context.

    Attributes
    ----------
    start
        First token of every word, -1 for a word without tokens, int64 (word).
    count
        Tokens of every word, int64 (word).
    kept
        Whether a token is one of them, bool (token).
    """

    start: NDArray[np.int64]
    count: NDArray[np.int64]
    kept: NDArray[np.bool_]


def context_of_words(word: NDArray[np.integer], window: NDArray[np.integer], segment: NDArray[np.integer]) -> Context:
    """Find the window of every word in which it has most context.

    That is the one with the largest distance to the nearer end of the word's own text there, in tokens of that text;
    of equal ones the first.

    Parameters
    ----------
    word
        Word of every token, -1 for special tokens (token).
    window
        Window of every token among all windows, never decreasing (token).
    segment
        Text of every word (word).
    """
    place = np.flatnonzero((word >= 0) & (word < len(segment)))
    owner, where = word[place].astype(np.int64), window[place].astype(np.int64)
    begins = np.ones(len(place), np.bool_)
    begins[1:] = (owner[1:] != owner[:-1]) | (where[1:] != where[:-1])
    # A group is the tokens of a word in one window; a text is what is there of one text of a sample.
    first = np.flatnonzero(begins)
    size = np.diff(np.append(first, len(place)))
    text = where * 2 + segment[owner]
    left = first - np.searchsorted(text, text[first], side="left")
    right = np.searchsorted(text, text[first], side="right") - first - size
    group_word = owner[first]
    order = np.lexsort((np.arange(len(first)), -np.minimum(left, right), group_word))
    best = order[np.diff(group_word[order], prepend=-1) > 0]
    start, count = np.full(len(segment), -1), np.zeros(len(segment), np.int64)
    start[group_word[best]], count[group_word[best]] = place[first[best]], size[best]
    chosen = np.zeros(len(first), np.bool_)
    chosen[best] = True
    kept = np.zeros(len(word), np.bool_)
    kept[place] = np.repeat(chosen, size)
    return Context(start, count, kept)
