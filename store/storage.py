"""Where a store is kept: objects by path, each of which appears whole or not at all.

A path is text with ``/`` between its parts. Everything below `biocache.store` reads and writes through this interface:
`biocache.store.folders` has it on file systems, `biocache.store.objects` in object stores, `biocache.store.hub` in
repositories of the Hugging Face hub.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

from biocache.store.errors import SettingError
from biocache.store.paths import local_path

__all__ = ["SCHEMES", "Storage", "StorePlace", "below", "open_storage"]


def below(folder: str, name: str) -> str:
    """Return the path of a name in a folder; the root is the empty path."""
    return f"{folder}/{name}" if folder else name


class Storage(ABC):
    """Objects by path, each of which appears whole or not at all.

    Attributes
    ----------
    at_once
        Objects worth reading at the same time, because each mostly waits.
    """

    at_once = 1

    @abstractmethod
    def __str__(self) -> str:
        """Return the path or URL as its user would write it."""

    @abstractmethod
    def get(self, path: str) -> bytes:
        """Read an object.

        Raises
        ------
        FileNotFoundError
            If there is none.
        OSError
            If it cannot be read, or is no regular file.
        """

    @abstractmethod
    def put(self, path: str, data: bytes) -> None:
        """Write an object; one that is there is replaced.

        Raises
        ------
        OSError
            If it cannot be written.
        """

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """Write an object where there is none, and return whether there was none; see `put`."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Return whether there is an object."""

    @abstractmethod
    def size(self, path: str) -> int:
        """Return the bytes of an object; 0 where there is none."""

    @abstractmethod
    def sizes(self, folder: str) -> dict[str, int]:
        """Return the bytes of all objects below a folder, by their path below it; none where there is no folder."""

    @abstractmethod
    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder; none where there is no folder."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete an object, if it is there."""

    @abstractmethod
    def publish(self, files: Mapping[str, bytes], folder: str) -> bool:
        """Write a group, the files by path below it, where there is nothing, and return whether there was nothing.

        It appears whole.

        Raises
        ------
        OSError
            If it cannot be written.
        """

    @abstractmethod
    def remove(self, folder: str) -> None:
        """Remove a folder: for readers it vanishes at once, then its bytes are freed.

        Raises
        ------
        FileNotFoundError
            If it is gone already.
        """

    @abstractmethod
    def install(self, made: str, place: str) -> None:
        """Put a folder in the place of another one, which is removed.

        A process that is killed on the way leaves the new one whole in one of the two places.
        """

    @abstractmethod
    def remove_empty_group(self, folder: str) -> bool:
        """Remove a group that holds nothing but its ``zarr.json``, and return whether it is gone."""

    def local(self, path: str = "") -> Path:
        """Return the file or folder of a path.

        Raises
        ------
        SettingError
            If this is an object store, which has none.
        """
        raise SettingError(f"{self.place(path)} is no file or folder of this machine")

    def place(self, path: str) -> str:
        """Return where an object or folder is, as a message names it."""
        return f"{self}/{path}" if path else str(self)

    def absolute(self) -> "Storage":
        """Return the same place for a process in another folder."""
        return self

    def get_all(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Read several objects; see `get`."""
        return {path: self.get(path) for path in paths}

    def put_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Write several objects, by path, as they come; see `put`."""
        for path, data in objects:
            self.put(path, data)

    def sync(self, paths: Iterable[str]) -> None:  # noqa: B027  (an object store does nothing)
        """Return once objects that were written cannot be lost by a failure of power."""

    def discard_partial(self, path: str) -> None:  # noqa: B027
        """Delete what a killed process left that was writing an object; no live one may be writing it."""

    def require_writable(self) -> None:  # noqa: B027
        """Refuse a place that only copies of runs are written to.

        Raises
        ------
        ReadOnlyError
            If it is one.
        """

    def receiving(self) -> "Storage":
        """Return the storage that a copy of a run is written to, as the place is now; it ends with `commit`."""
        return self

    def commit(self, message: str) -> None:  # noqa: B027
        """Let all that was put appear at once, where it does not object by object.

        Parameters
        ----------
        message
            What was done, on one line, for the history of the place.
        """

    def pinned(self, folder: str) -> "tuple[Storage, str]":
        """Return where to write to a folder as it is now: a storage, to be closed, and the path of the folder in it.

        Where the system can, what replaces the folder later is not written to.
        """
        return self, folder

    def close(self) -> None:  # noqa: B027
        """Free what a pinned folder holds."""


#: How the URLs of stores begin: object stores, the Hugging Face hub; ``memory`` lasts as long as the process.
SCHEMES = ("s3", "gs", "az", "hf", "memory")

#: What names a store: its storage, its folder, or its URL.
StorePlace = Storage | str | os.PathLike[str]


def open_storage(place: StorePlace, options: Mapping[str, str] | None = None) -> Storage:
    """Return the storage of a place.

    Parameters
    ----------
    place
        A folder, the URL of an object store (``s3://``, ``gs://``, ``az://``) or of a dataset repository
        (``hf://datasets/OWNER/NAME``), or a storage, which is returned.
    options
        Credentials, endpoint and the like of an object store or the hub; see `biocache.store.objects.ObjectStorage` and
        `biocache.store.hub.HubStorage`.

    Raises
    ------
    SettingError
        If it is neither, or the options are not of that place.
    """
    if isinstance(place, Storage):
        return place
    scheme = place.partition("://")[0] if isinstance(place, str) else ""
    if scheme == "hf":
        from biocache.store.hub import HubStorage

        return HubStorage(str(place), options)
    if scheme in SCHEMES:
        from biocache.store.objects import ObjectStorage

        return ObjectStorage(str(place), options)
    from biocache.store.folders import Folder

    folder = Folder(local_path(place, "--store"))
    if options:
        raise SettingError(f"--storage-option is for object stores and the hub, and {folder} is a folder")
    return folder
