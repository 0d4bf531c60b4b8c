"""Levels: what a run keeps a hidden state of, and the rows to which the tokens of a pack are reduced for it.

| level | rows of a sample, in this order |
| --- | --- |
| token | its tokens |
| word | of each word in turn: its first token, its last if it has two or more, their mean if it has three or more |
| sample | mean, first, last and maximum of its tokens without special ones, then of all; zeros where there are none |

A word is read from the window in which it has most context, a sample as `Run.samples` says. The rows follow from the
tables of the run alone. Tokens are rounded to float16 before they are reduced where that is what is stored: a run of
tokens reduced later gives the same rows, bit for bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.coding import as_halves
from biocache.store.errors import SettingError
from biocache.store.ragged import ranges, reduce_members
from biocache.store.schema import POOLINGS

if TYPE_CHECKING:
    from biocache.store.data import RunData

__all__ = [
    "SAMPLE_ROWS",
    "WORD_POOLINGS",
    "WORD_ROWS",
    "Reduction",
    "counted_tokens",
    "reduction",
    "refuse_level",
    "require_tokens",
    "row_counts",
    "rows_of_samples",
    "rows_of_words",
    "word_rows",
]

#: Poolings of words.
WORD_POOLINGS = ("mean", "first", "last")
#: Rows of a word in a run of words: the one at place i is there if the word has more than i tokens. The mean of one or
#: two tokens is made of these.
WORD_ROWS = ("first", "last", "mean")
#: Rows of a sample in a run of samples: whether special tokens count, and the pooling.
SAMPLE_ROWS = tuple((special, pooling) for special in (False, True) for pooling in POOLINGS)


def word_rows(token_count: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the number of rows of words of some tokens (word); see `WORD_ROWS`."""
    rows: NDArray[np.int64] = np.minimum(token_count, len(WORD_ROWS)).astype(np.int64)
    return rows


def row_counts(
    level: str, samples: int, word_sample: NDArray[np.integer], token_count: NDArray[np.integer]
) -> NDArray[np.int64] | None:
    """Return the rows of every sample of a run.

    Parameters
    ----------
    level
        A name in `biocache.store.schema.ROW_DIMS`.
    samples
        Number of samples.
    word_sample, token_count
        Sample of every word and its number of tokens (word).

    Returns
    -------
    numpy.ndarray or None
        int64 (sample); None where the rows are the tokens.
    """
    if level == "token":
        return None
    if level == "sample":
        return np.full(samples, len(SAMPLE_ROWS))
    ends = np.concatenate(([0], np.cumsum(word_rows(token_count))))
    bounds = np.searchsorted(word_sample, np.arange(samples + 1))
    return np.diff(ends[bounds])


@dataclass(frozen=True, eq=False)
class Reduction:
    """How the rows of some samples follow from their tokens.

    Attributes
    ----------
    size
        Number of rows.
    parts
        For each pooling: the rows that it makes (row), the tokens of them one row after another (member), and how many
        each has (row).
    """

    size: int
    parts: tuple[tuple[str, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], ...]

    def of(self, values: NDArray[np.floating], dtype: str) -> NDArray[np.float32]:
        """Reduce hidden states.

        Parameters
        ----------
        values
            float32, or float16 that was stored (token, feature).
        dtype
            Data type on disk; for ``float16`` the tokens are rounded to it before.

        Returns
        -------
        numpy.ndarray
            float32 (row, feature).
        """
        rounded = as_halves(values) if dtype == "float16" and values.dtype != np.float16 else values
        rows = np.zeros((self.size, values.shape[1]), np.float32)
        for pooling, where, members, counts in self.parts:
            rows[where] = reduce_members(rounded, members, counts, pooling)
        return rows


def reduction(run: "RunData", samples: range) -> Reduction | None:
    """Return how the rows of consecutive samples follow from their tokens; None where the rows are the tokens."""
    if run.spec.level == "token":
        return None
    parts = _of_words(run, samples) if run.spec.level == "word" else _of_samples(run, samples)
    return Reduction(int(run.plan.rows.count[samples.start : samples.stop].sum()), tuple(parts))


def _of_words(
    run: "RunData", samples: range
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    begin, end = np.searchsorted(run.column("words/sample"), (samples.start, samples.stop)).tolist()
    count = run.context.count[begin:end]
    start = run.context.start[begin:end] - run.plan.tokens.dense_start[samples.start]
    rows = word_rows(count)
    first_row = np.cumsum(rows) - rows
    for place, pooling in enumerate(WORD_ROWS):
        chosen = count > place
        first, counts = start[chosen], count[chosen]
        yield pooling, first_row[chosen] + place, ranges(first, counts), counts


def _of_samples(
    run: "RunData", samples: range
) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    tokens = run.plan.tokens
    part = slice(*tokens.dense_start[[samples.start, samples.stop]].tolist())
    sample = np.repeat(np.arange(len(samples)), tokens.count[samples.start : samples.stop])
    of_text = ~run.token_column("tokens/special")[part].astype(bool)
    for place, (special, pooling) in enumerate(SAMPLE_ROWS):
        counted = run.counted_once(pooling)[part]
        members = np.flatnonzero(counted if special else counted & of_text)
        counts = np.bincount(sample[members], minlength=len(samples))
        there = np.flatnonzero(counts)
        yield pooling, there * len(SAMPLE_ROWS) + place, members, counts[there]


def counted_tokens(run: "RunData", pooling: str) -> NDArray[np.bool_]:
    """Return which tokens a pooling of samples reads; see `RunData.counted_once`."""
    windows, number = run.windows, run.token_column(schema.WINDOW)
    in_first: NDArray[np.bool_] = number == 0
    in_last: NDArray[np.bool_] = number == windows.count[windows.sample[windows.of_token]] - 1
    if pooling in {"first", "last"}:
        return in_first if pooling == "first" else in_last
    special = run.token_column("tokens/special").astype(bool)
    text = np.concatenate(([0], np.cumsum(~special)))
    before = text[1:] == text[windows.plan.tokens.dense_start[windows.of_token]]
    once: NDArray[np.bool_] = run.context.kept | (special & np.where(before, in_first, in_last))
    return once


def rows_of_words(
    run: "RunData", pooling: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return, of a run of words, the words that have tokens, and the rows of which a pooling of each is made.

    Returns
    -------
    words, rows, counts, tokens
        int64: the words (kept word); their rows, one word after another, among all rows of the run without fill (row);
        how many each has (kept word), of which the pooling is that of the word; and of how many tokens the word's
        pooling tells (kept word).
    """
    count = run.column("words/token_count").astype(np.int64)
    kept = np.flatnonzero(count)
    rows = word_rows(count)
    first, count = (np.cumsum(rows) - rows)[kept], count[kept]
    if pooling != "mean":
        only = np.ones(len(kept), np.int64)
        return kept, first + (np.minimum(count, 2) - 1 if pooling == "last" else 0), only, only
    stored = count > WORD_ROWS.index("mean")
    counts = np.where(stored, 1, count)
    return kept, ranges(first + np.where(stored, WORD_ROWS.index("mean"), 0), counts), counts, count


def rows_of_samples(run: "RunData", pooling: str, *, special_tokens: bool) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return, of a run of samples, which samples have a token to reduce, and their row of a pooling (sample)."""
    tokens = run.plan.tokens
    counted = run.counted_once(pooling)
    if not special_tokens:
        counted = counted & ~run.token_column("tokens/special").astype(bool)
    sample = np.repeat(np.arange(run.counts.samples), tokens.count)
    there = np.bincount(sample[counted], minlength=run.counts.samples) > 0
    place = SAMPLE_ROWS.index((special_tokens, pooling))
    return there, np.arange(run.counts.samples) * len(SAMPLE_ROWS) + place


def refuse_level(run: "RunData", wanted: str, level: str) -> SettingError:
    """Return the error of what a run cannot tell, since it keeps hidden states of another level."""
    kept = "mean, first and last of the tokens of each word"
    if run.spec.level == "sample":
        kept = "mean, first, last and maximum of the tokens of each sample"
    return SettingError(
        f"run {run.key} keeps the {kept}, from which {wanted} cannot be made; extract it with --level={level} and "
        "--overwrite, or into another --store"
    )


def require_tokens(run: "RunData", wanted: str) -> None:
    """Refuse a run that keeps no hidden state of each token.

    Raises
    ------
    SettingError
        If it keeps those of words or samples.
    """
    if run.spec.level != "token":
        raise refuse_level(run, wanted, "token")
