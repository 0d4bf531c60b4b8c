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
from biocache.store.reading import Run

__all__ = ["Alignment", "Side", "align"]


@dataclass(frozen=True, eq=False)
class Side:
    """The tokens of one run, sample after sample.

    Attributes
    ----------
    count
        Tokens of every sample, int64 (sample).
    group
        Group of every token within its sample, -1 where it is left out, int32 (token).
    special
        Whether a token is at a special position, bool (token).
    causal
        Whether maps are lower triangles.
    """

    count: NDArray[np.int64]
    group: NDArray[np.int32]
    special: NDArray[np.bool_]
    causal: bool

    @cached_property
    def start(self) -> NDArray[np.int64]:
        """First token of every sample, int64 (sample)."""
        return np.cumsum(self.count) - self.count

    def part(self, samples: slice) -> "Side":
        """Return the tokens of consecutive samples."""
        begin = int(self.start[samples.start])
        tokens = slice(begin, begin + int(self.count[samples].sum()))
        # Copied, so that a task sent to a worker does not carry the whole run.
        return Side(self.count[samples].copy(), self.group[tokens].copy(), self.special[tokens].copy(), self.causal)

    @property
    def entries(self) -> NDArray[np.int64]:
        """Stored entries of the map of every sample, int64 (sample)."""
        return _map_entries(self.count, self.causal)

    def tokens(self, pair_start: int) -> Tokens:
        """Return the tokens as kernels take them, where the maps are stored one after another from an entry on."""
        start = pair_start + np.cumsum(self.entries) - self.entries
        return Tokens(start, self.start, self.count, self.group, self.special, self.causal)


@dataclass(frozen=True, eq=False)
class Alignment:
    """The groups of tokens that two runs share.

    Attributes
    ----------
    level
        ``token`` or ``word``.
    first, second
        The tokens of either run.
    size
        Groups of every sample, int64 (sample).
    position
        Position of each group in its sample, in tokens or words, float32 (group).
    label
        Class of the word of each group, -1 for none, int64 (group); None where means are not split by words.
    """

    level: str
    first: Side
    second: Side
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
        """First group of every sample, int64 (sample)."""
        return np.cumsum(self.size) - self.size

    def part(self, samples: slice) -> "Alignment":
        """Return the alignment of consecutive samples."""
        begin = int(self.start[samples.start])
        groups = slice(begin, begin + int(self.size[samples].sum()))
        return Alignment(
            self.level,
            self.first.part(samples),
            self.second.part(samples),
            self.size[samples].copy(),
            self.position[groups].copy(),
            None if self.label is None else self.label[groups].copy(),
        )

    def layout(self) -> Layout:
        """Return where the prepared maps of the samples lie."""
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
    """Return the entries of maps (sample) of some sizes, whole or triangular."""
    entries: NDArray[np.int64] = size * (size + 1) // 2 if triangular else size**2
    return entries


def _positions(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _special(run: Run) -> NDArray[np.bool_]:
    special = run.token_column("tokens/special").astype(bool)
    return special | (_positions(run.plan.tokens.count) == 0) if run.spec.causal else special


def _ranks(kept: NDArray[np.bool_], counts: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the rank of each kept member within its sample, else -1 (member), and the kept members (sample)."""
    samples = np.repeat(np.arange(len(counts)), counts)
    size = np.bincount(samples[kept], minlength=len(counts))
    ranks = np.full(len(kept), -1, np.int32)
    ranks[kept] = _positions(size)
    return ranks, size


def _by_token(first: Run, second: Run, exclude_special: bool) -> Alignment:
    special, other_special = _special(first), _special(second)
    counts = first.plan.tokens.count
    kept = ~(special | other_special) if exclude_special else np.ones(len(special), bool)
    group, size = _ranks(kept, counts)
    return Alignment(
        level="token",
        first=Side(counts, group, special, first.spec.causal),
        second=Side(counts, group, other_special, second.spec.causal),
        size=size,
        position=_positions(counts)[kept].astype(np.float32),
    )


def _by_word(first: Run, second: Run, exclude_special: bool, labels: NDArray[np.int64] | None) -> Alignment:
    kept = (first.column("words/token_count") > 0) & (second.column("words/token_count") > 0)
    for run in (first, second):
        if exclude_special and run.spec.causal:
            word = run.token_column("tokens/word")[np.cumsum(run.plan.tokens.count) - run.plan.tokens.count]
            kept[word[word >= 0]] = False
    counts = first.column("samples/word_count").astype(np.int64)
    rank, size = _ranks(kept, counts)
    return Alignment(
        level="word",
        first=_word_side(first, rank),
        second=_word_side(second, rank),
        size=size,
        position=_positions(counts)[kept].astype(np.float32),
        label=None if labels is None else labels[kept],
    )


def _word_side(run: Run, rank: NDArray[np.int32]) -> Side:
    # The last entry serves tokens without a word, whose word is -1.
    group = np.append(rank, np.int32(-1))[run.token_column("tokens/word")]
    return Side(run.plan.tokens.count, group, _special(run), run.spec.causal)
