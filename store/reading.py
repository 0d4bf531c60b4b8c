"""Reading a run: its tables, its packs and its token-level view."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.arrays import one_line, read_column, read_group_attributes
from biocache.store.claims import is_claimed
from biocache.store.errors import (
    BusyError,
    IncompleteRunError,
    IntegrityError,
    RunNotFoundError,
    StoreFormatError,
)
from biocache.store.keys import RunKey
from biocache.store.packing import PackPlan
from biocache.store.records import PackRecord, committed_packs, read_record
from biocache.store.spec import FORMAT_VERSION, Provenance, RunSpec

__all__ = ["Counts", "Run", "read_pack_layer"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a run: samples, tokens, words, entries of one head's maps, packs."""

    samples: int
    tokens: int
    words: int
    pairs: int
    packs: int


def check_format(attributes: dict[str, Any], where: Path) -> dict[str, Any]:
    """Return biocache's own attributes of a group.

    Raises
    ------
    StoreFormatError
        If there are none, or they are of a format version that this release does not know.
    """
    own = attributes.get("biocache")
    if not isinstance(own, dict) or "format_version" not in own:
        raise StoreFormatError(f"{where} is not a biocache store: its zarr.json has no biocache attributes")
    if own["format_version"] != FORMAT_VERSION:
        raise StoreFormatError(
            f"{where} has format version {own['format_version']}; this release of biocache reads version "
            f"{FORMAT_VERSION}: install a newer biocache"
        )
    return own


@lru_cache(maxsize=256)
def _open_activations(run: str, name: str, _identity: tuple[int, int]) -> zarr.Array[Any]:
    return zarr.open_array(Path(run) / name / name, mode="r")


def read_pack_layer(run: str, name: str, index: int, pack: int, bounds: tuple[int, int]) -> NDArray[Any]:
    """Read what is not fill of one chunk.

    Parameters
    ----------
    run
        Folder of the run.
    name
        ``hidden`` or ``attention``.
    index
        Position along ``layer``.
    pack
        The pack; named in errors.
    bounds
        Begin and end of its valid entries along ``token`` or ``pair``.

    Returns
    -------
    numpy.ndarray
        (token, feature) or (head, pair), in the data type of the store.

    Raises
    ------
    IntegrityError
        If the chunk is missing or its bytes are damaged.
    """
    metadata = Path(run) / name / name / "zarr.json"
    try:
        stat = metadata.stat()
        array = _open_activations(run, name, (stat.st_ino, stat.st_mtime_ns))
        region = slice(*bounds)
        values = np.asarray(array[index, region] if name == "hidden" else array[index, :, region])
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise IntegrityError(
            f"layer {index} of {name} in pack {pack} of {run} cannot be read ({one_line(error)}); "
            f"delete {Path(run) / 'packs/record/c' / str(pack)} and run the same `biocache extract` again"
        ) from error
    # Writers refuse NaN, so one fill value at the first entry says that the chunk is not there.
    if values.size and np.isnan(values[0, 0]):
        raise IntegrityError(
            f"layer {index} of {name} in pack {pack} of {run} is missing; "
            f"delete {Path(run) / 'packs/record/c' / str(pack)} and run the same `biocache extract` again"
        )
    return values


def _read_committed(run: str, name: str, index: int, pack: int, bounds: tuple[int, int]) -> NDArray[Any]:
    """Read what is not fill of one chunk, and refuse what is not what the pack's record says."""
    record = read_record(Path(run), pack)
    values = read_pack_layer(run, name, index, pack, bounds)
    if not record.matches(name, index, values):
        raise IntegrityError(
            f"layer {index} of {name} in pack {pack} of {run} is not what was committed; "
            f"delete {Path(run) / 'packs/record/c' / str(pack)} and run the same `biocache extract` again"
        )
    return values


def _read_block(run: str, name: str, bounds: tuple[tuple[int, int], ...], block_id: tuple[int, ...]) -> NDArray[Any]:
    index, pack = block_id[0], block_id[1 if name == "hidden" else 2]
    return _read_committed(run, name, index, pack, bounds[pack])[np.newaxis]


class Run:
    """The cached activations of one key.

    Opening a run reads its attributes; tables and activations are read when they are asked for.

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
        self._columns: dict[str, NDArray[Any]] = {}

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
            own = check_format(read_group_attributes(path), path)
        except FileNotFoundError as error:
            raise RunNotFoundError(f"{root} has no run {key}; `biocache ls` lists what there is") from error
        try:
            spec = RunSpec.from_json(key, own["spec"])
            return cls(path, key, spec, Provenance.from_json(own["provenance"]), Counts(**own["counts"]))
        except (KeyError, TypeError) as error:
            raise StoreFormatError(f"the attributes of run {path} are damaged ({one_line(error)})") from error

    def __repr__(self) -> str:
        done = f"{len(committed_packs(self.path))}/{self.counts.packs} packs"
        return f"<biocache.Run {self.key}: {self.counts.samples} samples, {self.counts.tokens} tokens, {done}>"

    def column(self, path: str) -> NDArray[Any]:
        """Return one column of a table, such as ``samples/token_count``, as stored.

        Raises
        ------
        IntegrityError
            If it is missing or damaged.
        """
        if path not in self._columns:
            self._columns[path] = read_column(self.path, path)
        return self._columns[path]

    @cached_property
    def plan(self) -> PackPlan:
        """Layout of the run.

        Raises
        ------
        IntegrityError
            If the tables that say where samples lie are missing, damaged, or do not agree.
        """
        first = np.append(self.column("packs/first_sample"), self.counts.samples).astype(np.int64)
        tokens = self.column("samples/token_count").astype(np.int64)
        pairs = self.column("samples/pair_count").astype(np.int64)
        plan = PackPlan(tokens, pairs, first)
        sound = (
            len(tokens) == self.counts.samples
            and len(first) == self.counts.packs + 1
            and first[0] == 0
            and bool((np.diff(first) > 0).all())
            and np.array_equal(pairs, self.spec.pair_count(tokens))
            and np.array_equal(self.column("samples/token_start"), plan.token_start)
            and np.array_equal(self.column("samples/pair_start"), plan.pair_start)
            and (tokens.sum(), pairs.sum()) == (self.counts.tokens, self.counts.pairs)
        )
        if not sound:
            raise IntegrityError(
                f"the tables of {self.path} do not agree on where its samples lie; remove the run with `biocache rm` "
                "and extract it again"
            )
        return plan

    def chunk_path(self, name: str, index: int, pack: int) -> Path:
        """Return the file of a chunk of ``hidden`` or ``attention``."""
        parts = (index, pack, 0) if name == "hidden" else (index, 0, pack)
        return self.path.joinpath(name, name, "c", *map(str, parts))

    def records(self) -> dict[int, PackRecord]:
        """Read the records of all committed packs.

        Raises
        ------
        IntegrityError
            If a record is damaged.
        """
        return {pack: read_record(self.path, pack) for pack in committed_packs(self.path)}

    @property
    def complete(self) -> bool:
        """Whether every pack is committed."""
        return len(committed_packs(self.path)) == self.counts.packs

    def require_complete(self) -> None:
        """Refuse a run that still has packs without a record.

        Raises
        ------
        IncompleteRunError
            If there are any; the message says how much is there and how to finish.
        """
        done = len(committed_packs(self.path))
        if done < self.counts.packs:
            raise IncompleteRunError(
                f"run {self.key} is incomplete: {done} of {self.counts.packs} packs are there; finish it with the "
                "`biocache extract` command that began it"
            )

    def refuse_claimed(self) -> None:
        """Refuse a run that a live process is writing to.

        Raises
        ------
        BusyError
            If there is such a process.
        """
        if is_claimed(self.path):
            raise BusyError(f"run {self.key} is being written by another process; wait for it or stop it first")

    def pack_bounds(self, name: str) -> tuple[tuple[int, int], ...]:
        """Return begin and end of every pack's valid entries along ``token`` or ``pair``."""
        plan = self.plan
        chunk, used = (plan.token_chunk, plan.pack_tokens) if name == "hidden" else (plan.pair_chunk, plan.pack_pairs)
        return tuple((pack * chunk, pack * chunk + int(n)) for pack, n in enumerate(used))

    def activations(self, name: str) -> da.Array:
        """Return the valid entries of ``hidden`` or ``attention`` as one lazy array.

        Returns
        -------
        dask.array.Array
            (layer, token, feature) or (layer, head, pair) in the data type of the store; a block is one
            layer of one pack.

        Raises
        ------
        IncompleteRunError
            If packs are missing.
        RunNotFoundError
            If the run does not keep the variable.
        """
        self.require_complete()
        if name not in self.spec.keep:
            raise RunNotFoundError(
                f"run {self.key} keeps {', '.join(self.spec.keep)} and no {name}; extract it with --keep {name} and "
                "--overwrite, or into another --store"
            )
        bounds = self.pack_bounds(name)
        ragged = tuple(end - begin for begin, end in bounds)
        layers = (1,) * len(self.spec.variable_layers(name))
        chunks: tuple[tuple[int, ...], ...]
        if name == "hidden":
            chunks = (layers, ragged, (self.spec.feature_size,))
        else:
            chunks = (layers, (self.spec.head_count,), ragged)
        return da.map_blocks(
            _read_block,
            str(self.path),
            name,
            bounds,
            chunks=chunks,
            dtype=self.spec.dtype,
            meta=np.empty((0, 0, 0), self.spec.dtype),
        )

    def tokens(self) -> xr.Dataset:
        """Return the token-level view.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, token, feature), lazy, in the data type of the store, with the coordinates
            ``layer`` (layer) and, along ``token``: ``sample`` (position along the samples of the run),
            ``position`` (in the sample), ``word`` (position along the words of the run, -1 for special
            tokens), ``token_id``, ``token_text``, ``special`` and ``segment``.

        Raises
        ------
        IncompleteRunError
            If packs are missing.
        IntegrityError
            If a table cannot be read; reading activations raises it later, when they are computed.
        """
        hidden = self.activations("hidden")
        plan = self.plan
        positions = plan.axis_positions()
        sample = np.repeat(np.arange(self.counts.samples), plan.token_count)
        start = np.cumsum(plan.token_count) - plan.token_count
        coordinates: dict[str, Any] = {
            "layer": ("layer", np.asarray(self.spec.layers)),
            "sample": ("token", sample),
            "position": ("token", np.arange(len(sample)) - start[sample]),
        }
        for variable in schema.columns(self.key.task):
            if variable.group == "tokens":
                values = self.column(variable.path)[positions]
                coordinates[variable.name] = ("token", values, {"long_name": variable.meaning})
        attributes = {"long_name": schema.activation("hidden").meaning, "units": "1"}
        return xr.Dataset(
            {"hidden": (("layer", "token", "feature"), hidden, attributes)},
            coordinates,
            {"run": str(self.key)},
        )

    def read_sample(self, name: str, sample: int) -> NDArray[Any]:
        """Read one sample of ``hidden`` or ``attention``, all layers.

        Parameters
        ----------
        name
            ``hidden`` or ``attention``.
        sample
            Position of the sample in the run.

        Returns
        -------
        numpy.ndarray
            (layer, token, feature), or dense maps (layer, head, query, key); above the diagonal of a causal
            model's map there are zeros.

        Raises
        ------
        IntegrityError
            If its pack is not committed, or a chunk is missing or damaged.
        """
        plan = self.plan
        pack = int(plan.sample_pack[sample])
        start, count = (plan.token_start, plan.token_count) if name == "hidden" else (plan.pair_start, plan.pair_count)
        bounds = self.pack_bounds(name)[pack]
        first = int(start[sample]) - bounds[0]
        entries = slice(first, first + int(count[sample]))
        part = (entries,) if name == "hidden" else (slice(None), entries)
        layers = range(len(self.spec.variable_layers(name)))
        # Copied, so that one pack of one layer is in memory at a time.
        rows = np.stack([_read_committed(str(self.path), name, layer, pack, bounds)[part].copy() for layer in layers])
        return rows if name == "hidden" else dense_maps(rows, int(plan.token_count[sample]), self.spec.causal)


def dense_maps(entries: NDArray[Any], tokens: int, causal: bool) -> NDArray[Any]:
    """Rebuild the square maps of one sample.

    Parameters
    ----------
    entries
        Stored entries (..., pair).
    tokens
        Tokens of the sample.
    causal
        Whether only the lower triangle is stored.

    Returns
    -------
    numpy.ndarray
        (..., query, key).
    """
    if not causal:
        return entries.reshape(*entries.shape[:-1], tokens, tokens)
    maps = np.zeros((*entries.shape[:-1], tokens, tokens), entries.dtype)
    query, key = np.tril_indices(tokens)
    maps[..., query, key] = entries
    return maps
