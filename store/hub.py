"""Stores in dataset repositories of the Hugging Face hub, read at one commit; `biocache.store.sharing` writes them.

A repository is read from its listing, which one request a thousand files gives, and a request an object. Objects come
straight from the hub and not through huggingface_hub's cache of downloads: that would keep a second copy of a store,
which can be larger than the disk, and whoever wants one has `biocache copy`.
"""

import re
import threading
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

from biocache.store.errors import BiocacheError, ReadOnlyError, SettingError, StorageError
from biocache.store.storage import Storage, below
from biocache.store.text import one_line, printable, shown
from biocache.store.waiting import at_once

__all__ = ["CARD", "REPO_TYPE", "HubFile", "HubStorage", "Listing"]

#: Path of the page of a repository.
CARD = "README.md"
#: What holds stores on the hub.
REPO_TYPE = "dataset"

# OWNER/NAME, the revision (with %2F for a slash), the folder.
_URL = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^/@]+))?((?:/\w[\w.-]*)*)", re.ASCII)
_OPTIONS = ("endpoint", "token")
_METADATA = "zarr.json"
# Files at the root of a repository that are no part of a store.
_OF_THE_HUB = {CARD, ".gitattributes", ".gitignore"}
# What huggingface_hub raises: that of its HTTP client among them, of which there are two.
_ERRORS = (*HfHubHTTPError.__bases__, ValueError, RuntimeError)
_DENIED = (401, 403)


class HubFile(NamedTuple):
    """A file of a repository: its bytes, and the name that git gives its content."""

    size: int
    blob: str


class Listing:
    """The files below a folder of a repository.

    Attributes
    ----------
    files
        By their path below the folder.
    """

    def __init__(self, files: dict[str, HubFile]) -> None:
        self.files = files
        self._order = sorted(files)

    def add(self, path: str, file: HubFile) -> None:
        """Add a file, or replace one."""
        if path not in self.files:
            insort(self._order, path)
        self.files[path] = file

    def below(self, folder: str) -> Iterator[str]:
        """Yield the paths of the files below a folder; the root is the empty path."""
        begin = f"{folder}/" if folder else ""
        place = bisect_left(self._order, begin)
        while place < len(self._order) and self._order[place].startswith(begin):
            yield self._order[place]
            place += 1

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder; files that are not looked at cost nothing."""
        begin = f"{folder}/" if folder else ""
        place, found = bisect_left(self._order, begin), []
        while place < len(self._order) and self._order[place].startswith(begin):
            name, slash, _ = self._order[place][len(begin) :].partition("/")
            if slash:
                found.append(name)
                # The character after the slash: the first path that is not below this folder.
                place = bisect_left(self._order, f"{begin}{name}0", place)
            else:
                place += 1
        return found


class HubStorage(Storage):
    """A dataset repository, or a folder of one, at the commit that its revision is when it is first read.

    Nothing but copies of runs is written to it, through `receiving`.

    Parameters
    ----------
    url
        ``hf://datasets/OWNER/NAME``, with ``@REVISION`` and ``/FOLDER`` behind it where they are wanted.
    options
        ``token`` and ``endpoint``; huggingface_hub's own login and environment have what is not here.
    commit
        The commit to read; None for what the revision is now.

    Raises
    ------
    SettingError
        If the URL or an option is no such one.
    """

    at_once = 8

    def __init__(self, url: str, options: Mapping[str, str] | None = None, commit: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.options = dict(options or {})
        self.repo, self.revision, self.folder = _parsed(self.url, self.options)
        self._commit = commit
        self._listing: Listing | None = None
        self._lock = threading.RLock()
        # The metadata of groups, which are read again and again, by the name of their content.
        self._known: dict[str, bytes] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers read the same commit.
        return HubStorage, (self.url, self.options, self.commit_read)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        # A token is secret.
        return f"{type(self).__name__}({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HubStorage) and (self.url, self.options) == (other.url, other.options)

    def __hash__(self) -> int:
        return hash(self.url)

    def __dask_tokenize__(self) -> str:
        return self.url

    @cached_property
    def api(self) -> HfApi:
        """The client of the hub."""
        return HfApi(endpoint=self.options.get("endpoint"), token=self.options.get("token"), library_name="biocache")

    @property
    def commit_read(self) -> str:
        """The commit that is read; empty where there is no repository yet, which only a copy may find."""
        with self._lock:
            if self._commit is None:
                with self.asked():
                    self._commit = self.newest()
            return self._commit

    def newest(self) -> str:
        """Return the commit that the revision is now."""
        found = self.api.repo_info(self.repo, repo_type=REPO_TYPE, revision=self.revision, expand=["sha"])
        return str(found.sha)

    @property
    def listing(self) -> Listing:
        """The files at the commit."""
        with self._lock:
            if self._listing is None:
                self._listing = Listing(self._list() if self.commit_read else {})
            return self._listing

    def _list(self) -> dict[str, HubFile]:
        begin = len(self.folder) + 1 if self.folder else 0
        found: dict[str, HubFile] = {}
        with self.asked():
            try:
                for entry in self.api.list_repo_tree(
                    self.repo, self.folder or None, recursive=True, revision=self.commit_read, repo_type=REPO_TYPE
                ):
                    if isinstance(entry, RepoFile) and not (not begin and entry.path in _OF_THE_HUB):
                        found[entry.path[begin:]] = HubFile(entry.size, entry.blob_id)
            except EntryNotFoundError:  # There is no such folder.
                return {}
        return found

    @contextmanager
    def asked(self, path: str = "", *, writing: bool = False) -> Iterator[None]:
        """Turn the errors of requests into those of biocache."""
        try:
            yield
        except BiocacheError:
            raise
        except _ERRORS as error:
            # What failed in a thread of huggingface_hub's has a general error around it.
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ is not None else error
            raise self._meaning(cause, self.place(path), writing=writing) from error

    def _meaning(self, error: BaseException, where: str, *, writing: bool) -> Exception:
        """Return the error that says what one of huggingface_hub means.

        That something may not be read says nothing of what is stored, and is no `OSError` either.
        """
        told = one_line(str(error) or type(error).__name__)[:400]
        status = getattr(getattr(error, "response", None), "status_code", None)
        login = "log in with `hf auth login` or pass --storage-option token=..."
        if isinstance(error, OfflineModeIsEnabled):
            return StorageError(
                f"{where} cannot be reached: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set; unset it and run the same "
                "command again"
            )
        if isinstance(error, RepositoryNotFoundError) and not isinstance(error, GatedRepoError):
            return StorageError(
                f"dataset repository {self.repo} is not there, or is private and not yours to see: the hub does not "
                f"say which; check the name, and {login}"
            )
        if isinstance(error, GatedRepoError) or status in _DENIED:
            kind = ReadOnlyError if writing else StorageError
            return kind(
                f"{where} may not be {'written to' if writing else 'read'} ({told}); {login}, and accept the "
                "conditions of a gated repository on its page"
            )
        if isinstance(error, RevisionNotFoundError):
            return StorageError(f"dataset repository {self.repo} has no revision {shown(self.revision)}; check the URL")
        if isinstance(error, EntryNotFoundError):
            return FileNotFoundError(f"{where} does not exist")
        return StorageError(
            f"{where} cannot be reached ({told}); check the network and the endpoint (HF_ENDPOINT, or "
            "--storage-option), and run the same command again"
        )

    def get(self, path: str) -> bytes:
        """Read an object; see `Storage.get`."""
        metadata = path.rpartition("/")[2] == _METADATA
        if not metadata and self._listing is None:
            # A worker reads activations, and needs no listing.
            return self._fetched(path)
        file = self.listing.files.get(path)
        if file is None:
            raise FileNotFoundError(f"{self.place(path)} does not exist")
        data = self._known.get(file.blob)
        if data is None:
            data = self._fetched(path)
            if metadata:
                self._known[file.blob] = data
        return data

    def _fetched(self, path: str) -> bytes:
        with self.asked(path):
            return self.content(below(self.folder, path))

    def content(self, path: str) -> bytes:
        """Return the content of a file of the repository at the commit; errors are those of huggingface_hub."""
        endpoint = self.api.endpoint
        url = hf_hub_url(self.repo, path, repo_type=REPO_TYPE, revision=self.commit_read, endpoint=endpoint)
        headers = build_hf_headers(token=self.api.token, library_name="biocache")
        response = http_backoff("GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
        hf_raise_for_status(response)
        return bytes(response.content)

    def get_all(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Read several objects at the same time; see `Storage.get_all`."""
        wanted = list(paths)
        return dict(zip(wanted, at_once(self.get, wanted), strict=True))

    def exists(self, path: str) -> bool:
        """Return whether there is an object; see `Storage.exists`."""
        return path in self.listing.files

    def size(self, path: str) -> int:
        """Return the bytes of an object; see `Storage.size`."""
        file = self.listing.files.get(path)
        return 0 if file is None else file.size

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the bytes of all objects below a folder; see `Storage.sizes`."""
        begin = len(folder) + 1 if folder else 0
        listing = self.listing
        return {path[begin:]: listing.files[path].size for path in listing.below(folder)}

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder; see `Storage.folders`."""
        return self.listing.folders(folder)

    def receiving(self) -> Storage:
        """Return the storage that a copy is written to; see `Storage.receiving`."""
        from biocache.store.sharing import HubWriter

        return HubWriter(self.url, self.options, self._known)

    def require_writable(self) -> None:
        """Refuse to write anything but a copy; see `Storage.require_writable`."""
        self._refuse()

    def put(self, path: str, data: bytes) -> None:
        """Refuse; see `require_writable`."""
        self._refuse()

    def create(self, path: str, data: bytes) -> bool:
        """Refuse; see `require_writable`."""
        self._refuse()

    def delete(self, path: str) -> None:
        """Refuse; see `require_writable`."""
        self._refuse()

    def publish(self, files: Mapping[str, bytes], folder: str) -> bool:
        """Refuse; see `require_writable`."""
        self._refuse()

    def remove(self, folder: str) -> None:
        """Refuse; see `require_writable`."""
        self._refuse()

    def install(self, made: str, place: str) -> None:
        """Refuse; see `require_writable`."""
        self._refuse()

    def remove_empty_group(self, folder: str) -> bool:
        """Refuse; see `require_writable`."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ReadOnlyError(
            f"{self} is on the Hugging Face hub, where only copies of runs are written to: work in a folder or an "
            "object store and share it with `biocache copy`; what is there is removed on its page"
        )


def _parsed(url: str, options: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the repository, its revision and the folder in it."""
    match = _URL.fullmatch(url)
    if match is None:
        raise SettingError(
            f"store {shown(printable(url))} is no place on the Hugging Face hub for stores; write "
            "hf://datasets/OWNER/NAME, with @REVISION and /FOLDER behind it where they are wanted"
        )
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise SettingError(
            f"--storage-option {shown(unknown[0])} is not one of the Hugging Face hub, which has {', '.join(_OPTIONS)}"
        )
    repo, revision, folder = match.groups()
    return repo, unquote(revision or constants.DEFAULT_REVISION), folder.lstrip("/")
