"""Results as files, in the format that the suffix of the file's name says."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from biocache.store.errors import ResourceError, SettingError

__all__ = ["check_export", "check_target", "export_dataset", "replacing"]


def check_export(path: Path) -> None:
    """Refuse a file that `export_dataset` cannot write, before anything is computed for it.

    Raises
    ------
    SettingError
        If the suffix is not known or the folder does not exist.
    """
    check_target(path, tuple(_WRITERS), "output")


def check_target(path: Path, suffixes: tuple[str, ...], what: str) -> None:
    """Refuse a file whose suffix is not one of these, or whose folder does not exist."""
    if path.suffix.lower() not in suffixes:
        raise SettingError(f"{what} {path} has no suffix that says its format; end it in {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise SettingError(f"{what} {path}: the folder {path.parent} does not exist; make it first")


def export_dataset(dataset: xr.Dataset, path: Path) -> None:
    """Write a result to a file. The file appears whole, in the place of one that was there.

    Parameters
    ----------
    dataset
        The result, in memory.
    path
        Where to. ``.csv``: a row for each combination of coordinates and a column for each variable, the variables of
        fewer dimensions repeated; ``.json``: as `xarray.Dataset.to_dict`, not-a-numbers as null; ``.nc``: netCDF-4;
        ``.zarr``: Zarr version 3.

    Raises
    ------
    SettingError
        As `check_export`.
    ResourceError
        If it cannot be written.
    """
    check_export(path)
    with replacing(path) as scratch:
        _WRITERS[path.suffix.lower()](dataset, scratch)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place to write to, which then takes the place of a file or folder.

    Raises
    ------
    ResourceError
        If the system refuses.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            scratch = Path(folder) / path.name
            yield scratch
            if path.is_dir():
                shutil.rmtree(path)
            os.replace(scratch, path)  # noqa: PTH105  (a folder or a file)
    except OSError as error:
        raise ResourceError(f"{path} cannot be written ({error.strerror or error}); choose another place") from error


def _write_csv(dataset: xr.Dataset, path: Path) -> None:
    dataset.to_dataframe().reset_index().to_csv(path, index=False)


def _write_json(dataset: xr.Dataset, path: Path) -> None:
    text = json.dumps(_plain(dataset.to_dict()), indent=2, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    try:
        import netCDF4  # noqa: F401
    except ImportError as error:
        raise SettingError(f"output {path.name} needs netCDF4: pip install netCDF4, or end it in .zarr") from error
    dataset.to_netcdf(path, engine="netcdf4", format="NETCDF4")


def _write_zarr(dataset: xr.Dataset, path: Path) -> None:
    dataset.drop_encoding().to_zarr(path, mode="w-", zarr_format=3, consolidated=False)


_WRITERS: dict[str, Callable[[xr.Dataset, Path], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".nc": _write_netcdf,
    ".zarr": _write_zarr,
}
