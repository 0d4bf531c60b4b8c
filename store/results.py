"""Results: what was computed from runs, kept in the store and found again by what it was computed from."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec

from biocache.store.arrays import one_line, read_group_attributes
from biocache.store.errors import IntegrityError, SettingError, StoreFormatError
from biocache.store.reading import Run
from biocache.store.spec import FORMAT_VERSION
from biocache.store.staging import create_parents, publish, refuse_foreign, staging, write_error

__all__ = ["RESULTS", "StoredResult", "find_result", "list_results", "run_identity", "save_result"]

#: Group of all results below the root of the store.
RESULTS = "results"


@dataclass(frozen=True)
class StoredResult:
    """A result in the store.

    Attributes
    ----------
    kind
        What computed it: ``finetune``, ``probe`` or ``attention``.
    inputs
        All that decides its numbers: identities of runs, settings.
    created
        UTC time, ISO 8601.
    path
        Folder of its group.
    """

    kind: str
    inputs: Mapping[str, Any]
    created: str
    path: Path

    def load(self) -> xr.Dataset:
        """Read the result into memory; text is of dtype object.

        Raises
        ------
        IntegrityError
            If its bytes are missing or damaged.
        """
        try:
            with xr.open_zarr(self.path, consolidated=False, chunks=None) as dataset:
                _require_chunks(self.path, dataset)
                loaded = dataset.load()
            # Zarr lists arrays in the order of the file system.
            order = loaded.attrs.pop("biocache").get("variables", list(loaded.data_vars))
            ordered: xr.Dataset = _text_as_objects(loaded)[order]
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise _damaged(self.path, error) from error
        return ordered


def run_identity(run: Run) -> dict[str, str]:
    """Return what tells a run from all others: its path and the SHA-256 (hexadecimal) of its spec."""
    return {"run": str(run.key), "spec": _digest(run.spec.to_json())}


def find_result(root: Path, kind: str, inputs: Mapping[str, Any]) -> xr.Dataset | None:
    """Return the result that was computed from some inputs, in memory; None where there is none.

    Parameters
    ----------
    root
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
    path = _path(root, kind, inputs)
    before = None
    while True:
        try:
            folder = path.stat().st_ino
            (path / "zarr.json").stat()
        except OSError:
            return None
        try:
            return _open(path).load()
        except IntegrityError:
            # Another process may be replacing it: then this is another folder now, or will be gone.
            if folder == before:
                raise
        before = folder


def save_result(root: Path, kind: str, inputs: Mapping[str, Any], dataset: xr.Dataset) -> xr.Dataset:
    """Keep a result; one of the same inputs is replaced.

    It appears whole or not at all.

    Parameters
    ----------
    root
        Folder of the store; made where it is missing.
    kind, inputs
        As `find_result`.
    dataset
        The result, with coordinates and attributes. Its attribute ``biocache`` is reserved.

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
    target = _path(root, kind, inputs)
    refuse_foreign(root)
    attributes = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "inputs": dict(inputs),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "variables": [str(name) for name in dataset.data_vars],
    }
    try:
        create_parents(root, target)
        made = staging(root)
        try:
            _write(made, dataset.assign_attrs(biocache=attributes))
            # Before others can replace it.
            kept = _open(made).load()
            _discard(root, target)
            publish(root, made, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise write_error(error, f"keeping a result of {kind}") from error
    return kept


def list_results(root: Path, kind: str | None = None) -> list[StoredResult]:
    """Return the results of a store, the oldest first; nothing of them is read but their attributes.

    Parameters
    ----------
    root
        Folder of the store.
    kind
        What computed them; None for all.

    Raises
    ------
    IntegrityError
        If the attributes of one are damaged.
    """
    found = [_open(path) for path in _folders(root / RESULTS, kind)]
    return sorted(found, key=lambda result: (result.created, str(result.path)))


def _folders(results: Path, kind: str | None) -> Iterator[Path]:
    for metadata in results.glob(f"{kind or '*'}/*/zarr.json"):
        yield metadata.parent


def _digest(value: Any) -> str:
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingError(f"the inputs of a result are not JSON ({one_line(error)})") from error
    return hashlib.sha256(text.encode()).hexdigest()


def _path(root: Path, kind: str, inputs: Mapping[str, Any]) -> Path:
    return root / RESULTS / kind / _digest(inputs)


def _open(path: Path) -> StoredResult:
    try:
        own = read_group_attributes(path)["biocache"]
        return StoredResult(own["kind"], own["inputs"], own["created"], path)
    except (OSError, KeyError, TypeError, StoreFormatError) as error:
        raise _damaged(path, error) from error


def _write(folder: Path, dataset: xr.Dataset) -> None:
    encoding = {
        name: {
            "compressors": [ZstdCodec(level=5), Crc32cCodec()],
            "chunks": tuple(max(1, size) for size in array.shape),
            "write_empty_chunks": True,
        }
        for name, array in dataset.variables.items()
    }
    plain = _text_as_objects(dataset).drop_encoding()
    plain.to_zarr(folder, mode="w-", zarr_format=3, consolidated=False, encoding=encoding)


def _text_as_objects(dataset: xr.Dataset) -> xr.Dataset:
    """Hold text as objects: Zarr version 3 specifies no text of fixed length, and netCDF no StringDType."""
    text = {name: array.astype(object) for name, array in dataset.variables.items() if array.dtype.kind in "UT"}
    coordinates = {name: array for name, array in text.items() if name in dataset.coords}
    return dataset.assign_coords(coordinates).assign({name: text[name] for name in text.keys() - coordinates.keys()})


def _require_chunks(path: Path, dataset: xr.Dataset) -> None:
    """Refuse a result that lost a chunk, which Zarr would read as fill."""
    for name, array in dataset.variables.items():
        chunk = path.joinpath(str(name), "c", *["0"] * array.ndim)
        if array.size and not chunk.is_file():
            raise FileNotFoundError(f"the chunk of {name} is missing")


def _discard(root: Path, target: Path) -> None:
    """Remove an earlier result, where there is one that no other process has removed."""
    doomed = staging(root)
    with suppress(FileNotFoundError):
        target.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _damaged(path: Path, error: BaseException) -> IntegrityError:
    return IntegrityError(
        f"result {path} cannot be read ({one_line(error)}); delete this folder and run the same command again"
    )
