"""Paths as users write them."""

import os
import re
import stat
from pathlib import Path

from biocache.store.errors import SettingError
from biocache.store.text import printable, shown

__all__ = ["enclosing_zarr", "is_url", "local_path", "require_file", "resolved"]

# One letter before the colon is a Windows drive, unless two slashes follow. A `Path` keeps only one slash.
_URL = re.compile(r"(?![./~])(?:[^/]{2,}:/|[^/]*://)")


def is_url(text: str) -> bool:
    """Return whether a text begins with a scheme, or a chain of them, as ``s3://bucket/x`` does."""
    return _URL.match(text) is not None


def local_path(path: str | os.PathLike[str], what: str) -> Path:
    """Return the path that a user named, ``~`` replaced by the home folder.

    Parameters
    ----------
    path
        As it was written.
    what
        What it is of, for the message: an option or a parameter.

    Raises
    ------
    SettingError
        If it is a URL, is not text that every file system and every JSON file can hold, or begins with the home folder
        of an unknown user.
    """
    text = os.fspath(path)
    if is_url(text):
        scheme = printable(text.partition(":/")[0])
        raise SettingError(
            f"{what} {shown(text)} is a URL ({scheme}), and must be a local path: only stores are read and written at "
            "s3://, gs://, az:// and hf://datasets/; copy the data to a disk or mount it (a local folder of this name "
            f"is ./{scheme}:)"
        )
    if not text or "\0" in text:
        raise SettingError(f"{what} {shown(text)} is no path; name a folder or file")
    try:
        os.path.abspath(text).encode()  # noqa: PTH100  (Path.resolve would follow links)
    except UnicodeEncodeError:
        raise SettingError(
            f"{what} {shown(os.path.abspath(text))} is not UTF-8, so that no JSON file can name it; rename the folder, "  # noqa: PTH100
            "or name it through a link"
        ) from None
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SettingError(f"{what} {shown(text)}: no home folder of that user; write the path in full") from None


def require_file(path: Path) -> None:
    """Refuse anything but a regular file: opening a pipe would block.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    OSError
        If there is something else, or its status cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path.name} is not a regular file")


def enclosing_zarr(path: Path) -> Path | None:
    """Return the outermost Zarr group or array that a path lies in; None where it lies in none."""
    folders = Path(os.path.realpath(path)).parents
    return next((folder for folder in reversed(folders) if (folder / "zarr.json").exists()), None)


def resolved(path: Path) -> Path:
    """Return an absolute path without links; with links where the real path is not UTF-8."""
    real = os.path.realpath(path)
    try:
        real.encode()
    except UnicodeEncodeError:
        return Path(os.path.abspath(path))  # noqa: PTH100  (Path.resolve follows links)
    return Path(real)
