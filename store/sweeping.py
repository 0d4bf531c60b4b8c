"""What interrupted commands left in a store: found, and freed."""

import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from biocache.store.errors import SettingError, StoreFormatError
from biocache.store.groups import check_store
from biocache.store.keys import RunKey
from biocache.store.staging import CHANGING, PARTIAL, create_parents, is_abandoned, is_orphan

__all__ = ["QUIET_SECONDS", "disk_bytes", "free", "remove_empty_groups", "remove_if_empty", "sweep", "tidy"]

_REMOVED = ".removed-"
_NAME = re.compile(rf"{re.escape(_REMOVED)}[0-9a-f]{{32}}")
#: Age from which chunks without a run count as left by a writer.
QUIET_SECONDS = 3600.0
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


def remove_empty_groups(root: Path, run: Path) -> None:
    """Remove the groups between the root of a store and a run that hold nothing."""
    for group in run.parents:
        # One that is gone says nothing of those above it.
        if group == root or (group.exists() and not remove_if_empty(group)):
            return


def sweep(root: Path) -> int:
    """Free what commands left that were killed while they removed, created or wrote a run.

    That is runs that were removed but not freed, runs and results that were never finished, chunks of a writer that
    outlived the removal of its run, and groups without a run that a killed command was at. What live processes are at
    is left alone, and so is all that is not biocache's: a folder that is no store is not looked at.

    Returns
    -------
    int
        Bytes that were freed.
    """
    try:
        check_store(root)
    except (FileNotFoundError, NotADirectoryError, StoreFormatError):
        return 0
    freed = 0
    orphans = [run for run in _folders(root, _DEPTH) if is_orphan(run) and _is_quiet(run)]
    abandoned = [entry for entry in root.glob(f"{PARTIAL}*") if is_abandoned(entry)]
    removed = [entry for entry in root.glob(f"{_REMOVED}*") if _NAME.fullmatch(entry.name)]
    for left in (*removed, *abandoned, *orphans):
        size = disk_bytes(left)
        with suppress(FileNotFoundError):  # Another process frees it.
            free(root, left)
            freed += size
    for orphan in orphans:
        remove_empty_groups(root, orphan)
    tidy(root)
    for depth in range(_DEPTH - 1, 0, -1):
        for group in list(_folders(root, depth)):
            if _holds_runs(group, _DEPTH - depth):
                # A process was killed while it removed a group that another was about to use.
                create_parents(root, group / "run")
    return freed


def tidy(root: Path) -> None:
    """Remove the groups without a run that killed processes were at, and their notes."""
    for note in root.glob(f"{CHANGING}*"):
        if is_abandoned(note):
            _tidy(root, note)


def _tidy(root: Path, note: Path) -> None:
    with suppress(OSError, ValueError, SettingError):
        run = root / RunKey.from_path(note.read_text(encoding="utf-8")).path
        for group in run.parents[: _DEPTH - 1]:
            for torn in group.glob("zarr.*.partial"):
                if _is_quiet(torn):
                    torn.unlink(missing_ok=True)
        if not run.exists():
            remove_empty_groups(root, run)
    note.unlink(missing_ok=True)


def _is_quiet(folder: Path) -> bool:
    """Return whether nothing has changed in a folder for a while: what is copied to it now may become a run."""
    newest = 0.0
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):
            newest = max(newest, path.lstat().st_ctime)
    return time.time() - newest >= QUIET_SECONDS


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
