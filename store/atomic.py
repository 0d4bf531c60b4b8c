"""Files and folders that appear whole or not at all: written to a temporary folder, then renamed into place.

The temporary folder lies on the file system of the place and is named after its process. What a dead process left is
deleted by the next one that writes there, and a folder that it had moved aside is moved back first.
"""

import errno
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from biocache.store.errors import BiocacheError, ResourceError
from biocache.store.text import one_line

__all__ = [
    "ATTEMPTS",
    "PARTIAL",
    "REMOVED",
    "TAKEN",
    "delete_leftovers",
    "is_abandoned",
    "leftovers",
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

_REMOVED_NAME = re.compile(rf"{re.escape(REMOVED)}[0-9a-f]{{32}}")
_REPLACED = "replaced"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def own_path(folder: Path, beginning: str) -> Path:
    """Return a new path in a folder, named after this machine and process."""
    return folder / f"{beginning}{socket.gethostname()}-{os.getpid()}@{uuid.uuid4().hex}"


def is_abandoned(path: Path, beginning: str) -> bool:
    """Return whether a dead process of this machine made a path; see `own_path`."""
    host, _, pid = path.name.partition("@")[0].rpartition("-")
    made_here = host == f"{beginning}{socket.gethostname()}"
    return made_here and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists()


def _abandoned(home: Path) -> list[Path]:
    """Return the temporary folders of dead processes; what they had moved aside is moved back first."""
    found = [entry for entry in home.glob(f"{PARTIAL}*") if is_abandoned(entry, PARTIAL)]
    for folder in found:
        put_back(folder)
    return found


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
    folder.mkdir()
    try:
        yield folder
    finally:
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
    """Rename a finished file or folder to its place; what a folder replaces is moved aside, not deleted, before that.

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
            return
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(target))


def put_back(temporary: Path) -> None:
    """Move what `replace` moved aside back to its place, unless there is something."""
    for aside in (temporary / _REPLACED).glob("*"):
        place = temporary.parent / aside.name
        if not os.path.lexists(place):
            aside.rename(place)


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
    return ResourceError(f"cannot write while {doing}: {one_line(error)}; fix this and run the same command again")
