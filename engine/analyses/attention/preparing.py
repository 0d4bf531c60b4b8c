"""Preparing the maps of one pack for measuring: tiles that fit the cache, widened or projected, split by classes."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from biocache.engine.analyses.attention import projection
from biocache.engine.analyses.attention.alignment import Alignment
from biocache.engine.analyses.attention.maps import Block, Layout, Maps, Tokens
from biocache.engine.analyses.attention.metrics import Part
from biocache.engine.statistics import ratio

__all__ = ["block_of", "entries_in", "grown", "of_classes", "over_windows", "prepared", "tiles"]

# Prepared numbers of a run that fit a processor's cache while all metrics are measured.
_TILE = 1 << 17


def block_of(stored: NDArray[Any]) -> Block:
    """Return what is stored (head, entry) for compiled code: halves as integers, heads with their gaps."""
    numbers = stored.view(np.uint16) if stored.dtype == np.float16 else stored
    stride = numbers.strides[0] // numbers.itemsize
    length = (len(numbers) - 1) * stride + numbers.shape[1]
    return Block(as_strided(numbers, (length,), (numbers.itemsize,)), stride, len(numbers))


def over_windows(values: NDArray[np.float64], alignment: Alignment, samples: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values of samples: the means, over the maps (map, ...) of each, of what is known.

    Parameters
    ----------
    values
        Values of maps.
    alignment
        Says of which sample each map is.
    samples
        The samples, ascending (sample).
    """
    if len(values) == len(samples):
        return values
    begin = np.searchsorted(alignment.sample, samples)
    known = ~np.isnan(values)
    return ratio(np.add.reduceat(np.where(known, values, 0.0), begin), np.add.reduceat(known, begin, dtype=float))


def of_classes(
    parts: Sequence[Part], layout: Layout, label: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.int64], tuple[Part, ...], Layout]]:
    """Yield each class that rows have, the samples with such rows, and these alone: what has no mass is not measured.

    Parameters
    ----------
    parts
        The same samples in some runs.
    layout
        Where their prepared maps lie.
    label
        Class of each row, -1 for none, int64 (row).
    """
    sample = np.repeat(np.arange(len(layout.size)), layout.size)
    for own in np.unique(label[label >= 0]).tolist():
        chosen = np.unique(sample[label == own])
        held = layout._replace(**{name: getattr(layout, name)[chosen] for name in ("size", "row_start", "entry_start")})
        yield own, chosen, tuple(_rows_only(part, layout, chosen, label == own) for part in parts), held


def _rows_only(part: Part, layout: Layout, chosen: NDArray[np.int64], kept: NDArray[np.bool_]) -> Part:
    """Return some samples of a part, whose other rows than those kept (row) have no mass."""
    tokens = part.tokens
    row = np.repeat(layout.row_start, tokens.length) + tokens.group
    group = np.where((tokens.group >= 0) & kept[row.clip(0)], tokens.group, np.int32(-1))
    own = {name: getattr(tokens, name)[chosen] for name in ("pair_start", "start", "length")}
    mass = np.where(kept, part.maps.mass, np.float32(0))
    return Part(part.stored, tokens._replace(group=group, **own), part.maps._replace(mass=mass))


def tiles(layout: Layout, heads: int) -> Iterator[slice]:
    """Cut a layout into tiles of consecutive maps that fit the cache; a larger map is its own tile."""
    ends = np.append(layout.entry_start, entries_in(layout)) * heads
    begin = 0
    while begin < len(layout.size):
        end = max(begin + 1, int(np.searchsorted(ends, ends[begin] + _TILE, side="right")) - 1)
        yield slice(begin, end)
        begin = end


def entries_in(layout: Layout) -> int:
    """Return the entries of all maps of a layout."""
    size = int(layout.size[-1])
    return int(layout.entry_start[-1]) + (size * (size + 1) // 2 if layout.triangular else size * size)


def grown(room: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Return an array of at least some length: the one that is there, where it is long enough."""
    return room if len(room) >= length else np.empty(length, np.float32)


def prepared(stored: Block, tokens: Tokens, layout: Layout, room: NDArray[np.float32], *, whole: bool) -> Part:
    """Return some maps widened, or projected onto the groups of their tokens, with rows that are scaled to the sum 1.

    Parameters
    ----------
    stored
        The block that they are in.
    tokens
        Their tokens.
    layout
        Where the prepared maps lie.
    room
        Array that holds them, at least as long as the heads times the entries of the layout.
    whole
        Whether every token is its own group.
    """
    heads, entries = stored.heads, entries_in(layout)
    maps = Maps(
        room[: heads * entries].reshape(heads, entries),
        np.empty((heads, len(layout.position)), np.float32),
        tokens.causal,
    )
    (projection.widen if whole else projection.project)(stored, tokens, layout, maps)
    return Part(stored, tokens, maps)
