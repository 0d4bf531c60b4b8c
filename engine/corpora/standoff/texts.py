"""Whole files of text, and their beginnings."""

import codecs
import zlib
from pathlib import Path

from biocache.engine.corpora.lines import open_bytes, refuse_unreadable
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
        with open_bytes(path) as file:
            data = file.read().removeprefix(codecs.BOM_UTF8)
    except (OSError, EOFError, zlib.error) as error:
        refuse_unreadable(path, 1, error)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line, problem = 1 + data.count(b"\n", 0, error.start), f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise DataError(f"{path}:{line}: {problem}; save the file as UTF-8") from None


def beginning(path: Path) -> str:
    """Return the first characters of a file, whatever it is; nothing where it cannot be read."""
    try:
        with open_bytes(path) as file:
            return file.read(_BEGINNING).removeprefix(codecs.BOM_UTF8).decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""
