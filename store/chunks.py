"""Chunks of activations: encoded and decoded, read without fill, and checked against the commit record.

Chunks are coded here and not through a Zarr array, whose one event loop copies the chunks of all threads and halves the
rate. The codecs are those that the arrays' metadata name (`biocache.store.arrays`): that of the data type
(`biocache.store.codecs`) and CRC-32C.
"""

import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from biocache.store.codecs import compress, decompress
from biocache.store.coding import Arrays, Coded, decode
from biocache.store.errors import IntegrityError
from biocache.store.records import PackRecord, Records
from biocache.store.schema import STORED_TYPES, Activation, Scale
from biocache.store.sealing import Group
from biocache.store.storage import Storage, below

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["Chunks", "ahead", "dense_maps", "encode_chunk", "read_ahead"]


def encode_chunk(values: NDArray[Any]) -> bytes:
    """Return a chunk, fill included, as it is stored."""
    body = compress(values)
    return b"".join((body, struct.pack("<I", google_crc32c.value(body))))


@dataclass(frozen=True)
class Chunks:
    """The chunks of a variable of one run, one for each layer of each pack; sent to Dask workers.

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
        Data type on disk.
    scales
        Scales of its codes.
    """

    run: Group
    records: Records
    kept: Activation
    layers: tuple[int, ...]
    width: int
    length: int
    used: tuple[int, ...]
    dtype: str
    scales: tuple[Scale, ...] = ()

    @property
    def value_dtype(self) -> str:
        """Data type of values as they are read."""
        return STORED_TYPES[self.dtype].values

    def path(self, index: int, pack: int) -> str:
        """Return the path, below the run, of the chunk of a layer, by position, and a pack."""
        return self.paths(index, pack)[self.kept.name]

    def paths(self, index: int, pack: int) -> dict[str, str]:
        """Return the paths of the chunk of a layer of a pack and of the chunks of its scales, by the arrays' names."""
        arrays: tuple[Activation | Scale, ...] = (self.kept, *self.scales)
        return {array.name: "/".join((array.path, "c", *map(str, array.index(index, pack)))) for array in arrays}

    def encoded(self, arrays: Arrays) -> dict[str, bytes]:
        """Return what is stored of a layer of a pack, from `biocache.store.coding.encode`, as chunks with fill."""
        chunk = np.full(self.kept.shape(self.width, self.length), STORED_TYPES[self.dtype].fill, self.dtype)
        self.kept.part(chunk, slice(arrays[self.kept.name].shape[self.kept.ragged]))[...] = arrays[self.kept.name]
        found = {self.kept.name: encode_chunk(chunk)}
        for scale in self.scales:
            factors = np.full(self._scale_shape(scale), np.nan, np.float32)
            factors[: len(arrays[scale.name])] = arrays[scale.name]
            found[scale.name] = encode_chunk(factors)
        return found

    def _scale_shape(self, scale: Scale) -> tuple[int, ...]:
        return (self.length if scale.of == "token" else self.width,)

    def read_committed(self, index: int, pack: int) -> NDArray[Any]:
        """Read the values of a layer of a pack without fill, and refuse what differs from the pack's record.

        Parameters
        ----------
        index
            Position along ``layer``.
        pack
            The pack.

        Returns
        -------
        numpy.ndarray
            (token, feature) or (head, entry): float16 or float32 as stored, float32 of codes.

        Raises
        ------
        IntegrityError
            If the chunk is missing, its bytes are damaged, or its values are not those of the record.
        RunNotFoundError
            If the run was removed or replaced.
        """
        return self.decoded(self.read_committed_arrays(index, pack))

    def read_committed_codes(self, index: int, pack: int) -> NDArray[Any]:
        """Read the values of a layer of a pack, or its codes where these have no scales; see `read_committed`."""
        return self.read_committed_arrays(index, pack)[self.kept.name]

    def read_committed_rows(self, index: int, pack: int) -> NDArray[Any] | Coded:
        """Read hidden states of a layer of a pack, which are codes where these are stored; see `read_committed`."""
        arrays = self.read_committed_arrays(index, pack)
        stored = arrays[self.kept.name]
        return Coded(stored, *(arrays[scale.name] for scale in self.scales)) if self.scales else stored

    def decoded(self, arrays: Arrays) -> NDArray[Any]:
        """Return the values of what is stored of a layer of a pack."""
        return decode(self.kept, arrays, self.dtype)

    def read_arrays(self, index: int, pack: int) -> dict[str, NDArray[Any]]:
        """Read what is stored of a layer of a pack, values or codes with their scales, without fill."""
        return self._arrays(index, pack, self._stored(index, pack))

    def _stored(self, index: int, pack: int) -> dict[str, bytes]:
        """Read the chunk of a layer of a pack and those of its scales, by the arrays' names."""
        found = {}
        for name, path in self.paths(index, pack).items():
            try:
                found[name] = self.run.storage.get(below(self.run.folder, path))
            except OSError as error:
                missing = isinstance(error, FileNotFoundError)
                fault = "is missing" if missing else f"cannot be read ({error})"
                raise self._unsound(index, pack, fault, name) from error
        return found

    def _arrays(self, index: int, pack: int, stored: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
        kept, used = self.kept, slice(self.used[pack])
        chunk = np.empty(kept.shape(self.width, self.length), self.dtype)
        found = {kept.name: kept.part(self._fill(index, pack, kept.name, stored[kept.name], chunk), used)}
        for scale in self.scales:
            factors = np.empty(self._scale_shape(scale), np.float32)
            self._fill(index, pack, scale.name, stored[scale.name], factors)
            found[scale.name] = factors[used] if scale.of == "token" else factors
        return found

    def _fill(self, index: int, pack: int, name: str, stored: bytes, values: NDArray[Any]) -> NDArray[Any]:
        """Fill an array from its chunk."""
        data = np.frombuffer(stored, np.uint8)
        body, crc = data[:-4], data[-4:].tobytes()
        if google_crc32c.value(body) != int.from_bytes(crc, "little"):
            raise self._unsound(index, pack, "cannot be read (its checksum does not match)", name)
        try:
            decompress(body, values)
        except (RuntimeError, ValueError) as error:
            raise self._unsound(index, pack, f"cannot be read ({' '.join(str(error).split())})", name) from error
        return values

    def read_committed_arrays(self, index: int, pack: int) -> dict[str, NDArray[Any]]:
        """Read what is stored of a layer of a pack; see `read_arrays` and `read_committed`."""
        arrays = self.read_arrays(index, pack)
        self._require_committed(index, pack, arrays)
        return arrays

    def read_encoded(self, index: int, pack: int) -> tuple[dict[str, bytes], PackRecord]:
        """Read the chunks of a layer of a pack as they are stored, and the record that commits them."""
        stored = self._stored(index, pack)
        return stored, self._require_committed(index, pack, self._arrays(index, pack, stored))

    def _require_committed(self, index: int, pack: int, arrays: Arrays) -> PackRecord:
        """Return the record that commits what is stored: it may have been written after the run was opened."""
        try:
            for read in (self.records.known, self.records.read):
                record = read(pack)
                if all(record.matches(name, index, array) for name, array in arrays.items()):
                    return record
        except IntegrityError:
            self.run.require_same()
            raise
        raise self._unsound(index, pack, "is not what was committed")

    def lazy(self) -> "da.Array":
        """Return the valid entries of all chunks as one lazy array, a block a layer of a pack.

        Returns
        -------
        dask.array.Array
            (layer, token, feature) or (layer, head, entry).
        """
        return self._blocks(_read_block, self.value_dtype)

    def lazy_rows(self) -> "da.Array":
        """Return hidden states as `lazy` does, but each block as `read_committed_rows` gives it.

        It is for functions of blocks, and no array to compute with.
        """
        return self._blocks(_read_rows, self.dtype)

    def _blocks(self, read: Callable[..., Any], dtype: str) -> "da.Array":
        # Imported late: writing needs no Dask.
        import dask.array as da

        return da.map_blocks(
            read,
            self,
            chunks=((1,) * len(self.layers), *self.kept.shape((self.width,), self.used)),
            dtype=dtype,
            meta=np.empty((0, 0, 0), dtype),
        )

    def _unsound(self, index: int, pack: int, fault: str, name: str = "") -> IntegrityError:
        """Return the error of a chunk; raise that of the run where it is another one by now."""
        self.run.require_same()
        return IntegrityError(
            f"layer {self.layers[index]} of {name or self.kept.name} in pack {pack} of {self.run.where} {fault}; run "
            "`biocache verify --repair` and then the same `biocache extract` again to compute this pack anew"
        )


def ahead(storage: Storage) -> int:
    """Return how many chunks `read_ahead` holds beside the one that it yields."""
    return min(2, storage.at_once - 1)


def read_ahead(
    wanted: Iterable[tuple[Chunks, int, int]], read: Callable[[Chunks, int, int], NDArray[Any]]
) -> Iterator[NDArray[Any]]:
    """Yield chunks as a function reads them; where a read mostly waits, the next ones are read meanwhile.

    Parameters
    ----------
    wanted
        Chunks of one store; position along ``layer``; and pack.
    read
        `Chunks.read_committed` or `Chunks.read_committed_codes`.
    """
    with ExitStack() as stack:
        pool: ThreadPoolExecutor | None = None
        reading: deque[Future[NDArray[Any]]] = deque()
        for chunks, index, pack in wanted:
            if not ahead(chunks.run.storage):
                yield read(chunks, index, pack)
                continue
            if pool is None:
                pool = stack.enter_context(ThreadPoolExecutor(ahead(chunks.run.storage), "biocache-read"))
            reading.append(pool.submit(read, chunks, index, pack))
            if len(reading) > ahead(chunks.run.storage):
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()


def _read_block(chunks: Chunks, block_id: tuple[int, ...]) -> NDArray[Any]:
    return chunks.read_committed(block_id[0], block_id[1 + chunks.kept.ragged])[np.newaxis]


def _read_rows(chunks: Chunks, block_id: tuple[int, ...]) -> NDArray[Any] | Coded:
    return chunks.read_committed_rows(block_id[0], block_id[1])


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
