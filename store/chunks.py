"""Reading chunks of activations: what is not fill, and nothing that is not what was committed."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from numpy.typing import NDArray

from biocache.store.arrays import one_line
from biocache.store.errors import IntegrityError
from biocache.store.records import read_record

__all__ = ["dense_maps", "lazy_blocks", "read_committed", "read_pack_layer"]


@lru_cache(maxsize=256)
def _open_activations(run: str, name: str, _identity: tuple[int, int]) -> zarr.Array[Any]:
    return zarr.open_array(Path(run) / name / name, mode="r")


def read_pack_layer(run: str, name: str, index: int, pack: int, bounds: tuple[int, int]) -> NDArray[Any]:
    """Read what is not fill of one chunk.

    Parameters
    ----------
    run
        Folder of the run.
    name
        ``hidden`` or ``attention``.
    index
        Position along ``layer``.
    pack
        The pack; named in errors.
    bounds
        Begin and end of its valid entries along ``token`` or ``pair``.

    Returns
    -------
    numpy.ndarray
        (token, feature) or (head, pair), in the data type of the store.

    Raises
    ------
    IntegrityError
        If the chunk is missing or its bytes are damaged.
    """
    metadata = Path(run) / name / name / "zarr.json"
    try:
        stat = metadata.stat()
        array = _open_activations(run, name, (stat.st_ino, stat.st_mtime_ns))
        region = slice(*bounds)
        values = np.asarray(array[index, region] if name == "hidden" else array[index, :, region])
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise IntegrityError(
            f"layer {index} of {name} in pack {pack} of {run} cannot be read ({one_line(error)}); "
            f"delete {Path(run) / 'packs/record/c' / str(pack)} and run the same `biocache extract` again"
        ) from error
    # Writers refuse NaN, so one fill value at the first entry says that the chunk is not there.
    if values.size and np.isnan(values[0, 0]):
        raise IntegrityError(
            f"layer {index} of {name} in pack {pack} of {run} is missing; "
            f"delete {Path(run) / 'packs/record/c' / str(pack)} and run the same `biocache extract` again"
        )
    return values


def read_committed(run: str, name: str, index: int, pack: int, bounds: tuple[int, int]) -> NDArray[Any]:
    """Read what is not fill of one chunk, and refuse what is not what the pack's record says."""
    record = read_record(Path(run), pack)
    values = read_pack_layer(run, name, index, pack, bounds)
    if not record.matches(name, index, values):
        raise IntegrityError(
            f"layer {index} of {name} in pack {pack} of {run} is not what was committed; "
            f"delete {Path(run) / 'packs/record/c' / str(pack)} and run the same `biocache extract` again"
        )
    return values


def _read_block(run: str, name: str, bounds: tuple[tuple[int, int], ...], block_id: tuple[int, ...]) -> NDArray[Any]:
    index, pack = block_id[0], block_id[1 if name == "hidden" else 2]
    return read_committed(run, name, index, pack, bounds[pack])[np.newaxis]


def lazy_blocks(
    run: str, name: str, bounds: tuple[tuple[int, int], ...], layers: int, width: int, dtype: str
) -> da.Array:
    """Return the valid entries of a run's ``hidden`` or ``attention`` as one lazy array, a block a layer of a pack.

    Parameters
    ----------
    run
        Folder of the run.
    name
        ``hidden`` or ``attention``.
    bounds
        Begin and end of every pack's valid entries along ``token`` or ``pair``.
    layers
        Length of ``layer``.
    width
        Length of ``feature`` or ``head``.
    dtype
        Data type of the store.

    Returns
    -------
    dask.array.Array
        (layer, token, feature) or (layer, head, pair).
    """
    ragged = tuple(end - begin for begin, end in bounds)
    single = (1,) * layers
    chunks = (single, ragged, (width,)) if name == "hidden" else (single, (width,), ragged)
    return da.map_blocks(_read_block, run, name, bounds, chunks=chunks, dtype=dtype, meta=np.empty((0, 0, 0), dtype))


def dense_maps(entries: NDArray[Any], tokens: int, causal: bool) -> NDArray[Any]:
    """Rebuild the square maps of one sample.

    Parameters
    ----------
    entries
        Stored entries (..., pair).
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
