"""Kernels over ragged attention maps: the sums of metrics; see `projection` for how maps are prepared.

Sums run in float32 over one row, or 512 entries, and in float64 beyond. Every sample of every head is computed
alone, so that no value depends on its neighbours.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.maps import Block, Layout, Maps, Pairs, Tokens
from biocache.engine.analyses.attention.numbers import log as _log
from biocache.engine.analyses.attention.numbers import widened as _widened
from biocache.engine.analyses.attention.projection import entries_of, row_end, row_offset, total_of
from biocache.store.compiling import compiled

__all__ = [
    "cosine",
    "distance",
    "entropy",
    "first_row",
    "hellinger",
    "jensen_shannon",
    "row_cosine",
    "special_mass",
    "total_variation",
]

Array = NDArray[Any]

_F, _N = np.float32, np.uint64
_ONE, _HALF, _TINY = _F(1), _F(0.5), _F(1e-30)
_QUARTER_BITS = _F(0.25 / np.log(2))
# Numbers that a sum in float32 may run over.
_STRETCH = 512
# Kinds of `_divergence`.
_JENSEN_SHANNON, _HELLINGER, _TOTAL_VARIATION = range(3)


@compiled
def _room(layout: Layout) -> Array:
    """Return an empty array for the terms of the largest map."""
    largest = 0
    for size in layout.size:
        largest = max(largest, entries_of(size, layout.triangular))
    return np.empty(largest, _F)


@compiled
def special_mass(stored: Block, tokens: Tokens, out: Array) -> None:
    """Average over the queries that have a group the share of their attention on special positions.

    Parameters
    ----------
    stored, tokens
        As `widen`.
    out
        float64 (sample, head), written; NaN where no query has a group.
    """
    for head in range(stored.heads):
        for s in range(tokens.length.size):
            begin = _N(head * stored.stride + tokens.pair_start[s])
            group = tokens.group[tokens.start[s] : tokens.start[s] + tokens.length[s]]
            special = tokens.special[tokens.start[s] : tokens.start[s] + tokens.length[s]]
            total, queries = 0.0, 0
            for query in range(group.size):
                end = row_end(begin, query, group.size, tokens.causal)
                if group[query] >= 0:
                    share = _special_share(stored.numbers, begin, end, special)
                    if share >= 0:
                        total += share
                        queries += 1
                begin = end
            out[s, head] = total / queries if queries else np.nan


@compiled
def _special_share(numbers: Array, begin: Any, end: Any, special: Array) -> float:
    """Return the share of a row on special keys, or -1 where the row has no mass."""
    total, on_special = _F(0), _F(0)
    for i in range(end - begin):
        weight = _widened(numbers[begin + i])
        total += weight
        on_special += weight if special[i] else _F(0)
    return float(on_special) / float(total) if total > 0 else -1.0


@compiled
def first_row(a: Maps, b: Maps, size: int) -> int:
    """Return the first row of two maps that sees several keys in both: the one before is the same in all heads."""
    return 1 if size == 1 or a.causal or b.causal else 0


@compiled
def cosine(a: Maps, b: Maps, layout: Layout, pairs: Pairs, out: Array) -> None:
    """Cosine of flattened maps, without rows that see one key; NaN where one of them has no mass.

    Parameters
    ----------
    a, b
        Maps of two runs.
    layout
        Where they lie.
    pairs
        Which heads.
    out
        float64 (sample, pair), written.
    """
    for s in range(layout.size.size):
        begin, size = layout.entry_start[s], layout.size[s]
        end = begin + entries_of(size, layout.triangular)
        begin += row_offset(first_row(a, b, size), size, layout.triangular)
        for p in range(out.shape[1]):
            x, y = a.values[pairs.left[s, p], begin:end], b.values[pairs.right[s, p], begin:end]
            xx, yy, xy = 0.0, 0.0, 0.0
            for i in range(0, x.size, _STRETCH):
                own = _products(x, y, _N(i), _N(min(i + _STRETCH, x.size)))
                xx, yy, xy = xx + own[0], yy + own[1], xy + own[2]
            out[s, p] = min(1.0, xy / np.sqrt(xx * yy)) if xx > 0 and yy > 0 else np.nan


@compiled
def _products(x: Array, y: Array, begin: Any, end: Any) -> tuple[float, float, float]:
    # In one loop, so that identical maps give equal sums, and their cosine is exactly 1.
    xx, yy, xy = _F(0), _F(0), _F(0)
    for i in range(begin, end):
        xx += x[i] * x[i]
        yy += y[i] * y[i]
        xy += x[i] * y[i]
    return float(xx), float(yy), float(xy)


@compiled
def row_cosine(a: Maps, b: Maps, layout: Layout, pairs: Pairs, out: Array) -> None:
    """Cosine of rows, averaged over those with mass and several keys in both maps; parameters as `cosine`."""
    for s in range(layout.size.size):
        size, row, first = layout.size[s], layout.row_start[s], layout.entry_start[s]
        skipped = first_row(a, b, size)
        last = first + entries_of(size, layout.triangular)
        for p in range(out.shape[1]):
            i, j = pairs.left[s, p], pairs.right[s, p]
            x, y = a.values[i, first:last], b.values[j, first:last]
            begin, total, rows = _N(0), 0.0, 0
            for q in range(size):
                end = row_end(begin, q, size, layout.triangular)
                if q >= skipped and a.mass[i, row + q] > 0 and b.mass[j, row + q] > 0:
                    xx, yy, xy = _products(x, y, begin, end)
                    total += min(1.0, xy / np.sqrt(xx * yy))
                    rows += 1
                begin = end
            out[s, p] = total / rows if rows else np.nan


@compiled
def _mean_of_rows(
    terms: Array, size: int, triangular: bool, skipped: int, x_mass: Array, y_mass: Array
) -> tuple[float, float]:
    """Average over the rows with mass in both maps, but the first, the sum of the row's terms, and its root."""
    begin, total, roots, rows = _N(0), 0.0, 0.0, 0
    for q in range(size):
        end = row_end(begin, q, size, triangular)
        if q >= skipped and x_mass[q] > 0 and y_mass[q] > 0:
            own = min(1.0, float(total_of(terms, begin, end)))
            total += own
            roots += np.sqrt(own)
            rows += 1
        begin = end
    return (total / rows, roots / rows) if rows else (np.nan, np.nan)


def jensen_shannon(a: Maps, b: Maps, layout: Layout, pairs: Pairs, out: Array) -> None:
    """Jensen-Shannon divergence of rows in bits, averaged as in `row_cosine`; parameters as `cosine`."""
    _divergence(_JENSEN_SHANNON, a, b, layout, pairs, out)


def hellinger(a: Maps, b: Maps, layout: Layout, pairs: Pairs, out: Array) -> None:
    """Hellinger distance of rows, averaged as in `row_cosine`; parameters as `cosine`."""
    _divergence(_HELLINGER, a, b, layout, pairs, out)


def total_variation(a: Maps, b: Maps, layout: Layout, pairs: Pairs, out: Array) -> None:
    """Total variation distance of rows, averaged as in `row_cosine`; parameters as `cosine`."""
    _divergence(_TOTAL_VARIATION, a, b, layout, pairs, out)


@compiled
def _divergence(kind: int, a: Maps, b: Maps, layout: Layout, pairs: Pairs, out: Array) -> None:
    """Average over rows the sum of the terms of one kind of divergence, or its root."""
    room = _room(layout)
    for s in range(layout.size.size):
        size, row, first = layout.size[s], layout.row_start[s], layout.entry_start[s]
        terms = room[: entries_of(size, layout.triangular)]
        for p in range(out.shape[1]):
            i, j = pairs.left[s, p], pairs.right[s, p]
            x, y = a.values[i, first : first + terms.size], b.values[j, first : first + terms.size]
            if kind == _JENSEN_SHANNON:
                _jensen_shannon_terms(x, y, terms)
            elif kind == _HELLINGER:
                _hellinger_terms(x, y, terms)
            else:
                _total_variation_terms(x, y, terms)
            masses = a.mass[i, row : row + size], b.mass[j, row : row + size]
            skipped = first_row(a, b, size)
            mean, mean_root = _mean_of_rows(terms, size, layout.triangular, skipped, masses[0], masses[1])
            out[s, p] = mean_root if kind == _HELLINGER else mean


@compiled
def _jensen_shannon_terms(x: Array, y: Array, terms: Array) -> None:
    """Bits that each key adds: (x + y) / 4 * [(1 + d) log2(1 + d) + (1 - d) log2(1 - d)], d = (x - y) / (x + y)."""
    for i in range(x.size):
        both = x[i] + y[i]
        d = (x[i] - y[i]) / (both if both > _TINY else _TINY)
        up, down = _ONE + d, _ONE - d
        logs = up * _log(up if up > _TINY else _TINY) + down * _log(down if down > _TINY else _TINY)
        # Near 0 the logarithms cancel; there the series is exact to a float32.
        u = d * d
        series = _F(1 / 28) + u * (_F(1 / 45) + u * (_F(1 / 66) + u * _F(1 / 91)))
        series = u * (_ONE + u * (_F(1 / 6) + u * (_F(1 / 15) + u * series)))
        terms[i] = _QUARTER_BITS * both * (series if u < _F(0.1) else logs)


@compiled
def _hellinger_terms(x: Array, y: Array, terms: Array) -> None:
    for i in range(x.size):
        d = np.sqrt(x[i]) - np.sqrt(y[i])
        terms[i] = _HALF * d * d


@compiled
def _total_variation_terms(x: Array, y: Array, terms: Array) -> None:
    for i in range(x.size):
        terms[i] = _HALF * abs(x[i] - y[i])


@compiled
def entropy(maps: Maps, layout: Layout, out: Array) -> None:
    """Entropy of rows divided by that of an even row, averaged over rows with mass that see at least two keys.

    Parameters
    ----------
    maps
        Maps of a run.
    layout
        Where they lie.
    out
        float64 (sample, head), written; NaN where no row is left.
    """
    room = _room(layout)
    for head in range(maps.values.shape[0]):
        for s in range(layout.size.size):
            size, first = layout.size[s], layout.entry_start[s]
            terms = room[: entries_of(size, layout.triangular)]
            _entropy_terms(maps.values[head, first : first + terms.size], terms)
            begin, total, rows = _N(0), 0.0, 0
            for q in range(size):
                end = row_end(begin, q, size, layout.triangular)
                seen = q + 1 if maps.causal else size
                if seen > 1 and maps.mass[head, layout.row_start[s] + q] > 0:
                    total += float(total_of(terms, begin, end)) / np.log(seen)
                    rows += 1
                begin = end
            out[s, head] = total / rows if rows else np.nan


@compiled
def _entropy_terms(x: Array, terms: Array) -> None:
    for i in range(x.size):
        terms[i] = -x[i] * _log(x[i] if x[i] > _TINY else _TINY)


@compiled
def distance(maps: Maps, layout: Layout, out: Array) -> None:
    """Mean distance from a query to the keys it attends to, averaged over the rows that have mass.

    Parameters
    ----------
    maps, layout, out
        As `entropy`; the unit is that of the layout's positions.
    """
    for head in range(maps.values.shape[0]):
        for s in range(layout.size.size):
            row, size, first = layout.row_start[s], layout.size[s], layout.entry_start[s]
            position = layout.position[row : row + size]
            own = maps.values[head, first : first + entries_of(size, layout.triangular)]
            begin, total, rows = _N(0), 0.0, 0
            for q in range(size):
                end = row_end(begin, q, size, layout.triangular)
                if maps.mass[head, row + q] > 0:
                    total += _mean_distance(own, begin, end, position, position[q])
                    rows += 1
                begin = end
            out[s, head] = total / rows if rows else np.nan


@compiled
def _mean_distance(own: Array, begin: Any, end: Any, position: Array, query: Any) -> float:
    total = _F(0)
    for i in range(end - begin):
        total += own[begin + i] * abs(position[i] - query)
    return float(total)
