"""Stores in object stores: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

An object appears whole; a group of objects appears with its ``zarr.json``, which is put last, and only if there is
none. There are no locks: two processes may compute the same pack, of which the last record counts.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PermissionDeniedError
from obstore.store import MemoryStore, from_url

from biocache.store.errors import SettingError, StorageError
from biocache.store.storage import Storage, below
from biocache.store.text import one_line, printable
from biocache.store.waiting import as_they_come, at_once

__all__ = ["ObjectStorage"]

_METADATA = "zarr.json"
# Name of a memory:// store to what it holds, for the life of the process.
_IN_MEMORY: dict[str, MemoryStore] = {}


class ObjectStorage(Storage):
    """A prefix of an object store.

    Parameters
    ----------
    url
        Where it is, such as ``s3://bucket/folder``.
    options
        Credentials, endpoint and the like, by the names of obstore; the environment has what is not here.
    """

    at_once = 8

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self.options = dict(options or {})
        self._store = _connected(self.url, self.options)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self.options)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        # Options may be secret.
        return f"ObjectStorage({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectStorage) and (self.url, self.options) == (other.url, other.options)

    def __hash__(self) -> int:
        return hash(self.url)

    def __dask_tokenize__(self) -> str:
        return self.url

    @contextmanager
    def _asked(self, path: str) -> Iterator[None]:
        """Turn the errors of a request into those of biocache."""
        try:
            yield
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(f"{self.place(path)} does not exist") from error
        except AlreadyExistsError:
            raise
        except (PermissionDeniedError, PermissionError) as error:
            raise PermissionError(errno.EACCES, f"permission denied ({_told(error)})", self.place(path)) from error
        except (BaseError, OSError) as error:
            raise StorageError(
                f"{self.place(path)} cannot be reached ({_told(error)}); check the address, the credentials and the "
                "endpoint (environment, or --storage-option), and run the same command again"
            ) from error

    def get(self, path: str) -> bytes:
        """Read an object; see `Storage.get`."""
        with self._asked(path):
            return obstore.get(self._store, path).bytes().to_bytes()

    def get_all(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Read several objects at the same time; see `Storage.get_all`."""
        wanted = list(paths)
        return dict(zip(wanted, at_once(self.get, wanted), strict=True))

    def put(self, path: str, data: bytes) -> None:
        """Write an object; see `Storage.put`."""
        with self._asked(path):
            obstore.put(self._store, path, data)

    def put_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Write several objects at the same time; see `Storage.put_all`."""
        as_they_come(lambda one: self.put(*one), objects)

    def create(self, path: str, data: bytes) -> bool:
        """Write an object where there is none; see `Storage.create`."""
        try:
            with self._asked(path):
                obstore.put(self._store, path, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def exists(self, path: str) -> bool:
        """Return whether there is an object; see `Storage.exists`."""
        return self._head(path) is not None

    def size(self, path: str) -> int:
        """Return the bytes of an object; see `Storage.size`."""
        found = self._head(path)
        return 0 if found is None else int(found["size"])

    def _head(self, path: str) -> Mapping[str, Any] | None:
        try:
            with self._asked(path):
                return obstore.head(self._store, path)
        except FileNotFoundError:
            return None

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the bytes of all objects below a folder; see `Storage.sizes`."""
        begin = len(folder) + 1 if folder else 0
        with self._asked(folder):
            return {
                str(found["path"])[begin:]: int(found["size"])
                for batch in obstore.list(self._store, folder or None)
                for found in batch
            }

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder; see `Storage.folders`."""
        with self._asked(folder):
            found = obstore.list_with_delimiter(self._store, folder or None)["common_prefixes"]
        return [path.rstrip("/").rpartition("/")[2] for path in found]

    def delete(self, path: str) -> None:
        """Delete an object; see `Storage.delete`."""
        with suppress(FileNotFoundError), self._asked(path):
            obstore.delete(self._store, path)

    def publish(self, files: Mapping[str, bytes], folder: str) -> bool:
        """Write a group where there is none; see `Storage.publish`."""
        if self.exists(below(folder, _METADATA)):
            return False
        others = [path for path in files if path != _METADATA]
        at_once(lambda path: self.put(below(folder, path), files[path]), others)
        return self.create(below(folder, _METADATA), files[_METADATA])

    def _delete_all(self, folder: str, paths: Iterable[str]) -> None:
        at_once(lambda path: self.delete(below(folder, path)), list(paths))

    def remove(self, folder: str) -> None:
        """Remove a folder; see `Storage.remove`."""
        paths = self.sizes(folder).keys()
        if not paths:
            raise FileNotFoundError(f"{self.place(folder)} does not exist")
        self.delete(below(folder, _METADATA))
        self._delete_all(folder, paths - {_METADATA})

    def install(self, made: str, place: str) -> None:
        """Put a folder in the place of another one; see `Storage.install`.

        The objects are copied, and the one that completes the group last: for a while the place has no whole group, and
        the new one stays where it was made.
        """
        new, old = self.sizes(made), self.sizes(place)
        self.delete(below(place, _METADATA))
        self._delete_all(place, old.keys() - new.keys())
        paths = [path for path in new if path != _METADATA]

        def copy(path: str) -> None:
            with self._asked(below(made, path)):
                obstore.copy(self._store, below(made, path), below(place, path))

        at_once(copy, paths)
        copy(_METADATA)
        self.remove(made)

    def remove_empty_group(self, folder: str) -> bool:
        """Remove a group that holds nothing; see `Storage.remove_empty_group`."""
        found = self.sizes(folder)
        if found.keys() - {_METADATA}:
            return False
        self.delete(below(folder, _METADATA))
        return True


def _connected(url: str, options: Mapping[str, str]) -> Any:
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        return _IN_MEMORY.setdefault(rest, MemoryStore())
    try:
        return from_url(url, config=dict(options), client_options=_client_options(options))  # type: ignore[call-overload]
    except (BaseError, ValueError, TypeError, KeyError) as error:
        raise SettingError(
            f"store {printable(url)} cannot be opened ({_told(error)}); the names of options are those of "
            "obstore, such as endpoint, region, access_key_id"
        ) from error


def _told(error: BaseException) -> str:
    """Return what an error of obstore says, without the inside of the library."""
    return one_line(str(error).partition("Debug source")[0])[:400]


def _client_options(options: Mapping[str, str]) -> dict[str, Any]:
    """Allow plain HTTP where the endpoint says so: the library refuses it unless told twice."""
    endpoints = [value for name, value in options.items() if name.lower().endswith("endpoint")]
    endpoints += [os.environ.get(name, "") for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AZURE_STORAGE_ENDPOINT")]
    return {"allow_http": True} if any(value.startswith("http://") for value in endpoints) else {}
