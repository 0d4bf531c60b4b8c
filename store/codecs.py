"""Codecs: how the chunks of each data type are compressed, as bytes and in the metadata of their Zarr arrays.

On hidden states of MiniLM, a share of the bytes of float16 and MiB of it decompressed a second on one core:

| stored | LZ4 5 on shuffled bits | Zstandard |
| --- | --- | --- |
| float16 | 0.89, 2,000 | 0.83, 900 (level 3) |
| int8 | 0.50, 1,570 | 0.39, 940 (level 3) |
| attention, float16 | 0.84, 2,050 | 0.84, 780 (level 1) |
| attention, uint8 | 0.37, 1,140 | 0.32, 900 (level 1) |

So values have LZ4, which costs reading nothing, and codes, which have no bits that repeat, have Zstandard. A MiB of
codes is twice as many values as one of float16. `tests/benchmarks/bench_codecs.py` measures these and others.
"""

from typing import Any, Final

import numcodecs.blosc
import numcodecs.zstd
import numpy as np
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BloscShuffle, ZstdCodec

__all__ = ["compress", "decompress", "zarr_codec"]

_LZ4_LEVEL: Final = 5
# Data types of codes, and the level of Zstandard above which bytes hardly shrink.
_ZSTD_LEVELS: Final = {"int8": 3, "uint8": 1}


def zarr_codec(dtype: str) -> BloscCodec | ZstdCodec:
    """Return the codec of a data type as Zarr's metadata name it."""
    if dtype in _ZSTD_LEVELS:
        return ZstdCodec(level=_ZSTD_LEVELS[dtype])
    typesize = np.dtype(dtype).itemsize
    return BloscCodec(cname="lz4", clevel=_LZ4_LEVEL, shuffle=BloscShuffle.bitshuffle, typesize=typesize)


def compress(values: NDArray[Any]) -> bytes:
    """Return the compressed bytes of an array."""
    flat = np.ascontiguousarray(values)
    level = _ZSTD_LEVELS.get(values.dtype.name)
    if level is not None:
        return bytes(numcodecs.zstd.compress(flat, level))
    bits = numcodecs.blosc.BITSHUFFLE
    return bytes(numcodecs.blosc.compress(flat, b"lz4", _LZ4_LEVEL, bits, typesize=values.itemsize))


def decompress(body: NDArray[np.uint8], values: NDArray[Any]) -> None:
    """Fill an array from its compressed bytes.

    Raises
    ------
    ValueError, RuntimeError
        If they are not the bytes of an array of this size: fewer would leave the rest as the memory was.
    """
    codes = values.dtype.name in _ZSTD_LEVELS
    size = _size_of_frame(body) if codes else int.from_bytes(body[4:8].tobytes(), "little")
    if size != values.nbytes:
        raise ValueError("it holds another number of values")
    (numcodecs.zstd if codes else numcodecs.blosc).decompress(body, values)


def _size_of_frame(body: NDArray[np.uint8]) -> int:
    """Return the number of bytes that a frame of Zstandard says it holds, or -1 (RFC 8878, section 3.1.1.1)."""
    if len(body) < 6 or body[:4].tobytes() != b"\x28\xb5\x2f\xfd":
        return -1
    descriptor = int(body[4])
    single, length = descriptor >> 5 & 1, descriptor >> 6
    begin = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    field = body[begin : begin + ((single, 2, 4, 8)[length])].tobytes()
    return int.from_bytes(field, "little") + (256 if length == 1 else 0) if field else -1
