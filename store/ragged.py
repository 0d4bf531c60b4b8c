"""Segment reductions: one row a group out of the rows of its tokens, without padding."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["POOLINGS", "reduce_segments"]

POOLINGS = ("mean", "first", "last", "max")


def reduce_segments(
    values: NDArray[np.floating], group: NDArray[np.integer], group_count: int, pooling: str
) -> NDArray[np.float32]:
    """Reduce the tokens of every group to one row.

    Sums and maxima run over stretches of one group and then over the stretches of a group, so that a group may be
    interrupted by tokens of none (the separator inside a pair) and nothing is copied or padded.

    Parameters
    ----------
    values
        (token, feature), of any floating data type; computed in float32.
    group
        Group of every token (token), -1 for tokens of none. Apart from those it never decreases.
    group_count
        Number of groups.
    pooling
        ``mean``, ``first``, ``last`` or ``max``.

    Returns
    -------
    numpy.ndarray
        float32 (group, feature). NaN where a group has no token.

    Raises
    ------
    ValueError
        If the pooling is not known or the groups decrease.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling {pooling!r} is not one of {', '.join(POOLINGS)}")
    members = np.flatnonzero(group >= 0)
    owners = group[members]
    if members.size and (np.diff(owners) < 0).any():
        raise ValueError("the groups of the tokens decrease")
    counts = np.bincount(owners, minlength=group_count)
    filled = counts > 0
    reduced = np.full((group_count, *values.shape[1:]), np.nan, np.float32)
    if not members.size:
        return reduced
    ends = np.cumsum(counts)[filled]
    if pooling == "first":
        reduced[filled] = values[members[ends - counts[filled]]]
    elif pooling == "last":
        reduced[filled] = values[members[ends - 1]]
    else:
        ufunc = np.add if pooling == "mean" else np.maximum
        rows = _reduce_stretches(values.astype(np.float32, copy=False), group, ufunc)
        if pooling == "mean":
            rows /= counts[filled, np.newaxis]
        reduced[filled] = rows
    return reduced


def _reduce_stretches(values: NDArray[np.float32], group: NDArray[np.integer], ufunc: Any) -> NDArray[np.float32]:
    """Reduce the groups that have tokens, in their order."""
    begins = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    owners = group[begins]
    rows: NDArray[np.float32] = ufunc.reduceat(values, begins, axis=0)[owners >= 0]
    owners = owners[owners >= 0]
    firsts = np.flatnonzero(np.diff(owners, prepend=-1))
    return rows if len(firsts) == len(owners) else np.asarray(ufunc.reduceat(rows, firsts, axis=0))
