"""Results: computed from runs, kept in the store, and found by what they were computed from.

A result is a Zarr group in an archive: one file, which appears whole in any place.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec

from biocache.store.archives import packed, unpacked
from biocache.store.arrays import UNREADABLE, files_of, zarr_store
from biocache.store.atomic import write_error
from biocache.store.errors import BiocacheError, IntegrityError, NewerFormatError, ReadOnlyError, SettingError
from biocache.store.groups import RESULTS, group_attributes
from biocache.store.hierarchy import create_parents, group_metadata, refuse_foreign
from biocache.store.metadata import as_type
from biocache.store.sealing import check_seal, digest_of, require_written, seal
from biocache.store.storage import Storage, StorePlace, open_storage
from biocache.store.text import one_line

__all__ = [
    "StoredResult",
    "copy_result",
    "find_in",
    "find_result",
    "keep_in",
    "list_results",
    "load_result",
    "read_result",
    "result_files",
    "runs_in",
    "save_result",
]


_METADATA = "zarr.json"
_SUFFIX = ".zip"


@dataclass(frozen=True)
class _Described:
    """What biocache's attributes of a result hold."""

    kind: str
    inputs: dict[str, Any]
    created: str
    variables: tuple[str, ...]


@dataclass(frozen=True)
class StoredResult(_Described):
    """A result in the store.

    Attributes
    ----------
    kind
        What computed it: ``finetune``, ``probe`` or ``attention``.
    inputs
        All that decides its numbers: identities of runs, settings.
    created
        UTC time, ISO 8601.
    variables
        Names of its data variables, in their order.
    storage, file
        Where it is: the store, and the path of its archive below it.
    """

    storage: Storage
    file: str

    @property
    def path(self) -> Path:
        """Its archive; see `biocache.store.runs.StoredRun.path`."""
        return self.storage.local(self.file)

    @property
    def where(self) -> str:
        """Its place, as messages name it."""
        return self.storage.place(self.file)

    def load(self) -> xr.Dataset:
        """Read the result into memory; text is of dtype object.

        Raises
        ------
        IntegrityError
            If it is gone, or its bytes are not those that were written.
        """
        try:
            return load_result(self.storage, self.file)
        except FileNotFoundError as error:
            raise IntegrityError(
                f"result {self.where} was removed after it was listed; run the same command again"
            ) from error


def find_result(store: StorePlace, kind: str, inputs: Mapping[str, Any]) -> xr.Dataset | None:
    """Return the result of some inputs, in memory; None where there is none.

    Parameters
    ----------
    store
        Folder of the store.
    kind
        What computed it.
    inputs
        All that decides its numbers, as JSON can hold it.

    Raises
    ------
    IntegrityError
        If it is there and damaged.
    """
    storage, file = open_storage(store), _file(kind, inputs)
    try:
        return load_result(storage, file)
    except FileNotFoundError:
        return None


def save_result(store: StorePlace, kind: str, inputs: Mapping[str, Any], dataset: xr.Dataset) -> xr.Dataset:
    """Keep a result; one of the same inputs is replaced.

    It appears whole or not at all.

    Parameters
    ----------
    store
        Folder of the store; made where it is missing.
    kind, inputs
        As `find_result`.
    dataset
        The result, with coordinates and attributes.

    Returns
    -------
    xarray.Dataset
        The result as `find_result` returns it from now on.

    Raises
    ------
    SettingError
        If the inputs are not JSON.
    StoreFormatError
        If the folder holds something that is not a store.
    ResourceError
        If the disk is full or cannot be written.
    """
    storage, file = open_storage(store), _file(kind, inputs)
    refuse_foreign(storage)
    variables = [str(name) for name in dataset.data_vars]
    files = _files(dataset)
    attributes: dict[str, Any] = {
        "kind": kind,
        "inputs": dict(inputs),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "variables": variables,
    }
    _put(storage, kind, file, packed(seal(files, attributes, file)))
    return _load(files, variables)


def copy_result(result: StoredResult, target: Storage) -> bool:
    """Copy a result to another store, and return whether it was not there.

    Parameters
    ----------
    result
        The result; its bytes are compared with their checksums.
    target
        The store, which is there.

    Raises
    ------
    IntegrityError
        If it is damaged.
    FileNotFoundError
        If it is gone.
    ResourceError
        If it cannot be written.
    """
    if target.exists(result.file):
        return False
    data = result.storage.get(result.file)
    _opened(result.storage, result.file, data)[1]()
    _put(target, result.kind, result.file, data)
    return True


def _put(storage: Storage, kind: str, file: str, data: bytes) -> None:
    try:
        create_parents(storage, f"{RESULTS}/{kind}")
        storage.put(file, data)
        storage.sync([file])
    except OSError as error:
        raise write_error(error, f"keeping a result of {kind}") from error


def find_in(places: Sequence[Storage], kind: str, inputs: Mapping[str, Any]) -> xr.Dataset | None:
    """Return the result of some inputs from the first of some places that has it; see `find_result`."""
    found = (find_result(place, kind, inputs) for place in places)
    return next((result for result in found if result is not None), None)


def keep_in(places: Sequence[Storage], kind: str, inputs: Mapping[str, Any], dataset: xr.Dataset) -> xr.Dataset:
    """Keep a result in the first of some places, and return it as a store does, also where nothing can be written."""
    try:
        return save_result(places[0], kind, inputs, dataset)
    except ReadOnlyError:
        return _load(_files(dataset), [str(name) for name in dataset.data_vars])


def list_results(
    store: StorePlace, kind: str | None = None, problems: list[BiocacheError] | None = None
) -> list[StoredResult]:
    """Return the results of a store, the oldest first; only their attributes are read.

    Parameters
    ----------
    store
        Folder of the store.
    kind
        What computed them; None for all.
    problems
        List to add the errors of results with damaged attributes to, which are left out; None to raise them.

    Raises
    ------
    IntegrityError
        If the attributes of one are damaged.
    """
    storage = open_storage(store)
    found = []
    for file in result_files(storage, kind):
        try:
            found.append(read_result(storage, file))
        except FileNotFoundError:  # Another process has removed it meanwhile.
            continue
        except BiocacheError as error:
            if problems is None:
                raise
            problems.append(error)
    return sorted(found, key=lambda result: (result.created, result.where))


def result_files(storage: Storage, kind: str | None = None) -> list[str]:
    """Return the paths of the results of a store, sound or damaged."""
    folder = RESULTS if kind is None else f"{RESULTS}/{kind}"
    return sorted(f"{folder}/{path}" for path in storage.sizes(folder) if path.endswith(_SUFFIX))


def runs_in(inputs: Any) -> Iterator[dict[str, Any]]:
    """Yield the identities of runs (`StoredRun.identity`) in the inputs of a result."""
    if isinstance(inputs, Mapping) and {"run", "spec"} <= inputs.keys():
        yield dict(inputs)
    elif isinstance(inputs, Mapping | list | tuple):
        for part in inputs.values() if isinstance(inputs, Mapping) else inputs:
            yield from runs_in(part)


def _file(kind: str, inputs: Mapping[str, Any]) -> str:
    try:
        return f"{RESULTS}/{kind}/{digest_of(inputs)}{_SUFFIX}"
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingError(f"the inputs of a result are not JSON ({one_line(error)})") from error


def read_result(storage: Storage, file: str) -> StoredResult:
    """Open one result; see `list_results`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    IntegrityError
        If its attributes are missing or damaged, or it is not in the place of its inputs.
    NewerFormatError
        If a newer release wrote it.
    """
    return _read(storage, file)[0]


def load_result(storage: Storage, file: str) -> xr.Dataset:
    """Read the values of one result into memory; see `read_result` and `StoredResult.load`.

    Raises
    ------
    FileNotFoundError, IntegrityError, NewerFormatError
        As `read_result`.
    """
    return _read(storage, file)[1]()


def _read(storage: Storage, file: str) -> tuple[StoredResult, Callable[[], xr.Dataset]]:
    """Read a result; return what it is, and what checks and decodes its values."""
    try:
        data = storage.get(file)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _damaged(storage.place(file), error) from error
    return _opened(storage, file, data)


def _opened(storage: Storage, file: str, data: bytes) -> tuple[StoredResult, Callable[[], xr.Dataset]]:
    try:
        files = unpacked(data)
        attributes = group_attributes(files.pop(_METADATA, b""))
        described, found = check_seal(attributes, file, storage.place(file))
        own = as_type(described, _Described)
        if _file(own.kind, own.inputs) != file:
            raise ValueError("it is not the result of its inputs")
    except NewerFormatError:
        raise
    except (OSError, ValueError) as error:
        raise _damaged(storage.place(file), error) from error

    def decode() -> xr.Dataset:
        try:
            for path in {*found.files, *files}:
                require_written(found.files, path, files.get(path, b""))
            others = {name: value for name, value in attributes.items() if name != "biocache"}
            return _load(files | {_METADATA: group_metadata(others)}, own.variables)
        except UNREADABLE as error:
            raise _damaged(storage.place(file), error) from error

    return StoredResult(**vars(own), storage=storage, file=file), decode


def _load(files: Mapping[str, bytes], variables: Sequence[str]) -> xr.Dataset:
    """Read a result from its files."""
    with xr.open_zarr(zarr_store(files)[0], consolidated=False, chunks=None) as dataset:
        loaded = dataset.load()
    # Zarr lists arrays in an order of its own; a result has its variables in theirs.
    ordered: xr.Dataset = _text_as_objects(loaded)[list(variables)]
    return ordered


def _files(dataset: xr.Dataset) -> dict[str, bytes]:
    """Return the files of a result, by path below it."""
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


def _text_as_objects(dataset: xr.Dataset) -> xr.Dataset:
    """Convert text to objects: Zarr version 3 has no fixed-length text, and netCDF no StringDType."""
    text = {name: array.astype(object) for name, array in dataset.variables.items() if array.dtype.kind in "UT"}
    coordinates = {name: array for name, array in text.items() if name in dataset.coords}
    return dataset.assign_coords(coordinates).assign({name: text[name] for name in text.keys() - coordinates.keys()})


def _damaged(where: str, error: BaseException) -> IntegrityError:
    return IntegrityError(
        f"result {where} cannot be read ({one_line(error)}); remove it with `biocache verify --repair` and run the "
        "same command again"
    )
