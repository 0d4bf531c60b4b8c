"""Writing a run: filled pack by pack, resumed where a record is missing."""

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.atomic import write_error
from biocache.store.certificate import measure
from biocache.store.checks import checksum
from biocache.store.claims import Claims
from biocache.store.coding import encode
from biocache.store.errors import BiocacheError, IntegrityError, SettingError
from biocache.store.levels import reduction
from biocache.store.packing import PackPlan
from biocache.store.reading import Run
from biocache.store.records import PackRecord, encode_record, record_path
from biocache.store.schema import ACTIVATIONS, ATTENTION, HIDDEN, Activation
from biocache.store.spec import RunSpec
from biocache.store.storage import below

__all__ = ["EncodedLayer", "PackBuffer", "RunWriter"]


@dataclass(frozen=True, eq=False)
class PackBuffer:
    """The activations of one pack, to be written.

    Attributes
    ----------
    hidden
        float32 (layer, token, feature), as many tokens as the fullest pack has; None where hidden states are not kept.
        They are reduced to words or samples as they are written.
    attention
        float32 (layer, head, entry), as long along ``entry`` as a chunk; None where attention is not kept.
    norms
        float32 (layer, head, token), as long along ``token`` as a chunk; None where norms are not kept.
    """

    hidden: NDArray[np.float32] | None = None
    attention: NDArray[np.float32] | None = None
    norms: NDArray[np.float32] | None = None

    @classmethod
    def empty(cls, spec: RunSpec, plan: PackPlan) -> "PackBuffer":
        """Allocate the buffer of one pack, uninitialised."""
        return cls(**{kept.name: np.empty(_pack_shape(spec, plan, kept), np.float32) for kept in spec.kept})

    def items(self) -> list[tuple[Activation, NDArray[np.float32]]]:
        """Return the kept variables with their arrays."""
        named = ((activation, getattr(self, name)) for name, activation in ACTIVATIONS.items())
        return [(activation, array) for activation, array in named if array is not None]


@dataclass(frozen=True, eq=False, slots=True)
class EncodedLayer:
    """A layer of a pack as it is stored.

    Attributes
    ----------
    kept
        The variable.
    index
        Position along ``layer``.
    chunks
        Its chunk and those of its scales, by the arrays' names.
    checksums
        The checksums of what they hold, by the arrays' names.
    errors
        What its data type cost, by measure; empty where it was not measured.
    """

    kept: Activation
    index: int
    chunks: Mapping[str, bytes]
    checksums: Mapping[str, int]
    errors: Mapping[str, float]


def _pack_shape(spec: RunSpec, plan: PackPlan, kept: Activation) -> tuple[int, int, int]:
    """Return the shape of all layers of a pack, as they are computed."""
    chunk = kept.shape(spec.width(kept), getattr(plan, kept.computed).chunk)
    return len(spec.variable_layers(kept.name)), *chunk


class RunWriter:
    """Writes the packs of one run.

    It writes to the folder of the run as it is now: what replaces the run later is left alone.

    Parameters
    ----------
    run
        The run, from `biocache.store.creating.create_run`.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._chunks = {kept.name: run.chunks(kept.name) for kept in run.spec.kept}
        self._storage, self._folder = run.group.storage.pinned(run.group.folder)
        try:
            self._claims = Claims(self._storage, self._folder)
        except OSError as error:
            run.group.require_same()
            raise write_error(error, f"writing run {run.key}") from error

    def close(self) -> None:
        """Give up all claims."""
        self._claims.close()
        self._storage.close()

    def pending(self, packs: Iterable[int] | None = None) -> list[int]:
        """Return the packs, of all or of some, that are not there, ascending, as of now.

        A pack is there if it has a sound record of this run and chunks of the size that the record says.
        """
        wanted = sorted(range(self.run.counts.packs) if packs is None else packs)
        self.run = self.run.in_place()
        records = self.run.records_of(wanted)
        return [pack for pack in wanted if pack not in records or self._size(pack) != records[pack].stored_bytes]

    def _size(self, pack: int) -> int:
        """Return the bytes of the chunks of a pack."""
        return sum(
            self._storage.size(below(self._folder, path))
            for chunks in self._chunks.values()
            for index in range(len(chunks.layers))
            for path in chunks.paths(index, pack).values()
        )

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
            Its activations; the unused tail is not looked at.

        Returns
        -------
        PackRecord
            The record that commits it.

        Raises
        ------
        ValueError
            If the buffer's variables, shapes or data type are not those of a pack of this run.
        SettingError
            If the data type of the store cannot hold a value; names the layer and the sample.
        RunNotFoundError
            If the run was removed or replaced meanwhile.
        ResourceError
            If the disk is full or cannot be written.
        """
        self._check_buffer(buffer)
        return self._write(pack, self._encoded(pack, buffer))

    def copy_pack(self, pack: int, layers: Iterable[EncodedLayer]) -> PackRecord:
        """Write the chunks of a pack as another run has them, then commit it.

        Parameters
        ----------
        pack
            The pack.
        layers
            All that is kept of the pack.

        Raises
        ------
        RunNotFoundError, ResourceError
            As `write_pack`.
        """
        return self._write(pack, layers)

    def _encoded(self, pack: int, buffer: PackBuffer) -> Iterator[EncodedLayer]:
        """Yield the layers of a pack as they are stored, with their certificate."""
        for kept, blocks in buffer.items():
            used = int(getattr(self.run.plan, kept.computed).pack_sizes[pack])
            yield from self.encoded(pack, kept, (kept.part(block, slice(used)) for block in blocks))

    def encoded(self, pack: int, kept: Activation, blocks: Iterable[NDArray[Any]]) -> Iterator[EncodedLayer]:
        """Yield the layers of a variable of a pack as they are stored, with their certificate.

        Parameters
        ----------
        pack
            The pack.
        kept
            The variable.
        blocks
            Its layers without fill: float32 (head, entry) or (head, token), or float32 or stored float16 (token,
            feature), which are reduced to the rows that the run keeps.

        Raises
        ------
        SettingError
            As `write_pack`.
        """
        run, dtype = self.run, self.run.spec.stored_dtype(kept)
        keys, rows = run.map_rows(pack), reduction(run, run.plan.samples_of(pack)) if kept is HIDDEN else None
        for index, block in enumerate(blocks):
            values = block if rows is None else rows.of(block, dtype)
            try:
                arrays = encode(kept, values, dtype)
                errors = measure(kept, values, arrays, dtype, keys)
                if not np.isfinite(list(errors.values())).all():
                    raise ValueError("not finite")
            except ValueError as error:
                raise self._refused(kept, index, pack, values) from error
            checksums = {name: checksum(array) for name, array in arrays.items()}
            yield EncodedLayer(kept, index, self._chunks[kept.name].encoded(arrays), checksums, errors)

    def _write(self, pack: int, layers: Iterable[EncodedLayer]) -> PackRecord:
        """Write the chunks of a pack, then commit it; see `copy_pack`."""
        checksums: dict[str, list[int]] = {}
        errors: dict[str, dict[str, list[float]]] = {}
        sizes: dict[str, int] = {}

        def objects() -> Iterator[tuple[str, bytes]]:
            for layer in layers:
                for name, checked in layer.checksums.items():
                    checksums.setdefault(name, []).append(checked)
                measures = errors.setdefault(layer.kept.name, {}) if layer.errors else {}
                for name, error in layer.errors.items():
                    measures.setdefault(name, []).append(error)
                for name, path in self._chunks[layer.kept.name].paths(layer.index, pack).items():
                    sizes[path] = len(layer.chunks[name])
                    yield self._cleared(path), layer.chunks[name]

        try:
            self._storage.put_all(objects())
            return self._commit(pack, checksums, sizes, errors)
        except OSError as error:
            raise self._failed(error, pack) from error

    def _failed(self, error: OSError, pack: int) -> BiocacheError:
        if not isinstance(error, IntegrityError):
            self.run.in_place().group.require_same()
        return write_error(error, f"writing pack {pack} of run {self.run.key}")

    def _commit(
        self,
        pack: int,
        checksums: dict[str, list[int]],
        sizes: Mapping[str, int],
        errors: dict[str, dict[str, list[float]]],
    ) -> PackRecord:
        """Commit a pack, all of whose chunks were written."""
        self._storage.sync(below(self._folder, path) for path in sizes)
        self.run.in_place().group.require_same()
        time = datetime.now(UTC).isoformat(timespec="seconds")
        host, stored = socket.gethostname(), sum(sizes.values())
        record = PackRecord(self.run.group.digest, pack, checksums, stored, time, host, errors)
        path = record_path(pack)
        self._storage.put(self._cleared(path), encode_record(record))
        self._storage.sync([below(self._folder, path)])
        return record

    def _cleared(self, path: str) -> str:
        """Return where to write a file of the run; what a killed process left that was writing it is deleted."""
        place = below(self._folder, path)
        self._storage.discard_partial(place)
        return place

    def _check_buffer(self, buffer: PackBuffer) -> None:
        spec = self.run.spec
        found = {kept.name: (array.shape, str(array.dtype)) for kept, array in buffer.items()}
        wanted = {kept.name: (_pack_shape(spec, self.run.plan, kept), "float32") for kept in spec.kept}
        if found != wanted:
            raise ValueError(f"buffer {found} is not one of a pack of run {self.run.key}, {wanted}")

    def _refused(self, kept: Activation, index: int, pack: int, values: NDArray[np.float32]) -> SettingError:
        """Return the error of values that the data type of the store cannot hold."""
        run = self.run
        axis = getattr(run.plan, kept.axis)
        dtype = run.spec.stored_dtype(kept)
        wrong, fault, remedy = _unfit(kept, values, dtype)
        position = int(np.argwhere(wrong)[:, kept.ragged].min())
        samples = run.plan.samples_of(pack)
        ends = np.cumsum(axis.count[samples.start : samples.stop])
        sample = samples[int(np.searchsorted(ends, position, side="right"))]
        layer = run.spec.variable_layers(kept.name)[index]
        return SettingError(
            f"{kept.name} of layer {layer} is {fault} for sample {run.column('samples/sample_id')[sample]!r} of run "
            f"{run.key}; {remedy}"
        )


def _unfit(kept: Activation, values: NDArray[np.float32], dtype: str) -> tuple[NDArray[np.bool_], str, str]:
    """Return which values a data type cannot hold, what is wrong with them, and the next step."""
    option = "--attention-dtype" if kept is ATTENTION else "--dtype"
    with np.errstate(over="ignore"):
        wrong = ~np.isfinite(values.astype("float16") if dtype == "float16" else values)
    if not wrong.any() and dtype == "uint8":
        return ~((values >= 0) & (values <= 1)), "outside of [0, 1], which uint8 cannot hold,", f"pass {option}=float16"
    others = f"pass {option}=float32" + (f" or {option}=int8" if kept is HIDDEN and dtype == "float16" else "")
    return (
        wrong if wrong.any() else np.abs(values) == np.abs(values).max(),
        f"not finite in {dtype}",
        f"{others}, and if that fails too the model itself gives NaN or infinity",
    )
