"""Attributes of Zarr groups, read without Zarr: what a folder is, and of which format version."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from biocache.store.errors import NewerFormatError, StoreFormatError
from biocache.store.metadata import MetadataError, read_json
from biocache.store.spec import FORMAT_VERSION
from biocache.store.text import shown

__all__ = ["RESULTS", "check_format", "check_store", "read_group_attributes", "subfolders"]

#: Group of all results below the root of a store.
RESULTS = "results"


@dataclass(frozen=True)
class _Group:
    """What ``zarr.json`` of a group holds."""

    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: dict[str, Any] = field(default_factory=dict)


def read_group_attributes(group: Path) -> dict[str, Any]:
    """Read the attributes of a Zarr v3 group straight from its ``zarr.json``.

    Opening a group through zarr costs milliseconds, which a catalog of a thousand runs cannot pay.

    Raises
    ------
    FileNotFoundError
        If there is no ``zarr.json``.
    StoreFormatError
        If it is not the metadata of a group of Zarr version 3.
    """
    path = group / "zarr.json"
    try:
        return dict(read_json(path, _Group).attributes)
    except MetadataError as error:
        raise StoreFormatError(f"{path} is not the metadata of a Zarr version 3 group ({error})") from error


def check_format(attributes: dict[str, Any], where: Path) -> dict[str, Any]:
    """Return biocache's own attributes of a group.

    Raises
    ------
    StoreFormatError
        If there are none, or they are of a format version that this release does not know; `NewerFormatError` where a
        newer one does.
    """
    own = attributes.get("biocache")
    if not isinstance(own, dict) or "format_version" not in own:
        raise StoreFormatError(f"{where} is not a biocache store: its zarr.json has no biocache attributes")
    version = own["format_version"]
    if isinstance(version, bool) or not isinstance(version, int) or version < FORMAT_VERSION:
        raise StoreFormatError(
            f"{where} has format version {shown(version)}, which no release wrote; this one reads {FORMAT_VERSION}"
        )
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{where} has format version {version}, of a newer release of biocache; this one reads version "
            f"{FORMAT_VERSION}: install the newer one"
        )
    return own


def check_store(root: Path) -> None:
    """Refuse a folder that is not the root of a store of this format.

    Raises
    ------
    FileNotFoundError
        If it has no ``zarr.json``.
    StoreFormatError
        If it is something else, also a run or a result of a store.
    """
    try:
        attributes = read_group_attributes(root)
    except StoreFormatError as error:
        raise StoreFormatError(f"{root} is not a biocache store: {error}") from error
    own = check_format(attributes, root)
    part = next((what for name, what in (("spec", "run"), ("kind", "result")) if name in own), None)
    if part is not None:
        raise StoreFormatError(f"{root} is a {part} of a biocache store, not a store; name the store that holds it")


def subfolders(root: Path, depth: int, below: str = "") -> Iterator[str]:
    """Yield the paths of the folders a number of levels below the root of a store, but for hidden ones and results.

    Parameters
    ----------
    root
        Folder of the store.
    depth
        Number of levels.
    below
        Path below the root to begin at; ``/`` between its parts.
    """
    if not depth:
        yield below
        return
    try:
        with os.scandir(root / below) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):  # Another process has removed it meanwhile.
        return
    for name in names:
        if below or name != RESULTS:
            yield from subfolders(root, depth - 1, f"{below}/{name}" if below else name)
