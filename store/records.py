"""Commit records: the small files that make a pack exist."""

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import google_crc32c

from biocache.store.errors import IntegrityError
from biocache.store.metadata import Natural, decoded
from biocache.store.sealing import Group
from biocache.store.storage import Storage, below
from biocache.store.text import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "RECORD_PATH",
    "PackRecord",
    "Records",
    "encode_record",
    "read_record",
    "record_path",
    "recorded_packs",
]

RECORD_PATH = "packs/record"


@dataclass(frozen=True, slots=True)
class PackRecord:
    """The record of a committed pack.

    Attributes
    ----------
    run
        Digest of the run that the pack is of.
    pack
        The pack.
    checksums
        CRC-32C of the valid entries of every layer's chunk, little-endian and in row-major order, by variable; those
        of its scales under their names.
    stored_bytes
        Bytes of the pack's chunks on disk.
    time
        UTC time of the commit, ISO 8601.
    host
        Name of the machine that committed it.
    errors
        What the data type cost: a number for each layer, by variable and measure (`biocache.store.certificate`); empty
        where it was not measured.
    """

    run: str
    pack: Natural
    checksums: dict[str, list[Natural]]
    stored_bytes: Natural
    time: str
    host: str
    errors: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def matches(self, name: str, index: int, values: "NDArray[Any]") -> bool:
        """Return whether values are those that were committed.

        Parameters
        ----------
        name
            ``hidden``, ``attention``, ``norms``, or the name of a scale.
        index
            Position along ``layer``.
        values
            What is stored, without fill.
        """
        from biocache.store.checks import checksum

        stored = self.checksums.get(name, [])
        return index < len(stored) and checksum(values) == stored[index]


def record_path(pack: int) -> str:
    """Return the path of the record of a pack below its run."""
    return f"{RECORD_PATH}/c/{pack}"


def encode_record(record: PackRecord) -> bytes:
    """Return a record as it is stored: a chunk with one text.

    It holds a count of 1 and the length of the text (both 32-bit little-endian), the text, and the CRC-32C of all
    before it: the ``vlen-utf8`` and ``crc32c`` codecs of Zarr, written and read here without opening an array, since a
    catalog reads thousands.
    """
    text = json.dumps(asdict(record), separators=(",", ":")).encode()
    body = struct.pack("<II", 1, len(text)) + text
    return body + struct.pack("<I", google_crc32c.value(body))


def read_record(storage: Storage, run: str, pack: int, digest: str, data: bytes | None = None) -> PackRecord:
    """Read the record of a pack, which is committed if this succeeds.

    Parameters
    ----------
    storage, run
        Where the run is.
    pack
        The pack.
    digest
        Digest of the run.
    data
        The stored record, where it was read before.

    Raises
    ------
    IntegrityError
        If the record is missing, damaged, or of another run or pack.
    """
    try:
        if data is None:
            data = storage.get(below(run, record_path(pack)))
        body, crc = data[:-4], int.from_bytes(data[-4:], "little")
        if len(data) < 12 or google_crc32c.value(body) != crc:
            raise ValueError("checksum does not match")
        record = decoded(body[8:], PackRecord)
        if record.run != digest:
            raise ValueError("it is of another run")
        if record.pack != pack:
            raise ValueError(f"it is of pack {record.pack}")
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"commit record of pack {pack} of {storage.place(run)} cannot be used ({one_line(error)}); run the same "
            "`biocache extract` again to compute this pack anew"
        ) from error
    return record


class Records:
    """The commit records of a run as they were when it was opened: each is read once.

    Parameters
    ----------
    run
        The run.
    """

    def __init__(self, run: Group) -> None:
        self._run = run
        self._known: dict[int, PackRecord] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process reads those that it needs.
        return type(self), (self._run,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Records) and self._run == other._run

    def __hash__(self) -> int:
        return hash(self._run)

    def __dask_tokenize__(self) -> object:
        return self._run

    def known(self, pack: int) -> PackRecord:
        """Return the record of a pack; see `read_record`."""
        return self._known[pack] if pack in self._known else self.read(pack)

    def read(self, pack: int, data: bytes | None = None) -> PackRecord:
        """Read the record of a pack as it is now; see `read_record`."""
        run = self._run
        self._known[pack] = read_record(run.storage, run.folder, pack, run.digest, data)
        return self._known[pack]


def recorded_packs(storage: Storage, run: str) -> list[int]:
    """Return the packs for which there is a record, sound or not, ascending."""
    names = storage.sizes(below(run, f"{RECORD_PATH}/c"))
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and name == str(int(name)))
