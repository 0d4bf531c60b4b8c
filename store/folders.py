"""Stores in a folder of a local or shared file system."""

import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from biocache.store.atomic import TAKEN, install, remove, temporary_folder
from biocache.store.paths import require_file, resolved
from biocache.store.storage import Storage

__all__ = ["Folder"]

_PARTIAL_SUFFIX = ".partial"


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

    def publish(self, files: Mapping[str, bytes], folder: str) -> bool:
        """Write the files of a group where there is nothing; see `Storage.publish`."""
        with temporary_folder(self.path) as temporary:
            made = temporary / "made"
            _write_files(files, made)
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
        """Flush files and the folders on the way to them to the disk; see `Storage.sync`."""
        files = [PurePosixPath(path) for path in paths]
        folders = {folder for file in files for folder in file.parents}
        for place in (self.path / part for part in (*files, *sorted(folders, reverse=True))):
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
            for litter in file.parent.glob(f"{file.name}.*{_PARTIAL_SUFFIX}"):
                litter.unlink(missing_ok=True)

    def pinned(self, folder: str) -> "tuple[Folder, str]":
        """Return the folder as it is now; see `Storage.pinned`."""
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
        return pinned, ""

    def close(self) -> None:
        """Close the folder; see `Storage.close`."""
        if self._pin is not None:
            os.close(self._pin)
            self._pin = None


def _write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write files, by path below a folder, that nobody reads yet."""
    for parent in sorted({(folder / path).parent for path in files}):
        parent.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        (folder / path).write_bytes(data)


def _partial(file: Path) -> Path:
    return file.with_name(f"{file.name}.{uuid.uuid4().hex}{_PARTIAL_SUFFIX}")


def _replace(file: Path, data: bytes) -> None:
    made = _partial(file)
    try:
        made.write_bytes(data)
        made.replace(file)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
