"""The description of some packs of one run: blocks in, sums out. It runs inside tasks and is sent to workers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Self

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.alignment import Alignment
from biocache.engine.analyses.attention.maps import Block, Layout, Maps
from biocache.engine.analyses.attention.metrics import Part
from biocache.engine.analyses.attention.preparing import (
    block_of,
    entries_in,
    grown,
    of_classes,
    over_windows,
    prepared,
    tiles,
)
from biocache.engine.analyses.attention.sums import Moments, Resamples, rounded
from biocache.engine.analyses.heads.metrics import HeadMetric
from biocache.engine.analyses.heads.targets import Targets
from biocache.store.chunks import Chunks, read_ahead

__all__ = ["Described", "DescribedPack", "HeadSums", "describe_block", "describe_packs"]

Values = NDArray[np.float64]
#: Makes the prepared maps of a part of a pack, given their alignment, layout, and room for them.
Prepare = Callable[[Alignment, Layout, NDArray[np.float32]], Part]


@dataclass(frozen=True)
class Described:
    """What is measured of every map.

    Attributes
    ----------
    found
        The metrics.
    labels
        Number of classes that means are split by; 0: they are not.
    by_words
        Whether the classes are of the words that attend; else of samples.
    units
        Number of groups of samples that intervals are over.
    resamples, seed
        Resamples and seed of the bootstrap.
    """

    found: tuple[HeadMetric, ...]
    labels: int
    by_words: bool
    units: int
    resamples: int
    seed: int

    @property
    def groups(self) -> int:
        """Number of groups of values: those of each class and, as the last, of all."""
        return self.labels + 1


@dataclass(frozen=True, eq=False)
class DescribedPack:
    """A pack of a run.

    Attributes
    ----------
    chunks
        Chunks of attention of the run.
    pack
        The pack.
    samples
        Positions of its samples in the run, int64 (sample).
    unit
        Group of samples that every sample belongs to, int64 (sample).
    label
        Class of every sample, int64 (sample); or, of words, of every row, -1 for none, int64 (row). None where means
        are not split.
    alignment
        Alignment of the maps of its samples with themselves; of windows a sample has several.
    targets
        Targets of each metric, None of those without.
    """

    chunks: Chunks
    pack: int
    samples: NDArray[np.int64]
    unit: NDArray[np.int64]
    label: NDArray[np.int64] | None
    alignment: Alignment
    targets: tuple[Targets | None, ...]


@dataclass(frozen=True, eq=False)
class HeadSums:
    """All sums over some samples of one layer of a run; those of any packs add.

    Attributes
    ----------
    own
        Moments of the values (group, metric, head).
    resamples
        What their intervals are computed from.
    even
        Moments of the values of even attention (group, metric, 1).
    """

    own: Moments
    resamples: Resamples
    even: Moments

    def __add__(self, other: Self) -> "HeadSums":
        return HeadSums(self.own + other.own, self.resamples + other.resamples, self.even + other.even)


def describe_packs(packs: list[DescribedPack], layer: int, what: Described) -> HeadSums:
    """Describe a layer of some packs of a run.

    Parameters
    ----------
    packs
        The packs.
    layer
        Position along ``layer``.
    what
        What to measure.
    """
    wanted = ((pack.chunks, layer, pack.pack) for pack in packs)
    blocks = read_ahead(wanted, Chunks.read_committed_codes)
    return reduce(add, (describe_block(block_of(own), pack, what) for own, pack in zip(blocks, packs, strict=True)))


def describe_block(block: Block, pack: DescribedPack, what: Described) -> HeadSums:
    """Describe one layer of a pack, as it is stored or rolled out."""

    def stored(aligned: Alignment, layout: Layout, room: NDArray[np.float32]) -> Part:
        return prepared(block, aligned.first.tokens(), layout, room, whole=pack.alignment.whole)

    sums = HeadSums(
        Moments.zero((what.groups, len(what.found), block.heads)),
        Resamples.zero(what.groups, what.units, what.resamples, len(what.found), block.heads),
        Moments.zero((what.groups, len(what.found), 1)),
    )
    for values, units, group in _values(stored, block.heads, pack, what):
        for place in np.unique(group).tolist():
            Moments(sums.own.count[place], sums.own.total[place], sums.own.square[place]).add(values[group == place])
        sums.resamples.add(values, units, group, what.seed)
    for values, _, group in _values(_even, 1, pack, what):
        for place in np.unique(group).tolist():
            Moments(sums.even.count[place], sums.even.total[place], sums.even.square[place]).add(values[group == place])
    return sums


def _even(aligned: Alignment, layout: Layout, room: NDArray[np.float32]) -> Part:
    """Return maps of one head whose queries attend to all keys that they may see alike."""
    place = np.arange(len(layout.position)) - np.repeat(layout.row_start, layout.size)
    keys = place + 1 if layout.triangular else np.repeat(layout.size, layout.size)
    maps = room[: entries_in(layout)].reshape(1, -1)
    maps[0] = np.repeat(1 / keys, keys)
    tokens = aligned.first.tokens()
    # All maps are one array of ones, as tokens are stored.
    ones = np.ones(int(aligned.first.entries.max()), np.float32)
    block = Block(ones, len(ones), 1)
    mass = np.ones((1, len(place)), np.float32)
    return Part(block, tokens._replace(pair_start=np.zeros_like(tokens.pair_start)), Maps(maps, mass, tokens.causal))


def _values(
    prepare: Prepare, heads: int, pack: DescribedPack, what: Described
) -> Iterable[tuple[Values, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield values (row, metric, head), the unit of each row and its group: of all samples, then of each class."""
    measured, by_class = _measured(prepare, heads, pack, what)
    own = rounded(over_windows(measured, pack.alignment, pack.samples))
    yield own, pack.unit, np.full(len(own), what.labels)
    if by_class is not None:
        # Each class has the samples with such words.
        split = np.stack([over_windows(each, pack.alignment, pack.samples) for each in by_class])
        group, sample = np.nonzero(~np.isnan(split).all(axis=(2, 3)))
        yield rounded(split[group, sample]), pack.unit[sample], group
    elif pack.label is not None:
        yield own, pack.unit, pack.label


def _measured(prepare: Prepare, heads: int, pack: DescribedPack, what: Described) -> tuple[Values, Values | None]:
    """Measure all maps, tile by tile.

    Returns
    -------
    values
        (map, metric, head).
    by_class
        Of the rows of words of a class, NaN for none, (class, map, metric, head); None where not split by words.
    """
    values = np.empty((len(pack.alignment.sample), len(what.found), heads))
    by_class = np.full((what.labels, *values.shape), np.nan) if what.by_words else None
    room = np.empty(0, np.float32)
    for tile in tiles(pack.alignment.layout(), heads):
        aligned = pack.alignment.part(tile)
        layout = aligned.layout()
        begin = int(pack.alignment.start[tile.start])
        rows = slice(begin, begin + len(aligned.position))
        targets = [each if each is None else each.part(rows) for each in pack.targets]
        room = grown(room, heads * entries_in(layout))
        part = prepare(aligned, layout, room)
        for column, metric in enumerate(what.found):
            values[tile, column] = metric.measure(part, layout, targets[column])
        if by_class is None or pack.label is None:
            continue
        for own, chosen, (only,), held in of_classes([part], layout, pack.label[rows]):
            place = np.arange(tile.start, tile.stop)[chosen]
            for column, metric in enumerate(what.found):
                by_class[own, place, column] = metric.measure(only, held, targets[column])
    return values, by_class
