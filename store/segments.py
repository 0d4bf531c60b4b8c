"""Compiled loops over the tokens of segments."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from biocache.store.compiling import compiled

__all__ = ["reduce_rows"]


def _intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    return cast(Callable[..., Any], intrinsic(function))


@_intrinsic
def _single(_typing: Any, number: Any, token: Any, feature: Any) -> Any:
    """Widen a number to float32: a float32 as it is, a float16 from its bits, with plain integer instructions.

    A code of 8 bits is multiplied by the scale of its token, then by that of its feature.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if number == types.float32:
            return arguments[0]
        if number == types.int8:
            code = builder.sitofp(arguments[0], ir.FloatType())
            return builder.fmul(builder.fmul(code, arguments[1]), arguments[2])
        word = ir.IntType(32)

        def part(mask: int, shift: int) -> Any:
            return builder.shl(builder.and_(bits, ir.Constant(word, mask)), ir.Constant(word, shift))

        bits = builder.zext(arguments[0], word)
        # Infinity and NaN have the largest exponent of halves, and must have the largest of float32.
        special = builder.icmp_unsigned(">=", part(0x7FFF, 0), ir.Constant(word, 0x7C00))
        exponent = builder.select(special, ir.Constant(word, 0x7F800000), ir.Constant(word, 0))
        wide = builder.or_(builder.or_(part(0x7FFF, 13), part(0x8000, 16)), exponent)
        # The exponent counts from -127 instead of -15.
        return builder.fmul(builder.bitcast(wide, ir.FloatType()), ir.Constant(ir.FloatType(), 2.0**112))

    return types.float32(number, token, feature), generate


@partial(compiled, reorder=False)
def reduce_rows(
    values: NDArray[Any],
    scales: tuple[NDArray[np.float32], NDArray[np.float32]],
    members: NDArray[np.int64],
    counts: NDArray[np.int64],
    largest: bool,
    out: NDArray[np.float32],
) -> None:
    """Reduce the rows of each segment to their mean or maximum.

    Sums are float64, where sums of float16 are exact: the order of the tokens and other segments change no bit.

    Parameters
    ----------
    values
        (token, feature), float32, uint16 that holds the bits of float16, or int8 codes.
    scales
        Of codes: those of the tokens (token), and of the features (feature); others are not looked at.
    members
        Tokens (member): those of the first segment, then those of the second, and so on.
    counts
        Members of every segment (segment).
    largest
        Whether to take the maximum of each feature, which is NaN where a value is; else the mean.
    out
        (segment, feature), written where a segment has members.
    """
    features = values.shape[1]
    of_token, of_feature = scales
    room = np.empty(features, np.float64)
    first = 0
    for segment in range(counts.size):
        if counts[segment] == 0:
            continue
        last = first + counts[segment]
        row, scale = values[members[first]], of_token[members[first]]
        for f in range(features):
            room[f] = _single(row[f], scale, of_feature[f])
        for member in members[first + 1 : last]:
            row, scale = values[member], of_token[member]
            if largest:
                for f in range(features):
                    value = np.float64(_single(row[f], scale, of_feature[f]))
                    room[f] = value if value > room[f] or value != value else room[f]
            else:
                for f in range(features):
                    room[f] += _single(row[f], scale, of_feature[f])
        divisor = 1.0 if largest else float(counts[segment])
        for f in range(features):
            out[segment, f] = room[f] / divisor
        first = last
