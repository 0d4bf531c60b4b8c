"""Text files of a corpus: their lines, decoded and numbered, compressed or not."""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from biocache.store.errors import DataError

__all__ = [
    "COMPRESSED",
    "UNREADABLE",
    "decoded",
    "is_no_data",
    "open_bytes",
    "read_blocks",
    "read_lines",
    "refuse_unreadable",
]

#: Suffix of a compressed text file, after the suffix of its format.
COMPRESSED = ".gz"

_BLOCK = 1 << 18

#: What reading the bytes of a file can raise, and decoding them.
UNREADABLE = (OSError, EOFError, zlib.error, UnicodeDecodeError)


# Files beside a corpus that are no part of it.
_NO_DATA = re.compile(
    r"(readme|licen[cs]e|notice|changelog|changes|labels?|classes|requirements|dataset_infos?|state)\b"
)


def is_no_data(path: Path) -> bool:
    """Return whether the name of a file says that it is beside a corpus and no part of it."""
    return bool(_NO_DATA.match(path.name.lower()))


def open_bytes(path: Path) -> BinaryIO:
    """Open a file to read its bytes, decompressed where its name ends with ``.gz``."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix.lower() == COMPRESSED else path.open("rb")


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file of UTF-8, each with its line feed, one in memory at a time.

    Lines end at line feeds only: U+2028 and similar characters may be part of a text.

    Raises
    ------
    DataError
        If the file cannot be read, is empty or is not UTF-8.
    """
    number, begun = 0, False
    try:
        with open_bytes(path) as file:
            for number, data in enumerate(file, start=1):
                line = data.removeprefix(codecs.BOM_UTF8) if number == 1 else data
                begun = begun or bool(line)
                yield line.decode() if line.isascii() else decoded(path, number, line)
    except (OSError, EOFError, zlib.error) as error:
        refuse_unreadable(path, number + 1, error)
    if not begun:
        raise DataError(f"{path}:1: the file is empty; fill it, or remove it if the split does not exist")


def read_blocks(path: Path) -> Iterator[str]:
    """Yield the text of a file in parts of many lines, each of which ends before an empty line.

    Of a carriage return and a line feed the line feed is left.

    Raises
    ------
    OSError, EOFError, zlib.error, UnicodeDecodeError
        If the file cannot be read, or is not UTF-8; `read_lines` says where.
    """
    rest = bytearray()
    with open_bytes(path) as file:
        part = file.read(_BLOCK).removeprefix(codecs.BOM_UTF8)
        while part:
            # What was there before has no empty line, but where its last two bytes begin one.
            searched = max(0, len(rest) - 2)
            rest += part
            end = max(rest.rfind(b"\n\n", searched), rest.rfind(b"\n\r\n", searched)) + 1
            if end:
                yield rest[:end].decode().replace("\r\n", "\n")
                del rest[:end]
            part = file.read(_BLOCK)
    yield rest.decode().replace("\r\n", "\n")


def refuse_unreadable(path: Path, number: int, error: Exception) -> NoReturn:
    """Raise a `DataError` of a file that the system cannot read, or whose compression is damaged."""
    reason = getattr(error, "strerror", None)
    if reason:
        raise DataError(f"{path}:{number}: cannot be read ({reason}); check the file's permissions") from None
    reason = " ".join(str(error).split()) or type(error).__name__
    raise DataError(f"{path}:{number}: cannot be decompressed ({reason}); copy or download the file again") from None


def decoded(path: Path, number: int, line: bytes) -> str:
    """Return a line as text.

    Raises
    ------
    DataError
        If it is not UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        problem = f"byte 0x{line[error.start]:02x} is not UTF-8"
        raise DataError(f"{path}:{number}: {problem}; save the file as UTF-8") from None
