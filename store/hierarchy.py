"""The groups of a store: made on the way to a run, filled with it, and removed once they are empty."""

import shutil
from contextlib import suppress
from pathlib import Path

import zarr
from zarr.errors import ContainsGroupError

from biocache.store.atomic import ATTEMPTS, TAKEN
from biocache.store.errors import StoreFormatError
from biocache.store.groups import check_store
from biocache.store.paths import enclosing_zarr
from biocache.store.spec import FORMAT_VERSION

__all__ = ["create_parents", "is_orphan", "put_if_absent", "refuse_foreign", "remove_empty_groups"]

# What a writer of activations writes below a run.
_WRITTEN = {"hidden", "attention", "packs"}


def is_orphan(folder: Path) -> bool:
    """Return whether a folder holds only chunks and records: those of a writer that outlived the run's removal.

    A run that lost metadata, or is being copied to its place, has that of its arrays and tables, or other files.
    """
    entries = {entry.name for entry in folder.iterdir()}
    return bool(entries) and entries <= _WRITTEN and not any(folder.rglob("zarr.json"))


def create_parents(root: Path, group: Path) -> None:
    """Make the groups between the root of the store and one below it, so that any Zarr reader can walk to it."""
    root.mkdir(parents=True, exist_ok=True)
    for folder in [root, *reversed([p for p in group.parents if root in p.parents])]:
        if not (folder / "zarr.json").exists():
            attributes = {"biocache": {"format_version": FORMAT_VERSION}} if folder == root else {}
            with suppress(ContainsGroupError):
                zarr.create_group(folder, attributes=attributes, overwrite=False)


def put_if_absent(root: Path, made: Path, target: Path) -> None:
    """Rename a finished run to its place, unless another process was first.

    Raises
    ------
    StoreFormatError
        If something else is in the place.
    """
    for _ in range(ATTEMPTS):
        try:
            made.rename(target)
        except FileNotFoundError:  # Another process has removed the last entry of a group.
            create_parents(root, target)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
            if (target / "zarr.json").exists():
                return
            if not is_orphan(target):
                raise StoreFormatError(
                    f"{target} holds files and no zarr.json: a run that lost it, or files that are not biocache's; "
                    "move them away, or choose another --store"
                ) from error
            shutil.rmtree(target, ignore_errors=True)
        else:
            return


def refuse_foreign(root: Path) -> None:
    """Refuse a folder that is neither a store of this format nor empty.

    Raises
    ------
    StoreFormatError
        If it is such a folder, or a file, or lies in a Zarr folder.
    """
    around = enclosing_zarr(root)
    if around is not None:
        raise StoreFormatError(f"{root} lies in the Zarr folder {around}; choose another --store, outside of it")
    if (root / "zarr.json").exists():
        check_store(root)
    elif root.is_dir():
        # Another process may be creating the store, or was killed before it had.
        if any(not entry.name.endswith(".partial") for entry in root.iterdir()) and not (root / "zarr.json").exists():
            raise StoreFormatError(f"{root} is not a biocache store and not empty; choose another --store")
    elif root.exists() and not root.is_dir():  # Asked again: another process may have made it since.
        raise StoreFormatError(f"{root} is not a folder; choose another --store")


def remove_empty_groups(root: Path, run: Path) -> None:
    """Remove the groups between the root of a store and a run that hold nothing."""
    for group in run.parents:
        # A group that is gone says nothing about those above it.
        if group == root or (group.exists() and not _remove_if_empty(group)):
            return


def _remove_if_empty(group: Path) -> bool:
    """Remove a group that holds nothing, and return whether it is gone; what appears there meanwhile stays."""
    metadata = group / "zarr.json"
    try:
        if any(entry.name != metadata.name for entry in group.iterdir()):
            return False
        content = metadata.read_bytes() if metadata.exists() else b""
        metadata.unlink(missing_ok=True)
    except FileNotFoundError:  # Another process removes it.
        return True
    try:
        group.rmdir()
    except OSError:
        with suppress(FileNotFoundError):
            metadata.write_bytes(content)
        return False
    return True
