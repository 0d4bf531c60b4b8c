"""The alignment of the maps of two runs: token by token, or word by word where their tokens differ.

By word, attention to a word is the sum over its tokens, attention from a word the mean over its tokens (Clark et al.
2019, https://doi.org/10.18653/v1/W19-4828, section 4.1). Special tokens and words that a run lost are left out, and
rows are scaled to the sum 1.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.maps import Layout, Tokens
from biocache.store.ragged import ranges
from biocache.store.reading import Run

__all__ = ["Alignment", "Side", "align"]


@dataclass(frozen=True, eq=False)
class Side:
    """The tokens of one run, map after map.

    Attributes
    ----------
    count
        Tokens of every map, int64 (map).
    entry
        First entry of every map in the chunk of its pack, int64 (map).
    token
        First token of every map in the chunk of its pack, int64 (map).
    group
        Group of every token within its map, -1 where it is left out, int32 (token).
    special
        Whether a token is at a special position, bool (token).
    causal
        Whether maps are lower triangles.
    """

    count: NDArray[np.int64]
    entry: NDArray[np.int64]
    token: NDArray[np.int64]
    group: NDArray[np.int32]
    special: NDArray[np.bool_]
    causal: bool

    @cached_property
    def start(self) -> NDArray[np.int64]:
        """First token of every map, int64 (map)."""
        return np.cumsum(self.count) - self.count

    def part(self, maps: slice) -> "Side":
        """Return the tokens of consecutive maps."""
        begin = int(self.start[maps.start])
        tokens = slice(begin, begin + int(self.count[maps].sum()))
        # Copied, so that a task sent to a worker does not carry the whole run.
        return Side(
            self.count[maps].copy(),
            self.entry[maps].copy(),
            self.token[maps].copy(),
            self.group[tokens].copy(),
            self.special[tokens].copy(),
            self.causal,
        )

    @property
    def entries(self) -> NDArray[np.int64]:
        """Stored entries of every map, int64 (map)."""
        return _map_entries(self.count, self.causal)

    def tokens(self) -> Tokens:
        """Return the tokens as kernels take them."""
        return Tokens(self.entry, self.start, self.count, self.group, self.special, self.causal)


@dataclass(frozen=True, eq=False)
class Alignment:
    """The groups of tokens that two runs share.

    Attributes
    ----------
    level
        ``token`` or ``word``.
    first, second
        The tokens of either run.
    sample
        Sample of every map, never decreasing, int64 (map).
    size
        Groups of every map, int64 (map).
    position
        Position of each group, in tokens of its map or words of its sample, float32 (group).
    label
        Class of the word of each group, -1 for none, int64 (group); None where means are not split by words.
    """

    level: str
    first: Side
    second: Side
    sample: NDArray[np.int64]
    size: NDArray[np.int64]
    position: NDArray[np.float32]
    label: NDArray[np.int64] | None = None

    @property
    def triangular(self) -> bool:
        """Whether no query of either run sees a later key."""
        return self.first.causal and self.second.causal

    @property
    def whole(self) -> bool:
        """Whether every token of both runs is its own group, and both store maps in the same layout."""
        alike = self.level == "token" and self.first.causal == self.second.causal
        return alike and len(self.position) == len(self.first.group)

    @cached_property
    def start(self) -> NDArray[np.int64]:
        """First group of every map, int64 (map)."""
        return np.cumsum(self.size) - self.size

    def part(self, maps: slice) -> "Alignment":
        """Return the alignment of consecutive maps."""
        begin = int(self.start[maps.start])
        groups = slice(begin, begin + int(self.size[maps].sum()))
        first = self.first.part(maps)
        return Alignment(
            self.level,
            first,
            first if self.second is self.first else self.second.part(maps),
            self.sample[maps].copy(),
            self.size[maps].copy(),
            self.position[groups].copy(),
            None if self.label is None else self.label[groups].copy(),
        )

    def of_samples(self, samples: slice) -> "Alignment":
        """Return the alignment of consecutive samples, each with all its maps."""
        return self.part(slice(*np.searchsorted(self.sample, (samples.start, samples.stop)).tolist()))

    def layout(self) -> Layout:
        """Return where the prepared maps lie."""
        entries = _map_entries(self.size, self.triangular)
        return Layout(self.size, self.start, np.cumsum(entries) - entries, self.position, self.triangular)


def align(
    first: Run, second: Run, level: str, *, exclude_special: bool, labels: NDArray[np.int64] | None = None
) -> Alignment:
    """Find the groups of tokens that two runs of the same samples share.

    Parameters
    ----------
    first, second
        The runs.
    level
        ``token``, for runs of the same tokens, or ``word``.
    exclude_special
        Whether special tokens and the first position of a causal model are left out; by word, the word that holds it.
    labels
        Class of each word of the runs, -1 for none (word); None where means are not split by words.
    """
    if level == "token":
        return _by_token(first, second, exclude_special)
    return _by_word(first, second, exclude_special, labels)


def _map_entries(size: NDArray[np.int64], triangular: bool) -> NDArray[np.int64]:
    """Return the entries of maps (map) of some sizes, whole or triangular."""
    entries: NDArray[np.int64] = size * (size + 1) // 2 if triangular else size**2
    return entries


def _positions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


@dataclass(frozen=True, eq=False)
class _Maps:
    """Some maps of a run, one after another.

    Attributes
    ----------
    count, entry, token
        As of `Side`.
    word, special
        Word of every token, -1 for none, and whether it is at a special position (token).
    """

    count: NDArray[np.int64]
    entry: NDArray[np.int64]
    token: NDArray[np.int64]
    word: NDArray[np.int64]
    special: NDArray[np.bool_]

    @classmethod
    def of(cls, run: Run, windows: NDArray[np.int64]) -> "_Maps":
        """Return the maps of some windows, which may repeat, by position among all."""
        tokens, entries = run.windows.plan.tokens, run.windows.plan.entries
        count = tokens.count[windows]
        place = ranges(tokens.dense_start[windows], count)
        special = run.token_column("tokens/special").astype(bool)[place]
        if run.spec.causal:
            special |= _positions(count) == 0
        word = run.token_column("tokens/word").astype(np.int64)[place]
        entry, token = (axis.start[windows] % axis.chunk for axis in (entries, tokens))
        return cls(count, entry, token, word, special)

    @property
    def first_word(self) -> NDArray[np.int64]:
        """Word of the first token of every map, -1 for none, int64 (map)."""
        first: NDArray[np.int64] = self.word[np.cumsum(self.count) - self.count]
        return first

    def keys(self, words: int) -> NDArray[np.int64]:
        """Return a number of every token that stands for its map and word, -1 for no word, int64 (token)."""
        maps = np.repeat(np.arange(len(self.count)), self.count)
        return np.where(self.word < 0, -1, maps * words + self.word)

    def side(self, group: NDArray[np.integer], run: Run) -> Side:
        """Return the tokens in some groups."""
        return Side(self.count, self.entry, self.token, group.astype(np.int32), self.special, run.spec.causal)


def _by_token(first: Run, second: Run, exclude_special: bool) -> Alignment:
    every = np.arange(len(first.windows.sample))
    own, other = _Maps.of(first, every), _Maps.of(second, every)
    kept = ~(own.special | other.special) if exclude_special else np.ones(len(own.special), bool)
    size = np.bincount(np.repeat(every, own.count)[kept], minlength=len(every))
    group = np.full(len(kept), -1)
    group[kept] = _positions(size)
    return Alignment(
        level="token",
        first=own.side(group, first),
        second=other.side(group, second),
        sample=first.windows.sample,
        size=size,
        position=_positions(own.count)[kept].astype(np.float32),
    )


def _by_word(first: Run, second: Run, exclude_special: bool, labels: NDArray[np.int64] | None) -> Alignment:
    words, sample = first.counts.words, first.windows.sample
    own, other = _Maps.of(first, np.arange(len(sample))), _Maps.of(second, _partners(first, second))
    keys = (own.keys(words), other.keys(words))
    shared = np.intersect1d(*keys)
    shared = shared[shared >= 0]
    for run, maps in ((first, own), (second, other)):
        if exclude_special and run.spec.causal:
            shared = shared[shared % words != maps.first_word[shared // words]]
    size = np.bincount(shared // words, minlength=len(sample))
    # The last entry serves tokens whose word is not shared.
    rank = np.append(_positions(size), -1)
    place = [np.searchsorted(shared, key) for key in keys]
    known = [np.append(shared, -1)[at] == key for at, key in zip(place, keys, strict=True)]
    groups = [rank[np.where(there & (key >= 0), at, -1)] for there, at, key in zip(known, place, keys, strict=True)]
    begin = first.column("samples/word_start")[sample[shared // words]]
    return Alignment(
        level="word",
        first=own.side(groups[0], first),
        second=other.side(groups[1], second),
        sample=sample,
        size=size,
        position=(shared % words - begin).astype(np.float32),
        label=None if labels is None else labels[shared % words],
    )


def _partners(first: Run, second: Run) -> NDArray[np.int64]:
    """Return, for every window of the first run, that of the second which shares most words; of equal ones the first.

    A window that shares none has the first of its sample.
    """
    own, other = first.windows, second.windows
    partners = other.first[own.sample]
    if len(other.sample) == len(other.count):
        return partners
    pairs = []
    for run in (first, second):
        word = run.token_column("tokens/word").astype(np.int64)
        there = word >= 0
        pairs.append(np.unique(np.stack([word[there], run.windows.of_token[there]], axis=1), axis=0))
    # Each window of the first that has a word meets each of the second that has it.
    begin, end = (np.searchsorted(pairs[1][:, 0], pairs[0][:, 0], side=side) for side in ("left", "right"))
    met = ranges(begin, end - begin)
    meetings = np.stack([np.repeat(pairs[0][:, 1], end - begin), pairs[1][met, 1]], axis=1)
    unique, shared = np.unique(meetings, axis=0, return_counts=True)
    order = np.lexsort((unique[:, 1], -shared, unique[:, 0]))
    best = order[np.diff(unique[order, 0], prepend=-1) > 0]
    partners[unique[best, 0]] = unique[best, 1]
    return partners
