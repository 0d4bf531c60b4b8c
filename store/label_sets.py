"""The label sets of a store: kept beside the runs of a split, found, listed and removed by name."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from biocache.store.arrays import UNREADABLE
from biocache.store.bundles import SUFFIX, bundle_files, encode_bundle, open_bundle, put_bundle, read_each
from biocache.store.errors import (
    BiocacheError,
    IntegrityError,
    NewerFormatError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
)
from biocache.store.groups import LABELS
from biocache.store.hierarchy import refuse_foreign
from biocache.store.keys import RunKey, refuse_part
from biocache.store.labels import LabelSet, refuse_name
from biocache.store.metadata import MetadataError, as_type
from biocache.store.schema import SPANS
from biocache.store.storage import Storage, StorePlace, open_storage
from biocache.store.text import one_line, shown

__all__ = [
    "LabelPlace",
    "StoredLabels",
    "copy_labels",
    "find_labels",
    "keep_labels",
    "label_files",
    "label_places",
    "list_labels",
    "read_labels",
]


# Fields of a label set of spans -> their variables.
_PLACES = {"places": "place", "row_counts": "row_count"}


@dataclass(frozen=True, order=True, slots=True)
class LabelPlace:
    """What names a label set.

    Attributes
    ----------
    task, dataset, split
        Of the runs that it labels.
    name
        Its name.

    Raises
    ------
    SettingError
        If one of them cannot be part of a path, or a coordinate of every view has the name.
    """

    task: str
    dataset: str
    split: str
    name: str

    def __post_init__(self) -> None:
        for field in ("task", "dataset", "split", "name"):
            refuse_part("label set" if field == "name" else field, getattr(self, field))
        refuse_name(self.name)

    @classmethod
    def of_run(cls, key: RunKey, name: str) -> "LabelPlace":
        """Return the place of a label set of the split that a run read."""
        return cls(key.task, key.dataset, key.split, name)

    @property
    def file(self) -> str:
        """Path of its archive below the store."""
        return f"{LABELS}/{self.task}/{self.dataset}/{self.split}/{self.name}{SUFFIX}"

    @classmethod
    def from_file(cls, file: str) -> "LabelPlace":
        """Return the place of an archive.

        Raises
        ------
        SettingError
            If it is not the path of a label set.
        """
        parts = file.removesuffix(SUFFIX).split("/")
        if len(parts) != 5 or parts[0] != LABELS:
            raise SettingError(f"{shown(file)} is not the path of a label set")
        return cls(*parts[1:])

    def __str__(self) -> str:
        return f"{self.task}/{self.dataset}/{self.split}/{self.name}"


@dataclass(frozen=True)
class _Described:
    """What biocache's attributes of a label set hold."""

    level: str
    kind: str
    names: tuple[str, ...]
    source: str
    created: str


@dataclass(frozen=True)
class StoredLabels:
    """A label set of a store.

    Attributes
    ----------
    place
        What names it.
    created
        UTC time, ISO 8601.
    labels
        The labels.
    """

    place: LabelPlace
    created: str
    labels: LabelSet


def keep_labels(store: StorePlace, place: LabelPlace, labels: LabelSet, *, overwrite: bool = False) -> LabelSet:
    """Keep a label set, or add samples to the one that is there.

    Parameters
    ----------
    store
        Folder of the store; made where it is missing.
    place
        What names it.
    labels
        The labels. Samples that the set in the store lacks are added to it.
    overwrite
        Whether to replace a set that says something else.

    Returns
    -------
    LabelSet
        The set as the store has it now.

    Raises
    ------
    SpecMismatchError
        If the store has a set of this name that labels a sample in another way, and `overwrite` is not given.
    """
    storage = open_storage(store)
    refuse_foreign(storage)
    try:
        stored = find_labels(storage, place).labels
    except RunNotFoundError:
        stored = None
    except IntegrityError:
        if not overwrite:
            raise
        stored = None
    kept = labels if stored is None else stored.joined(labels)
    if kept is None and not overwrite:
        source = "elsewhere" if stored is None else stored.source or "elsewhere"
        raise SpecMismatchError(
            f"{storage} has a label set {place} from {source} that labels samples in another way; give these labels "
            f"another name with `biocache label`, or replace that set with `biocache label {place.name} --overwrite`"
        )
    if kept is not None and kept is stored:
        return stored
    kept = kept or labels
    import xarray as xr

    attributes = {
        "level": kept.level,
        "kind": kept.kind,
        "names": list(kept.names),
        "source": kept.source,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    dataset = xr.Dataset(
        {
            "value": ("row", kept.values),
            "sample_id": ("sample", kept.sample_ids),
            "text_digest": (("sample", "text"), kept.text_digests),
            "word_count": (("sample", "text"), kept.word_counts),
        }
    )
    if kept.places is not None and kept.row_counts is not None:
        dataset["place"] = ("row", "span", "bound"), kept.places
        dataset["row_count"] = "sample", kept.row_counts
    data = encode_bundle(dataset, attributes, place.file)
    put_bundle(storage, place.file, data, f"keeping label set {place}")
    return kept


def find_labels(store: StorePlace, place: LabelPlace) -> StoredLabels:
    """Read a label set.

    Raises
    ------
    RunNotFoundError
        If there is none of this name; the message lists those of the split.
    IntegrityError
        If it is damaged.
    """
    storage = open_storage(store)
    try:
        return read_labels(storage, place.file)
    except FileNotFoundError:
        others = [each.name for each in _places(storage) if (each.task, each.dataset, each.split) == _split(place)]
        have = f"it has {', '.join(others)}" if others else "it has none"
        raise RunNotFoundError(
            f"{storage} has no label set {shown(place.name)} for {place.task} {place.dataset} {place.split} ({have}); "
            f"add it with `biocache label {place.name}`"
        ) from None


def _split(place: LabelPlace) -> tuple[str, str, str]:
    return place.task, place.dataset, place.split


def _places(storage: Storage) -> Iterator[LabelPlace]:
    for file in label_files(storage):
        with suppress(SettingError):
            yield LabelPlace.from_file(file)


def label_places(store: StorePlace, **selection: Any) -> list[LabelPlace]:
    """Return the places of the label sets of a store, sound or damaged, that match a selection.

    Parameters
    ----------
    store
        The store.
    **selection
        ``task``, ``dataset``, ``split`` and ``name``: a value, or several in a list; None for all.

    Raises
    ------
    SettingError
        If a part has no such name.
    """
    unknown = set(selection) - set(LabelPlace.__slots__)
    if unknown:
        names = ", ".join(LabelPlace.__slots__)
        raise SettingError(f"{', '.join(sorted(unknown))} is no part of a label set's place; they are {names}")
    given = {part: value for part, value in selection.items() if value is not None}
    wanted = {part: [value] if isinstance(value, str) else list(value) for part, value in given.items()}
    return [
        place
        for place in _places(open_storage(store))
        if all(getattr(place, part) in values for part, values in wanted.items())
    ]


def list_labels(store: StorePlace, problems: list[BiocacheError] | None = None, **selection: Any) -> list[StoredLabels]:
    """Read the label sets of a store that match a selection; see `biocache.store.catalog.Store.labels`."""
    storage = open_storage(store)
    files = (place.file for place in label_places(storage, **selection))
    return read_each(files, partial(read_labels, storage), problems)


def label_files(storage: Storage) -> list[str]:
    """Return the paths of the label sets of a store, sound or damaged."""
    return bundle_files(storage, LABELS)


def read_labels(storage: Storage, file: str) -> StoredLabels:
    """Read one label set.

    Raises
    ------
    FileNotFoundError
        If there is none.
    IntegrityError
        If it is damaged.
    NewerFormatError
        If a newer release wrote it.
    """
    return _opened(storage, file, storage.get(file))


def _opened(storage: Storage, file: str, data: bytes) -> StoredLabels:
    try:
        place = LabelPlace.from_file(file)
        bundle = open_bundle(storage, file, data)
        own = as_type(bundle.attributes, _Described)
        dataset = bundle.decode()
        labels = LabelSet(
            name=place.name,
            level=own.level,
            kind=own.kind,
            names=own.names,
            values=dataset["value"].to_numpy(),
            sample_ids=dataset["sample_id"].to_numpy(),
            text_digests=dataset["text_digest"].to_numpy().astype(np.uint64),
            word_counts=dataset["word_count"].to_numpy().astype(np.int64),
            source=own.source,
            **{name: dataset[variable].to_numpy().astype(np.int64) for name, variable in _PLACES.items()}
            if own.level in SPANS
            else {},
        )
    except NewerFormatError:
        raise
    except (*UNREADABLE, MetadataError) as error:
        raise IntegrityError(
            f"label set {storage.place(file)} cannot be read ({one_line(error)}); add it again with `biocache label "
            "--overwrite`, or for that of the dataset, gold, remove it with `biocache rm --labels` and extract again"
        ) from error
    return StoredLabels(place, own.created, labels)


def copy_labels(source: Storage, target: Storage, key: RunKey) -> int:
    """Copy the label sets of the split that a run read to another store, and return how many it lacked.

    Raises
    ------
    IntegrityError
        If one is damaged.
    """
    copied = 0
    for place in list(_places(source)):
        if (place.task, place.dataset, place.split) == (key.task, key.dataset, key.split):
            with suppress(FileNotFoundError):  # Another process has removed it meanwhile.
                data = source.get(place.file)
                _opened(source, place.file, data)
                if not target.exists(place.file):
                    put_bundle(target, place.file, data, f"copying label set {place}")
                    copied += 1
    return copied
