"""Writing a run: created whole, filled pack by pack, resumed where a record is missing."""

import json
import socket
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.arrays import create_activations, create_column, create_records
from biocache.store.atomic import remove, temporary_folder, write_error
from biocache.store.checks import all_finite, checksum
from biocache.store.claims import Claims, is_claimed
from biocache.store.errors import (
    BusyError,
    IntegrityError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
)
from biocache.store.hierarchy import create_parents, put_if_absent, refuse_foreign, remove_empty_groups
from biocache.store.keys import RunKey
from biocache.store.packing import PackPlan
from biocache.store.reading import Run
from biocache.store.records import RECORD_PATH, PackRecord, record_path
from biocache.store.runs import is_run
from biocache.store.schema import ACTIVATIONS, Activation
from biocache.store.spec import FORMAT_VERSION, Provenance, RunSpec
from biocache.store.sweeping import changing, tidy
from biocache.store.text import shortened

__all__ = ["PackBuffer", "RunWriter", "create_run", "discard_run", "refuse_claimed", "resume_run"]


@dataclass(frozen=True, eq=False)
class PackBuffer:
    """The activations of one pack, to be written.

    Attributes
    ----------
    hidden
        (layer, token, feature), as long along ``token`` as a chunk; None where hidden states are not kept.
    attention
        (layer, head, entry), as long along ``entry`` as a chunk; None where attention is not kept.
    """

    hidden: NDArray[np.floating] | None = None
    attention: NDArray[np.floating] | None = None

    @classmethod
    def empty(cls, spec: RunSpec, plan: PackPlan) -> "PackBuffer":
        """Allocate the buffer of one pack, uninitialised."""
        return cls(**{kept.name: np.empty(_pack_shape(spec, plan, kept), spec.dtype) for kept in spec.kept})

    def items(self) -> list[tuple[Activation, NDArray[np.floating]]]:
        """Return the kept variables with their arrays."""
        named = ((activation, getattr(self, name)) for name, activation in ACTIVATIONS.items())
        return [(activation, array) for activation, array in named if array is not None]


def _pack_shape(spec: RunSpec, plan: PackPlan, kept: Activation) -> tuple[int, int, int]:
    """Return the shape of all layers of a pack."""
    chunk = kept.shape(spec.width(kept), getattr(plan, kept.axis).chunk)
    return len(kept.layers(spec.layers)), *chunk


def _check_columns(spec: RunSpec, plan: PackPlan, columns: Mapping[str, NDArray[Any]]) -> None:
    expected = {variable.path for variable in schema.columns(spec.key.task)}
    if set(columns) != expected:
        raise ValueError(f"columns {sorted(set(columns) ^ expected)} do not fit the schema of {spec.key.task}")
    words = len(columns["words/word_text"])
    lengths = {"sample": len(plan.tokens.count), "token": plan.tokens.length, "word": words}
    for variable in schema.columns(spec.key.task):
        if columns[variable.path].shape != (lengths[variable.dims[0]],):
            raise ValueError(f"column {variable.path} has shape {columns[variable.path].shape}")


def _write_skeleton(
    folder: Path, spec: RunSpec, provenance: Provenance, plan: PackPlan, columns: Mapping[str, NDArray[Any]]
) -> None:
    attributes = {
        "format_version": FORMAT_VERSION,
        "spec": spec.to_json(),
        "provenance": asdict(provenance),
        "counts": {
            "samples": len(plan.tokens.count),
            "tokens": plan.tokens.total,
            "words": len(columns["words/word_text"]),
            "pairs": plan.entries.total,
            "packs": plan.pack_count,
        },
    }
    group = zarr.create_group(folder, attributes={"biocache": attributes})
    for table in ("samples", "tokens", "words", "packs", *spec.keep):
        group.create_group(table)
    labels = {"label_names": list(spec.label_names)}
    for variable in schema.columns(spec.key.task):
        create_column(group, variable, columns[variable.path], labels if variable.name == "label" else None)
    create_column(group, schema.variable_at("packs/first_sample"), plan.first_sample[:-1])
    create_records(group, schema.variable_at("packs/record"), plan.pack_count)
    for kept in spec.kept:
        layers, axis, width = kept.layers(spec.layers), getattr(plan, kept.axis), spec.width(kept)
        create_column(group, schema.variable_at(f"{kept.name}/layer"), np.asarray(layers))
        shape, chunks = (len(layers), *kept.shape(width, axis.length)), (1, *kept.shape(width, axis.chunk))
        create_activations(group, kept, shape, chunks, spec.dtype)


def create_run(
    root: Path, spec: RunSpec, provenance: Provenance, plan: PackPlan, columns: Mapping[str, NDArray[Any]]
) -> Run:
    """Create a run with its tables and without activations, or open the one that is there.

    The run appears whole or not at all. Of several processes that create it at once, one does and the others open it.

    Parameters
    ----------
    root
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
    _check_columns(spec, plan, columns)
    target = root / spec.key.path
    if (existing := resume_run(root, spec)) is not None:
        return existing
    try:
        create_parents(root, root / "run")
        tidy(root)
        with changing(root, spec.key.path):
            create_parents(root, target)
            with temporary_folder(root) as folder:
                _write_skeleton(folder / target.name, spec, provenance, plan, columns)
                put_if_absent(root, folder / target.name, target)
    except OSError as error:
        raise write_error(error, f"creating run {spec.key}") from error
    existing = resume_run(root, spec)
    if existing is None:
        raise IntegrityError(f"run {spec.key} vanished while it was being created; run the same command again")
    return existing


def resume_run(root: Path, spec: RunSpec) -> Run | None:
    """Return the run of a spec's key, None where there is none.

    Raises
    ------
    SpecMismatchError
        If the run was made from another spec; the message names what differs.
    StoreFormatError
        If the folder holds something that is not a store of this format.
    """
    refuse_foreign(root)
    if not is_run(root / spec.key.path):
        return None
    run = Run.open(root, spec.key)
    differences = spec.difference(run.spec)
    if differences:
        named = "; ".join(
            f"{name}: stored {shortened(old)}, asked for {shortened(new)}" for name, (new, old) in differences.items()
        )
        raise SpecMismatchError(
            f"run {spec.key} exists and was made from another spec ({named}); pass --overwrite to replace it, or "
            "another --store or model NAME=... to keep both"
        )
    return run


def refuse_claimed(root: Path, key: RunKey) -> None:
    """Refuse a run that a live process is writing to.

    Raises
    ------
    BusyError
        If there is such a process.
    """
    if is_claimed(root / key.path):
        raise BusyError(f"run {key} is being written by another process; wait for it or stop it first")


def discard_run(root: Path, key: RunKey) -> None:
    """Remove a run, sound or damaged, and the groups that it leaves empty.

    The run vanishes at once, then its bytes are freed; `sweep` frees what a killed process did not.

    Raises
    ------
    BusyError
        If a live process is writing to it.
    RunNotFoundError
        If it is gone already.
    """
    refuse_claimed(root, key)
    path = root / key.path
    if not path.exists():
        raise RunNotFoundError(f"{root} has no run {key}; another process may have removed it")
    with changing(root, key.path):
        try:
            remove(path, root)
        except FileNotFoundError as error:
            raise RunNotFoundError(f"{root} has no run {key}; another process may have removed it") from error
        remove_empty_groups(root, path)


def sweep_chunk(chunk: Path) -> None:
    """Remove the temporary files that killed writers of a chunk left beside it."""
    if chunk.parent.is_dir():
        for litter in chunk.parent.glob(f"{chunk.name}.*.partial"):
            litter.unlink(missing_ok=True)


def write_record(run: Path, pack: int, record: PackRecord) -> None:
    """Commit a pack. The record's chunk appears whole or not at all."""
    sweep_chunk(record_path(run, pack))
    array = zarr.open_array(run / RECORD_PATH, mode="r+")
    array[pack] = json.dumps(asdict(record), separators=(",", ":"))


class RunWriter:
    """Writes the packs of one run.

    Parameters
    ----------
    run
        The run, from `create_run`.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._claims = Claims(run.path)
        self._chunks = {kept.name: run.chunks(kept.name) for kept in run.spec.kept}
        # No chunk is all fill, and checking for that takes longer than compressing it.
        with zarr.config.set({"array.write_empty_chunks": True}):
            self._arrays = {kept.name: zarr.open_array(run.path / kept.path, mode="r+") for kept in run.spec.kept}

    def close(self) -> None:
        """Give up all claims."""
        self._claims.close()

    def pending(self) -> list[int]:
        """Return the packs without a record, ascending, as of now."""
        return sorted(set(range(self.run.plan.pack_count)) - set(self.run.committed()))

    def claim(self, packs: Iterable[int], *, wait: bool) -> AbstractContextManager[bool]:
        """Claim packs against other processes for the length of a context; see `Claims.hold`."""
        return self._claims.hold(packs, wait=wait)

    def write_pack(self, pack: int, buffer: PackBuffer) -> PackRecord:
        """Write all chunks of a pack, then commit it.

        Parameters
        ----------
        pack
            The pack.
        buffer
            Its activations; the unused tail is overwritten with fill.

        Returns
        -------
        PackRecord
            The record that commits it.

        Raises
        ------
        ValueError
            If the buffer's variables, shapes or data type are not those of a pack of this run.
        SettingError
            If a value is not finite in the data type of the store; names the layer and the sample.
        ResourceError
            If the disk is full or cannot be written.
        """
        self._check_buffer(buffer)
        checksums: dict[str, list[int]] = {}
        stored = 0
        try:
            for kept, blocks in buffer.items():
                used = int(getattr(self.run.plan, kept.axis).pack_sizes[pack])
                # The unused end is fill.
                kept.part(blocks, slice(used, None))[...] = np.nan
                for index, block in enumerate(blocks):
                    values = kept.part(block, slice(used))
                    self._check_finite(kept, index, pack, values)
                    checksums.setdefault(kept.name, []).append(checksum(values))
                    stored += self._write_chunk(kept, index, pack, block)
            record = PackRecord(
                checksums, stored, datetime.now(UTC).isoformat(timespec="seconds"), socket.gethostname()
            )
            if not (self.run.path / "zarr.json").exists():
                raise IntegrityError(f"run {self.run.key} was removed while pack {pack} was being written")
            write_record(self.run.path, pack, record)
        except OSError as error:
            raise write_error(error, f"writing pack {pack} of run {self.run.key}") from error
        return record

    def _check_buffer(self, buffer: PackBuffer) -> None:
        spec = self.run.spec
        found = {kept.name: (array.shape, str(array.dtype)) for kept, array in buffer.items()}
        wanted = {kept.name: (_pack_shape(spec, self.run.plan, kept), spec.dtype) for kept in spec.kept}
        if found != wanted:
            raise ValueError(f"buffer {found} is not one of a pack of run {self.run.key}, {wanted}")

    def _write_chunk(self, kept: Activation, index: int, pack: int, block: NDArray[Any]) -> int:
        path = self._chunks[kept.name].path(index, pack)
        sweep_chunk(path)
        # A view in the shape of a chunk: zarr copies any other.
        self._arrays[kept.name].blocks[kept.index(index, pack)] = block[np.newaxis]
        return path.stat().st_size

    def _check_finite(self, kept: Activation, index: int, pack: int, values: NDArray[Any]) -> None:
        if all_finite(values):
            return
        run = self.run
        axis = getattr(run.plan, kept.axis)
        position = int(np.argwhere(~np.isfinite(values))[:, kept.ragged].min())
        samples = run.plan.samples_of(pack)
        ends = np.cumsum(axis.count[samples.start : samples.stop])
        sample = samples[int(np.searchsorted(ends, position, side="right"))]
        raise SettingError(
            f"{kept.name} of layer {kept.layers(run.spec.layers)[index]} is not finite in {run.spec.dtype} for sample "
            f"{run.column('samples/sample_id')[sample]!r} of run {run.key}; pass --dtype=float32, and if that fails "
            "too the model itself gives NaN or infinity"
        )
