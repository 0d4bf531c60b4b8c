"""Preparing ragged attention maps: widened, or projected onto groups of tokens, and their rows scaled to the sum 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.maps import Block, Layout, Maps, Tokens
from biocache.engine.analyses.attention.numbers import widened as _widened
from biocache.store.compiling import compiled

__all__ = ["entries_of", "project", "row_end", "row_offset", "total_of", "weigh", "widen"]

Array = NDArray[Any]

_F, _N = np.float32, np.uint64
_ONE = _F(1)


@compiled
def total_of(values: Array, begin: Any, end: Any) -> Any:
    """Return the sum of some consecutive values, in float32."""
    total = _F(0)
    for i in range(begin, end):
        total += values[i]
    return total


@compiled
def entries_of(size: int, triangular: bool) -> int:
    """Return the entries of a map."""
    return size * (size + 1) // 2 if triangular else size * size


@compiled
def row_offset(row: int, size: int, triangular: bool) -> int:
    """Return where a row of a map begins."""
    return row * (row + 1) // 2 if triangular else row * size


@compiled
def row_end(begin: Any, row: int, size: int, triangular: bool) -> Any:
    """Return where the row that begins there ends."""
    # Unsigned, as all bounds of rows: a signed index may count from the end, which costs a branch an entry.
    return begin + _N(row + 1 if triangular else size)


@compiled
def _normalise(maps: Array, size: int, triangular: bool, mass: Array) -> None:
    """Scale the rows of one map to the sum 1, and write what the sums were; a row of zeros stays."""
    begin = _N(0)
    for q in range(size):
        end = row_end(begin, q, size, triangular)
        total = total_of(maps, begin, end)
        mass[q] = total
        if total > 0:
            scale = _ONE / total
            for i in range(begin, end):
                maps[i] *= scale
        begin = end


@compiled
def widen(stored: Block, tokens: Tokens, layout: Layout, maps: Maps) -> None:
    """Widen maps that keep all their tokens, and scale their rows to the sum 1.

    Parameters
    ----------
    stored
        The block that the maps are in.
    tokens
        The tokens; stored maps and layout are both triangular, or both are not.
    layout
        Where the prepared maps lie.
    maps
        Written.
    """
    for head in range(stored.heads):
        for s in range(layout.size.size):
            size, first, row = layout.size[s], layout.entry_start[s], layout.row_start[s]
            entries = entries_of(size, layout.triangular)
            begin = head * stored.stride + tokens.pair_start[s]
            own = maps.values[head, first : first + entries]
            _widen(stored.numbers[begin : begin + entries], own)
            _normalise(own, size, layout.triangular, maps.mass[head, row : row + size])


@compiled
def _widen(stored: Array, own: Array) -> None:
    for i in range(own.size):
        own[i] = _widened(stored[i])


@compiled
def project(stored: Block, tokens: Tokens, layout: Layout, maps: Maps) -> None:
    """Gather maps of tokens into maps of groups of tokens, and scale their rows to the sum 1.

    An entry is the sum over the key's tokens and, but for the scale of its row, the mean over the query's.

    Parameters
    ----------
    stored, tokens, layout, maps
        As `widen`; a triangular layout is one for causal maps.
    """
    for head in range(stored.heads):
        for s in range(layout.size.size):
            size, first, row = layout.size[s], layout.entry_start[s], layout.row_start[s]
            own = maps.values[head, first : first + entries_of(size, layout.triangular)]
            own[:] = 0
            group = tokens.group[tokens.start[s] : tokens.start[s] + tokens.length[s]]
            begin = head * stored.stride + tokens.pair_start[s]
            for query in range(group.size):
                width = query + 1 if tokens.causal else group.size
                if group[query] >= 0:
                    offset = row_offset(group[query], size, layout.triangular)
                    for key in range(width):
                        if group[key] >= 0:
                            own[offset + group[key]] += _widened(stored.numbers[begin + key])
                begin += width
            _normalise(own, size, layout.triangular, maps.mass[head, row : row + size])


@compiled
def weigh(stored: Block, tokens: Tokens, norms: Array, first: Array, start: Array, out: Array) -> None:
    """Multiply the attention of maps by the norms of their keys.

    Parameters
    ----------
    stored, tokens
        As `widen`.
    norms
        Of the tokens of the pack, float32 (head, token).
    first
        Place of the first token of each map among them, int64 (sample).
    start
        First entry of each map among the products, int64 (sample).
    out
        The products, float32 (head, entry), written.
    """
    for head in range(stored.heads):
        for s in range(tokens.length.size):
            begin, to = head * stored.stride + tokens.pair_start[s], start[s]
            own = norms[head, first[s] : first[s] + tokens.length[s]]
            for query in range(own.size):
                width = query + 1 if tokens.causal else own.size
                for key in range(width):
                    out[head, to + key] = _widened(stored.numbers[begin + key]) * own[key]
                begin += width
                to += width
