"""JSON that may be damaged or written by others: read as declared types, or refused with one error.

The content of a file is declared once, as a dataclass, which msgspec checks while it reads. JSON of any shape, depth or
size of numbers becomes a value of that type or raises `MetadataError`.
"""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from biocache.store.paths import require_file
from biocache.store.text import one_line

__all__ = ["MetadataError", "Natural", "as_type", "decoded", "read_json"]

_Kind = TypeVar("_Kind")

#: A count or position: what a signed 64-bit integer can hold, not negative.
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class MetadataError(ValueError):
    """JSON is not of the declared type; callers add the file and the next step."""


def decoded(data: bytes, kind: type[_Kind]) -> _Kind:
    """Decode JSON as a type.

    Parameters
    ----------
    data
        UTF-8.
    kind
        A dataclass or any other type that msgspec knows. Unknown fields are ignored.

    Raises
    ------
    MetadataError
        If the bytes are not JSON, or not of that type.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:
        raise MetadataError(one_line(error)) from error


def as_type(value: Any, kind: type[_Kind]) -> _Kind:
    """Return plain JSON values as a type; see `decoded`.

    Raises
    ------
    MetadataError
        If they are not of that type.
    """
    try:
        return msgspec.convert(value, kind)
    except (ValueError, RecursionError) as error:
        raise MetadataError(one_line(error)) from error


def read_json(path: Path, kind: type[_Kind]) -> _Kind:
    """Read a file of JSON as a type; see `decoded`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    MetadataError
        If it is no regular file, cannot be read, is not JSON or not of that type.
    """
    try:
        require_file(path)
        return decoded(path.read_bytes(), kind)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{path} does not exist") from error
    except OSError as error:
        raise MetadataError(one_line(error)) from error
