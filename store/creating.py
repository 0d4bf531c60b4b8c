"""Creating, replacing and removing runs: each appears whole, and what it replaces stays until it is complete."""

import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.arrays import create_activations, create_column, create_records, create_scale, files_of, zarr_store
from biocache.store.atomic import write_error
from biocache.store.claims import Claims, is_claimed
from biocache.store.errors import (
    BusyError,
    IntegrityError,
    NewerFormatError,
    RunNotFoundError,
    SpecMismatchError,
    StoreFormatError,
)
from biocache.store.hierarchy import create_parents, put_if_absent, refuse_foreign, remove_empty_groups
from biocache.store.keys import RunKey
from biocache.store.packing import PackPlan
from biocache.store.reading import Run
from biocache.store.runs import StoredRun, is_run, successor_path
from biocache.store.sealing import seal
from biocache.store.spec import Provenance, RunSpec
from biocache.store.storage import Storage, StorePlace, open_storage
from biocache.store.sweeping import changing, tidy
from biocache.store.text import shortened

__all__ = [
    "create_run",
    "create_successor",
    "described_difference",
    "discard_run",
    "install_successor",
    "refuse_claimed",
    "resume_run",
]


def _check_columns(spec: RunSpec, plan: PackPlan, columns: Mapping[str, NDArray[Any]]) -> None:
    expected = {variable.path for variable in schema.columns()}
    if set(columns) != expected:
        raise ValueError(f"columns {sorted(set(columns) ^ expected)} do not fit the schema of {spec.key.task}")
    words = len(columns["words/word_text"])
    lengths = {"sample": len(plan.tokens.count), "token": plan.tokens.length, "word": words}
    for variable in schema.columns():
        if columns[variable.path].shape != (lengths[variable.dims[0]],):
            raise ValueError(f"column {variable.path} has shape {columns[variable.path].shape}")


def _skeleton(
    spec: RunSpec,
    provenance: Provenance,
    plan: PackPlan,
    columns: Mapping[str, NDArray[Any]],
    replaces: str,
) -> dict[str, bytes]:
    """Return the files of a run without activations, by path below it."""
    attributes = {
        # Two runs of one spec differ in this.
        "id": uuid.uuid4().hex,
        "replaces": replaces,
        "spec": spec.to_json(),
        "provenance": asdict(provenance),
        "counts": {
            "samples": len(plan.tokens.count),
            "tokens": plan.tokens.total,
            "words": len(columns["words/word_text"]),
            "entries": plan.entries.total,
            "packs": plan.pack_count,
            **({} if spec.level == "token" else {"rows": plan.rows.total}),
        },
    }
    store, kept_files = zarr_store()
    group = zarr.create_group(store)
    for table in ("samples", "tokens", "words", "packs", *spec.keep):
        group.create_group(table)
    for variable in schema.columns():
        create_column(group, variable, columns[variable.path])
    create_column(group, schema.variable_at("packs/first_sample"), plan.first_sample[:-1])
    create_records(group, schema.variable_at("packs/record"), plan.pack_count)
    for kept in spec.kept:
        layers, axis, width = spec.variable_layers(kept.name), getattr(plan, kept.axis), spec.width(kept)
        create_column(group, schema.variable_at(f"{kept.name}/layer"), np.asarray(layers))
        shape, chunks = (len(layers), *kept.shape(width, axis.length)), (1, *kept.shape(width, axis.chunk))
        create_activations(group, kept, shape, chunks, spec.stored_dtype(kept), spec.level)
        for scale in spec.scales(kept):
            create_scale(group, scale, *scale.shapes(len(layers), plan.pack_count, axis.chunk, width), spec.level)
    return seal(files_of(kept_files), attributes, spec.key.path)


def create_run(
    store: StorePlace, spec: RunSpec, provenance: Provenance, plan: PackPlan, columns: Mapping[str, NDArray[Any]]
) -> Run:
    """Create a run with its tables and without activations, or open the one that is there.

    The run appears whole or not at all. Of several processes that create it at once, one does and the others open it.

    Parameters
    ----------
    store
        Folder of the store; made where it is missing.
    spec, provenance
        Identity and origin of the run.
    plan
        Its layout.
    columns
        The tables by variable path (`schema.columns`); token columns are as long as `plan.tokens.length`.

    Returns
    -------
    Run
        The new run, or the one that was there.

    Raises
    ------
    SpecMismatchError
        If a run with this key was made from another spec.
    StoreFormatError
        If the folder holds something that is not a store of this format.
    """
    storage = open_storage(store)
    with suppress(RunNotFoundError, StoreFormatError):
        # Its process was killed before it was in the place, from which the old run had gone.
        left = Run.open(storage, spec.key, successor=True)
        if not spec.difference(left.spec) and not is_run(storage, spec.key.path):
            return install_successor(left).in_place()
    return _create(storage, spec, provenance, plan, columns, successor=False)


def create_successor(
    store: StorePlace, spec: RunSpec, provenance: Provenance, plan: PackPlan, columns: Mapping[str, NDArray[Any]]
) -> Run:
    """Create the run that is to replace the one of the same key, or open the one that is there; see `create_run`.

    The one of the key stays as it is until `install_successor`. A successor that was made from another spec is removed.

    Raises
    ------
    BusyError
        If a live process writes to a successor that was made from another spec, or to the run that is replaced.
    """
    storage = open_storage(store)
    refuse_claimed(storage, spec.key)
    with suppress(RunNotFoundError, StoreFormatError):
        # An old run, which a process that was killed then had exchanged with its successor.
        left = StoredRun.open(storage, spec.key, successor=True)
        if StoredRun.open(storage, spec.key).replaces == left.group.digest:
            _discard(storage, spec.key, successor_path(spec.key))
    try:
        return _create(storage, spec, provenance, plan, columns, successor=True)
    except NewerFormatError:
        raise
    except (SpecMismatchError, StoreFormatError):
        _discard(storage, spec.key, successor_path(spec.key))
    return _create(storage, spec, provenance, plan, columns, successor=True)


def _create(
    storage: Storage,
    spec: RunSpec,
    provenance: Provenance,
    plan: PackPlan,
    columns: Mapping[str, NDArray[Any]],
    *,
    successor: bool,
) -> Run:
    _check_columns(spec, plan, columns)
    target = successor_path(spec.key) if successor else spec.key.path
    if (existing := resume_run(storage, spec, successor=successor)) is not None:
        return existing
    try:
        create_parents(storage, "run")
        tidy(storage)
        with changing(storage, spec.key.path):
            replaces = _digest_of(storage, spec.key) if successor else ""
            put_if_absent(storage, _skeleton(spec, provenance, plan, columns, replaces), target)
    except OSError as error:
        raise write_error(error, f"creating run {spec.key}") from error
    existing = resume_run(storage, spec, successor=successor)
    if existing is None:
        raise IntegrityError(f"run {spec.key} vanished while it was being created; run the same command again")
    return existing


def _digest_of(storage: Storage, key: RunKey) -> str:
    """Return the digest of the run of a key; nothing where it is damaged or gone."""
    with suppress(RunNotFoundError, StoreFormatError):
        return StoredRun.open(storage, key).group.digest
    return ""


def described_difference(stored: RunSpec, asked: RunSpec) -> str:
    """Return the fields in which two specs differ, for a message; empty where they are equal."""
    return "; ".join(
        f"{name}: stored {shortened(old)}, asked for {shortened(new)}"
        for name, (new, old) in asked.difference(stored).items()
    )


def resume_run(store: StorePlace, spec: RunSpec, *, successor: bool = False) -> Run | None:
    """Return the run of a spec's key, or its successor; None where there is none.

    Raises
    ------
    SpecMismatchError
        If the run was made from another spec; the message names what differs.
    StoreFormatError
        If the folder holds something that is not a store of this format.
    """
    storage = open_storage(store)
    refuse_foreign(storage)
    if not is_run(storage, successor_path(spec.key) if successor else spec.key.path):
        return None
    run = Run.open(storage, spec.key, successor=successor)
    if differences := described_difference(run.spec, spec):
        raise SpecMismatchError(
            f"run {spec.key} exists and was made from another spec ({differences}); pass --overwrite to replace it, or "
            "another --store or model NAME=... to keep both"
        )
    return run


def install_successor(run: Run) -> Run:
    """Put a complete successor in the place of the run that it replaces, which is then removed.

    Of several processes that made it, the first to find it complete does. A process that is killed on the way leaves
    the one or the other in the place, each whole.

    Returns
    -------
    Run
        The run in its place; the successor itself where it is not complete.
    """
    run = run.in_place()
    storage, folder = run.group.storage, run.group.folder
    if folder == run.key.path:
        return run
    try:
        if not run.complete:
            return run
        claims = Claims(storage, folder)
    except (RunNotFoundError, FileNotFoundError):  # Another process has just done it.
        return run.in_place()
    with closing(claims), claims.hold_whole():
        if run.group.is_same():
            try:
                with changing(storage, run.key.path):
                    create_parents(storage, run.key.path)
                    storage.install(folder, run.key.path)
                    remove_empty_groups(storage, folder)
            except OSError as error:
                raise write_error(error, f"putting run {run.key} in its place") from error
    return run.in_place()


def refuse_claimed(store: StorePlace, key: RunKey) -> None:
    """Refuse a run that a live process is writing to.

    Raises
    ------
    BusyError
        If there is such a process.
    """
    if is_claimed(open_storage(store), key.path):
        raise BusyError(f"run {key} is being written by another process; wait for it or stop it first")


def discard_run(store: StorePlace, key: RunKey) -> None:
    """Remove a run, sound or damaged, an unfinished successor of it, and the groups that it leaves empty.

    The run vanishes at once, then its bytes are freed; `sweep` frees what a killed process did not.

    Raises
    ------
    BusyError
        If a live process is writing to it.
    RunNotFoundError
        If it is gone already.
    """
    storage = open_storage(store)
    refuse_claimed(storage, key)
    with suppress(RunNotFoundError):
        _discard(storage, key, successor_path(key))
    _discard(storage, key, key.path)


def _discard(storage: Storage, key: RunKey, folder: str) -> None:
    if is_claimed(storage, folder):
        raise BusyError(f"run {key} is being written by another process; wait for it or stop it first")
    gone = RunNotFoundError(f"{storage} has no run {key}; another process may have removed it")
    if not storage.sizes(folder):
        raise gone
    with changing(storage, key.path):
        try:
            storage.remove(folder)
        except FileNotFoundError as error:
            raise gone from error
        remove_empty_groups(storage, folder)
