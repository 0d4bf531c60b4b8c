"""A run as its metadata and commit records describe it: its identity, and how much of it is there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from biocache.store.errors import REMAKE, IncompleteRunError, RunNotFoundError, StoreFormatError
from biocache.store.groups import check_format, read_group_attributes
from biocache.store.keys import RunKey
from biocache.store.metadata import MetadataError, Natural, as_type
from biocache.store.records import PackRecord, committed_packs, read_record
from biocache.store.schema import LABELLED
from biocache.store.spec import Provenance, RunSpec
from biocache.store.text import as_html, as_text

__all__ = ["Counts", "StoredRun", "is_run"]


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run, or one that lost its ``zarr.json``."""
    places = (folder, *(folder / table for table in ("samples", "tokens")))
    return any((place / "zarr.json").is_file() for place in places)


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a run: samples, tokens, words, entries of one head's maps, packs."""

    samples: Natural
    tokens: Natural
    words: Natural
    pairs: Natural
    packs: Natural

    @property
    def entries(self) -> int:
        """Entries of one head's maps that are stored."""
        return self.pairs


@dataclass(frozen=True)
class _Described:
    """What the attributes of a run hold."""

    spec: dict[str, Any]
    provenance: Provenance
    counts: Counts


class StoredRun:
    """A run by its attributes and commit records; nothing else of it is read.

    Attributes
    ----------
    path
        Folder of the run.
    key, spec, provenance, counts
        Name, identity, origin and sizes of the run.
    """

    def __init__(self, path: Path, key: RunKey, spec: RunSpec, provenance: Provenance, counts: Counts) -> None:
        self.path = path
        self.key = key
        self.spec = spec
        self.provenance = provenance
        self.counts = counts

    @classmethod
    def open(cls, root: Path, key: RunKey) -> Self:
        """Open the run of a key.

        Parameters
        ----------
        root
            Folder of the store.
        key
            Name of the run.

        Raises
        ------
        RunNotFoundError
            If the store has no such run.
        StoreFormatError
            If its attributes are not those of a run of this format version.
        """
        path = root / key.path
        try:
            attributes = read_group_attributes(path)
        except FileNotFoundError as error:
            if is_run(path):
                raise StoreFormatError(f"run {key} is damaged: its zarr.json is missing; {REMAKE}") from error
            raise RunNotFoundError(f"{root} has no run {key}; `biocache ls` lists what there is") from error
        except StoreFormatError as error:
            raise StoreFormatError(f"run {key} is damaged: {error}; {REMAKE}") from error
        own = check_format(attributes, path)
        try:
            described = as_type(own, _Described)
            return cls(path, key, RunSpec.from_json(key, described.spec), described.provenance, described.counts)
        except MetadataError as error:
            raise StoreFormatError(f"the attributes of run {path} are damaged ({error}); {REMAKE}") from error

    def __repr__(self) -> str:
        return as_text(f"biocache.Run {self.key}", self.facts())

    def _repr_html_(self) -> str:
        return as_html(f"biocache.Run {self.key}", self.facts())

    @property
    def labelled(self) -> str:
        """The table that has labels: ``words`` or ``samples``."""
        return LABELLED[self.key.task]

    def facts(self) -> list[tuple[str, str]]:
        """Describe the run: names and texts of its sizes, arrays and origin."""
        spec, counts, provenance = self.spec, self.counts, self.provenance
        arrays = []
        for kept in spec.kept:
            layers = len(kept.layers(spec.layers))
            sizes = (layers, *kept.shape(spec.width(kept), getattr(counts, kept.axis)))
            text = ", ".join(f"{dim}: {size}" for dim, size in zip(kept.dims, sizes, strict=True))
            arrays.append((kept.name, f"({text}) {spec.dtype}, in blocks of one layer of one pack, dimensionless"))
        random = "random weights, " if provenance.random_weights else ""
        return [
            ("samples", f"{counts.samples:,} with {counts.words:,} words and {counts.tokens:,} tokens"),
            ("packs", f"{len(self.committed()):,} of {counts.packs:,} are there"),
            *arrays,
            ("layers", ", ".join(map(str, spec.layers))),
            ("labels", ", ".join(spec.label_names) or "none"),
            ("model", f"{random}{provenance.model_source}, SHA-256 {spec.model_digest[:12]}"),
            ("dataset", f"{provenance.dataset_source}, SHA-256 {spec.dataset_digest[:12]}"),
            ("created", f"{provenance.created} on {provenance.host} ({provenance.device})"),
            ("versions", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
        ]

    def records(self) -> dict[int, PackRecord]:
        """Read the records of all committed packs, by pack.

        Raises
        ------
        IntegrityError
            If a record is damaged.
        """
        return {pack: read_record(self.path, pack) for pack in self.committed()}

    def committed(self) -> list[int]:
        """Return the packs that have a record, ascending, as of now."""
        return [pack for pack in committed_packs(self.path) if pack < self.counts.packs]

    @property
    def complete(self) -> bool:
        """Whether every pack is committed."""
        return len(self.committed()) == self.counts.packs

    def require_complete(self) -> None:
        """Refuse a run that still has packs without a record, or that was removed after it was opened.

        Raises
        ------
        IncompleteRunError
            If there are any; the message says how much is there and how to finish.
        RunNotFoundError
            If the run is gone.
        """
        if not (self.path / "zarr.json").exists():
            raise RunNotFoundError(f"run {self.key} was removed from {self.path} after it was opened")
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
