"""Where a store is kept: objects by path, each of which appears whole or not at all.

A path is text with ``/`` between its parts. Everything below `biocache.store` reads and writes through this interface;
`Folder` is a folder of a local or shared file system.
"""

import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from biocache.store.atomic import TAKEN, install, remove, replacing, temporary_folder
from biocache.store.errors import SettingError
from biocache.store.paths import local_path, require_file, resolved

__all__ = ["SCHEMES", "Folder", "StorePlace", "Storage", "below", "open_storage"]

PARTIAL_SUFFIX = ".partial"


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
    def publish(self, files: Mapping[str, bytes], folder: str) -> None:
        """Write a group, the files by path below it, in the place of the one that is there; it appears whole.

        Raises
        ------
        OSError
            If it cannot be written.
        """

    @abstractmethod
    def publish_new(self, files: Mapping[str, bytes], folder: str) -> bool:
        """Write a group where there is nothing, and return whether there was nothing; see `publish`."""

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

    def sync(self, paths: Iterable[str]) -> None:  # noqa: B027  (an object store does nothing)
        """Return once objects that were written cannot be lost by a failure of power."""

    def discard_partial(self, path: str) -> None:  # noqa: B027
        """Delete what a killed process left that was writing an object; no live one may be writing it."""

    def pinned(self, folder: str) -> "Storage":
        """Return the storage of a folder, as it is now: what replaces the folder later is not written to."""
        return _Below(self, folder)

    def close(self) -> None:  # noqa: B027
        """Free what a pinned folder holds."""


class Folder(Storage):
    """A folder of a file system.

    Parameters
    ----------
    path
        The folder.
    name
        Its name in messages; the path by default.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self._name = name or str(path)
        self._pin: int | None = None

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"Folder({self._name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def get(self, path: str) -> bytes:
        """Read a file; see `Storage.get`."""
        file = self.path / path
        try:
            require_file(file)
            return file.read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(f"{file} does not exist") from error

    def put(self, path: str, data: bytes) -> None:
        """Write a file; see `Storage.put`."""
        file = self.path / path
        with suppress(FileNotFoundError):
            _replace(file, data)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        _replace(file, data)

    def create(self, path: str, data: bytes) -> bool:
        """Write a file where there is none; see `Storage.create`."""
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        made = _partial(file)
        try:
            made.write_bytes(data)
            os.link(made, file)
        except FileExistsError:
            return False
        except OSError:
            # A file system without links. Two processes that create a group at once write the same.
            if not made.exists() or file.exists():
                raise
            made.replace(file)
        finally:
            made.unlink(missing_ok=True)
        return True

    def absolute(self) -> "Folder":
        """Return the same folder by its absolute path; see `Storage.absolute`."""
        return Folder(resolved(self.path))

    def local(self, path: str = "") -> Path:
        """Return the file or folder of a path; see `Storage.local`."""
        return self.path / path

    def exists(self, path: str) -> bool:
        """Return whether there is a file; see `Storage.exists`."""
        return (self.path / path).exists()

    def size(self, path: str) -> int:
        """Return the bytes of a file; see `Storage.size`."""
        try:
            return (self.path / path).stat().st_size
        except OSError:
            return 0

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the bytes of all files below a folder; see `Storage.sizes`."""
        top = os.fspath(self.path / folder)
        found: dict[str, int] = {}
        for where, _, names in os.walk(top):
            for name in names:
                file = os.path.join(where, name)  # noqa: PTH118  (faster than Path in a store of many files)
                with suppress(OSError):
                    found[os.path.relpath(file, top).replace(os.sep, "/")] = os.stat(file).st_size  # noqa: PTH116
        return found

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder; see `Storage.folders`."""
        try:
            with os.scandir(self.path / folder) as entries:
                return [entry.name for entry in entries if entry.is_dir()]
        except (FileNotFoundError, NotADirectoryError):  # Another process has removed it meanwhile.
            return []

    def delete(self, path: str) -> None:
        """Delete a file; see `Storage.delete`."""
        (self.path / path).unlink(missing_ok=True)

    def publish(self, files: Mapping[str, bytes], folder: str) -> None:
        """Write the files of a group; see `Storage.publish`."""
        with replacing(self.path / folder) as made:
            write_files(files, made)

    def publish_new(self, files: Mapping[str, bytes], folder: str) -> bool:
        """Write the files of a group where there is nothing; see `Storage.publish_new`."""
        with temporary_folder(self.path) as temporary:
            made = temporary / "made"
            write_files(files, made)
            if folder.startswith("."):
                # No part of the hierarchy, whose groups others make.
                (self.path / folder).parent.mkdir(parents=True, exist_ok=True)
            try:
                made.rename(self.path / folder)
            except OSError as error:
                if error.errno not in TAKEN:
                    raise
                return False
        return True

    def remove(self, folder: str) -> None:
        """Remove a folder; see `Storage.remove`."""
        remove(self.path / folder, self.path)

    def install(self, made: str, place: str) -> None:
        """Put a folder in the place of another one; see `Storage.install`."""
        install(self.path / made, self.path / place, self.path)

    def remove_empty_group(self, folder: str) -> bool:
        """Remove a group that holds nothing; what appears there meanwhile stays; see `Storage.remove_empty_group`."""
        group = self.path / folder
        metadata = group / "zarr.json"
        try:
            if any(entry.name != metadata.name for entry in group.iterdir()):
                return False
            content = metadata.read_bytes() if metadata.exists() else b""
            metadata.unlink(missing_ok=True)
        except FileNotFoundError:  # Another process removes it.
            return True
        try:
            group.rmdir()
        except OSError:
            with suppress(FileNotFoundError):
                metadata.write_bytes(content)
            return False
        return True

    def sync(self, paths: Iterable[str]) -> None:
        """Flush files and the folders that name them to the disk; see `Storage.sync`."""
        files = [self.path / path for path in paths]
        for place in (*files, *sorted({file.parent for file in files})):
            with suppress(PermissionError):  # Windows opens no folders.
                fd = os.open(place, os.O_RDONLY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)

    def discard_partial(self, path: str) -> None:
        """Delete the temporary files of a file; see `Storage.discard_partial`."""
        file = self.path / path
        if file.parent.is_dir():
            for litter in file.parent.glob(f"{file.name}.*{PARTIAL_SUFFIX}"):
                litter.unlink(missing_ok=True)

    def pinned(self, folder: str) -> "Folder":
        """Return the storage of a folder as it is now; see `Storage.pinned`."""
        place = self.path / folder
        fd = None
        with suppress(OSError):
            fd = os.open(place, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        # On Linux a path of this form leads to the open folder, wherever it was moved.
        open_folder = Path(f"/proc/self/fd/{fd}")
        if fd is not None and not open_folder.exists():
            os.close(fd)
            fd = None
        pinned = Folder(place if fd is None else open_folder, self.place(folder))
        pinned._pin = fd
        return pinned

    def close(self) -> None:
        """Close the folder; see `Storage.close`."""
        if self._pin is not None:
            os.close(self._pin)
            self._pin = None


class _Below(Storage):
    """A folder of another storage."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = folder

    def __str__(self) -> str:
        return self._storage.place(self._folder)

    def get(self, path: str) -> bytes:
        return self._storage.get(below(self._folder, path))

    def put(self, path: str, data: bytes) -> None:
        self._storage.put(below(self._folder, path), data)

    def create(self, path: str, data: bytes) -> bool:
        return self._storage.create(below(self._folder, path), data)

    def exists(self, path: str) -> bool:
        return self._storage.exists(below(self._folder, path))

    def size(self, path: str) -> int:
        return self._storage.size(below(self._folder, path))

    def install(self, made: str, place: str) -> None:
        self._storage.install(below(self._folder, made), below(self._folder, place))

    def sizes(self, folder: str) -> dict[str, int]:
        return self._storage.sizes(below(self._folder, folder))

    def folders(self, folder: str) -> list[str]:
        return self._storage.folders(below(self._folder, folder))

    def delete(self, path: str) -> None:
        self._storage.delete(below(self._folder, path))

    def publish(self, files: Mapping[str, bytes], folder: str) -> None:
        self._storage.publish(files, below(self._folder, folder))

    def publish_new(self, files: Mapping[str, bytes], folder: str) -> bool:
        return self._storage.publish_new(files, below(self._folder, folder))

    def remove(self, folder: str) -> None:
        self._storage.remove(below(self._folder, folder))

    def remove_empty_group(self, folder: str) -> bool:
        return self._storage.remove_empty_group(below(self._folder, folder))


#: How the URLs of object stores begin; ``memory`` lasts as long as the process.
SCHEMES = ("s3", "gs", "az", "memory")

#: What names a store: its storage, its folder, or its URL.
StorePlace = Storage | str | os.PathLike[str]


def open_storage(place: StorePlace, options: Mapping[str, str] | None = None) -> Storage:
    """Return the storage of a place.

    Parameters
    ----------
    place
        A folder, the URL of an object store (``s3://``, ``gs://``, ``az://``), or a storage, which is returned.
    options
        Credentials, endpoint and the like of an object store; see `biocache.store.objects.ObjectStorage`.

    Raises
    ------
    SettingError
        If it is neither, or the options are not of that object store.
    """
    if isinstance(place, Storage):
        return place
    scheme = place.partition("://")[0] if isinstance(place, str) else ""
    if scheme in SCHEMES:
        from biocache.store.objects import ObjectStorage

        return ObjectStorage(str(place), options)
    folder = Folder(local_path(place, "--store"))
    if options:
        raise SettingError(f"--storage-option is of object stores, and {folder} is a folder")
    return folder


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files, by path below a folder, that nobody reads yet."""
    for parent in sorted({(folder / path).parent for path in files}):
        parent.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        (folder / path).write_bytes(data)


def _partial(file: Path) -> Path:
    return file.with_name(f"{file.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")


def _replace(file: Path, data: bytes) -> None:
    made = _partial(file)
    try:
        made.write_bytes(data)
        made.replace(file)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
