"""Commit records: the small files that make a pack exist."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import zarr
from numpy.typing import NDArray

from biocache.store.checks import checksum
from biocache.store.errors import IntegrityError
from biocache.store.metadata import Natural, decoded
from biocache.store.paths import require_file

__all__ = ["PackRecord", "committed_packs", "read_record", "sweep", "write_record"]

RECORD_PATH = "packs/record"


@dataclass(frozen=True, slots=True)
class PackRecord:
    """What is known of a committed pack.

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

    def matches(self, name: str, index: int, values: NDArray[Any]) -> bool:
        """Return whether values are those that were committed.

        Parameters
        ----------
        name
            ``hidden`` or ``attention``.
        index
            Position along ``layer``.
        values
            (token, feature) or (head, pair), without fill.
        """
        stored = self.checksums.get(name, [])
        return index < len(stored) and checksum(values) == stored[index]


def sweep(chunk: Path) -> None:
    """Remove what a killed writer of a chunk left beside it."""
    if chunk.parent.is_dir():
        for litter in chunk.parent.glob(f"{chunk.name}.*.partial"):
            litter.unlink(missing_ok=True)


def _chunk_path(run: Path, pack: int) -> Path:
    return run / RECORD_PATH / "c" / str(pack)


def write_record(run: Path, pack: int, record: PackRecord) -> None:
    """Commit a pack. The record's chunk appears whole or not at all."""
    sweep(_chunk_path(run, pack))
    array = zarr.open_array(run / RECORD_PATH, mode="r+")
    array[pack] = json.dumps(asdict(record), separators=(",", ":"))


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
    path = _chunk_path(run, pack)
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

    def found() -> Iterator[int]:
        folder = run / RECORD_PATH / "c"
        if folder.is_dir():
            for entry in folder.iterdir():
                if entry.name.isdecimal() and entry.name == str(int(entry.name)):
                    yield int(entry.name)

    return sorted(found())
