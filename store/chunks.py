"""Chunks of activations: encoded and decoded, read without fill, and checked against the commit record.

Chunks are coded here and not through a Zarr array, whose one event loop copies the chunks of all threads and halves the
rate. The codecs are those that the arrays' metadata name (`biocache.store.arrays`): Blosc, whose header holds its
settings, and CRC-32C.
"""

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import dask.array as da
import google_crc32c
import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

from biocache.store.errors import IntegrityError
from biocache.store.records import PackRecord, Records
from biocache.store.schema import Activation
from biocache.store.sealing import Group
from biocache.store.storage import Storage, below

__all__ = ["CODEC", "CODEC_LEVEL", "Chunks", "ahead", "dense_maps", "encode_chunk", "read_ahead"]

# On activations of a real encoder LZ4 at level 5 on bit-shuffled halves saves 9 % (hidden states) and 13 % (attention),
# as much as Zstandard at level 1 and three times as fast.
CODEC: Final = "lz4"
CODEC_LEVEL: Final = 5


def encode_chunk(values: NDArray[Any]) -> bytes:
    """Return a chunk, fill included, as it is stored."""
    body = numcodecs.blosc.compress(
        np.ascontiguousarray(values), CODEC.encode(), CODEC_LEVEL, numcodecs.blosc.BITSHUFFLE, typesize=values.itemsize
    )
    return b"".join((body, struct.pack("<I", google_crc32c.value(body))))


@dataclass(frozen=True)
class Chunks:
    """The chunks of one run's ``hidden`` or ``attention``, one for each layer of each pack; sent to Dask workers.

    Attributes
    ----------
    run
        The run's group.
    records
        Its commit records.
    kept
        The variable.
    layers
        The stored layers.
    width
        Length of ``feature`` or ``head``.
    length
        Length of a chunk along the ragged axis.
    used
        Length of the part that is not fill, of every pack.
    dtype
        Data type of the store.
    """

    run: Group
    records: Records
    kept: Activation
    layers: tuple[int, ...]
    width: int
    length: int
    used: tuple[int, ...]
    dtype: str

    def path(self, index: int, pack: int) -> str:
        """Return the path, below the run, of the chunk of a layer, by position, and a pack."""
        return "/".join((self.kept.path, "c", *map(str, self.kept.index(index, pack))))

    def read(self, index: int, pack: int) -> NDArray[Any]:
        """Read one chunk without fill.

        Parameters
        ----------
        index
            Position along ``layer``.
        pack
            The pack.

        Returns
        -------
        numpy.ndarray
            (token, feature) or (head, entry), in the data type of the store.

        Raises
        ------
        IntegrityError
            If the chunk is missing or its bytes are damaged.
        RunNotFoundError
            If the run was removed or replaced.
        """
        return self._decoded(index, pack, self._stored(index, pack))

    def _stored(self, index: int, pack: int) -> bytes:
        try:
            return self.run.storage.get(below(self.run.folder, self.path(index, pack)))
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise self._unsound(index, pack, "is missing" if missing else f"cannot be read ({error})") from error

    def _decoded(self, index: int, pack: int, stored: bytes) -> NDArray[Any]:
        data = np.frombuffer(stored, np.uint8)
        body, crc = data[:-4], data[-4:].tobytes()
        if google_crc32c.value(body) != int.from_bytes(crc, "little"):
            raise self._unsound(index, pack, "cannot be read (its checksum does not match)")
        values = np.empty(self.kept.shape(self.width, self.length), self.dtype)
        try:
            # The header has the bytes of the values at this place: fewer would leave the rest as the memory was.
            if int.from_bytes(body[4:8].tobytes(), "little") != values.nbytes:
                raise ValueError("it holds another number of values")
            numcodecs.blosc.decompress(body, values)
        except (RuntimeError, ValueError) as error:
            raise self._unsound(index, pack, f"cannot be read ({' '.join(str(error).split())})") from error
        return self.kept.part(values, slice(self.used[pack]))

    def read_committed(self, index: int, pack: int) -> NDArray[Any]:
        """Read one chunk without fill, and refuse values that differ from the pack's record; see `read`."""
        values = self.read(index, pack)
        self._require_committed(index, pack, values)
        return values

    def read_encoded(self, index: int, pack: int) -> tuple[bytes, int]:
        """Read one chunk as it is stored, and its checksum in the pack's record; see `read_committed`."""
        stored = self._stored(index, pack)
        record = self._require_committed(index, pack, self._decoded(index, pack, stored))
        return stored, record.checksums[self.kept.name][index]

    def _require_committed(self, index: int, pack: int, values: NDArray[Any]) -> PackRecord:
        """Return the record that commits some values: it may have been written after the run was opened."""
        try:
            for read in (self.records.known, self.records.read):
                record = read(pack)
                if record.matches(self.kept.name, index, values):
                    return record
        except IntegrityError:
            self.run.require_same()
            raise
        raise self._unsound(index, pack, "is not what was committed")

    def lazy(self) -> da.Array:
        """Return the valid entries of all chunks as one lazy array, a block a layer of a pack.

        Returns
        -------
        dask.array.Array
            (layer, token, feature) or (layer, head, entry).
        """
        return da.map_blocks(
            _read_block,
            self,
            chunks=((1,) * len(self.layers), *self.kept.shape((self.width,), self.used)),
            dtype=self.dtype,
            meta=np.empty((0, 0, 0), self.dtype),
        )

    def _unsound(self, index: int, pack: int, fault: str) -> IntegrityError:
        """Return the error of a chunk; raise that of the run where it is another one by now."""
        self.run.require_same()
        return IntegrityError(
            f"layer {self.layers[index]} of {self.kept.name} in pack {pack} of {self.run.where} {fault}; run "
            "`biocache verify --repair` and then the same `biocache extract` again to compute this pack anew"
        )


def ahead(storage: Storage) -> int:
    """Return how many chunks `read_ahead` holds beside the one that it yields."""
    return min(2, storage.at_once - 1)


def read_ahead(wanted: Iterable[tuple[Chunks, int, int]]) -> Iterator[NDArray[Any]]:
    """Yield chunks as `Chunks.read_committed` does; where a read mostly waits, the next ones are read meanwhile.

    Parameters
    ----------
    wanted
        Chunks of one store; position along ``layer``; and pack.
    """
    with ExitStack() as stack:
        pool: ThreadPoolExecutor | None = None
        reading: deque[Future[NDArray[Any]]] = deque()
        for chunks, index, pack in wanted:
            if not ahead(chunks.run.storage):
                yield chunks.read_committed(index, pack)
                continue
            if pool is None:
                pool = stack.enter_context(ThreadPoolExecutor(ahead(chunks.run.storage), "biocache-read"))
            reading.append(pool.submit(chunks.read_committed, index, pack))
            if len(reading) > ahead(chunks.run.storage):
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()


def _read_block(chunks: Chunks, block_id: tuple[int, ...]) -> NDArray[Any]:
    return chunks.read_committed(block_id[0], block_id[1 + chunks.kept.ragged])[np.newaxis]


def dense_maps(entries: NDArray[Any], tokens: int, causal: bool) -> NDArray[Any]:
    """Rebuild the square maps of one sample.

    Parameters
    ----------
    entries
        Stored entries (..., entry).
    tokens
        Tokens of the sample.
    causal
        Whether only the lower triangle is stored.

    Returns
    -------
    numpy.ndarray
        (..., query, key).
    """
    if not causal:
        return entries.reshape(*entries.shape[:-1], tokens, tokens)
    maps = np.zeros((*entries.shape[:-1], tokens, tokens), entries.dtype)
    query, key = np.tril_indices(tokens)
    maps[..., query, key] = entries
    return maps
