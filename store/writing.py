"""Writing a run: created whole, filled pack by pack, resumed where a record is missing."""

import shutil
import socket
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.arrays import create_activations, create_column, create_records
from biocache.store.checks import all_finite, checksum
from biocache.store.claims import Claims, is_claimed
from biocache.store.errors import (
    BusyError,
    IntegrityError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
)
from biocache.store.keys import RunKey
from biocache.store.packing import PackPlan
from biocache.store.reading import Run
from biocache.store.records import PackRecord, sweep, write_record
from biocache.store.spec import FORMAT_VERSION, Provenance, RunSpec
from biocache.store.staging import create_parents, publish, refuse_foreign, staging, write_error
from biocache.store.sweeping import free, remove_if_empty
from biocache.store.text import shortened

__all__ = ["PackBuffer", "RunWriter", "create_run", "discard_run", "refuse_claimed", "resume_run"]


@dataclass(frozen=True, eq=False)
class PackBuffer:
    """The activations of one pack on their way to disk.

    Attributes
    ----------
    hidden
        (layer, token, feature), as long along ``token`` as a chunk; None where hidden states are not kept.
    attention
        (layer, head, pair), as long along ``pair`` as a chunk; None where attention is not kept.
    """

    hidden: NDArray[np.floating] | None
    attention: NDArray[np.floating] | None

    @classmethod
    def empty(cls, spec: RunSpec, plan: PackPlan) -> "PackBuffer":
        """Allocate the buffer of one pack, uninitialised."""
        shapes = chunk_shapes(spec, plan)
        arrays = {
            name: np.empty((len(spec.variable_layers(name)), *shapes[name][1:]), spec.dtype) for name in spec.keep
        }
        return cls(arrays.get("hidden"), arrays.get("attention"))

    def items(self) -> list[tuple[str, NDArray[np.floating]]]:
        """Return the kept variables as (name, array)."""
        named = {"hidden": self.hidden, "attention": self.attention}
        return [(name, array) for name, array in named.items() if array is not None]


def chunk_shapes(spec: RunSpec, plan: PackPlan) -> dict[str, tuple[int, int, int]]:
    """Return the chunk of ``hidden`` (layer, token, feature) and of ``attention`` (layer, head, pair)."""
    return {
        "hidden": (1, plan.token_chunk, spec.feature_size),
        "attention": (1, spec.head_count, plan.pair_chunk),
    }


def valid_entries(name: str, block: NDArray[Any], plan: PackPlan, pack: int) -> NDArray[Any]:
    """Return the part of a pack's chunk of one layer that is not fill.

    Parameters
    ----------
    name
        ``hidden`` or ``attention``.
    block
        (token, feature) or (head, pair).
    plan
        Layout of the run.
    pack
        The pack.
    """
    return block[: plan.pack_tokens[pack]] if name == "hidden" else block[:, : plan.pack_pairs[pack]]


def _check_columns(spec: RunSpec, plan: PackPlan, columns: Mapping[str, NDArray[Any]]) -> None:
    expected = {variable.path for variable in schema.columns(spec.key.task)}
    if set(columns) != expected:
        raise ValueError(f"columns {sorted(set(columns) ^ expected)} do not fit the schema of {spec.key.task}")
    words = len(columns["words/word_text"])
    lengths = {"sample": len(plan.token_count), "token": plan.token_axis, "word": words}
    for variable in schema.columns(spec.key.task):
        if columns[variable.path].shape != (lengths[variable.dims[0]],):
            raise ValueError(f"column {variable.path} has shape {columns[variable.path].shape}")


def _write_skeleton(
    folder: Path, spec: RunSpec, provenance: Provenance, plan: PackPlan, columns: Mapping[str, NDArray[Any]]
) -> None:
    attributes = {
        "format_version": FORMAT_VERSION,
        "spec": spec.to_json(),
        "provenance": provenance.to_json(),
        "counts": {
            "samples": len(plan.token_count),
            "tokens": int(plan.token_count.sum()),
            "words": len(columns["words/word_text"]),
            "pairs": int(plan.pair_count.sum()),
            "packs": plan.pack_count,
        },
    }
    group = zarr.create_group(folder, attributes={"biocache": attributes})
    for table in ("samples", "tokens", "words", "packs", *spec.keep):
        group.create_group(table)
    labels = {"label_names": list(spec.label_names)}
    for variable in schema.columns(spec.key.task):
        create_column(group, variable, columns[variable.path], labels if variable.name == "label" else None)
    by_path = {variable.path: variable for variable in schema.VARIABLES}
    create_column(group, by_path["packs/first_sample"], plan.first_sample[:-1])
    create_records(group, by_path["packs/record"], plan.pack_count)
    axes = {"hidden": plan.token_axis, "attention": plan.pair_axis}
    for name, chunks in chunk_shapes(spec, plan).items():
        if name not in spec.keep:
            continue
        layers = np.asarray(spec.variable_layers(name))
        create_column(group, by_path[f"{name}/layer"], layers)
        shape = list(chunks)
        shape[0] = len(layers)
        shape[1 if name == "hidden" else 2] = axes[name]
        create_activations(group, by_path[f"{name}/{name}"], (shape[0], shape[1], shape[2]), chunks, spec.dtype)


def create_run(
    root: Path, spec: RunSpec, provenance: Provenance, plan: PackPlan, columns: Mapping[str, NDArray[Any]]
) -> Run:
    """Create a run with its tables and without activations, or find the one that is there.

    The run appears whole or not at all. Of several processes that create it at once, one does and the
    others find it.

    Parameters
    ----------
    root
        Folder of the store; made where it is missing.
    spec, provenance
        Identity and origin of the run.
    plan
        Its layout.
    columns
        The tables by variable path (`schema.columns`); token columns are as long as `plan.token_axis`.

    Returns
    -------
    Run
        The run, new or resumed.

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
        create_parents(root, target)
        made = staging(root)
        try:
            _write_skeleton(made, spec, provenance, plan, columns)
            publish(root, made, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
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
    if not (root / spec.key.path / "zarr.json").exists():
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

    The run vanishes at once, then its bytes are freed; what a killed process leaves of that, `sweep` frees.

    Raises
    ------
    BusyError
        If a live process is writing to it.
    RunNotFoundError
        If it is gone already.
    """
    refuse_claimed(root, key)
    path = root / key.path
    try:
        free(root, path)
    except FileNotFoundError as error:
        raise RunNotFoundError(f"{root} has no run {key}; another process may have removed it") from error
    for group in path.parents[: len(RunKey.names()) - 1]:
        if not remove_if_empty(group):
            return


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
        self._chunks = {name: run.chunks(name) for name in run.spec.keep}
        # What is written is never all fill, and looking for that takes longer than compressing it.
        with zarr.config.set({"array.write_empty_chunks": True}):
            self._arrays = {name: zarr.open_array(run.path / name / name, mode="r+") for name in run.spec.keep}

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
            for name, blocks in buffer.items():
                for index, block in enumerate(blocks):
                    values = valid_entries(name, block, self.run.plan, pack)
                    self._check_finite(name, index, pack, values)
                    checksums.setdefault(name, []).append(checksum(values))
                    stored += self._write_chunk(name, index, pack, block)
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
        spec, shapes = self.run.spec, chunk_shapes(self.run.spec, self.run.plan)
        found = {name: (array.shape, str(array.dtype)) for name, array in buffer.items()}
        wanted = {name: ((len(spec.variable_layers(name)), *shapes[name][1:]), spec.dtype) for name in spec.keep}
        if found != wanted:
            raise ValueError(f"buffer {found} is not one of a pack of run {self.run.key}, {wanted}")

    def _write_chunk(self, name: str, index: int, pack: int, block: NDArray[Any]) -> int:
        plan = self.run.plan
        path = self._chunks[name].path(index, pack)
        sweep(path)
        if name == "hidden":
            block[plan.pack_tokens[pack] :] = np.nan
            begin = pack * plan.token_chunk
            region = (slice(index, index + 1), slice(begin, begin + plan.token_chunk), slice(None))
        else:
            block[:, plan.pack_pairs[pack] :] = np.nan
            begin = pack * plan.pair_chunk
            region = (slice(index, index + 1), slice(None), slice(begin, begin + plan.pair_chunk))
        # In the shape of a chunk, which zarr takes as it is; any other it copies.
        self._arrays[name][region] = block[np.newaxis]
        return path.stat().st_size

    def _check_finite(self, name: str, index: int, pack: int, values: NDArray[Any]) -> None:
        if all_finite(values):
            return
        finite = np.isfinite(values)
        run, plan = self.run, self.run.plan
        if name == "hidden":
            position, ends = int(np.argwhere(~finite)[0, 0]), plan.token_count
        else:
            position, ends = int(np.argwhere(~finite)[:, 1].min()), plan.pair_count
        samples = plan.samples_of(pack)
        sample = samples[int(np.searchsorted(np.cumsum(ends[samples.start : samples.stop]), position, side="right"))]
        raise SettingError(
            f"{name} of layer {run.spec.variable_layers(name)[index]} is not finite in {run.spec.dtype} for sample "
            f"{run.column('samples/sample_id')[sample]!r} of run {run.key}; pass --dtype float32, and if that fails "
            "too the model itself gives NaN or infinity"
        )
