"""Reading a run: its tables, its packs and the views of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.store import views
from biocache.store.arrays import read_column, read_group_attributes
from biocache.store.chunks import Chunks, dense_maps
from biocache.store.describing import as_html, as_text, run_facts
from biocache.store.errors import (
    REMAKE,
    IncompleteRunError,
    IntegrityError,
    NewerFormatError,
    RunNotFoundError,
    StoreFormatError,
)
from biocache.store.keys import RunKey
from biocache.store.metadata import MetadataError, Natural, as_type
from biocache.store.packing import PackPlan
from biocache.store.records import PackRecord, committed_packs, read_record
from biocache.store.spec import FORMAT_VERSION, Provenance, RunSpec
from biocache.store.streaming import RaggedBatch, iterate_batches
from biocache.store.text import shown

__all__ = ["Counts", "Run"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of a run: samples, tokens, words, entries of one head's maps, packs."""

    samples: Natural
    tokens: Natural
    words: Natural
    pairs: Natural
    packs: Natural


@dataclass(frozen=True)
class _Described:
    """What the attributes of a run hold."""

    spec: dict[str, Any]
    provenance: Provenance
    counts: Counts


def check_format(attributes: dict[str, Any], where: Path) -> dict[str, Any]:
    """Return biocache's own attributes of a group.

    Raises
    ------
    StoreFormatError
        If there are none, or they are of a format version that this release does not know; `NewerFormatError` where a
        newer one does.
    """
    own = attributes.get("biocache")
    if not isinstance(own, dict) or "format_version" not in own:
        raise StoreFormatError(f"{where} is not a biocache store: its zarr.json has no biocache attributes")
    version = own["format_version"]
    if isinstance(version, bool) or not isinstance(version, int) or version < FORMAT_VERSION:
        raise StoreFormatError(
            f"{where} has format version {shown(version)}, which no release wrote; this one reads {FORMAT_VERSION}"
        )
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{where} has format version {version}, of a newer release of biocache; this one reads version "
            f"{FORMAT_VERSION}: install the newer one"
        )
    return own


def check_store(root: Path) -> None:
    """Refuse a folder that is not the root of a store of this format.

    Raises
    ------
    FileNotFoundError
        If it has no ``zarr.json``.
    StoreFormatError
        If it is something else, also a run or a result of a store.
    """
    try:
        attributes = read_group_attributes(root)
    except StoreFormatError as error:
        raise StoreFormatError(f"{root} is not a biocache store: {error}") from error
    own = check_format(attributes, root)
    part = next((what for name, what in (("spec", "run"), ("kind", "result")) if name in own), None)
    if part is not None:
        raise StoreFormatError(f"{root} is a {part} of a biocache store, not a store; name the store that holds it")


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
        self._token_columns: dict[str, NDArray[Any]] = {}

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
        return as_text(f"biocache.Run {self.key}", run_facts(self))

    def _repr_html_(self) -> str:
        return as_html(f"biocache.Run {self.key}", run_facts(self))

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

    def token_column(self, path: str) -> NDArray[Any]:
        """Return one column of the table of tokens without fill, in the order of the samples; see `column`."""
        if path not in self._token_columns:
            self._token_columns[path] = self.column(path)[self.plan.axis_positions()]
        return self._token_columns[path]

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
            raise IntegrityError(f"the tables of {self.path} do not agree on where its samples lie; {REMAKE}")
        return plan

    def records(self) -> dict[int, PackRecord]:
        """Read the records of all committed packs.

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

    def require_kept(self, name: str) -> None:
        """Refuse a run that does not keep a variable.

        Raises
        ------
        RunNotFoundError
            If it does not; the message says what it keeps.
        """
        if name not in self.spec.keep:
            raise RunNotFoundError(
                f"run {self.key} keeps {', '.join(self.spec.keep)} and no {name}; extract it with --keep {name} and "
                "--overwrite, or into another --store"
            )

    def chunks(self, name: str) -> Chunks:
        """Return the chunks of ``hidden`` or ``attention``, to be read one by one."""
        spec, plan, hidden = self.spec, self.plan, name == "hidden"
        return Chunks(
            run=str(self.path),
            name=name,
            layers=spec.variable_layers(name),
            width=spec.feature_size if hidden else spec.head_count,
            length=plan.token_chunk if hidden else plan.pair_chunk,
            entries=tuple((plan.pack_tokens if hidden else plan.pack_pairs).tolist()),
            dtype=spec.dtype,
        )

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
        self.require_kept(name)
        return self.chunks(name).lazy()

    def tokens(self) -> xr.Dataset:
        """Return hidden states by token.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, token, feature), lazy, in the data type of the store, a block a layer of a pack, with
            the coordinates ``layer`` and, along ``token``: ``token`` (position among the tokens of the run), ``sample``
            (position among the samples), ``position`` (in the sample), ``word`` (position among words, -1 for
            special tokens), ``token_id``, ``token_text``, ``special`` and ``segment``. Half precision is written to
            files as single, unless an encoding says otherwise: netCDF knows no other.

        Raises
        ------
        IncompleteRunError
            If packs are missing.
        RunNotFoundError
            If the run does not keep hidden states, or was removed.
        IntegrityError
            If a table cannot be read; reading activations raises it later, when they are computed.
        """
        return views.tokens_view(self)

    def words(self, pooling: str = "mean") -> xr.Dataset:
        """Return hidden states by word, each reduced over the word's tokens.

        Parameters
        ----------
        pooling
            ``mean``, ``first`` or ``last``.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, word, feature), lazy, float32, a block a layer of a pack, with the coordinates ``layer``
            and, along ``word``: ``word`` (position among all words of the run), ``sample``, ``text``, ``segment``,
            ``token_count`` and, for `ner`, ``label``. Words that lost all their tokens to ``max_length`` are left out;
            the attribute ``words_lost`` counts them. Since ``word`` counts them, runs of different tokenizers align.

        Raises
        ------
        SettingError
            If the pooling is not one of these.
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return views.words_view(self, pooling)

    def samples(self, pooling: str = "mean", special_tokens: bool = False) -> xr.Dataset:
        """Return hidden states by sample, each reduced over the sample's tokens.

        Parameters
        ----------
        pooling
            ``mean``, ``first``, ``last`` or ``max``.
        special_tokens
            Whether tokens that the tokenizer added take part. With them ``first`` of an encoder is its ``[CLS]``.

        Returns
        -------
        xarray.Dataset
            ``hidden`` (layer, sample, feature), lazy, float32, a block a layer of a pack, with the coordinates
            ``layer`` and, along ``sample``: ``sample`` (position in the run), ``sample_id``, ``token_count``,
            ``word_count``, ``truncated`` and, for `nli`, ``label``. A sample without a token to reduce is NaN.

        Raises
        ------
        SettingError
            If the pooling is not one of these.
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return views.samples_view(self, pooling, special_tokens)

    def attention(self) -> xr.Dataset:
        """Return all attention maps, as a contiguous ragged array (CF conventions, section 9).

        Returns
        -------
        xarray.Dataset
            ``attention`` (layer, head, pair), lazy, in the data type of the store, a block a layer of a pack, and
            ``row_size`` (sample), the entries of every sample's map; they follow each other along ``pair``. A map of T
            tokens is T x T entries, row-major (query, key), or for a causal model, whose attribute ``causal`` is 1, the
            T(T+1)/2 of the lower triangle. Coordinates: ``layer``, ``head`` and, along ``sample``, those of `samples`.

        Raises
        ------
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return views.attention_view(self)

    def attention_map(self, sample: int | str) -> xr.DataArray:
        """Read the attention maps of one sample.

        Parameters
        ----------
        sample
            Its position in the run, or its id.

        Returns
        -------
        xarray.DataArray
            float32 (layer, head, query, key), in memory; zeros above the diagonal of a causal model. Coordinates:
            ``layer``, ``head``, ``query`` and ``key`` (positions), ``query_token`` and ``key_token`` (texts),
            ``sample`` and ``sample_id``.

        Raises
        ------
        RunNotFoundError
            If the run has no such sample or does not keep attention.
        IncompleteRunError, IntegrityError
            As `tokens`, but at once.
        """
        return views.attention_map(self, sample)

    def iter_batches(
        self, layer: int, batch_tokens: int = 4096, *, shuffle: bool = False, seed: int = 0, window_packs: int = 2
    ) -> Iterator[RaggedBatch]:
        """Stream a layer in batches of whole samples, for training loops.

        Every sample comes once; each worker of a torch ``DataLoader`` yields the samples of its share of the packs. In
        memory are, at most, one layer of ``window_packs`` packs, what is left of the window before, and a batch.

        Parameters
        ----------
        layer
            The layer.
        batch_tokens
            Most tokens of a batch. A longer sample is a batch of its own.
        shuffle
            Whether to shuffle the packs, and the samples within each window of packs; else the order is the run's.
        seed
            Seed of the shuffling; give each epoch its own.
        window_packs
            Packs whose samples are shuffled together.

        Yields
        ------
        RaggedBatch
            ``hidden`` (token, feature) float32, ``row_size`` (sample), ``sample`` (sample) and ``token`` (token).

        Raises
        ------
        SettingError
            If the layer is not stored, a number is not positive or the seed is negative.
        IncompleteRunError, RunNotFoundError, IntegrityError
            As `tokens`.
        """
        return iterate_batches(self, layer, batch_tokens, shuffle=shuffle, seed=seed, window_packs=window_packs)

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
        chunks = self.chunks(name)
        first = int(start[sample]) - pack * chunks.length
        entries = slice(first, first + int(count[sample]))
        part = (entries,) if name == "hidden" else (slice(None), entries)
        # Copied, so that one pack of one layer is in memory at a time.
        rows = np.stack([chunks.read_committed(index, pack)[part].copy() for index in range(len(chunks.layers))])
        return rows if name == "hidden" else dense_maps(rows, int(plan.token_count[sample]), self.spec.causal)
