"""A run as its metadata and commit records describe it: its identity, and how much of it is there."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from biocache.store.errors import (
    REMAKE,
    IncompleteRunError,
    IntegrityError,
    NewerFormatError,
    RunNotFoundError,
    SettingError,
    StoreFormatError,
)
from biocache.store.groups import subfolders
from biocache.store.keys import RUN_DEPTH, RunKey
from biocache.store.metadata import MetadataError, Natural, as_type
from biocache.store.records import PackRecord, Records, record_path, recorded_packs
from biocache.store.schema import HIDDEN
from biocache.store.sealing import Group, Sealed, digest_of, read_sealed
from biocache.store.spec import Provenance, RunSpec
from biocache.store.storage import Storage, StorePlace, below, open_storage
from biocache.store.text import as_html, as_text, one_line

__all__ = ["SUCCESSORS", "Counts", "StoredRun", "is_run", "successor_path", "successors"]


#: Folder of a store in which the runs that replace others are made, at the same paths.
SUCCESSORS = ".successors"


def is_run(storage: Storage, folder: str) -> bool:
    """Return whether a folder is a run, or one that lost its ``zarr.json``."""
    places = (folder, *(below(folder, table) for table in ("samples", "tokens")))
    return any(storage.exists(below(place, "zarr.json")) for place in places)


def successor_path(key: RunKey) -> str:
    """Return where the run is made that replaces the one of a key."""
    return f"{SUCCESSORS}/{key.path}"


def successors(storage: Storage) -> Iterator[RunKey]:
    """Yield the keys of the runs for which there is a successor."""
    for path in subfolders(storage, RUN_DEPTH, SUCCESSORS):
        with suppress(SettingError):
            yield RunKey.from_path(path.removeprefix(f"{SUCCESSORS}/"))


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a run: samples, tokens, words, entries of one head's maps, packs, and rows that are no tokens."""

    samples: Natural
    tokens: Natural
    words: Natural
    entries: Natural
    packs: Natural
    rows: Natural | None = None

    @property
    def kept_rows(self) -> int:
        """Rows of hidden states: tokens, or what they were reduced to."""
        return self.tokens if self.rows is None else self.rows


@dataclass(frozen=True)
class _Described:
    """What the attributes of a run hold."""

    spec: dict[str, Any]
    provenance: Provenance
    counts: Counts
    replaces: str


class StoredRun:
    """A run by its attributes and commit records; nothing else of it is read.

    Attributes
    ----------
    sealed
        Its group in the store.
    key, spec, provenance, counts
        Name, identity, origin and sizes of the run.
    """

    def __init__(self, sealed: Sealed, key: RunKey, spec: RunSpec, provenance: Provenance, counts: Counts) -> None:
        self.sealed = sealed
        self.key = key
        self.spec = spec
        self.provenance = provenance
        self.counts = counts

    @classmethod
    def open(cls, store: StorePlace, key: RunKey, *, successor: bool = False) -> Self:
        """Open the run of a key.

        Parameters
        ----------
        store
            Folder of the store.
        key
            Name of the run.
        successor
            Whether to open the run that is being made to replace it.

        Raises
        ------
        RunNotFoundError
            If the store has no such run.
        StoreFormatError
            If its attributes are not those of a run of this format version, or not what was written.
        """
        storage = open_storage(store)
        folder = successor_path(key) if successor else key.path
        try:
            sealed = read_sealed(storage, folder, key.path)
            described = as_type(sealed.attributes, _Described)
            spec = RunSpec.from_json(key, described.spec)
        except FileNotFoundError as error:
            if is_run(storage, folder):
                raise StoreFormatError(f"run {key} is damaged: its zarr.json is missing; {REMAKE}") from error
            raise RunNotFoundError(f"{storage} has no run {key}; `biocache ls` lists what there is") from error
        except NewerFormatError:
            raise
        except (StoreFormatError, MetadataError) as error:
            raise StoreFormatError(f"run {key} is damaged: {one_line(error)}; {REMAKE}") from error
        return cls(sealed, key, spec, described.provenance, described.counts)

    @property
    def group(self) -> Group:
        """The run's group in the store."""
        return self.sealed.group

    @property
    def replaces(self) -> str:
        """Digest of the run that it was made to replace; empty for none."""
        return str(self.sealed.attributes["replaces"])

    def in_place(self) -> Self:
        """Return the run where it is now: a successor that was put in its place is in another folder than before."""
        if self.group.folder != self.key.path and not self.group.is_same():
            with suppress(RunNotFoundError, StoreFormatError):
                now = type(self).open(self.group.storage, self.key)
                if now.group.digest == self.group.digest:
                    return now
        return self

    @property
    def path(self) -> Path:
        """Folder of the run.

        Raises
        ------
        SettingError
            If the store is an object store, which has no folders.
        """
        return self.group.storage.local(self.group.folder)

    @property
    def identity(self) -> dict[str, str]:
        """What decides the run's numbers: its path and the SHA-256 (hexadecimal) of its spec."""
        return {"run": str(self.key), "spec": digest_of(self.spec.to_json())}

    def __repr__(self) -> str:
        return as_text(f"biocache.Run {self.key}", self.facts())

    def _repr_html_(self) -> str:
        return as_html(f"biocache.Run {self.key}", self.facts())

    def facts(self) -> list[tuple[str, str]]:
        """Describe the run: names and texts of its sizes, arrays and origin."""
        spec, counts, provenance = self.spec, self.counts, self.provenance
        arrays = []
        for kept in spec.kept:
            layers = len(spec.variable_layers(kept.name))
            length = counts.kept_rows if kept is HIDDEN else counts.entries
            sizes = (layers, *kept.shape(spec.width(kept), length))
            text = ", ".join(f"{dim}: {size}" for dim, size in zip(kept.dims(spec.level), sizes, strict=True))
            arrays.append(
                (kept.name, f"({text}) {spec.stored_dtype(kept)}, in blocks of one layer of one pack, dimensionless")
            )
        windowed = provenance.notes.get("samples_windowed", 0)
        cut = f", {windowed:,} of them in windows that overlap by {spec.stride} tokens" if windowed else ""
        random = "random weights, " if provenance.random_weights else ""
        steps = provenance.training_steps
        trained = "" if steps is None else f", fine-tuned for {steps:,} optimiser steps"
        return [
            ("samples", f"{counts.samples:,} with {counts.words:,} words and {counts.tokens:,} tokens{cut}"),
            ("packs", f"{len(self.committed()):,} of {counts.packs:,} are there"),
            *arrays,
            ("layers", ", ".join(map(str, spec.layers))),
            ("model", f"{random}{provenance.model_source}, SHA-256 {spec.model_digest[:12]}{trained}"),
            ("dataset", f"{provenance.dataset_source}, SHA-256 {spec.dataset_digest[:12]}"),
            ("created", f"{provenance.created} on {provenance.host} ({provenance.device})"),
            ("versions", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
        ]

    @cached_property
    def _records(self) -> Records:
        return Records(self.group)

    def records(self) -> dict[int, PackRecord]:
        """Read the records of all committed packs, by pack, ascending, as of now.

        Raises
        ------
        RunNotFoundError
            If the run was removed or replaced.
        """
        return self.records_of(range(self.counts.packs))

    def records_of(self, packs: Iterable[int]) -> dict[int, PackRecord]:
        """Read the records of those of some packs that are committed; see `records`."""
        group = self.group
        there = set(recorded_packs(group.storage, group.folder))
        wanted = [pack for pack in packs if pack in there]
        paths = [below(group.folder, record_path(pack)) for pack in wanted]
        try:
            data = group.storage.get_all(paths)
        except OSError:  # One has gone since, or is no file: they are read one by one.
            data = {}
        found = {}
        for pack, path in zip(wanted, paths, strict=True):
            # A record that is torn, or of a run that was here before, commits nothing.
            with suppress(IntegrityError):
                found[pack] = self._records.read(pack, data.get(path))
        if len(found) < len(wanted) or not there:
            self.group.require_same()
        return found

    def committed(self) -> list[int]:
        """Return the packs that have a sound record, ascending; see `records`."""
        return list(self.records())

    @property
    def complete(self) -> bool:
        """Whether every pack is committed."""
        return len(self.committed()) == self.counts.packs

    def require_complete(self) -> None:
        """Refuse a run that still has packs without a record, or that was removed or replaced after it was opened.

        Raises
        ------
        IncompleteRunError
            If there are any; the message says how much is there and how to finish.
        RunNotFoundError
            If the run is gone.
        """
        self.group.require_same()
        done = len(self.committed())
        if done < self.counts.packs:
            raise IncompleteRunError(
                f"run {self.key} is incomplete: {done} of {self.counts.packs} packs are there; finish it with the "
                "`biocache extract` command that began it"
            )

    def require(self, name: str) -> None:
        """Refuse a run that is incomplete, was removed, or does not keep a variable.

        Raises
        ------
        IncompleteRunError, RunNotFoundError
            As `require_complete` and `require_kept`.
        """
        self.require_complete()
        self.require_kept(name)

    def require_kept(self, name: str) -> None:
        """Refuse a run that does not keep a variable.

        Raises
        ------
        RunNotFoundError
            If it does not; the message says what it keeps.
        """
        if name not in self.spec.keep:
            raise RunNotFoundError(
                f"run {self.key} keeps {', '.join(self.spec.keep)} and no {name}; extract it with --keep={name} and "
                "--overwrite, or into another --store"
            )
