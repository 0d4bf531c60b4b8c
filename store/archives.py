"""Archives: several files in one object, as Zarr's ``ZipStore`` reads them."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from biocache.store.metadata import MetadataError
from biocache.store.text import one_line

__all__ = ["packed", "unpacked"]

# What reading a damaged archive can raise.
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, LookupError, RuntimeError),
    *(ArithmeticError, AttributeError, TypeError, struct.error),
)
# Of every file in every archive, so that the same files are the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return files, by path, as a ZIP archive that compresses nothing."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, _TIME), data)
    return made.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    """Return the files of an archive, by path.

    Raises
    ------
    MetadataError
        If it is none that `packed` makes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            # What claims to be larger than its archive is damaged, or made to fill the memory.
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
            if not stored or sum(entry.file_size for entry in entries) > len(data):
                raise ValueError("it holds compressed files")
            return {entry.filename: archive.read(entry) for entry in entries}
    except _UNREADABLE as error:
        raise MetadataError(f"it is no archive of files, or damaged: {one_line(error)}") from error
