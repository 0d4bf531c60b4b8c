"""What interrupted commands left in a store: found, and freed."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from biocache.store.keys import RunKey
from biocache.store.staging import PARTIAL, create_parents, is_abandoned, is_orphan

__all__ = ["disk_bytes", "free", "remove_if_empty", "sweep"]

_REMOVED = ".removed-"
_DEPTH = len(RunKey.names())


def free(root: Path, folder: Path) -> None:
    """Remove a folder of a store: it vanishes at once, then its bytes are freed, by a later `sweep` if need be.

    Raises
    ------
    FileNotFoundError
        If it is gone already.
    """
    doomed = root / f"{_REMOVED}{uuid.uuid4().hex}"
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_if_empty(group: Path) -> bool:
    """Remove a group that holds nothing, and nothing that another process puts there meanwhile.

    Returns
    -------
    bool
        Whether it is gone.
    """
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


def sweep(root: Path) -> int:
    """Free what commands left that were killed while they removed, created or wrote a run.

    That is runs that were removed but not freed, runs and results that were never finished, chunks of a writer that
    outlived the removal of its run, and groups without a run. What live processes are at is left alone, and so is all
    that is not biocache's.

    Returns
    -------
    int
        Bytes that were freed.
    """
    freed = 0
    orphans = [run for run in _folders(root, _DEPTH) if is_orphan(run)]
    abandoned = [entry for entry in root.glob(f"{PARTIAL}*") if is_abandoned(entry)]
    for left in (*root.glob(f"{_REMOVED}*"), *abandoned, *orphans):
        size = disk_bytes(left)
        with suppress(FileNotFoundError):  # Another process frees it.
            free(root, left)
            freed += size
    for depth in range(_DEPTH - 1, 0, -1):
        for group in list(_folders(root, depth)):
            if not remove_if_empty(group) and _holds_runs(group, _DEPTH - depth):
                # A process was killed while it removed a group that another was about to use.
                create_parents(root, group / "run")
    return freed


def disk_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders a number of levels below one, but for hidden ones and results."""
    if not depth:
        yield folder
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in list(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink() and not entry.name.startswith(".") and entry.name != "results":
                yield from _folders(entry, depth - 1)


def _holds_runs(group: Path, depth: int) -> bool:
    return not (group / "zarr.json").exists() and any((run / "zarr.json").exists() for run in _folders(group, depth))
