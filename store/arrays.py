"""Creating and reading the Zarr arrays of a run: codecs, chunks and attributes in one place."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from biocache.store.codecs import zarr_codec
from biocache.store.errors import REMAKE, IntegrityError
from biocache.store.schema import STORED_TYPES, Activation, Scale, Variable
from biocache.store.sealing import Sealed
from biocache.store.text import one_line

__all__ = [
    "UNREADABLE",
    "create_activations",
    "create_column",
    "create_records",
    "create_scale",
    "files_of",
    "read_column",
    "zarr_store",
]

#: What reading an array with damaged metadata or bytes can raise.
UNREADABLE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, RuntimeError, MemoryError),
)
# Rows of a table in one chunk: tables are read whole, so chunks only bound what one codec call holds.
_TABLE_CHUNK = 1 << 20


def _create(group: zarr.Group, variable: Variable, length: int, chunk: int, codecs: list[Any]) -> zarr.Array[Any]:
    return group.create_array(
        variable.path,
        shape=(length,),
        chunks=(chunk,),
        dtype=str if variable.dtype == "str" else variable.dtype,
        fill_value=variable.fill,
        compressors=[*codecs, Crc32cCodec()],
        dimension_names=variable.dims,
        attributes={"long_name": variable.meaning},
        config={"write_empty_chunks": True},
    )


def create_column(group: zarr.Group, variable: Variable, values: NDArray[Any]) -> None:
    """Write one column of a table, whole.

    Parameters
    ----------
    group
        Group of the run.
    variable
        What is written; its data type and fill value are used.
    values
        The column (row).
    """
    chunk = max(1, min(len(values), _TABLE_CHUNK))
    array = _create(group, variable, len(values), chunk, [ZstdCodec(level=5)])
    array[:] = values if variable.dtype == "str" else values.astype(variable.dtype)


def create_records(group: zarr.Group, variable: Variable, pack_count: int) -> None:
    """Create the array of commit records: one uncompressed chunk a pack, absent until the pack is committed."""
    _create(group, variable, pack_count, 1, [])


def create_activations(
    group: zarr.Group,
    kept: Activation,
    shape: tuple[int, int, int],
    chunks: tuple[int, int, int],
    dtype: str,
    level: str,
) -> None:
    """Create the array of hidden states, attention maps or norms of a run of a level, without data.

    The fill value is NaN, or of hidden states a code that none has, and every chunk is written, so that a missing chunk
    differs from data. The codecs are those of `encode_chunk`.
    """
    stored = STORED_TYPES[dtype]
    attributes = {"long_name": kept.meaning, "units": "1"} | ({"coding": stored.coding} if stored.coding else {})
    _create_chunked(group, kept.path, shape, chunks, dtype, stored.fill, kept.dims(level), attributes)


def create_scale(group: zarr.Group, scale: Scale, shape: tuple[int, ...], chunks: tuple[int, ...], level: str) -> None:
    """Create the array of the scales of codes, without data; see `create_activations`."""
    attributes = {"long_name": scale.meaning, "units": "1"}
    _create_chunked(group, scale.path, shape, chunks, "float32", float("nan"), scale.dims(level), attributes)


def _create_chunked(
    group: zarr.Group,
    path: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    fill: float,
    dims: tuple[str, ...],
    attributes: dict[str, str],
) -> None:
    group.create_array(
        path,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=fill,
        compressors=[zarr_codec(dtype), Crc32cCodec()],
        dimension_names=dims,
        attributes={**attributes},
        config={"write_empty_chunks": True},
    )


def read_column(run: Sealed, path: str) -> NDArray[Any]:
    """Read one column of a run, whole; text comes as an object array of str.

    Raises
    ------
    IntegrityError
        If the column is missing, or its bytes are not those that were written.
    """
    try:
        values = np.asarray(zarr.open_array(zarr_store(run.read(path))[0], path=path, mode="r")[:])
    except UNREADABLE as error:
        run.group.require_same()
        raise IntegrityError(
            f"table column {path} of {run.group.where} cannot be read ({one_line(error)}); {REMAKE}"
        ) from error
    return values.astype(object) if values.dtype.kind == "T" else values


def zarr_store(files: Mapping[str, bytes] | None = None) -> tuple[MemoryStore, dict[str, Buffer]]:
    """Return a Zarr store in memory of some files, and the mapping in which it keeps them."""
    kept = {path: Buffer.from_bytes(data) for path, data in (files or {}).items()}
    return MemoryStore(kept), kept  # type: ignore[arg-type]


def files_of(kept: Mapping[str, Buffer]) -> dict[str, bytes]:
    """Return the files of a Zarr store in memory."""
    return {path: buffer.to_bytes() for path, buffer in kept.items()}
