"""Locks between processes: held on a range of bytes of a file, and dropped by the kernel when their process ends.

They are locks of the open file, which all processes of a kernel see, whatever container they are in. Where the system
has none (outside Linux, some network file systems) nobody can be seen.
"""

import errno
import os
import struct
from enum import Enum
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows.
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock", "lock", "probe_lock", "unlock"]

# Locks of the open file description: unlike POSIX record locks they survive another close in this process.
_ASK = getattr(fcntl, "F_OFD_GETLK", None)
_TRY = getattr(fcntl, "F_OFD_SETLK", None)
_WAIT = getattr(fcntl, "F_OFD_SETLKW", None)
_WRITE = getattr(fcntl, "F_WRLCK", 0)
_UNLOCK = getattr(fcntl, "F_UNLCK", 0)
# struct flock: type, whence, start, length, pid; the pid must be 0 for these locks.
_FLOCK = "hhqqi0q"
_BUSY = {errno.EACCES, errno.EAGAIN}


class Lock(Enum):
    """What asking for a lock gave."""

    HELD = "held by this process"
    BUSY = "held by another one"
    ABSENT = "this file system has no locks"


def _ask(fd: int, command: int | None, kind: int, start: int, length: int) -> Lock:
    if fcntl is None or command is None:
        return Lock.ABSENT
    try:
        fcntl.fcntl(fd, command, struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0))
    except OSError as error:
        return Lock.BUSY if error.errno in _BUSY else Lock.ABSENT
    return Lock.HELD


def lock(fd: int, start: int = 0, length: int = 0, *, wait: bool = False) -> Lock:
    """Lock a range of an open file, to its end and beyond where the length is 0."""
    return _ask(fd, _WAIT if wait else _TRY, _WRITE, start, length)


def unlock(fd: int, start: int = 0, length: int = 0) -> None:
    """Give up a lock."""
    _ask(fd, _TRY, _UNLOCK, start, length)


def probe_lock(file: Path, start: int = 0) -> Lock | None:
    """Return whether another process holds a lock of a file, from a place to its end; None where it cannot be opened.

    Nothing is locked: `Lock.HELD` says that this process could.
    """
    try:
        fd = os.open(file, os.O_RDWR)
    except OSError:
        return None
    try:
        if fcntl is None or _ASK is None:
            return Lock.ABSENT
        try:
            found = fcntl.fcntl(fd, _ASK, struct.pack(_FLOCK, _WRITE, os.SEEK_SET, start, 0, 0))
        except OSError:
            return Lock.ABSENT
        return Lock.HELD if struct.unpack(_FLOCK, found)[0] == _UNLOCK else Lock.BUSY
    finally:
        os.close(fd)
