"""Commit records: the small files that make a pack exist."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c

from biocache.store.errors import IntegrityError
from biocache.store.metadata import Natural, decoded
from biocache.store.paths import require_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RECORD_PATH", "PackRecord", "committed_packs", "read_record", "record_path"]

RECORD_PATH = "packs/record"


@dataclass(frozen=True, slots=True)
class PackRecord:
    """The record of a committed pack.

    Attributes
    ----------
    checksums
        CRC-32C of the valid entries of every layer's chunk, little-endian and in row-major order, by
        variable.
    stored_bytes
        Bytes of the pack's chunks on disk.
    time
        UTC time of the commit, ISO 8601.
    host
        Name of the machine that committed it.
    """

    checksums: dict[str, list[Natural]]
    stored_bytes: Natural
    time: str
    host: str

    def matches(self, name: str, index: int, values: "NDArray[Any]") -> bool:
        """Return whether values are those that were committed.

        Parameters
        ----------
        name
            ``hidden`` or ``attention``.
        index
            Position along ``layer``.
        values
            (token, feature) or (head, entry), without fill.
        """
        from biocache.store.checks import checksum

        stored = self.checksums.get(name, [])
        return index < len(stored) and checksum(values) == stored[index]


def record_path(run: Path, pack: int) -> Path:
    """Return the file of the record of a pack."""
    return run / RECORD_PATH / "c" / str(pack)


def read_record(run: Path, pack: int) -> PackRecord:
    """Read the record of a committed pack.

    The chunk holds a count of 1 and the length of the text (both 32-bit little-endian), the text, and the
    CRC-32C of all before it: the ``vlen-utf8`` and ``crc32c`` codecs of Zarr, read here without opening an array,
    since a catalog reads thousands.

    Raises
    ------
    IntegrityError
        If the record is missing or damaged.
    """
    path = record_path(run, pack)
    try:
        require_file(path)
        data = path.read_bytes()
        body, crc = data[:-4], int.from_bytes(data[-4:], "little")
        if len(data) < 12 or google_crc32c.value(body) != crc:
            raise ValueError("checksum does not match")
        return decoded(body[8:], PackRecord)
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"commit record of pack {pack} of {run} cannot be read ({error}); delete {path} and run the same "
            "`biocache extract` again to compute this pack anew"
        ) from error


def committed_packs(run: Path) -> list[int]:
    """Return the packs that have a record, ascending."""
    folder = run / RECORD_PATH / "c"
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal() and name == str(int(name)))
