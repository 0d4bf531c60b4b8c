"""Claims: locks that keep two processes from writing the same pack of a run.

A claim is a lock on a byte range of a file that every run has, one byte a pack. The kernel drops it when its process
ends, so nothing needs to be cleaned up after a kill. Claims only save double work: without them what is stored is right
too, because a pack's checksums are those of the writer that committed it. Where the system has no such locks (outside
Linux, some network file systems) every claim succeeds.
"""

import errno
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from biocache.store.records import RECORD_PATH

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None  # type: ignore[assignment]

__all__ = ["Claims", "is_claimed"]

# Locks of the open file description: unlike POSIX record locks they survive another close in this process.
_TRY = getattr(fcntl, "F_OFD_SETLK", None)
_WAIT = getattr(fcntl, "F_OFD_SETLKW", None)
_WRITE = getattr(fcntl, "F_WRLCK", 0)
_UNLOCK = getattr(fcntl, "F_UNLCK", 0)
_BASE = 1 << 40
_BUSY = {errno.EACCES, errno.EAGAIN}


def _lock(fd: int, command: int | None, kind: int, start: int, length: int) -> bool:
    if fcntl is None or command is None:
        return True
    try:
        # struct flock: type, whence, start, length, pid; the pid must be 0 for these locks.
        fcntl.fcntl(fd, command, struct.pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0))
    except OSError as error:
        return error.errno not in _BUSY
    return True


class Claims:
    """The claims of one writer on the packs of one run.

    Parameters
    ----------
    run
        Folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._fd = os.open(run / RECORD_PATH / "zarr.json", os.O_RDWR)

    def close(self) -> None:
        """Give up all claims."""
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
        with ExitStack() as held:
            for pack in packs:
                if not _lock(self._fd, _WAIT if wait else _TRY, _WRITE, _BASE + pack, 1):
                    held.close()
                    yield False
                    return
                held.callback(_lock, self._fd, _TRY, _UNLOCK, _BASE + pack, 1)
            yield True


def is_claimed(run: Path) -> bool:
    """Return whether a live process is writing to a run."""
    try:
        fd = os.open(run / RECORD_PATH / "zarr.json", os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(fd, _TRY, _WRITE, _BASE, 0)
    finally:
        os.close(fd)
