"""RSA and mutual nearest neighbours of some units: what of a layer they need, and how two layers agree in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Described", "correlations", "describe", "shared_neighbours"]

Values = NDArray[np.float64]

# Distances are equal if they agree in so many decimals: the last ones are noise of the multiplication.
_DECIMALS = 9


@dataclass(frozen=True, eq=False)
class Described:
    """The distances between some units of a layer.

    Attributes
    ----------
    rank
        Rank of the correlation distance of every pair i < j of units, row by row, equal ones sharing theirs, from 0,
        int32 (pair); empty where it is not asked for.
    neighbours
        The nearest other units of every unit, the nearest first, int32 (unit, neighbour); as many as are left when a
        block of units is taken away; none where they are not asked for.
    """

    rank: NDArray[np.int32]
    neighbours: NDArray[np.int32]


def describe(rows: NDArray[np.float32], *, ranks: bool, neighbours: int) -> Described:
    """Return the distances between some units.

    Parameters
    ----------
    rows
        float32 (unit, feature).
    ranks
        Whether correlation distances are ranked.
    neighbours
        Number of nearest neighbours by cosine similarity; 0 for none.
    """
    count, values = len(rows), rows.astype(np.float64)
    rank = np.empty(0, np.int32)
    if ranks:
        alike = _cosines(values - values.mean(axis=1, keepdims=True))
        rank = np.unique(-alike[np.triu_indices(count, 1)], return_inverse=True)[1].astype(np.int32)
    nearest = np.empty((count, 0), np.int32)
    if neighbours:
        alike = _cosines(values)
        np.fill_diagonal(alike, -np.inf)
        nearest = np.argsort(-alike, axis=1, kind="stable")[:, : min(neighbours, count - 1)].astype(np.int32)
    return Described(rank, nearest)


def _cosines(values: Values) -> Values:
    """Return cosine similarities (unit, unit); 0 for rows of zeros."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    scaled = np.divide(values, length, out=np.zeros_like(values), where=length > 0)
    return np.asarray(np.round(scaled @ scaled.T, _DECIMALS))


def correlations(first: list[Described], second: list[Described], block: NDArray[np.int64], blocks: int) -> Values:
    """Return Spearman's correlations of the distances of layers [1]_ of all units, then of those without each block.

    Returns
    -------
    numpy.ndarray
        float64 (layer, other layer, 1 + block); NaN where all distances are equal.

    References
    ----------
    .. [1] N. Kriegeskorte, M. Mur and P. Bandettini, "Representational similarity analysis", Frontiers in Systems
       Neuroscience 2:4, 2008. https://doi.org/10.3389/neuro.06.004.2008
    """
    ends = [block[place] for place in np.triu_indices(len(block), 1)]
    found = np.empty((len(first), len(second), 1 + blocks))
    for number in range(1 + blocks):
        kept = (ends[0] != number - 1) & (ends[1] != number - 1)
        own = np.stack([_standard_ranks(each.rank[kept]) for each in first])
        for place, other in enumerate(second):
            found[:, place, number] = own @ _standard_ranks(other.rank[kept])
    return found


def _standard_ranks(rank: NDArray[np.int32]) -> Values:
    """Return ranks among those that are left, with mean 0 and length 1; NaN where all are equal."""
    if not len(rank):
        return np.full(0, np.nan)
    size = np.bincount(rank)
    ranks = (np.cumsum(size) - (size + 1) / 2)[rank]
    ranks -= ranks.mean()
    length = np.linalg.norm(ranks)
    return np.asarray(ranks / length if length > 0 else np.full(len(ranks), np.nan))


def shared_neighbours(
    first: list[Described], second: list[Described], block: NDArray[np.int64], blocks: int, neighbours: int
) -> Values:
    """Return the mean share of nearest neighbours that two layers share [1]_, then that without each block.

    Returns
    -------
    numpy.ndarray
        float64 (layer, other layer, 1 + block); NaN where there are not as many neighbours.

    References
    ----------
    .. [1] M. Huh, B. Cheung, T. Wang and P. Isola, "The Platonic representation hypothesis", ICML 2024.
       https://arxiv.org/abs/2405.07987
    """
    count = len(block)
    found = np.full((len(first), len(second), 1 + blocks), np.nan)
    for number in range(1 + blocks):
        left = block != number - 1
        if left.sum() - 1 < neighbours:
            continue
        codes = [[_codes(each, left, neighbours) for each in side] for side in (first, second)]
        held = np.zeros(count * count, np.bool_)
        for place, own in enumerate(codes[0]):
            held[own] = True
            found[place, :, number] = [held[other].mean() for other in codes[1]]
            held[own] = False
    return found


def _codes(described: Described, left: NDArray[np.bool_], neighbours: int) -> NDArray[np.int64]:
    """Return the nearest of the units that are left, of these, as numbers of pairs (unit, neighbour)."""
    nearest = described.neighbours[left]
    there = left[nearest]
    chosen = there & (np.cumsum(there, axis=1) <= neighbours)
    unit = np.broadcast_to(np.flatnonzero(left)[:, np.newaxis], nearest.shape)
    return (unit[chosen] * len(left) + nearest[chosen]).astype(np.int64)
