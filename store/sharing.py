"""Copies of runs on the Hugging Face hub: gathered, uploaded on the way, and shown in one commit.

The content of what is put is uploaded as it comes, and belongs to no file until the commit names it. A copy that fails
before leaves nothing to see: the same command finds by its SHA-256 what the hub has, and sends the rest.
"""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils.sha import git_hash

from biocache.store.atomic import ATTEMPTS
from biocache.store.card import updated_card
from biocache.store.errors import SettingError, StorageError
from biocache.store.hub import CARD, REPO_TYPE, HubFile, HubStorage
from biocache.store.schema import ACTIVATIONS
from biocache.store.storage import Storage, below
from biocache.store.text import shown

__all__ = ["HubWriter"]

# Uploaded together: no more files than the hub takes in a request, and no more bytes than any machine has to spare.
_FILES = 256
_BYTES = 64 << 20
_METADATA = "zarr.json"
_CONFLICT = 412
_CHUNKS = tuple(f"/{kept.path}/c/" for kept in ACTIVATIONS.values())


class HubWriter(HubStorage):
    """A repository while a copy is written to it: what was put is seen here at once, and by others after `commit`.

    Activations are freed once they are uploaded; tables and records, which a writer reads again, are held. A repository
    that is missing is made, private.

    Parameters
    ----------
    url, options
        As of `HubStorage`.
    known
        Metadata that was read before, by the name of its content.
    """

    def __init__(self, url: str, options: Mapping[str, str], known: dict[str, bytes]) -> None:
        super().__init__(url, options)
        self._known = known
        self._added: dict[str, CommitOperationAdd] = {}
        self._waiting: dict[str, CommitOperationAdd] = {}
        self._held: dict[str, bytes] = {}
        # What was there in the place of each file that was put.
        self._before: dict[str, HubFile | None] = {}

    def receiving(self) -> Storage:
        """Return another writer, of the repository as it is now; see `Storage.receiving`."""
        return HubWriter(self.url, self.options, self._known)

    def require_writable(self) -> None:
        """Allow to write; see `Storage.require_writable`."""

    def newest(self) -> str:
        """Return the commit that the revision is now; empty where there is no repository."""
        try:
            return super().newest()
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return ""

    def get(self, path: str) -> bytes:
        """Read an object, also one that was put; see `Storage.get`."""
        if path in self._held:
            return self._held[path]
        if path in self._added:
            raise StorageError(f"{self.place(path)} is being copied, and can be read after that")
        return super().get(path)

    def put(self, path: str, data: bytes) -> None:
        """Gather an object, and upload what is gathered where it is much; see `Storage.put`."""
        self._before.setdefault(path, self.listing.files.get(path))
        self._added[path] = self._waiting[path] = CommitOperationAdd(below(self.folder, path), bytes(data))
        self.listing.add(path, HubFile(len(data), ""))
        if not any(part in path for part in _CHUNKS):
            self._held[path] = data
        if len(self._waiting) >= _FILES or sum(one.upload_info.size for one in self._waiting.values()) >= _BYTES:
            self._upload()

    def create(self, path: str, data: bytes) -> bool:
        """Gather an object where there is none; see `Storage.create`."""
        if self.exists(path):
            return False
        self.put(path, data)
        return True

    def publish(self, files: Mapping[str, bytes], folder: str) -> bool:
        """Gather a group where there is none; see `Storage.publish`."""
        if self.exists(below(folder, _METADATA)):
            return False
        for path, data in files.items():
            self.put(below(folder, path), data)
        return True

    def _upload(self) -> None:
        """Send the content of what waits; that of large or binary files is freed, the hub says of which."""
        with self.asked(writing=True):
            if not self.commit_read:
                self.api.create_repo(self.repo, repo_type=REPO_TYPE, private=True, exist_ok=True)
                self._rebase()
            additions = list(self._waiting.values())
            self.api.preupload_lfs_files(
                self.repo, additions, repo_type=REPO_TYPE, revision=self.revision, num_threads=self.at_once
            )
        for path, addition in self._waiting.items():
            if addition._should_ignore:
                raise SettingError(
                    f"the .gitignore of dataset repository {self.repo} keeps {shown(path)} out; change it on its page"
                )
        self._waiting.clear()

    def commit(self, message: str) -> None:
        """Show all that was put, and a card that lists it, in one commit; see `Storage.commit`.

        Raises
        ------
        StorageError
            If the hub does not answer, or somebody has changed the same run meanwhile. Nothing of the run is seen then.
        ReadOnlyError
            If it may not be written to.
        """
        for _ in range(ATTEMPTS):
            if not self._added:
                return
            self._upload()
            if self._committed(message):
                self._commit = self._listing = None
                for gathered in (self._added, self._held, self._before):
                    gathered.clear()
                return
            self._rebase()
        raise StorageError(f"{self} is changed by others all the time; run the same command again")

    def _committed(self, message: str) -> bool:
        """Ask for the commit, and return whether it was made: not where there is a newer one than was read."""
        operations: list[Any] = [*self._added.values(), *self._card()]
        with self.asked(writing=True):
            try:
                self.api.create_commit(
                    self.repo,
                    operations,
                    commit_message=message,
                    repo_type=REPO_TYPE,
                    revision=self.revision,
                    parent_commit=self.commit_read,
                    num_threads=self.at_once,
                )
            except HfHubHTTPError as error:
                if error.response.status_code != _CONFLICT:
                    raise
                return False
        return True

    def _card(self) -> list[CommitOperationAdd]:
        with self.asked():
            try:
                old = self.content(CARD).decode("utf-8", errors="replace")
            except EntryNotFoundError:
                old = ""
        new = updated_card(old, self, self.repo, self.folder)
        return [] if new == old else [CommitOperationAdd(CARD, new.encode())]

    def _rebase(self) -> None:
        """Go on from the newest commit, unless it changed what was put.

        Raises
        ------
        StorageError
            If it did: what is there now decides what is left to copy.
        """
        self._commit = self._listing = None
        now = self.listing
        for path, addition in self._added.items():
            found = now.files.get(path)
            # Another copy makes the same groups on the way to its run.
            same = found is not None and path in self._held and found.blob == git_hash(self._held[path])
            if found != self._before[path] and not same:
                raise StorageError(
                    f"{self.place(path)} was changed by somebody else during the copy; run the same command again"
                )
            now.add(path, HubFile(addition.upload_info.size, ""))
