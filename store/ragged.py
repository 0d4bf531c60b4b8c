"""Ragged rows: ranges of them, and the rows of each group of tokens reduced to one row, without padding."""

import numpy as np
from numpy.typing import NDArray

from biocache.store.coding import Coded
from biocache.store.schema import POOLINGS

__all__ = ["ranges", "reduce_members", "reduce_segments"]


def ranges(first: NDArray[np.integer], counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the positions of ranges, one after another, that begin at some positions and have some lengths."""
    ends = np.cumsum(counts, dtype=np.int64)
    return np.repeat(first - (ends - counts), counts) + np.arange(ends[-1] if ends.size else 0)


def reduce_segments(
    values: NDArray[np.floating] | Coded, group: NDArray[np.integer], group_count: int, pooling: str
) -> NDArray[np.float32]:
    """Reduce the tokens of every group to one row.

    Tokens of no group may lie inside one (the separator of a pair). Nothing is padded, and the values are not copied to
    another data type.

    Parameters
    ----------
    values
        (token, feature), of any floating data type, or codes; float16 and codes are widened to float32 before any
        arithmetic, and sums are rounded once.
    group
        Group of every token (token), -1 for none. The tokens of a group need not be together.
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
        If the pooling is not known, or there are more groups than `group_count`.
    """
    if pooling not in POOLINGS:
        raise ValueError(f"pooling {pooling!r} is not one of {', '.join(POOLINGS)}")
    members = np.flatnonzero(group >= 0)
    owners = group[members]
    if (np.diff(owners) < 0).any():
        order = np.argsort(owners, kind="stable")
        members, owners = members[order], owners[order]
    if members.size and owners[-1] >= group_count:
        raise ValueError(f"group {owners[-1]} is not one of {group_count}")
    return reduce_members(values, members, np.bincount(owners, minlength=group_count), pooling)


def reduce_members(
    values: NDArray[np.floating] | Coded, members: NDArray[np.int64], counts: NDArray[np.int64], pooling: str
) -> NDArray[np.float32]:
    """Reduce the tokens of every group to one row, where a token may be of several groups; see `reduce_segments`.

    Parameters
    ----------
    values
        (token, feature), of any floating data type, or codes.
    members
        Tokens (member): those of the first group, then those of the second, and so on.
    counts
        Members of every group (group).
    pooling
        ``mean``, ``first``, ``last`` or ``max``.

    Returns
    -------
    numpy.ndarray
        float32 (group, feature). NaN where a group has no token.
    """
    filled = counts > 0
    reduced = np.full((len(counts), *values.shape[1:]), np.nan, np.float32)
    if not members.size:
        return reduced
    ends = np.cumsum(counts)[filled]
    if pooling == "first":
        reduced[filled] = values[members[ends - counts[filled]]]
    elif pooling == "last":
        reduced[filled] = values[members[ends - 1]]
    else:
        # Imported late, so that opening a store does not load a compiler.
        from biocache.store.segments import reduce_rows

        if isinstance(values, Coded):
            rows, scales = values.codes, (values.token, values.feature)
        else:
            # numba has no float16: its bits are passed.
            halves = values.dtype == np.float16
            rows = np.ascontiguousarray(values, None if halves else np.float32)
            rows = rows.view(np.uint16) if halves else rows
            scales = np.ones(rows.shape[0], np.float32), np.ones(rows.shape[1], np.float32)
        reduce_rows(rows, scales, members, counts, pooling == "max", reduced)
    return reduced
