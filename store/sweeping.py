"""What interrupted commands left in a store: found, and freed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from biocache.store.atomic import is_abandoned, is_quiet, leftovers, locked_file, own_path, remove
from biocache.store.claims import is_claimed
from biocache.store.errors import BiocacheError, NewerFormatError, SettingError, StoreFormatError
from biocache.store.folders import Folder
from biocache.store.groups import RESULTS, check_store, subfolders
from biocache.store.hierarchy import create_parents, is_orphan, remove_empty_groups
from biocache.store.keys import RUN_DEPTH, RunKey
from biocache.store.runs import SUCCESSORS, StoredRun, successor_path, successors
from biocache.store.storage import Storage, below

__all__ = ["CHANGING", "changing", "stored_bytes", "sweep", "tidy"]

#: How the names of notes begin that say which run a process is creating or removing.
CHANGING = ".changing-"


@contextmanager
def changing(storage: Storage, run: str) -> Iterator[None]:
    """Note, for the length of a context, which run of a store this process creates or removes.

    The note of a killed process stays, and says where a sweep has to look for empty groups: those that nobody noted may
    belong to somebody else.

    Parameters
    ----------
    storage
        The store, which is there.
    run
        Path of the run below it.
    """
    if not isinstance(storage, Folder):
        yield
        return
    note = own_path(storage.path, CHANGING)
    try:
        with locked_file(note, run):
            yield
    finally:
        note.unlink(missing_ok=True)


def sweep(storage: Storage) -> int:
    """Free what commands left that were killed while they removed, created, replaced or wrote a run or a result.

    That is: runs that were removed or replaced but not freed, runs and results that were never finished, chunks of a
    writer that outlived the removal of its run, and empty groups of a run that a killed command was creating or
    removing. What live processes write is left alone, and so is all that is not biocache's, and a run that is to
    replace another and is not finished: the same command goes on with it. A folder that is no store is not touched.

    Returns
    -------
    int
        Bytes that were freed.
    """
    try:
        check_store(storage)
    except (OSError, StoreFormatError):
        return 0
    if not isinstance(storage, Folder):
        return 0
    root, freed = storage.path, 0
    orphans = [run for run in _folders(storage) if is_orphan(storage, run) and is_quiet(root / run)]
    temporary = leftovers(root)
    replaced = list(_replaced(storage))
    for left in (*temporary, *(root / run for run in (*replaced, *orphans))):
        size = stored_bytes(storage, left.relative_to(root).as_posix())
        with suppress(FileNotFoundError):  # Another process frees it.
            remove(left, root)
            freed += size
    for run in (*replaced, *orphans):
        remove_empty_groups(storage, run)
    tidy(storage)
    # The groups of successors, also of those that another process has put in their place meanwhile.
    for group, _, _ in os.walk(root / SUCCESSORS, topdown=False):
        with suppress(OSError):
            os.rmdir(group)  # noqa: PTH106
    written = ("zarr.json", f"{RESULTS}/zarr.json", f"{RESULTS}/*/zarr.json", f"{RESULTS}/*/*.zip")
    for torn in (torn for files in written for torn in root.glob(f"{files}.*.partial")):
        if is_quiet(torn):
            torn.unlink(missing_ok=True)
    for run in _folders(storage):
        if storage.exists(below(run, "zarr.json")):
            # A process was killed while it removed a group that another was about to use.
            create_parents(storage, run)
    return freed


def _replaced(storage: Folder) -> Iterator[str]:
    """Yield the paths of the runs that were exchanged with their successor by a process that was killed then."""
    for key in successors(storage):
        run = successor_path(key)
        with suppress(BiocacheError):
            kept = StoredRun.open(storage, key)
            try:
                left = StoredRun.open(storage, key, successor=True)
                # The second: of two processes that replaced a run, one was killed after the other had ended.
                is_old = left.group.digest == kept.replaces or left.spec == kept.spec
            except NewerFormatError:
                is_old = False
            except StoreFormatError:  # A damaged run that was replaced, or a successor that nobody can finish.
                is_old = True
            if is_old and not is_claimed(storage, run):
                yield run


def tidy(storage: Storage) -> None:
    """Remove the empty groups of runs that killed processes were creating or removing, and their notes."""
    if not isinstance(storage, Folder):
        return
    for note in storage.path.glob(f"{CHANGING}*"):
        if is_quiet(note) if note.name.endswith(".new") else is_abandoned(note, note, CHANGING):
            done = True
            with suppress(OSError, ValueError, SettingError):
                done = _tidy(storage, RunKey.from_path(note.read_text(encoding="utf-8")).path)
            if done:
                note.unlink(missing_ok=True)


def _tidy(storage: Folder, run: str) -> bool:
    """Remove what a killed process left around a run; return whether nothing is left that may be a live one's."""
    done = True
    groups = (storage.path / run).parents[: RUN_DEPTH - 1]
    for torn in (torn for group in groups for torn in group.glob("zarr.*.partial")):
        if is_quiet(torn):
            torn.unlink(missing_ok=True)
        else:
            done = False
    if not (storage.path / run).exists():
        remove_empty_groups(storage, run)
    if not (storage.path / SUCCESSORS / run).exists():
        remove_empty_groups(storage, f"{SUCCESSORS}/{run}")
    return done


def stored_bytes(storage: Storage, folder: str) -> int:
    """Return the bytes of all files below a folder."""
    return sum(storage.sizes(folder).values())


def _folders(storage: Folder) -> list[str]:
    """Return the paths of the folders of a store that are where runs are, but for what links lead to."""
    real = os.path.realpath(storage.path)
    paths = subfolders(storage, RUN_DEPTH)
    return [path for path in paths if os.path.realpath(storage.path / path) == os.path.join(real, path)]  # noqa: PTH118
