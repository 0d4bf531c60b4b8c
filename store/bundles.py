"""Small xarray Datasets, each in one sealed archive: what a store keeps beside runs (results, label sets)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from zarr.codecs import Crc32cCodec, ZstdCodec

from biocache.store.archives import packed, unpacked
from biocache.store.arrays import files_of, zarr_store
from biocache.store.atomic import write_error
from biocache.store.errors import BiocacheError
from biocache.store.groups import group_attributes
from biocache.store.hierarchy import create_parents, group_metadata
from biocache.store.sealing import check_seal, require_written, seal
from biocache.store.storage import Storage

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["SUFFIX", "Bundle", "as_stored", "bundle_files", "encode_bundle", "open_bundle", "put_bundle", "read_each"]

#: How the name of such an archive ends.
SUFFIX = ".zip"

_METADATA = "zarr.json"

B = TypeVar("B")


@dataclass(frozen=True, eq=False)
class Bundle:
    """A Dataset in a sealed archive whose attributes were read and checked.

    Attributes
    ----------
    attributes
        biocache's own attributes of it.
    decode
        Checks every byte of the values and returns the Dataset; raises what
        `biocache.store.arrays.UNREADABLE` names.
    """

    attributes: dict[str, Any]
    decode: "Callable[[], xr.Dataset]"


def encode_bundle(dataset: "xr.Dataset", attributes: Mapping[str, Any], file: str) -> bytes:
    """Return a Dataset, with coordinates and attributes, as a sealed archive.

    Parameters
    ----------
    dataset
        The Dataset.
    attributes
        biocache's own attributes of it, as JSON can hold them; ``variables`` is added, the names of its data variables.
    file
        Path of the archive below the store.
    """
    variables = [str(name) for name in dataset.data_vars]
    return packed(seal(_files(dataset), {**attributes, "variables": variables}, file))


def put_bundle(storage: Storage, file: str, data: bytes, doing: str) -> None:
    """Write an archive to its place; it appears whole or not at all.

    Raises
    ------
    ResourceError
        If it cannot be written; `doing` says what was being done.
    """
    try:
        create_parents(storage, file.rpartition("/")[0])
        storage.put(file, data)
        storage.sync([file])
    except OSError as error:
        raise write_error(error, doing) from error


def open_bundle(storage: Storage, file: str, data: bytes) -> Bundle:
    """Open an archive that `encode_bundle` made.

    Raises
    ------
    NewerFormatError
        If a newer release wrote it.
    OSError, ValueError
        If its attributes are missing or damaged, or it was made for another place.
    """
    files = unpacked(data)
    attributes = group_attributes(files.pop(_METADATA, b""))
    own, found = check_seal(attributes, file, storage.place(file))

    def decode() -> "xr.Dataset":
        for path in {*found.files, *files}:
            require_written(found.files, path, files.get(path, b""))
        others = {name: value for name, value in attributes.items() if name != "biocache"}
        return _load(files | {_METADATA: group_metadata(others)}, own["variables"])

    return Bundle(own, decode)


def as_stored(dataset: "xr.Dataset") -> "xr.Dataset":
    """Return a Dataset as one that was stored is read again."""
    return _load(_files(dataset), [str(name) for name in dataset.data_vars])


def _load(files: Mapping[str, bytes], variables: Sequence[str]) -> "xr.Dataset":
    import xarray as xr

    with xr.open_zarr(zarr_store(files)[0], consolidated=False, chunks=None) as dataset:
        loaded = dataset.load()
    # Zarr lists arrays in an order of its own; a Dataset has its variables in theirs.
    ordered: xr.Dataset = _text_as_objects(loaded)[list(variables)]
    return ordered


def _files(dataset: "xr.Dataset") -> dict[str, bytes]:
    encoding = {
        name: {
            "compressors": [ZstdCodec(level=5), Crc32cCodec()],
            "chunks": tuple(max(1, size) for size in array.shape),
            "write_empty_chunks": True,
        }
        for name, array in dataset.variables.items()
    }
    store, files = zarr_store()
    plain = _text_as_objects(dataset).drop_encoding()
    plain.to_zarr(store, mode="w-", zarr_format=3, consolidated=False, encoding=encoding)
    return files_of(files)


def _text_as_objects(dataset: "xr.Dataset") -> "xr.Dataset":
    """Convert text to objects: Zarr version 3 has no fixed-length text, and netCDF no StringDType."""
    text = {name: array.astype(object) for name, array in dataset.variables.items() if array.dtype.kind in "UT"}
    coordinates = {name: array for name, array in text.items() if name in dataset.coords}
    return dataset.assign_coords(coordinates).assign({name: text[name] for name in text.keys() - coordinates.keys()})


def bundle_files(storage: Storage, folder: str) -> list[str]:
    """Return the paths of the archives below a folder of a store, sound or damaged."""
    return sorted(f"{folder}/{path}" for path in storage.sizes(folder) if path.endswith(SUFFIX))


def read_each(files: Iterable[str], read: Callable[[str], B], problems: list[BiocacheError] | None) -> list[B]:
    """Read archives of a store; those that another process has removed meanwhile are left out.

    Parameters
    ----------
    files
        Their paths below the store.
    read
        Reads one.
    problems
        List to add the errors of damaged ones to, which are left out; None to raise them.
    """
    found = []
    for file in files:
        try:
            found.append(read(file))
        except FileNotFoundError:
            continue
        except BiocacheError as error:
            if problems is None:
                raise
            problems.append(error)
    return found
