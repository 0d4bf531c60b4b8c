"""Compiled loops over the values of a pack: the scales of codes, and the errors that a data type costs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.compiling import compiled

__all__ = [
    "add_states",
    "largest_of_features",
    "largest_of_tokens",
    "row_divergences",
    "widen_halves",
    "write_codes",
    "write_halves",
]

_Floats = NDArray[np.float64]
# Below this square of (x - y) / (x + y) the series is exact to 1e-9, and above it logarithms do not cancel.
_NEAR = 0.0625
_BITS = 1.0 / np.log(2.0)
# What an entry of one row alone adds, times its size.
_ALL = 2.0 * np.log(2.0)


@compiled
def largest_of_features(values: NDArray[np.float32], inverse: _Floats, out: _Floats, squares: _Floats) -> None:
    """Add to the largest absolute value, and to the sum of squares, of each feature: (token, feature) to (feature).

    Tokens are weighted in the first by `inverse` (token), and not in the second.
    """
    for token in range(values.shape[0]):
        row, factor = values[token], inverse[token]
        for f in range(out.size):
            value = np.float64(row[f])
            size = abs(value) * factor
            out[f] = size if size > out[f] else out[f]
            squares[f] += value * value


@compiled
def largest_of_tokens(values: NDArray[np.float32], inverse: _Floats, out: _Floats) -> None:
    """Write the largest absolute value of each token, features weighted: (token, feature) to (token)."""
    for token in range(values.shape[0]):
        row = values[token]
        largest = 0.0
        for f in range(inverse.size):
            largest = max(largest, abs(np.float64(row[f])) * inverse[f])
        out[token] = largest


@compiled
def write_codes(values: NDArray[np.float32], token: _Floats, feature: _Floats, codes: NDArray[np.int8]) -> None:
    """Write values (token, feature) times the inverse scales of their token and feature, rounded, as codes."""
    for t in range(values.shape[0]):
        row, factor, target = values[t], token[t], codes[t]
        for f in range(feature.size):
            target[f] = np.int8(np.rint(np.float64(row[f]) * factor * feature[f]))


@compiled
def write_halves(values: NDArray[np.float32], bits: NDArray[np.uint32], out: NDArray[np.uint16]) -> None:
    """Round values to float16, to even where two are as near: NumPy takes them one by one, and small ones slowly.

    Parameters
    ----------
    values, bits
        float32, and the same memory as integers (entry).
    out
        The bits of float16 (entry).
    """
    for i in range(out.size):
        size = np.uint32(bits[i] & np.uint32(0x7FFFFFFF))
        sign = np.uint32(np.uint32(bits[i] >> np.uint32(16)) & np.uint32(0x8000))
        # The exponent counts from -15 instead of -127.
        odd = np.uint32(np.uint32(size >> np.uint32(13)) & np.uint32(1))
        normal = np.uint32(np.uint32(size + odd) - np.uint32(0x37FFF001)) >> np.uint32(13)
        # Below 2 ** -14 halves are 2 ** -24 apart.
        small = np.uint32(np.int32(np.rint(min(abs(values[i]), np.float32(2.0**-14)) * np.float32(2.0**24))))
        special = np.uint32(0x7E00) if size > np.uint32(0x7F800000) else np.uint32(0x7C00)
        half = small if size < np.uint32(0x38800000) else (special if size >= np.uint32(0x477FF000) else normal)
        out[i] = np.uint16(np.uint32(half) | sign)


@compiled
def widen_halves(halves: NDArray[np.uint16], bits: NDArray[np.uint32], out: NDArray[np.float32]) -> None:
    """Widen finite float16, given as bits, to float32 in `out`, of which `bits` is the same memory as integers."""
    for i in range(out.size):
        half = np.uint32(halves[i])
        # The exponent counts from -127 instead of -15.
        size = np.uint32(np.uint32(np.uint32(half & np.uint32(0x7FFF)) << np.uint32(13)) + np.uint32(0x38000000))
        bits[i] = np.uint32(size | np.uint32(np.uint32(half & np.uint32(0x8000)) << np.uint32(16)))
    for i in range(out.size):
        small = np.float32(np.int32(halves[i] & np.uint16(0x03FF))) * np.float32(2.0**-24)
        signed = -small if halves[i] >= np.uint16(0x8000) else small
        out[i] = signed if (halves[i] & np.uint16(0x7C00)) == 0 else out[i]


@compiled
def add_states(
    exact: NDArray[np.float32],
    stored: NDArray[np.float32],
    shift: _Floats,
    total: _Floats,
    square: _Floats,
    largest: _Floats,
    wrong: _Floats,
) -> None:
    """Add tokens to the sums of each feature.

    Parameters
    ----------
    exact, stored
        Values before and after storing (token, feature).
    shift
        Some value of each feature (feature), against which sums are taken, so that they do not cancel.
    total, square
        Sums of values and of their squares, less the shift (feature).
    largest, wrong
        Largest absolute error, and sum of squared errors (feature).
    """
    for token in range(exact.shape[0]):
        before, after = exact[token], stored[token]
        for f in range(shift.size):
            value = np.float64(before[f])
            error = abs(np.float64(after[f]) - value)
            apart = value - shift[f]
            total[f] += apart
            square[f] += apart * apart
            largest[f] = error if error > largest[f] else largest[f]
            wrong[f] += error * error


@compiled
def row_divergences(exact: NDArray[np.float32], stored: NDArray[np.float32], keys: NDArray[Any]) -> Any:
    """Return the sum and the largest Jensen-Shannon divergence of the rows of one head, and its largest error.

    Rows are scaled to the sum 1, as comparisons do. A row without mass on one side alone is 1 bit from the other.

    Parameters
    ----------
    exact, stored
        Probabilities before and after storing (entry).
    keys
        Keys of each row (row).
    """
    total, largest, error = 0.0, 0.0, 0.0
    begin = 0
    for row in range(keys.size):
        end = begin + keys[row]
        own, other = 0.0, 0.0
        for i in range(begin, end):
            x, y = np.float64(exact[i]), np.float64(stored[i])
            own += x
            other += y
            error = abs(x - y) if abs(x - y) > error else error
        if own > 0 and other > 0:
            bits = _divergence(exact[begin:end], stored[begin:end], 1.0 / own, 1.0 / other)
        else:
            bits = 0.0 if own == other else 1.0
        total += bits
        largest = max(largest, bits)
        begin = end
    return total, largest, error


@compiled
def _divergence(exact: NDArray[np.float32], stored: NDArray[np.float32], own: float, other: float) -> float:
    """Bits between two rows: sum of (x + y) / 4 * [(1 + d) log(1 + d) + (1 - d) log(1 - d)], d = (x - y) / (x + y)."""
    total, far = 0.0, 0
    for i in range(exact.size):
        x, y = np.float64(exact[i]) * own, np.float64(stored[i]) * other
        both = x + y
        d = (x - y) / (both if both > 0 else 1.0)
        u = d * d
        rest = 1 / 15 + u * (1 / 28 + u * (1 / 45 + u * (1 / 66 + u * (1 / 91 + u * (1 / 120)))))
        term = both * u * (1.0 + u * (1 / 6 + u * rest))
        near = (x - y) * (x - y) < _NEAR * both * both
        total += term if near else 0.0
        far += 0 if near or both == 0 else 1
    # Few, so that the loop above is without branches.
    for i in range(exact.size if far else 0):
        x, y = np.float64(exact[i]) * own, np.float64(stored[i]) * other
        both, apart = x + y, x - y
        if apart * apart >= _NEAR * both * both and both > 0:
            if x > 0 and y > 0:
                d = apart / both
                total += both * ((1 + d) * np.log1p(d) + (1 - d) * np.log1p(-d))
            else:
                total += both * _ALL
    return float(0.25 * _BITS * total)
