"""What appears in a store whole or not at all: made aside, then renamed into its place."""

import errno
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import zarr
from zarr.errors import ContainsGroupError

from biocache.store.errors import BiocacheError, ResourceError, StoreFormatError
from biocache.store.groups import check_store
from biocache.store.paths import enclosing_zarr
from biocache.store.spec import FORMAT_VERSION
from biocache.store.text import one_line

__all__ = [
    "CHANGING",
    "PARTIAL",
    "changing",
    "create_parents",
    "is_abandoned",
    "is_orphan",
    "publish",
    "refuse_foreign",
    "staging",
    "write_error",
]

#: How the names of temporary paths begin.
PARTIAL = ".partial-"
#: How the names of notes begin that say at which run a process is.
CHANGING = ".changing-"
# What a writer of activations writes below a run.
_WRITTEN = {"hidden", "attention", "packs"}
# Times to try for a place that other processes make and remove.
_ATTEMPTS = 5
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def staging(root: Path) -> Path:
    """Return a temporary path in a store; delete those of dead processes."""
    for entry in root.glob(f"{PARTIAL}*"):
        if is_abandoned(entry):
            shutil.rmtree(entry, ignore_errors=True)
    return _own_path(root, PARTIAL)


def _own_path(root: Path, beginning: str) -> Path:
    return root / f"{beginning}{socket.gethostname()}-{os.getpid()}@{uuid.uuid4().hex}"


@contextmanager
def changing(root: Path, path: str) -> Iterator[None]:
    """Note, for the length of a context, at which run of a store this process is.

    Of a process that is killed meanwhile the note stays, and says where a sweep has to look for groups that hold
    nothing: those that nobody noted may be somebody's.

    Parameters
    ----------
    root
        Folder of the store, which is there.
    path
        Path of the run below it.
    """
    note = _own_path(root, CHANGING)
    note.write_text(path, encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def is_abandoned(entry: Path) -> bool:
    """Return whether a temporary path or a note was made by a process of this machine that is dead."""
    host, _, pid = entry.name.partition("@")[0].rpartition("-")
    made_here = host in (f"{PARTIAL}{socket.gethostname()}", f"{CHANGING}{socket.gethostname()}")
    return made_here and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists()


def is_orphan(folder: Path) -> bool:
    """Return whether a folder holds chunks and records alone: those of a writer that outlived the run's removal.

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


def publish(root: Path, made: Path, target: Path) -> None:
    """Rename a finished group into its place, unless another process was first."""
    for _ in range(_ATTEMPTS):
        try:
            made.rename(target)
        except FileNotFoundError:  # Another process has removed the last entry of a group.
            create_parents(root, target)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
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


def write_error(error: OSError, doing: str) -> BiocacheError:
    """Say what an error of the system means for what was being written."""
    if isinstance(error, BiocacheError):
        return error
    if error.errno in _NO_SPACE:
        return ResourceError(
            f"the disk is full or a file limit is reached while {doing} ({one_line(error)}); what is committed is "
            "safe: free space and run the same command again to finish"
        )
    return ResourceError(f"cannot write while {doing}: {one_line(error)}; mend it and run the same command again")
