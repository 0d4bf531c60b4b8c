"""Results: computed from runs, kept in the store, and found by what they were computed from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec

from biocache.store.arrays import UNREADABLE
from biocache.store.atomic import replacing, write_error
from biocache.store.errors import BiocacheError, IntegrityError, NewerFormatError, SettingError
from biocache.store.groups import RESULTS, check_format, read_group_attributes
from biocache.store.hierarchy import create_parents, refuse_foreign
from biocache.store.metadata import as_type
from biocache.store.paths import require_file
from biocache.store.reading import Run
from biocache.store.spec import FORMAT_VERSION
from biocache.store.text import one_line

__all__ = ["StoredResult", "find_result", "list_results", "read_result", "run_identity", "save_result"]


@dataclass(frozen=True, kw_only=True)
class _Described:
    """What biocache's attributes of a result hold."""

    kind: str
    inputs: dict[str, Any]
    created: str
    variables: tuple[str, ...]
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
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
    path
        Folder of its group.
    variables
        Names of its data variables, in their order.
    digest
        SHA-256 (hexadecimal) of its values, coordinates and attributes.
    """

    path: Path

    def load(self) -> xr.Dataset:
        """Read the result into memory; text is of dtype object.

        Raises
        ------
        IntegrityError
            If its bytes are missing or damaged.
        """
        try:
            loaded = _load(self.path, self.variables)
            if _content_digest(loaded) != self.digest:
                raise ValueError("its values are not those that were kept")
        except UNREADABLE as error:
            raise _damaged(self.path, error) from error
        return loaded


def run_identity(run: Run) -> dict[str, str]:
    """Return the identity of a run: its path and the SHA-256 (hexadecimal) of its spec."""
    return {"run": str(run.key), "spec": _digest(run.spec.to_json())}


def find_result(root: Path, kind: str, inputs: Mapping[str, Any]) -> xr.Dataset | None:
    """Return the result of some inputs, in memory; None where there is none.

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
            return read_result(path).load()
        except IntegrityError:
            # Another process may be replacing it: then the folder is another one now, or is gone.
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
    attributes: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "inputs": dict(inputs),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "variables": [str(name) for name in dataset.data_vars],
    }
    try:
        create_parents(root, target)
        with replacing(target) as made:
            _write(made, dataset.assign_attrs(biocache=attributes))
            # Read before another process can replace it.
            kept = _load(made, attributes["variables"])
            _add_attribute(made, "digest", _content_digest(kept))
    except OSError as error:
        raise write_error(error, f"keeping a result of {kind}") from error
    return kept


def list_results(
    root: Path, kind: str | None = None, problems: list[BiocacheError] | None = None
) -> list[StoredResult]:
    """Return the results of a store, the oldest first; only their attributes are read.

    Parameters
    ----------
    root
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
    found = []
    for metadata in (root / RESULTS).glob(f"{kind or '*'}/*/zarr.json"):
        try:
            found.append(read_result(metadata.parent))
        except BiocacheError as error:
            if problems is None:
                raise
            problems.append(error)
    return sorted(found, key=lambda result: (result.created, str(result.path)))


def _digest(value: Any) -> str:
    try:
        text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingError(f"the inputs of a result are not JSON ({one_line(error)})") from error
    return hashlib.sha256(text.encode()).hexdigest()


def _path(root: Path, kind: str, inputs: Mapping[str, Any]) -> Path:
    return root / RESULTS / kind / _digest(inputs)


def read_result(path: Path) -> StoredResult:
    """Open one result; see `list_results`.

    Raises
    ------
    IntegrityError
        If its attributes are missing or damaged, or it is not in the place of its inputs.
    NewerFormatError
        If a newer release wrote it.
    """
    try:
        own = as_type(check_format(read_group_attributes(path), path), _Described)
        if (own.kind, _digest(own.inputs)) != (path.parent.name, path.name):
            raise ValueError("it is not the result of its inputs")
    except NewerFormatError:
        raise
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return StoredResult(path=path, **vars(own))


def _load(path: Path, variables: Sequence[str]) -> xr.Dataset:
    """Read a result without biocache's own attributes."""
    for file in path.rglob("*"):
        if not file.is_dir():
            require_file(file)
    with xr.open_zarr(path, consolidated=False, chunks=None) as dataset:
        _require_chunks(path, dataset)
        loaded = dataset.load()
    del loaded.attrs["biocache"]
    # Zarr lists arrays in the order of the file system; a result has its variables in their own order.
    ordered: xr.Dataset = _text_as_objects(loaded)[list(variables)]
    return ordered


def _content_digest(dataset: xr.Dataset) -> str:
    """Return the SHA-256 (hexadecimal) of the values, coordinates and attributes of a result."""
    sha = hashlib.sha256(_canonical(dataset.attrs))
    for name, variable in sorted(dataset.variables.items(), key=lambda item: str(item[0])):
        values = variable.to_numpy()
        what = [name, variable.dims, variable.shape, values.dtype.kind, values.dtype.itemsize, variable.attrs]
        sha.update(_canonical(what))
        little_endian = values.dtype.newbyteorder("<")
        sha.update(_canonical(values.tolist()) if values.dtype.kind == "O" else values.astype(little_endian).tobytes())
    return sha.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, default=lambda number: number.item()).encode()


def _add_attribute(path: Path, name: str, value: str) -> None:
    """Add one of biocache's own attributes to a result that is not in its place yet."""
    metadata = json.loads((path / "zarr.json").read_bytes())
    metadata["attributes"]["biocache"][name] = value
    (path / "zarr.json").write_text(json.dumps(metadata), encoding="utf-8")


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
    """Convert text to objects: Zarr version 3 has no fixed-length text, and netCDF no StringDType."""
    text = {name: array.astype(object) for name, array in dataset.variables.items() if array.dtype.kind in "UT"}
    coordinates = {name: array for name, array in text.items() if name in dataset.coords}
    return dataset.assign_coords(coordinates).assign({name: text[name] for name in text.keys() - coordinates.keys()})


def _require_chunks(path: Path, dataset: xr.Dataset) -> None:
    """Refuse a result that lost a chunk, which Zarr would read as fill."""
    for name, array in dataset.variables.items():
        chunk = path.joinpath(str(name), "c", *["0"] * array.ndim)
        if array.size and not chunk.is_file():
            raise FileNotFoundError(f"the chunk of {name} is missing")


def _damaged(path: Path, error: BaseException) -> IntegrityError:
    return IntegrityError(
        f"result {path} cannot be read ({one_line(error)}); delete this folder and run the same command again"
    )
