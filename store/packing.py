"""Sample lengths to packs: the whole layout of a run, known before any activation exists."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHUNK_BYTES", "PackPlan", "plan_packs", "token_capacity"]

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


@dataclass(frozen=True, eq=False)
class PackPlan:
    """Where every sample of a run lies.

    A pack is one chunk along ``token`` and one along ``pair``. Both chunk lengths are those of the fullest
    pack, so pack ``p`` begins at ``p * token_chunk`` and at ``p * pair_chunk``, and what a pack does not
    use at its end is fill.

    Attributes
    ----------
    token_count
        Tokens of every sample, int64 (sample).
    pair_count
        Stored entries of one head's attention map of every sample, int64 (sample).
    first_sample
        First sample of every pack and, last, the number of samples, int64 (pack + 1).
    """

    token_count: NDArray[np.int64]
    pair_count: NDArray[np.int64]
    first_sample: NDArray[np.int64]

    @property
    def pack_count(self) -> int:
        """Number of packs."""
        return len(self.first_sample) - 1

    def _pack_sums(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.diff(np.concatenate(([0], np.cumsum(counts)))[self.first_sample])

    @cached_property
    def pack_tokens(self) -> NDArray[np.int64]:
        """Tokens in every pack, int64 (pack)."""
        return self._pack_sums(self.token_count)

    @cached_property
    def pack_pairs(self) -> NDArray[np.int64]:
        """Attention entries of one head in every pack, int64 (pack)."""
        return self._pack_sums(self.pair_count)

    @cached_property
    def token_chunk(self) -> int:
        """Length of a chunk along ``token``."""
        return int(self.pack_tokens.max(initial=1))

    @cached_property
    def pair_chunk(self) -> int:
        """Length of a chunk along ``pair``."""
        return int(self.pack_pairs.max(initial=1))

    @cached_property
    def sample_pack(self) -> NDArray[np.int64]:
        """Pack of every sample, int64 (sample)."""
        return np.repeat(np.arange(self.pack_count), np.diff(self.first_sample))

    def _starts(self, counts: NDArray[np.int64], chunk: int) -> NDArray[np.int64]:
        dense = np.concatenate(([0], np.cumsum(counts)))
        return self.sample_pack * chunk + dense[:-1] - dense[self.first_sample[:-1]][self.sample_pack]

    @cached_property
    def token_start(self) -> NDArray[np.int64]:
        """Position of every sample's first token along ``token``, int64 (sample)."""
        return self._starts(self.token_count, self.token_chunk)

    @cached_property
    def pair_start(self) -> NDArray[np.int64]:
        """Position of every sample's first entry along ``pair``, int64 (sample)."""
        return self._starts(self.pair_count, self.pair_chunk)

    @property
    def token_axis(self) -> int:
        """Length of the ``token`` axis on disk, fill included."""
        return self.pack_count * self.token_chunk

    @property
    def pair_axis(self) -> int:
        """Length of the ``pair`` axis on disk, fill included."""
        return self.pack_count * self.pair_chunk

    def axis_positions(self) -> NDArray[np.int64]:
        """Return the position on disk of every token, in the order of the samples, int64 (token)."""
        dense = np.cumsum(self.token_count) - self.token_count
        return np.repeat(self.token_start - dense, self.token_count) + np.arange(self.token_count.sum())

    def samples_of(self, pack: int) -> range:
        """Return the samples of a pack."""
        return range(int(self.first_sample[pack]), int(self.first_sample[pack + 1]))


def plan_packs(token_count: NDArray[np.integer], pair_count: NDArray[np.integer], capacity: int) -> PackPlan:
    """Fill packs with consecutive samples until the next one would pass the capacity.

    Parameters
    ----------
    token_count
        Tokens of every sample, (sample).
    pair_count
        Stored entries of one head's map of every sample, (sample).
    capacity
        Tokens a pack may hold. A longer sample is a pack of its own.

    Returns
    -------
    PackPlan
        The layout. It depends on the lengths and the capacity alone.
    """
    ends = np.cumsum(token_count, dtype=np.int64)
    first = [0]
    while first[-1] < len(ends):
        begin = first[-1]
        filled = ends[begin - 1] if begin else 0
        first.append(max(begin + 1, int(np.searchsorted(ends, filled + capacity, side="right"))))
    return PackPlan(
        np.asarray(token_count, dtype=np.int64),
        np.asarray(pair_count, dtype=np.int64),
        np.asarray(first, dtype=np.int64),
    )
