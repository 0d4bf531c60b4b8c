"""The certificate of a run: what its data types cost, measured on all values as they were written.

The record of a pack keeps these numbers of each layer:

| variable | measure | what it says |
| --- | --- | --- |
| hidden | `largest` | the largest error, relative to the spread of the feature |
| hidden | `rms` | the root of the mean squared error, relative to the spread of the feature |
| attention | `divergence` | the largest Jensen-Shannon divergence of exact and stored rows, in bits |
| attention | `mean_divergence` | the mean of it over all rows |
| norms | `largest`, `rms` | as of hidden states, each head being a feature |
| all | `absolute` | the largest absolute error |

The spread of a feature is its standard deviation over the tokens of the pack. That of a feature which is constant, but
for the rounding of float32, is its root mean square. What is all zeros has no error.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.coding import Arrays, decode
from biocache.store.records import PackRecord
from biocache.store.schema import ATTENTION, HIDDEN, NORMS, Activation

__all__ = ["MEASURES", "described_errors", "measure", "summary"]

#: Variable -> its measures: the one whose largest value counts, and the one whose mean does.
MEASURES = {
    HIDDEN.name: ("largest", "rms"),
    ATTENTION.name: ("divergence", "mean_divergence"),
    NORMS.name: ("largest", "rms"),
}
_UNITS = {HIDDEN.name: " of a feature's spread", ATTENTION.name: " bit", NORMS.name: " of a head's spread"}
# A feature varies if its spread is more than this share of its root mean square.
_CONSTANT = 2.0**-20
_SLICE_BYTES = 1 << 19


def measure(
    kept: Activation, values: NDArray[np.float32], arrays: Arrays, dtype: str, keys: NDArray[np.int64]
) -> dict[str, float]:
    """Measure what a data type cost a layer of a pack.

    Parameters
    ----------
    kept
        The variable.
    values
        float32 (token, feature), (head, entry) or (head, token), without fill.
    arrays, dtype
        What is stored of it, from `biocache.store.coding.encode`, and as what.
    keys
        Keys of every row of every map of the pack, int64 (row).

    Returns
    -------
    dict of str to float
        The measures of the variable.
    """
    if kept is HIDDEN:
        return _of_states(np.ascontiguousarray(values), arrays, dtype)
    if kept is NORMS:
        return _of_states(np.ascontiguousarray(values.T), {HIDDEN.name: arrays[kept.name].T}, dtype)
    return _of_maps(values, arrays[kept.name], dtype, keys)


def _of_states(values: NDArray[np.float32], arrays: Arrays, dtype: str) -> dict[str, float]:
    from biocache.store.rounding import add_states

    tokens, features = values.shape
    if not tokens:
        return dict.fromkeys(("absolute", "largest", "rms"), 0.0)
    shift = values[0].astype(np.float64)
    total, square, largest, wrong = np.zeros((4, features))
    step = max(1, _SLICE_BYTES // (4 * features))
    for begin in range(0, tokens, step):
        where = slice(begin, begin + step)
        part = {name: array if name == "feature_scale" else array[where] for name, array in arrays.items()}
        stored = _wide(decode(HIDDEN, part, dtype))
        add_states(values[where], stored, shift, total, square, largest, wrong)
    mean = total / tokens
    spread = np.sqrt(np.maximum(square / tokens - mean**2, 0.0))
    size = np.sqrt(spread**2 + (mean + shift) ** 2)
    unit = np.where(spread > _CONSTANT * size, spread, size)
    unit[unit == 0] = 1.0
    return {
        "absolute": float(largest.max()),
        "largest": float((largest / unit).max()),
        "rms": float(np.sqrt(np.mean(wrong / tokens / unit**2))),
    }


def _wide(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return values in float32; NumPy widens halves one by one."""
    if values.dtype != np.float16:
        return values
    from biocache.store.rounding import widen_halves

    wide = np.empty(values.shape, np.float32)
    flat = wide.reshape(-1)
    widen_halves(np.ascontiguousarray(values).view(np.uint16).reshape(-1), flat.view(np.uint32), flat)
    return wide


def _of_maps(
    values: NDArray[np.float32], stored: NDArray[Any], dtype: str, keys: NDArray[np.int64]
) -> dict[str, float]:
    from biocache.store.rounding import row_divergences

    total = largest = absolute = 0.0
    for exact, head in zip(values, stored, strict=True):
        kept = _wide(decode(ATTENTION, {ATTENTION.name: head[np.newaxis]}, dtype)[0])
        bits, most, error = row_divergences(np.ascontiguousarray(exact), np.ascontiguousarray(kept), keys)
        total, largest, absolute = total + bits, max(largest, most), max(absolute, error)
    return {"absolute": absolute, "divergence": largest, "mean_divergence": total / (len(values) * len(keys))}


def summary(
    kept_variables: Iterable[Activation], records: Mapping[int, PackRecord], sizes: Mapping[str, Sequence[int]]
) -> dict[str, dict[str, float]]:
    """Return the worst and the mean of what the data types cost a run, over its layers and some of its packs.

    Parameters
    ----------
    kept_variables
        What the run keeps.
    records
        Records of packs of it, by pack.
    sizes
        Rows of every pack of the run, of hidden states, maps and norms, by variable.

    Returns
    -------
    dict of str to dict
        By variable: ``worst``, and ``mean``: the root mean square over all rows, features and layers, or the mean
        over all rows, heads and layers. A variable that is not measured in all of the packs is left out.
    """
    found: dict[str, dict[str, float]] = {}
    for kept in kept_variables:
        most, mean = MEASURES[kept.name]
        parts = [(record.errors.get(kept.name), int(sizes[kept.name][pack])) for pack, record in records.items()]
        known = [(errors, weight) for errors, weight in parts if errors]
        if not known or len(known) < len(parts):
            continue
        power = 1 if kept is ATTENTION else 2
        means = _weighted((np.mean(np.power(errors[mean], power)), weight) for errors, weight in known)
        worst = max(max(errors[most]) for errors, _ in known)
        found[kept.name] = {"worst": worst, "mean": float(means ** (1 / power))}
    return found


def _weighted(parts: Iterable[tuple[Any, int]]) -> float:
    values, weights = zip(*parts, strict=True)
    return float(np.average(values, weights=weights)) if any(weights) else 0.0


def described_errors(name: str, errors: Mapping[str, float]) -> str:
    """Write the worst and the mean error of a variable, such as ``0.012 of a feature's spread at most, mean 0.004``."""
    return f"{errors['worst']:.2g}{_UNITS[name]} at most, mean {errors['mean']:.2g}"
