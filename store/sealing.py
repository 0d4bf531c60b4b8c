"""Seals: groups of a store whose every byte that decides an answer is under a checksum.

A run and a result are Zarr groups, a result in an archive of its own. When one is made, the attributes of its
``zarr.json`` get its place in the store, the SHA-256 of each of its files (``files``; of a run all but activations and
commit records, which have their own checksums), and last a SHA-256 of all these attributes (``digest``). What was
changed, exchanged with that of another group, or moved to another place differs from what one of the two says.

| what | checked | by |
| --- | --- | --- |
| attributes of a run or result | when it is opened | `read_sealed` |
| table of a run | when it is read | `Sealed.read` |
| all of a result | when it is read | `biocache.store.results.StoredResult.load` |
| commit record of a pack | once for an opened run | `biocache.store.records.Records` |
| activations | each time that a chunk is read | `biocache.store.chunks.Chunks.read_committed` |
| all of these, what the tables say, and results | by ``biocache verify`` | `biocache.store.integrity` |
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from biocache.store.errors import RunNotFoundError
from biocache.store.groups import check_format, read_group_attributes
from biocache.store.metadata import MetadataError, as_type
from biocache.store.spec import FORMAT_VERSION
from biocache.store.storage import Storage, below

__all__ = ["Group", "Seal", "Sealed", "check_seal", "digest_of", "read_sealed", "require_written", "seal"]

_METADATA = "zarr.json"


def digest_of(value: Any) -> str:
    """Return the SHA-256 (hexadecimal) of a value as JSON with sorted keys.

    Raises
    ------
    TypeError, ValueError, RecursionError
        If it is not JSON.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Seal:
    """The part of the attributes that is of the seal.

    Attributes
    ----------
    place
        Path below the store that the group was made for.
    digest
        SHA-256 (hexadecimal) of all other attributes.
    files
        SHA-256 (hexadecimal) of the group's files, by path below it.
    """

    place: str
    digest: str
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """A sealed group as it was when it was opened; small, to be sent to workers.

    Attributes
    ----------
    storage
        Where the store is.
    folder
        Path of the group.
    digest
        SHA-256 (hexadecimal) of its attributes, which are of this group alone.
    """

    storage: Storage
    folder: str
    digest: str

    @property
    def where(self) -> str:
        """The place, as messages name it."""
        return self.storage.place(self.folder)

    def is_same(self) -> bool:
        """Return whether the group is still there, and no other one in its place."""
        return _digest_at(self.storage, self.folder) == self.digest

    def require_same(self) -> None:
        """Refuse a run that is no longer what it was when it was opened.

        Raises
        ------
        RunNotFoundError
            If it was removed or replaced.
        """
        found = _digest_at(self.storage, self.folder)
        if found != self.digest:
            what = "replaced by another one" if found else "removed"
            raise RunNotFoundError(f"run {self.where} was {what} after it was opened; run the same command again")


@dataclass(frozen=True, eq=False)
class Sealed:
    """A sealed group and what its seal is of.

    Attributes
    ----------
    group
        The group.
    attributes
        biocache's own attributes of it.
    others
        Its other attributes.
    files
        SHA-256 (hexadecimal) of its files, by path below it.
    """

    group: Group
    attributes: dict[str, Any]
    others: dict[str, Any]
    files: Mapping[str, str]

    def read(self, *folders: str) -> dict[str, bytes]:
        """Read the files of some folders below the group, by default all, by path below it.

        Raises
        ------
        OSError
            If one is missing or cannot be read.
        MetadataError
            If one is not what was written.
        """
        wanted = [
            path for path in self.files if not folders or any(path.startswith(f"{folder}/") for folder in folders)
        ]
        found = self.group.storage.get_all(below(self.group.folder, path) for path in wanted)
        files = dict(zip(wanted, found.values(), strict=True))
        for path, data in files.items():
            require_written(self.files, path, data)
        return files

    def read_file(self, path: str) -> bytes:
        """Read one file; see `read`."""
        data = self.group.storage.get(below(self.group.folder, path))
        require_written(self.files, path, data)
        return data


def require_written(files: Mapping[str, str], path: str, data: bytes) -> None:
    """Refuse a file that is not what was written.

    Parameters
    ----------
    files
        SHA-256 (hexadecimal) of the files of a sealed group, by path below it.
    path, data
        The file.

    Raises
    ------
    MetadataError
        If its checksum does not match.
    """
    if hashlib.sha256(data).hexdigest() != files.get(path):
        raise MetadataError(f"{path} is not what was written: its checksum does not match")


def _digest_at(storage: Storage, folder: str) -> str:
    """Return what the ``zarr.json`` of a group says is its digest; nothing where there is none."""
    try:
        own = read_group_attributes(storage, folder).get("biocache")
    except (OSError, ValueError):
        return ""
    return str(own.get("digest", "")) if isinstance(own, dict) else ""


def seal(files: Mapping[str, bytes], attributes: Mapping[str, Any], place: str) -> dict[str, bytes]:
    """Seal the files of a group, by path below it.

    Parameters
    ----------
    files
        The files, with the group's ``zarr.json``.
    attributes
        biocache's own attributes of the group, as JSON can hold them.
    place
        Path of the group below the store; of a result that of its archive.

    Returns
    -------
    dict
        The files; the group's ``zarr.json``, which completes it, last.
    """
    others = {path: data for path, data in sorted(files.items()) if path != _METADATA}
    own = {
        "format_version": FORMAT_VERSION,
        "place": place,
        **attributes,
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in others.items()},
    }
    metadata = json.loads(files[_METADATA])
    digest = digest_of(metadata["attributes"] | {"biocache": own})
    metadata["attributes"]["biocache"] = own | {"digest": digest}
    return others | {_METADATA: json.dumps(metadata, indent=1).encode()}


def read_sealed(storage: Storage, folder: str, place: str) -> Sealed:
    """Read the attributes of a sealed group, and check them.

    Parameters
    ----------
    storage, folder
        Where it is.
    place
        Path below the store that it was made for.

    Raises
    ------
    FileNotFoundError
        If there is no ``zarr.json``.
    StoreFormatError
        If it is not the metadata of a group of this format version; `NewerFormatError` if it is of a newer one.
    MetadataError
        If its attributes are not those that were written, or it was made for another place.
    """
    attributes = read_group_attributes(storage, folder)
    own, found = check_seal(attributes, place, storage.place(folder))
    others = {name: value for name, value in attributes.items() if name != "biocache"}
    return Sealed(Group(storage, folder, found.digest), own, others, found.files)


def check_seal(attributes: dict[str, Any], place: str, where: str) -> tuple[dict[str, Any], Seal]:
    """Check the attributes of a sealed group.

    Parameters
    ----------
    attributes
        All of them.
    place
        Path below the store that the group was made for.
    where
        Its place, as messages name it.

    Returns
    -------
    tuple of dict and Seal
        biocache's own attributes, and those of them that are of the seal.

    Raises
    ------
    StoreFormatError, MetadataError
        As `read_sealed`.
    """
    own = check_format(attributes, where)
    found = as_type(own, Seal)
    unsealed = {name: value for name, value in own.items() if name != "digest"}
    try:
        digest = digest_of(attributes | {"biocache": unsealed})
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"its attributes are no JSON ({error})") from error
    if digest != found.digest:
        raise MetadataError("its attributes are not those that were written: their checksum does not match")
    if found.place != place:
        raise MetadataError(f"it is {found.place}, and was copied or moved here")
    return own, found
