"""Results: computed from runs, kept in the store, and found by what they were computed from.

A result is a Zarr group in an archive: one file, which appears whole in any place.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from biocache.store.arrays import UNREADABLE
from biocache.store.bundles import SUFFIX, as_stored, bundle_files, encode_bundle, open_bundle, put_bundle, read_each
from biocache.store.errors import BiocacheError, IntegrityError, NewerFormatError, ReadOnlyError, SettingError
from biocache.store.groups import RESULTS
from biocache.store.hierarchy import refuse_foreign
from biocache.store.metadata import as_type
from biocache.store.sealing import digest_of
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
    attributes: dict[str, Any] = {
        "kind": kind,
        "inputs": dict(inputs),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    put_bundle(storage, file, encode_bundle(dataset, attributes, file), f"keeping a result of {kind}")
    return as_stored(dataset)


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
    put_bundle(target, result.file, data, f"keeping a result of {result.kind}")
    return True


def find_in(places: Sequence[Storage], kind: str, inputs: Mapping[str, Any]) -> xr.Dataset | None:
    """Return the result of some inputs from the first of some places that has it; see `find_result`."""
    found = (find_result(place, kind, inputs) for place in places)
    return next((result for result in found if result is not None), None)


def keep_in(places: Sequence[Storage], kind: str, inputs: Mapping[str, Any], dataset: xr.Dataset) -> xr.Dataset:
    """Keep a result in the first of some places, and return it as a store does, also where nothing can be written."""
    try:
        return save_result(places[0], kind, inputs, dataset)
    except ReadOnlyError:
        return as_stored(dataset)


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
    found = read_each(result_files(storage, kind), partial(read_result, storage), problems)
    return sorted(found, key=lambda result: (result.created, result.where))


def result_files(storage: Storage, kind: str | None = None) -> list[str]:
    """Return the paths of the results of a store, sound or damaged."""
    return bundle_files(storage, RESULTS if kind is None else f"{RESULTS}/{kind}")


def runs_in(inputs: Any) -> Iterator[dict[str, Any]]:
    """Yield the identities of runs (`StoredRun.identity`) in the inputs of a result."""
    if isinstance(inputs, Mapping) and {"run", "spec"} <= inputs.keys():
        yield dict(inputs)
    elif isinstance(inputs, Mapping | list | tuple):
        for part in inputs.values() if isinstance(inputs, Mapping) else inputs:
            yield from runs_in(part)


def _file(kind: str, inputs: Mapping[str, Any]) -> str:
    try:
        return f"{RESULTS}/{kind}/{digest_of(inputs)}{SUFFIX}"
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
        bundle = open_bundle(storage, file, data)
        own = as_type(bundle.attributes, _Described)
        if _file(own.kind, own.inputs) != file:
            raise ValueError("it is not the result of its inputs")
    except NewerFormatError:
        raise
    except (OSError, ValueError) as error:
        raise _damaged(storage.place(file), error) from error

    def decode() -> xr.Dataset:
        try:
            return bundle.decode()
        except UNREADABLE as error:
            raise _damaged(storage.place(file), error) from error

    return StoredResult(**vars(own), storage=storage, file=file), decode


def _damaged(where: str, error: BaseException) -> IntegrityError:
    return IntegrityError(
        f"result {where} cannot be read ({one_line(error)}); remove it with `biocache verify --repair` and run the "
        "same command again"
    )
