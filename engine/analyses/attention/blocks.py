"""The comparison of one layer of one pack: blocks in, sums out. It runs inside tasks and is sent to workers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention import projection
from biocache.engine.analyses.attention.alignment import Alignment, Side
from biocache.engine.analyses.attention.maps import Block, Layout, Pairs, Tokens
from biocache.engine.analyses.attention.metrics import METRICS, Metric, Part
from biocache.engine.analyses.attention.preparing import (
    block_of,
    entries_in,
    grown,
    of_classes,
    over_windows,
    prepared,
    tiles,
)
from biocache.engine.analyses.attention.sums import Moments, Resamples, RunSums, Sums, rounded
from biocache.engine.statistics import ratio
from biocache.store.chunks import Chunks, read_ahead

__all__ = ["Measures", "PackPair", "compare_packs"]


@dataclass(frozen=True)
class Measures:
    """What is measured of every pair of blocks.

    Attributes
    ----------
    metrics
        Names of metrics.
    labels
        Number of classes that means are split by; None: they are not.
    resamples, seed
        Resamples and seed of the bootstrap.
    units
        Number of groups of samples that intervals are over.
    diagonal
        Whether equal head indices are compared, and mismatched heads; needs equal head counts.
    all_heads
        Whether the sums of every two heads are kept.
    per_sample
        Whether the values of every sample are kept.
    own
        Those of the metrics that are the user's own.
    by_words
        Whether the classes are of the words that attend, the rows of maps; else of samples.
    mismatched
        Whether mismatched heads are compared too, for the chance level.
    """

    metrics: tuple[str, ...]
    labels: int | None
    resamples: int
    seed: int
    units: int
    diagonal: bool
    all_heads: bool
    per_sample: bool
    own: tuple[Metric, ...] = ()
    by_words: bool = False
    mismatched: bool = True

    @property
    def found(self) -> tuple[Metric, ...]:
        """The metrics, in their order."""
        own = {metric.name: metric for metric in self.own}
        return tuple(METRICS[name] if name in METRICS else own[name] for name in self.metrics)

    @property
    def by_chance(self) -> bool:
        """Whether mismatched heads are compared."""
        return self.diagonal and self.mismatched and any(metric.has_chance for metric in self.found)

    @property
    def of_norms(self) -> bool:
        """Whether norms are read."""
        return any(metric.of_norms for metric in self.found)

    @property
    def groups(self) -> int:
        """Number of groups of values: those of all samples, or of each class; of words also, as the last, of all."""
        if self.labels is None:
            return 1
        return self.labels + 1 if self.by_words else self.labels


@dataclass(frozen=True, eq=False)
class PackPair:
    """Samples that are in one pack of the baseline and in one pack of another run.

    Attributes
    ----------
    first, second
        Chunks of attention of the runs.
    norms
        Chunks of norms of both; None where they are not read.
    packs
        The two packs.
    samples
        Positions of the samples in their runs, int64 (sample).
    group
        Group of values of every sample, such as its class, int64 (sample).
    unit
        Group of samples that every sample belongs to, int64 (sample).
    alignment
        Alignment of the maps of the samples, of which a sample has one for each of its windows.
    """

    first: Chunks
    second: Chunks
    norms: tuple[Chunks, Chunks] | None
    packs: tuple[int, int]
    samples: NDArray[np.int64]
    group: NDArray[np.int64]
    unit: NDArray[np.int64]
    alignment: Alignment


@dataclass(frozen=True, eq=False)
class _Stored:
    """A block, and the norms of its tokens, float32 (head, token); None where they are not read."""

    block: Block
    norms: NDArray[np.float32] | None


def compare_packs(
    packs: list[tuple[tuple[PackPair, ...], ...]], layer: int, other_layer: int, measures: Measures
) -> RunSums:
    """Compare a layer of some packs of the baseline with a layer of other runs.

    Parameters
    ----------
    packs
        For every pack of the baseline and every other run, the pairs of packs that make up the baseline's pack.
    layer, other_layer
        Positions along ``layer`` in the baseline and in the others.
    measures
        What to measure.
    """
    blocks = _stored(
        read_ahead(_wanted(packs, layer, other_layer), Chunks.read_committed_codes), with_norms=measures.of_norms
    )
    return reduce(add, (_compare_pack(runs, blocks, measures) for runs in packs))


def _wanted(
    packs: list[tuple[tuple[PackPair, ...], ...]], layer: int, other_layer: int
) -> Iterator[tuple[Chunks, int, int]]:
    """Yield what is read of each pack of the baseline: its own chunk, then those that it is compared with.

    After each comes that of the norms, where they are read.
    """
    for runs in packs:
        first = runs[0][0]
        own = [(first.first, first.norms and first.norms[0], layer, first.packs[0])]
        own += [
            (pair.second, pair.norms and pair.norms[1], other_layer, pair.packs[1]) for pairs in runs for pair in pairs
        ]
        for attention, norms, index, pack in own:
            yield attention, index, pack
            if norms is not None:
                yield norms, index, pack


def _stored(chunks: Iterator[NDArray[Any]], *, with_norms: bool) -> Iterator[_Stored]:
    """Yield the blocks of attention that were read, with their norms."""
    for attention in chunks:
        yield _Stored(block_of(attention), next(chunks).astype(np.float32) if with_norms else None)


def _compare_pack(runs: tuple[tuple[PackPair, ...], ...], blocks: Iterator[_Stored], measures: Measures) -> RunSums:
    block = next(blocks)
    return RunSums(
        tuple(reduce(add, (_compare_pair(block, next(blocks), pair, measures) for pair in pairs)) for pairs in runs)
    )


def _compare_pair(block: _Stored, other: _Stored, pair: PackPair, measures: Measures) -> Sums:
    """Compare two blocks on the samples that are in both."""
    sums = _zero(pair, measures)
    measured, by_class = _measured(block, other, pair, measures)
    values = rounded(over_windows(measured, pair.alignment, pair.samples))
    if by_class is not None:
        by_class = np.stack([over_windows(own, pair.alignment, pair.samples) for own in by_class])
    own, square = _by_kind(values, pair, measures)
    if sums.pairs is not None:
        sums.pairs.add(square)
    if sums.chance is not None and sums.chance_resamples is not None:
        mismatched = _mean_of_mismatched(square)
        sums.chance.add(mismatched[:, np.newaxis])
        sums.chance_resamples.add(mismatched, pair.unit, np.zeros(len(mismatched), np.int64), measures.seed)
    if sums.own is None or sums.resamples is None:
        return sums
    grouped, units, groups = own, pair.unit, pair.group
    if by_class is not None:
        # Each class has the samples with such words; all words are the last group.
        group, sample = np.nonzero(~np.isnan(by_class).all(axis=(2, 3)))
        grouped = np.concatenate([rounded(by_class[group, sample]), own])
        units = np.concatenate([pair.unit[sample], pair.unit])
        groups = np.concatenate([group, np.full(len(own), len(by_class))])
    for place in range(measures.groups):
        members = groups == place
        Moments(sums.own.count[place], sums.own.total[place], sums.own.square[place]).add(grouped[members])
    sums.resamples.add(grouped, units, groups, measures.seed)
    if measures.per_sample:
        return replace(sums, samples=((pair.samples, own.astype(np.float32)),))
    return sums


def _zero(pair: PackPair, measures: Measures) -> Sums:
    heads, other_heads, metrics = pair.first.width, pair.second.width, len(measures.metrics)
    alike, by_chance = measures.diagonal, measures.by_chance and heads > 1
    drawn = (measures.units, measures.resamples, metrics, heads)
    return Sums(
        own=Moments.zero((measures.groups, metrics, heads)) if alike else None,
        chance=Moments.zero((1, metrics, heads)) if by_chance else None,
        resamples=Resamples.zero(measures.groups, *drawn) if alike else None,
        chance_resamples=Resamples.zero(1, *drawn) if by_chance else None,
        pairs=Moments.zero((metrics, heads, other_heads)) if measures.all_heads else None,
    )


def _by_kind(values: NDArray[np.float64], pair: PackPair, measures: Measures) -> tuple[NDArray[np.float64], ...]:
    """Split values (sample, metric, pair) into those of equal head indices, and of all heads where compared."""
    heads, other_heads = pair.first.width, pair.second.width
    if not (measures.all_heads or measures.by_chance):
        return values, values
    square = values.reshape(*values.shape[:2], heads, other_heads)
    return (np.diagonal(square, axis1=2, axis2=3) if measures.diagonal else square), square


def _mean_of_mismatched(square: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each head, the mean over all others of the other run, of what is known (sample, metric, head)."""
    known = ~np.isnan(square) & ~np.eye(square.shape[-1], dtype=bool)
    return rounded(ratio(np.where(known, square, 0.0).sum(axis=-1), known.sum(axis=-1)))


def _head_pairs(pair: PackPair, measures: Measures) -> Pairs:
    """Return the heads that are compared in each map; those of the windows of a sample are the same."""
    heads, other_heads, maps = pair.first.width, pair.second.width, len(pair.alignment.sample)
    if measures.all_heads or measures.by_chance:
        left, right = np.repeat(np.arange(heads), other_heads), np.tile(np.arange(other_heads), heads)
        return Pairs(np.tile(left, (maps, 1)), np.tile(right, (maps, 1)))
    own = np.tile(np.arange(heads), (maps, 1))
    return Pairs(own, own)


def _measured(
    stored: _Stored, other: _Stored, pair: PackPair, measures: Measures
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Measure all maps, tile by tile.

    Returns
    -------
    values
        (map, metric, pair of heads).
    by_class
        Of the rows of words of a class, NaN for none, (class, map, metric, head); None where not split by words.
    """
    whole = _head_pairs(pair, measures)
    values = np.empty((*whole.left.shape[:1], len(measures.metrics), whole.left.shape[1]))
    by_class = None
    if measures.by_words and measures.labels is not None:
        by_class = np.full((measures.labels, *values.shape[:2], pair.first.width), np.nan)
    rooms: list[NDArray[np.float32]] = [np.empty(0, np.float32), np.empty(0, np.float32)]
    for tile in tiles(pair.alignment.layout(), max(stored.block.heads, other.block.heads)):
        aligned = pair.alignment.part(tile)
        layout = aligned.layout()
        pairs = Pairs(whole.left[tile], whole.right[tile])
        for of_norms in (False, True):
            metrics = {column: one for column, one in enumerate(measures.found) if one.of_norms == of_norms}
            if not metrics:
                continue
            parts = []
            for place, (run, side) in enumerate(((stored, aligned.first), (other, aligned.second))):
                rooms[place] = grown(rooms[place], run.block.heads * entries_in(layout))
                block, tokens = run.block, side.tokens()
                if of_norms and run.norms is not None:
                    block, tokens = _weighted(block, tokens, run.norms, side)
                parts.append(prepared(block, tokens, layout, rooms[place], whole=pair.alignment.whole))
            for column, metric in metrics.items():
                values[tile, column] = metric.measure(parts[0], parts[1], layout, pairs)
            if by_class is not None and aligned.label is not None:
                _measure_classes(by_class[:, tile], (parts[0], parts[1]), layout, aligned.label, metrics)
    return values, by_class


def _measure_classes(
    out: NDArray[np.float64],
    parts: tuple[Part, Part],
    layout: Layout,
    label: NDArray[np.int64],
    metrics: Mapping[int, Metric],
) -> None:
    """Measure the rows of words of each class of the samples that have some."""
    for own, chosen, (first, second), held in of_classes(parts, layout, label):
        heads = np.tile(np.arange(out.shape[3]), (len(chosen), 1))
        for column, metric in metrics.items():
            if metric.of_rows:
                out[own, chosen, column] = metric.measure(first, second, held, Pairs(heads, heads))


def _weighted(stored: Block, tokens: Tokens, norms: NDArray[np.float32], side: Side) -> tuple[Block, Tokens]:
    """Return the norm-based maps of some maps, and where they are."""
    entries = side.entries
    start = np.cumsum(entries) - entries
    weighted = np.empty((stored.heads, int(entries.sum())), np.float32)
    projection.weigh(stored, tokens, norms, side.token, start, weighted)
    return Block(weighted.reshape(-1), weighted.shape[1], stored.heads), tokens._replace(pair_start=start)
