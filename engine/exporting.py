"""Results as files, in the format of the file's suffix."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from biocache.store import atomic
from biocache.store.errors import BiocacheError, ResourceError, SettingError, StoreFormatError
from biocache.store.folders import Folder
from biocache.store.groups import read_group_attributes
from biocache.store.paths import enclosing_zarr
from biocache.store.text import printable

__all__ = [
    "as_cell",
    "check_distinct",
    "check_export",
    "check_target",
    "export_dataset",
    "plain_value",
    "replacing",
]


def check_export(path: Path, more: Iterable[str] = ()) -> None:
    """Refuse a path that `export_dataset` does not write to, before anything is computed; see `check_target`.

    Parameters
    ----------
    path
        The place.
    more
        Suffixes that others write.
    """
    check_target(path, tuple(dict.fromkeys((*_WRITERS, *more))), "output")


def check_target(path: Path, suffixes: tuple[str, ...], what: str) -> None:
    """Refuse a path that a result must not be written to.

    A file replaces a file, and a Zarr folder replaces one that biocache exported; anything else stays.

    Parameters
    ----------
    path
        The place.
    suffixes
        Suffixes of the formats that can be written.
    what
        What the path is of, for the message.

    Raises
    ------
    SettingError
        If the suffix is not one of these, the folder does not exist, cannot be written or lies in a store or another
        Zarr folder, or something else has the path.
    """
    if path.suffix.lower() not in suffixes:
        raise SettingError(f"{what} {path} has no suffix that says its format; end it in {', '.join(suffixes)}")
    folder, around = path.parent, enclosing_zarr(path)
    if not folder.is_dir():
        raise SettingError(f"{what} {path}: the folder {folder} does not exist; make it first")
    if around is not None:
        raise SettingError(f"{what} {path} lies in the Zarr folder {around}; choose a place outside of it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingError(f"{what} {path}: the folder {folder} cannot be written; choose another place")
    taken = _taken(path)
    if taken:
        raise SettingError(f"{what} {path} is {taken}, which a result does not replace; choose another place")


def _taken(path: Path) -> str:
    """Return what is at a path and must stay there; empty where a result may be written."""
    if not os.path.lexists(path):
        return ""
    if path.suffix.lower() != ".zarr":
        return "" if path.is_file() else "a folder" if path.is_dir() else "no regular file"
    if not path.is_dir():
        return "a file"
    try:
        own = read_group_attributes(Folder(path), "").get("biocache")
    except (StoreFormatError, FileNotFoundError):
        return "a folder that is no result of biocache"
    if isinstance(own, dict) and own.get("export") is True:
        strange = next(_strange(path, tuple(map(str, own.get("arrays", ())))), None)
        return "" if strange is None else f"a folder that also holds {strange}"
    return "a biocache store or a part of one" if isinstance(own, dict) else "a folder that is no result of biocache"


def _strange(folder: Path, arrays: tuple[str, ...]) -> Iterator[str]:
    """Yield what an exported Zarr folder holds beside the exported arrays."""
    for place, known in ((folder, {"zarr.json", *arrays}), *((folder / name, {"zarr.json", "c"}) for name in arrays)):
        if place.is_dir():
            yield from sorted(
                entry.relative_to(folder).as_posix() for entry in place.iterdir() if entry.name not in known
            )


def check_distinct(paths: Iterable[Path | None]) -> None:
    """Refuse two results in one place.

    Raises
    ------
    SettingError
        If two of the paths lead to one place.
    """
    seen: set[str] = set()
    for path in filter(None, paths):
        place = os.path.realpath(path)
        if place in seen:
            raise SettingError(f"{path} is to hold two results; name two files")
        seen.add(place)


def export_dataset(dataset: xr.Dataset, path: Path) -> None:
    """Write a result to a file, which appears whole and replaces one that was there; see `check_target`.

    Parameters
    ----------
    dataset
        The result, in memory.
    path
        Where to. ``.csv``: a row for each combination of coordinates and a column for each variable, the variables of
        fewer dimensions repeated, its text as `as_cell`; ``.json``: as `xarray.Dataset.to_dict`, NaN as null; ``.nc``:
        netCDF-4; ``.zarr``: Zarr version 3.

    Raises
    ------
    SettingError
        As `check_target`.
    ResourceError
        If it cannot be written.
    """
    check_export(path)
    with replacing(path) as made:
        _WRITERS[path.suffix.lower()](dataset, made)


# A spreadsheet takes a cell for a formula even after white space and quotes.
_FORMULA = re.compile(r"[\s'\"]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write a file or folder to, which then replaces what is at a path; see `atomic.replacing`.

    Raises
    ------
    ResourceError
        If the system refuses.
    """
    try:
        # A link stays one: what it leads to is replaced.
        with atomic.replacing(Path(os.path.realpath(path))) as made:
            yield made
    except BiocacheError:
        raise
    except OSError as error:
        raise ResourceError(f"{path} cannot be written ({error.strerror or error}); choose another place") from error


def as_cell(value: Any) -> Any:
    """Return a value as a cell of a CSV file.

    Text that a spreadsheet would compute has ``'`` before it [1]_, and control characters are escaped: a row is a line.

    References
    ----------
    .. [1] OWASP, "CSV injection". https://owasp.org/www-community/attacks/CSV_Injection
    """
    if not isinstance(value, str):
        return value
    return printable(f"'{value}" if _FORMULA.match(value) else value)


def _write_csv(dataset: xr.Dataset, path: Path) -> None:
    frame = dataset.to_dataframe().reset_index()
    frame.map(as_cell).rename(columns=as_cell).to_csv(path, index=False)


def _write_json(dataset: xr.Dataset, path: Path) -> None:
    text = json.dumps(plain_value(dataset.to_dict()), indent=2, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def plain_value(value: Any) -> Any:
    """Return a value as JSON has it: NaN and infinity are null."""
    if isinstance(value, dict):
        return {str(name): plain_value(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    dataset.to_netcdf(path, engine="h5netcdf")


def _write_zarr(dataset: xr.Dataset, path: Path) -> None:
    arrays = sorted(map(str, dataset.variables))
    marked = dataset.drop_encoding().assign_attrs(biocache={"export": True, "arrays": arrays})
    marked.to_zarr(path, mode="w-", zarr_format=3, consolidated=False)


_WRITERS: dict[str, Callable[[xr.Dataset, Path], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".nc": _write_netcdf,
    ".zarr": _write_zarr,
}
