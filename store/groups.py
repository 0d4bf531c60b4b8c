"""Attributes of Zarr groups, read without Zarr: what a folder is, and of which format version."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from biocache.store.errors import NewerFormatError, StoreFormatError
from biocache.store.metadata import MetadataError, decoded
from biocache.store.spec import FORMAT_VERSION
from biocache.store.storage import Storage, below
from biocache.store.text import one_line, shown

__all__ = [
    "LABELS",
    "RESULTS",
    "check_format",
    "check_store",
    "group_attributes",
    "read_group_attributes",
    "subfolders",
]

#: Group of all results below the root of a store.
RESULTS = "results"
#: Group of all label sets below the root of a store.
LABELS = "labels"


@dataclass(frozen=True)
class _Group:
    """What ``zarr.json`` of a group holds."""

    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: dict[str, Any] = field(default_factory=dict)


def read_group_attributes(storage: Storage, folder: str) -> dict[str, Any]:
    """Read the attributes of a Zarr v3 group straight from its ``zarr.json``.

    Opening a group through zarr costs milliseconds, which a catalog of a thousand runs cannot pay.

    Raises
    ------
    FileNotFoundError
        If there is no ``zarr.json``.
    StoreFormatError
        If it is not the metadata of a group of Zarr version 3.
    """
    path = below(folder, "zarr.json")
    try:
        return group_attributes(storage.get(path))
    except FileNotFoundError:
        raise
    except (OSError, MetadataError) as error:
        raise StoreFormatError(
            f"{storage.place(path)} is not the metadata of a Zarr version 3 group ({one_line(error)})"
        ) from error


def group_attributes(data: bytes) -> dict[str, Any]:
    """Return the attributes that the ``zarr.json`` of a group holds.

    Raises
    ------
    MetadataError
        If it is not the metadata of a group of Zarr version 3.
    """
    return dict(decoded(data, _Group).attributes)


def check_format(attributes: dict[str, Any], where: str) -> dict[str, Any]:
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
    if version == 1 and not isinstance(version, bool):
        raise StoreFormatError(
            f"{where} has format version 1, which no release wrote; this one reads {FORMAT_VERSION}: extract "
            "into another --store"
        )
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


def check_store(storage: Storage) -> None:
    """Refuse a place that is not the root of a store of this format.

    Raises
    ------
    FileNotFoundError
        If it has no ``zarr.json``.
    StoreFormatError
        If it is something else, also a run of a store.
    """
    try:
        attributes = read_group_attributes(storage, "")
    except StoreFormatError as error:
        raise StoreFormatError(f"{storage} is not a biocache store: {error}") from error
    own = check_format(attributes, str(storage))
    if "spec" in own:
        raise StoreFormatError(f"{storage} is a run of a biocache store, not a store; name the store that holds it")


def subfolders(storage: Storage, depth: int, folder: str = "") -> Iterator[str]:
    """Yield the paths of the folders a number of levels below a folder of a store.

    Hidden ones, label sets and results are passed over.

    Parameters
    ----------
    storage
        Where the store is.
    depth
        Number of levels.
    folder
        Path of the folder to begin at, by default the root of the store.
    """
    if not depth:
        yield folder
        return
    for name in storage.folders(folder):
        if not name.startswith(".") and (folder or name not in (LABELS, RESULTS)):
            yield from subfolders(storage, depth - 1, below(folder, name))
