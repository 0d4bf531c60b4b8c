"""What interrupted commands left in a store: found, and freed."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from biocache.store.atomic import is_abandoned, leftovers, own_path, remove
from biocache.store.errors import SettingError, StoreFormatError
from biocache.store.groups import RESULTS, check_store, subfolders
from biocache.store.hierarchy import create_parents, is_orphan, remove_empty_groups
from biocache.store.keys import RunKey

__all__ = ["CHANGING", "QUIET_SECONDS", "changing", "disk_bytes", "sweep", "tidy"]

#: How the names of notes begin that say which run a process is creating or removing.
CHANGING = ".changing-"
#: Age from which chunks without a run count as left by a writer.
QUIET_SECONDS = 3600.0


@contextmanager
def changing(root: Path, path: str) -> Iterator[None]:
    """Note, for the length of a context, which run of a store this process creates or removes.

    The note of a killed process stays, and says where a sweep has to look for empty groups: those that nobody noted may
    belong to somebody else.

    Parameters
    ----------
    root
        Folder of the store, which is there.
    path
        Path of the run below it.
    """
    note = own_path(root, CHANGING)
    note.write_text(path, encoding="utf-8")
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def sweep(root: Path) -> int:
    """Free what commands left that were killed while they removed, created or wrote a run or a result.

    That is: runs that were removed but not freed, runs and results that were never finished, chunks of a writer that
    outlived the removal of its run, and empty groups of a run that a killed command was creating or removing. What live
    processes write is left alone, and so is all that is not biocache's; a folder that is no store is not touched.

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
    orphans = [run for run in _folders(root) if is_orphan(run) and _is_quiet(run)]
    temporary = [left for home in (root, *root.glob(f"{RESULTS}/*")) for left in leftovers(home)]
    for left in (*temporary, *orphans):
        size = disk_bytes(left)
        with suppress(FileNotFoundError):  # Another process frees it.
            remove(left, root)
            freed += size
    for orphan in orphans:
        remove_empty_groups(root, orphan)
    tidy(root)
    for run in _folders(root):
        if (run / "zarr.json").exists():
            # A process was killed while it removed a group that another was about to use.
            create_parents(root, run)
    return freed


def tidy(root: Path) -> None:
    """Remove the empty groups of runs that killed processes were creating or removing, and their notes."""
    for note in root.glob(f"{CHANGING}*"):
        if is_abandoned(note, CHANGING):
            _tidy(root, note)


def _tidy(root: Path, note: Path) -> None:
    with suppress(OSError, ValueError, SettingError):
        run = root / RunKey.from_path(note.read_text(encoding="utf-8")).path
        for group in run.parents[: len(RunKey.names()) - 1]:
            for torn in group.glob("zarr.*.partial"):
                if _is_quiet(torn):
                    torn.unlink(missing_ok=True)
        if not run.exists():
            remove_empty_groups(root, run)
    note.unlink(missing_ok=True)


def _is_quiet(folder: Path) -> bool:
    """Return whether nothing has changed in a folder for a while: what is being copied to it may become a run."""
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


def _folders(root: Path) -> list[Path]:
    """Return the folders of a store that are where runs are, but for what links lead to."""
    real = os.path.realpath(root)
    paths = subfolders(root, len(RunKey.names()))
    return [root / path for path in paths if os.path.realpath(root / path) == os.path.join(real, path)]  # noqa: PTH118
