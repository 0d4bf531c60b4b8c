"""Bytes and time of codecs on the activations of a store, in every data type that they may be stored as.

    python tests/benchmarks/bench_codecs.py STORE [--mebibytes 64]

Chunks of the runs are read, at most so many MiB of float32 of hidden states and of attention, spread over runs and
layers; each is encoded as each data type, and compressed and decompressed by each codec. Bytes are a share of those of
float16 without compression, scales included. Rates are MiB a second of what is stored, on one core, the best of three.
`pip install pcodec` adds pcodec. Times are those of the processor: other work on the machine moves them little.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numcodecs.blosc
import numcodecs.zstd
import numpy as np
from numpy.typing import NDArray

from biocache.store import Store
from biocache.store.codecs import compress, decompress
from biocache.store.coding import encode
from biocache.store.schema import ACTIVATIONS, Activation

TYPES = {"hidden": ("float32", "float16", "int8"), "attention": ("float32", "float16", "uint8")}
TURNS = 3


@dataclass(frozen=True)
class Codec:
    """A codec: an array to bytes, and bytes to an array like it."""

    name: str
    compress: Callable[[NDArray[Any]], bytes]
    decompress: Callable[[bytes, NDArray[Any]], Any]


def blosc(name: str, level: int, shuffle: int) -> Codec:
    """Return a codec of Blosc."""
    title = {numcodecs.blosc.BITSHUFFLE: "bits", numcodecs.blosc.SHUFFLE: "bytes"}.get(shuffle, "none")
    return Codec(
        f"blosc {name} {level}, shuffled {title}",
        lambda values: bytes(numcodecs.blosc.compress(values, name.encode(), level, shuffle, typesize=values.itemsize)),
        numcodecs.blosc.decompress,
    )


def codecs() -> Iterator[Codec]:
    """Yield the codecs that can be imported, the store's own first."""
    bits, bytes_, none = numcodecs.blosc.BITSHUFFLE, numcodecs.blosc.SHUFFLE, numcodecs.blosc.NOSHUFFLE
    yield Codec("the store's", compress, lambda data, values: decompress(np.frombuffer(data, np.uint8), values))
    yield from (blosc("lz4", level, bits) for level in (1, 5, 9))
    yield from (blosc("zstd", level, bits) for level in (1, 3, 5, 9))
    yield blosc("zstd", 3, bytes_)
    yield blosc("zstd", 3, none)
    yield from (
        Codec(f"zstd {level}", lambda values, level=level: numcodecs.zstd.compress(values, level), _unzstd)
        for level in (1, 3, 9)
    )
    try:
        from pcodec import ChunkConfig, standalone
    except ImportError:
        return
    yield from (
        Codec(
            f"pcodec {level}",
            lambda values, level=level: standalone.simple_compress(
                values.ravel(), ChunkConfig(compression_level=level, enable_8_bit=True)
            ),
            lambda data, values: standalone.simple_decompress_into(data, values.reshape(-1)),
        )
        for level in (4, 8)
    )


def _unzstd(data: bytes, values: NDArray[Any]) -> None:
    numcodecs.zstd.decompress(data, values)


def chunks(store: Store, kept: Activation, most: int) -> list[NDArray[np.float32]]:
    """Return the values of some chunks, spread over runs and layers, of at most so many bytes."""
    runs = [run for run in store.select() if kept in run.spec.kept and run.complete]
    found: list[NDArray[np.float32]] = []
    size = 0
    for run in runs:
        own = run.chunks(kept.name)
        places = [(index, pack) for pack in range(run.counts.packs) for index in range(len(own.layers))]
        wanted = max(1, most // len(runs) // (4 * own.width * own.length))
        for place in np.unique(np.linspace(0, len(places) - 1, min(wanted, len(places))).astype(int)):
            values = np.ascontiguousarray(own.read_committed(*places[place]).astype(np.float32))
            found.append(values)
            size += values.nbytes
    print(f"{kept.name}: {len(found)} chunks of {len(runs)} runs, {size / 2**20:.1f} MiB in float32")
    return found


def best(call: Callable[[], Any]) -> float:
    """Return the shortest processor time of some calls."""
    times = []
    for _ in range(TURNS):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return min(times)


def measure(kept: Activation, values: list[NDArray[np.float32]], dtype: str) -> None:
    """Print a row for each codec."""
    halves = sum(2 * chunk.size for chunk in values)
    parts: list[NDArray[Any]] = []
    scales = 0
    for chunk in values:
        arrays = encode(kept, chunk, dtype)
        parts.append(arrays[kept.name])
        scales += sum(array.nbytes for name, array in arrays.items() if name != kept.name)
    raw = sum(part.nbytes for part in parts)
    for codec in codecs():
        stored = [codec.compress(part) for part in parts]
        size = sum(map(len, stored)) + scales
        room = [np.empty_like(part) for part in parts]
        try:
            writing = best(lambda codec=codec: [codec.compress(part) for part in parts])
            reading = best(lambda codec=codec, stored=stored, room=room: list(map(codec.decompress, stored, room)))
        except TypeError as error:
            print(f"  {dtype:8} {codec.name:30} cannot: {error}")
            continue
        assert all(map(np.array_equal, parts, room)), codec.name
        write, read = (f"{raw / 2**20 / seconds:7,.0f}" for seconds in (writing, reading))
        print(f"  {dtype:8} {codec.name:30} {size / halves:6.3f} of float16, {write} write {read} read")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--mebibytes", type=int, default=64)
    asked = parser.parse_args()
    store = Store.open(asked.store)
    numcodecs.blosc.set_nthreads(1)
    for name, dtypes in TYPES.items():
        values = chunks(store, ACTIVATIONS[name], asked.mebibytes * 2**20)
        for dtype in dtypes if values else ():
            measure(ACTIVATIONS[name], values, dtype)


if __name__ == "__main__":
    main()
