"""JSON that others may have damaged or written: read as declared types, or refused in one way.

What a file must hold is declared once, as a dataclass; msgspec checks it while it reads. JSON of any shape, depth or
size of numbers ends in a value of that type or in `MetadataError`.
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
    """JSON is not what it must be; callers say of which file, and what to do."""


def decoded(data: bytes, kind: type[_Kind]) -> _Kind:
    """Decode JSON as a type.

    Parameters
    ----------
    data
        UTF-8.
    kind
        A dataclass or any other type that msgspec knows. Fields that it does not have are passed over.

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
