"""Packs: the layout of a run, computed from the lengths of its samples before any activation exists."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHUNK_BYTES", "Axis", "PackPlan", "entry_capacity", "plan_packs", "token_capacity"]

CHUNK_BYTES = 16 * 2**20


def token_capacity(feature_size: int, itemsize: int) -> int:
    """Return the largest power of two of tokens whose hidden states of one layer fit `CHUNK_BYTES`.

    Parameters
    ----------
    feature_size
        Length of a hidden state.
    itemsize
        Bytes of one stored value.
    """
    return 1 << max(0, (CHUNK_BYTES // (feature_size * itemsize)).bit_length() - 1)


def entry_capacity(head_count: int, itemsize: int) -> int:
    """Return the number of map entries of all heads of one layer that fit `CHUNK_BYTES`.

    Parameters
    ----------
    head_count
        Heads of a layer.
    itemsize
        Bytes of one stored value.
    """
    return max(1, CHUNK_BYTES // (head_count * itemsize))


@dataclass(frozen=True, eq=False)
class Axis:
    """A ragged axis of a run: how many positions every sample takes, and where they are on disk.

    A pack is one chunk. All chunks are as long as the fullest pack, so pack ``p`` begins at ``p * chunk``, and the
    unused end of a pack is fill.

    Attributes
    ----------
    count
        Positions of every sample, int64 (sample).
    first_sample
        First sample of every pack and, last, the number of samples, int64 (pack + 1).
    """

    count: NDArray[np.int64]
    first_sample: NDArray[np.int64]

    @cached_property
    def total(self) -> int:
        """Positions of all samples, without fill."""
        return int(self.count.sum())

    @cached_property
    def dense_start(self) -> NDArray[np.int64]:
        """Position of every sample's first, without fill, and last the number of positions, int64 (sample + 1)."""
        return np.concatenate(([0], np.cumsum(self.count)))

    @cached_property
    def pack_sizes(self) -> NDArray[np.int64]:
        """Positions in every pack, without fill, int64 (pack)."""
        return np.diff(self.dense_start[self.first_sample])

    @cached_property
    def chunk(self) -> int:
        """Length of a chunk."""
        return int(self.pack_sizes.max(initial=1))

    @property
    def length(self) -> int:
        """Length of the axis on disk, with fill."""
        return len(self.pack_sizes) * self.chunk

    @cached_property
    def start(self) -> NDArray[np.int64]:
        """Position on disk of every sample's first, int64 (sample)."""
        pack = np.repeat(np.arange(len(self.pack_sizes)), np.diff(self.first_sample))
        return pack * self.chunk + self.dense_start[:-1] - self.dense_start[self.first_sample[:-1]][pack]

    def part(self, sample: int) -> slice:
        """Return where a sample's positions are in the chunk of its pack."""
        begin = int(self.start[sample]) % self.chunk
        return slice(begin, begin + int(self.count[sample]))

    def positions(self) -> NDArray[np.int64]:
        """Return the position on disk of every position in the order of the samples, int64 (position)."""
        return np.repeat(self.start - self.dense_start[:-1], self.count) + np.arange(self.total)


@dataclass(frozen=True, eq=False)
class PackPlan:
    """Where every sample of a run lies.

    Attributes
    ----------
    tokens
        The axis of tokens.
    entries
        The axis of the stored entries of one head's attention maps.
    rows
        The axis of the rows of hidden states that are kept: that of tokens, or of rows that tokens were reduced to.
    first_sample
        First sample of every pack and, last, the number of samples, int64 (pack + 1).
    """

    tokens: Axis
    entries: Axis
    rows: Axis
    first_sample: NDArray[np.int64]

    @classmethod
    def of(
        cls, token_count: NDArray[np.integer], entry_count: NDArray[np.integer], first_sample: NDArray[np.integer]
    ) -> Self:
        """Lay out samples of some tokens and map entries (sample) in packs that begin with some samples (pack + 1)."""
        first = np.asarray(first_sample, np.int64)
        tokens, entries = (Axis(np.asarray(count, np.int64), first) for count in (token_count, entry_count))
        return cls(tokens, entries, tokens, first)

    def with_rows(self, row_count: NDArray[np.integer] | None) -> Self:
        """Return this layout with some rows of hidden states of every sample (sample); None for its tokens."""
        if row_count is None:
            return replace(self, rows=self.tokens)
        return replace(self, rows=Axis(np.asarray(row_count, np.int64), self.first_sample))

    @property
    def pack_count(self) -> int:
        """Number of packs."""
        return len(self.first_sample) - 1

    @cached_property
    def sample_pack(self) -> NDArray[np.int64]:
        """Pack of every sample, int64 (sample)."""
        return np.repeat(np.arange(self.pack_count), np.diff(self.first_sample))

    def samples_of(self, pack: int) -> range:
        """Return the samples of a pack."""
        return range(int(self.first_sample[pack]), int(self.first_sample[pack + 1]))


def plan_packs(
    token_count: NDArray[np.integer],
    entry_count: NDArray[np.integer],
    capacity: int,
    entry_capacity: int | None = None,
) -> PackPlan:
    """Fill packs with consecutive samples until the next one would pass a capacity.

    Parameters
    ----------
    token_count
        Tokens of every sample, (sample).
    entry_count
        Stored entries of one head's map of every sample, (sample).
    capacity
        Tokens a pack may hold. A longer sample is a pack of its own.
    entry_capacity
        Map entries a pack may hold, likewise; None where maps are not kept.

    Returns
    -------
    PackPlan
        The layout. It depends on the lengths and the capacities alone.
    """
    limits = [(token_count, capacity)] + ([] if entry_capacity is None else [(entry_count, entry_capacity)])
    axes = [(np.concatenate(([0], np.cumsum(count, dtype=np.int64))), most) for count, most in limits]
    first = [0]
    while first[-1] < len(token_count):
        begin = first[-1]
        end = min(int(np.searchsorted(ends, ends[begin] + most, side="right")) - 1 for ends, most in axes)
        first.append(max(begin + 1, end))
    return PackPlan.of(token_count, entry_count, np.array(first))
