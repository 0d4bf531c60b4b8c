"""Checks over whole chunks."""

from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

__all__ = ["all_finite", "checksum"]

_SLICE_BYTES = 1 << 20


def checksum(values: NDArray[Any]) -> int:
    """Return the CRC-32C of an array's bytes, little-endian and in row-major order."""
    # In slices: an array that is not contiguous is copied, and a slice stays in the cache.
    rows = max(1, _SLICE_BYTES // max(1, values[:1].nbytes))
    crc = 0
    for begin in range(0, len(values), rows):
        part = values[begin : begin + rows]
        crc = google_crc32c.extend(crc, np.ascontiguousarray(part, values.dtype.newbyteorder("<")))
    return int(crc)


def all_finite(values: NDArray[np.floating]) -> bool:
    """Return whether no value is NaN or infinite.

    Compares the bits as integers: among positive numbers only NaN is above infinity, and likewise among negative ones.
    NumPy's own ``isfinite`` is far slower on float16, which it takes one by one.

    Parameters
    ----------
    values
        float16, float32 or float64 in the byte order of the machine, of any shape.
    """
    infinity = np.array([np.inf, -np.inf], values.dtype)
    signed, unsigned = np.dtype(f"i{values.itemsize}"), np.dtype(f"u{values.itemsize}")
    lowest = np.iinfo(signed).min
    return bool(
        values.view(signed).max(initial=lowest) < infinity.view(signed)[0]
        and values.view(unsigned).max(initial=0) < infinity.view(unsigned)[1]
    )
