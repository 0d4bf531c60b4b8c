"""Compiled loops over the values of a pack: the scales of codes, and the errors that a data type costs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.compiling import compiled

__all__ = ["add_states", "largest_of_features", "largest_of_tokens", "row_divergences", "write_codes"]

_Floats = NDArray[np.float64]
# Below this square of (x - y) / (x + y) the series is exact to 1e-9, and above it logarithms do not cancel.
_NEAR = 0.0625
_BITS = 1.0 / np.log(2.0)


@compiled
def largest_of_features(values: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write the largest absolute value of each feature: (token, feature) to zeros (feature)."""
    for token in range(values.shape[0]):
        row = values[token]
        for f in range(out.size):
            size = abs(row[f])
            out[f] = size if size > out[f] else out[f]


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
            own += np.float64(exact[i])
            other += np.float64(stored[i])
            error = max(error, abs(np.float64(exact[i]) - np.float64(stored[i])))
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
    total = 0.0
    for i in range(exact.size):
        x, y = np.float64(exact[i]) * own, np.float64(stored[i]) * other
        both = x + y
        if both > 0:
            d = (x - y) / both
            u = d * d
            if u < _NEAR:
                rest = 1 / 15 + u * (1 / 28 + u * (1 / 45 + u * (1 / 66 + u * (1 / 91 + u / 120))))
                total += both * u * (1.0 + u * (1 / 6 + u * rest))
            elif u < 1:
                total += both * ((1 + d) * np.log1p(d) + (1 - d) * np.log1p(-d))
            else:
                total += both * 2 * np.log(2.0)
    return float(0.25 * _BITS * total)
