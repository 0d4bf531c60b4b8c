"""Claims: locks that keep two processes from writing the same pack of a run.

A claim is a lock on a byte range of a file that every run has, one byte a pack. The kernel drops it when its process
ends, so nothing needs to be cleaned up after a kill. Claims only save double work: without them what is stored is right
too, because a pack's checksums are those of the writer that committed it. Where there are no such locks (outside Linux,
some network file systems, object stores) every claim succeeds.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from biocache.store.folders import Folder
from biocache.store.locks import Lock, lock, probe_lock, unlock
from biocache.store.records import RECORD_PATH
from biocache.store.storage import Storage

__all__ = ["Claims", "is_claimed", "sees_writers"]

_BASE = 1 << 40
# Claimed by the process that puts a finished run in the place of another.
_WHOLE = _BASE - 1


class Claims:
    """The claims of one writer on the packs of one run.

    Parameters
    ----------
    storage
        Where the store is.
    run
        Path of the run.
    """

    def __init__(self, storage: Storage, run: str) -> None:
        folder = isinstance(storage, Folder)
        self._fd = os.open(storage.local(run) / RECORD_PATH / "zarr.json", os.O_RDWR) if folder else None

    def close(self) -> None:
        """Give up all claims."""
        if self._fd is not None:
            os.close(self._fd)

    @contextmanager
    def hold(self, packs: Iterable[int], *, wait: bool) -> Iterator[bool]:
        """Claim packs for the length of the context.

        Parameters
        ----------
        packs
            Packs to claim.
        wait
            Whether to wait for the process that holds one of them.

        Yields
        ------
        bool
            Whether all of the packs are claimed; False only without `wait`.
        """
        fd = self._fd
        if fd is None:
            yield True
            return
        with ExitStack() as held:
            for pack in packs:
                if lock(fd, _BASE + pack, 1, wait=wait) is Lock.BUSY:
                    held.close()
                    yield False
                    return
                held.callback(unlock, fd, _BASE + pack, 1)
            yield True

    @contextmanager
    def hold_whole(self) -> Iterator[None]:
        """Keep other processes, for the length of the context, from putting the run in its place."""
        if self._fd is not None:
            lock(self._fd, _WHOLE, 1, wait=True)
        try:
            yield
        finally:
            if self._fd is not None:
                unlock(self._fd, _WHOLE, 1)


def is_claimed(storage: Storage, run: str) -> bool:
    """Return whether a live process is writing to a run."""
    if not isinstance(storage, Folder):
        return False
    return probe_lock(storage.local(run) / RECORD_PATH / "zarr.json", _BASE) is Lock.BUSY


def sees_writers(storage: Storage) -> bool:
    """Return whether `is_claimed` can tell: whether there are locks where a store is."""
    if not isinstance(storage, Folder):
        return False
    return probe_lock(storage.local("zarr.json")) is not Lock.ABSENT
