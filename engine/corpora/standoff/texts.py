"""Whole files of text, and their beginnings."""

import codecs
from pathlib import Path

from biocache.store.errors import DataError

__all__ = ["beginning", "read_text"]

_BEGINNING = 65536


def read_text(path: Path) -> str:
    """Return a file of UTF-8 as it is, line breaks included, without a byte order mark.

    Raises
    ------
    DataError
        If it cannot be read or is not UTF-8.
    """
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise DataError(f"{path}:1: cannot be read ({error.strerror}); check the file's permissions") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line, problem = 1 + data.count(b"\n", 0, error.start), f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise DataError(f"{path}:{line}: {problem}; save the file as UTF-8") from None


def beginning(path: Path) -> str:
    """Return the first characters of a file, whatever it is; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_BEGINNING).removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    except OSError:
        return ""
