"""Ragged attention maps as kernels take them: named tuples of plain arrays."""

from typing import Any, NamedTuple

from numpy.typing import NDArray

__all__ = ["Block", "Layout", "Maps", "Pairs", "Tokens"]


class Block(NamedTuple):
    """One layer of one pack as it is stored.

    Attributes
    ----------
    numbers
        Head after head, halves as their bits in uint16, codes in uint8, or float32; contiguous, (entry).
    stride
        Entries from one head to the next.
    heads
        Number of heads.
    """

    numbers: NDArray[Any]
    stride: int
    heads: int


class Tokens(NamedTuple):
    """The tokens of some samples of a run, and where the samples' maps are stored.

    Attributes
    ----------
    pair_start
        First entry of each map among the entries of a head, int64 (sample).
    start, length
        First token and number of tokens of each sample along ``token``, int64 (sample).
    group
        Row and key of the prepared map that a token is part of, never decreasing within a sample; -1: left out. int32
        (token).
    special
        Whether the token is at a special position, bool (token).
    causal
        Whether stored maps are lower triangles.
    """

    pair_start: NDArray[Any]
    start: NDArray[Any]
    length: NDArray[Any]
    group: NDArray[Any]
    special: NDArray[Any]
    causal: bool


class Layout(NamedTuple):
    """The places of the prepared maps of some samples, one after another; the same for both runs.

    Attributes
    ----------
    size
        Rows, and keys, of each map, int64 (sample).
    row_start, entry_start
        First row along ``row`` and first entry along ``entry`` of each map, int64 (sample).
    position
        Position of the group of a row in its sample, in tokens or words, float32 (row).
    triangular
        Whether row `q` of a map has the keys 0 to `q` only.
    """

    size: NDArray[Any]
    row_start: NDArray[Any]
    entry_start: NDArray[Any]
    position: NDArray[Any]
    triangular: bool


class Maps(NamedTuple):
    """Prepared maps of one run, in a `Layout`.

    Attributes
    ----------
    values
        Attention, each row scaled to the sum 1, float32 (head, entry).
    mass
        The sum of the row before scaling; 0 for a row of zeros, float32 (head, row).
    causal
        Whether row `q` sees the keys 0 to `q` only, whether or not the layout is triangular.
    """

    values: NDArray[Any]
    mass: NDArray[Any]
    causal: bool


class Pairs(NamedTuple):
    """The pairs of heads to compare in each sample.

    Attributes
    ----------
    left, right
        Head of the first and of the second run, int64 (sample, pair).
    """

    left: NDArray[Any]
    right: NDArray[Any]
