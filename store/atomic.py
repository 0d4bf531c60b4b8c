"""Files and folders that appear whole or not at all: written to a temporary folder, then renamed into place.

The temporary folder lies on the file system of the place. Its process holds a lock on a file in it, which the kernel
drops when the process ends: what a dead process left is deleted by the next one that writes there, and a folder that it
had moved aside is moved back first. What another machine left is deleted when it is old enough, too: not every network
file system passes locks on.
"""

import ctypes
import errno
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from biocache.store.errors import BiocacheError, ReadOnlyError, ResourceError
from biocache.store.locks import Lock, lock, probe_lock
from biocache.store.text import one_line

__all__ = [
    "ATTEMPTS",
    "PARTIAL",
    "QUIET_SECONDS",
    "REMOVED",
    "TAKEN",
    "delete_leftovers",
    "install",
    "is_abandoned",
    "is_quiet",
    "leftovers",
    "locked_file",
    "own_path",
    "put_back",
    "remove",
    "replace",
    "replacing",
    "temporary_folder",
    "write_error",
]

#: How the names of temporary folders begin.
PARTIAL = ".partial-"
#: How the names of folders begin that were removed and whose bytes are not all freed.
REMOVED = ".removed-"
#: Numbers of the errors that a rename onto a folder with entries raises.
TAKEN = {errno.ENOTEMPTY, errno.EEXIST}
#: Times to try for a place that other processes write to and remove.
ATTEMPTS = 5

#: Age from which what has no lock, or one of another machine, counts as left by a dead process.
QUIET_SECONDS = 3600.0

_LOCK = ".lock"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# Names of the temporary folders of this process: its threads leave those of each other alone.
_OWN: set[str] = set()
_REMOVED_NAME = re.compile(rf"{re.escape(REMOVED)}[0-9a-f]{{32}}")
_REPLACED = "replaced"
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def own_path(folder: Path, beginning: str) -> Path:
    """Return a new path in a folder, named after this machine."""
    return folder / f"{beginning}{socket.gethostname()}@{uuid.uuid4().hex}"


def is_quiet(path: Path) -> bool:
    """Return whether nothing has changed at a path and below for a while."""
    newest = 0.0
    try:
        for place in (path, *path.rglob("*")):
            with suppress(PermissionError):
                newest = max(newest, place.lstat().st_ctime)
    except (FileNotFoundError, NotADirectoryError):  # Somebody deletes or renames it, or what is in it.
        return False
    return time.time() - newest >= QUIET_SECONDS


def is_abandoned(path: Path, file: Path, beginning: str) -> bool:
    """Return whether the process is dead that made a path with `own_path`.

    Parameters
    ----------
    path
        What it made.
    file
        The file that it holds a lock of as long as it lives; it may not be there yet.
    beginning
        How the names of such paths begin.
    """
    if path.name in _OWN:
        return False
    asked = probe_lock(file)
    if asked is Lock.BUSY:
        return False
    made_here = path.name.startswith(f"{beginning}{socket.gethostname()}@")
    return (asked is Lock.HELD and made_here) or is_quiet(path)


def _abandoned(home: Path) -> list[Path]:
    """Return the temporary folders of dead processes; what they had moved aside is moved back first."""
    found = [entry for entry in home.glob(f"{PARTIAL}*@*") if is_abandoned(entry, entry / _LOCK, PARTIAL)]
    for folder in found:
        put_back(folder)
    return found


@contextmanager
def locked_file(file: Path, content: str = "") -> Iterator[None]:
    """Make a file that this process holds a lock of for the length of the context; it appears with the lock.

    Where there are no locks it does not appear, and its age alone says whether the process is dead.
    """
    made = file.with_name(f"{file.name}.new")
    fd = os.open(made, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.write(fd, content.encode())
        if lock(fd) is Lock.HELD:
            made.replace(file)
        yield
    finally:
        os.close(fd)
        made.unlink(missing_ok=True)


def leftovers(home: Path) -> list[Path]:
    """Return what dead processes left in a folder that `remove` was given: temporary folders, and removed ones."""
    removed = (entry for entry in home.glob(f"{REMOVED}*") if _REMOVED_NAME.fullmatch(entry.name))
    return [*_abandoned(home), *removed]


def delete_leftovers(home: Path) -> None:
    """Delete what dead processes left in a folder; see `leftovers`."""
    for folder in leftovers(home):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_folder(home: Path) -> Iterator[Path]:
    """Give a new folder in another one, which may be the user's; delete those of dead processes there."""
    for abandoned in _abandoned(home):
        shutil.rmtree(abandoned, ignore_errors=True)
    folder = own_path(home, PARTIAL)
    _OWN.add(folder.name)
    folder.mkdir()
    try:
        with locked_file(folder / _LOCK):
            yield folder
    finally:
        _OWN.discard(folder.name)
        put_back(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path to write a file or folder to, which then replaces what is at the target.

    Where the context raises, the target stays as it is.
    """
    with temporary_folder(target.parent) as folder:
        yield folder / target.name
        replace(folder / target.name, target, folder)


def replace(made: Path, target: Path, temporary: Path) -> None:
    """Rename a finished file or folder to its place.

    A folder and the one that it replaces are exchanged in one step where the system can; elsewhere the old one is moved
    aside before that, not deleted.

    Parameters
    ----------
    made
        What is finished.
    target
        Its place.
    temporary
        A folder beside the target. If the process dies before the new folder is in place, `put_back` with this folder
        restores the old one.
    """
    aside = temporary / _REPLACED / target.name
    for _ in range(ATTEMPTS):
        if made.is_dir() and target.is_dir() and _renamed_as_one(made, target):
            shutil.rmtree(made, ignore_errors=True)
            return
        if made.is_dir() or target.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # There is none, or another process is replacing it.
                target.rename(aside)
        try:
            made.replace(target)
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        else:
            # No longer to be put back, whoever takes the place meanwhile.
            shutil.rmtree(temporary / _REPLACED, ignore_errors=True)
            return
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(target))


def install(made: Path, target: Path, home: Path) -> None:
    """Put a folder in the place of another one, which is removed; in one step where the system can.

    Elsewhere a process that is killed between two steps leaves nothing in the place, and the new folder where it was.

    Parameters
    ----------
    made
        The new folder.
    target
        Its place.
    home
        As of `remove`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(target):
        made.rename(target)
    elif _renamed_as_one(made, target):
        remove(made, home)
    else:
        doomed = home / f"{REMOVED}{uuid.uuid4().hex}"
        target.rename(doomed)
        made.rename(target)
        shutil.rmtree(doomed, ignore_errors=True)


def _renamed_as_one(first: Path, second: Path) -> bool:
    """Exchange two paths by Linux's ``renameat2``, and return whether it could."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)


def put_back(temporary: Path) -> None:
    """Move what `replace` moved aside back to its place, unless there is something."""
    try:
        for aside in (temporary / _REPLACED).iterdir():
            place = temporary.parent / aside.name
            if not os.path.lexists(place):
                aside.rename(place)
    except OSError as error:
        # There is none, another process has put it back or deleted it, or something has just taken the place.
        if error.errno not in {errno.ENOENT, *TAKEN}:
            raise


def remove(folder: Path, home: Path) -> None:
    """Remove a folder: it vanishes at once, then its bytes are freed.

    Parameters
    ----------
    folder
        What is removed.
    home
        Folder in which what a killed process did not free is found by the next one that writes there.

    Raises
    ------
    FileNotFoundError
        If it is gone already.
    """
    doomed = home / f"{REMOVED}{uuid.uuid4().hex}"
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def write_error(error: OSError, doing: str) -> BiocacheError:
    """Return the error that says what an error of the system means for what was being written."""
    if isinstance(error, BiocacheError):
        return error
    if error.errno in _NO_SPACE:
        return ResourceError(
            f"the disk is full or a file limit is reached while {doing} ({one_line(error)}); what is committed is "
            "safe: free space and run the same command again to finish"
        )
    kind = ReadOnlyError if error.errno in _NOT_WRITABLE else ResourceError
    return kind(f"cannot write while {doing}: {one_line(error)}; fix this and run the same command again")
