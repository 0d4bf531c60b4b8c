"""The groups of a store: made on the way to a run, filled with it, and removed once they are empty."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress

from biocache.store.atomic import ATTEMPTS
from biocache.store.errors import StoreFormatError
from biocache.store.folders import Folder
from biocache.store.groups import check_store
from biocache.store.paths import enclosing_zarr
from biocache.store.schema import ACTIVATIONS
from biocache.store.spec import FORMAT_VERSION
from biocache.store.storage import Storage, below

__all__ = [
    "create_parents",
    "group_metadata",
    "is_orphan",
    "parents",
    "put_if_absent",
    "refuse_foreign",
    "remove_empty_groups",
]

# What a writer of activations writes below a run.
_WRITTEN = {*ACTIVATIONS, "packs"}


def is_orphan(storage: Storage, folder: str) -> bool:
    """Return whether a folder holds only chunks and records: those of a writer that outlived the run's removal.

    A run that lost metadata, or is being copied to its place, has that of its arrays and tables, or other files.
    """
    files = storage.sizes(folder)
    begins = {path.partition("/")[0] for path in files} | set(storage.folders(folder))
    return bool(begins) and begins <= _WRITTEN and not any(path.endswith("zarr.json") for path in files)


def group_metadata(attributes: Mapping[str, object]) -> bytes:
    """Return the ``zarr.json`` of a group."""
    return json.dumps({"attributes": attributes, "zarr_format": 3, "node_type": "group"}, indent=1).encode()


def parents(folder: str) -> Iterator[str]:
    """Yield the paths of the groups that a folder is in, the nearest first, the root of the store (empty) last."""
    while folder:
        folder = folder.rpartition("/")[0]
        yield folder


def create_parents(storage: Storage, folder: str) -> None:
    """Make the groups from the root of the store to one below it, so that any Zarr reader can walk to it."""
    for group in reversed(list(parents(folder))):
        attributes = {} if group else {"biocache": {"format_version": FORMAT_VERSION}}
        path = below(group, "zarr.json")
        # A hidden folder is no part of the hierarchy.
        if not group.startswith(".") and not storage.exists(path):
            storage.create(path, group_metadata(attributes))


def put_if_absent(storage: Storage, files: Mapping[str, bytes], folder: str) -> None:
    """Write a run, its files by path below it, to its place, unless another process was first.

    Raises
    ------
    StoreFormatError
        If something else is in the place.
    """
    for _ in range(ATTEMPTS):
        with suppress(FileNotFoundError):  # Another process has removed the last entry of a group.
            create_parents(storage, folder)
            if storage.publish(files, folder) or storage.exists(below(folder, "zarr.json")):
                return
            if not is_orphan(storage, folder):
                raise StoreFormatError(
                    f"{storage.place(folder)} holds files and no zarr.json: a run that lost it, or files that are not "
                    "biocache's; move them away, or choose another --store"
                )
            storage.remove(folder)


def refuse_foreign(storage: Storage) -> None:
    """Refuse a place to write to that is neither a store of this format nor empty.

    Raises
    ------
    ReadOnlyError
        If only copies of runs are written there.
    StoreFormatError
        If it is such a place, or a file, or lies in a Zarr folder.
    """
    storage.require_writable()
    around = enclosing_zarr(storage.path) if isinstance(storage, Folder) else None
    if around is not None:
        raise StoreFormatError(f"{storage} lies in the Zarr folder {around}; choose another --store, outside of it")
    if storage.exists("zarr.json"):
        check_store(storage)
    elif isinstance(storage, Folder):
        _refuse_filled(storage)
    elif any(not path.startswith(".") for path in storage.sizes("")) and not storage.exists("zarr.json"):
        # Asked again: another process may have created the store since.
        raise StoreFormatError(f"{storage} is not a biocache store and not empty; choose another --store")


def _refuse_filled(storage: Folder) -> None:
    root = storage.path
    if root.is_dir():
        # Another process may be creating the store, or was killed before it had.
        if any(not entry.name.endswith(".partial") for entry in root.iterdir()) and not (root / "zarr.json").exists():
            raise StoreFormatError(
                f"{root} is not a biocache store and not empty; choose another --store, or where it was one and lost "
                "its zarr.json, run `biocache verify --repair`"
            )
    elif root.exists() and not root.is_dir():  # Asked again: another process may have made it since.
        raise StoreFormatError(f"{root} is not a folder; choose another --store")


def remove_empty_groups(storage: Storage, run: str) -> None:
    """Remove the groups between the root of a store and a run that hold nothing."""
    for group in parents(run):
        if not group or not storage.remove_empty_group(group):
            return
