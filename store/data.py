"""The data of a run: its tables, its layout, and its activations pack by pack."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.arrays import read_column
from biocache.store.certificate import summary
from biocache.store.chunks import Chunks, dense_maps
from biocache.store.coding import code_steps
from biocache.store.digests import sample_rows, text_digests
from biocache.store.errors import REMAKE, IntegrityError
from biocache.store.label_sets import LabelPlace, find_labels
from biocache.store.labels import Labels
from biocache.store.levels import counted_tokens, row_counts
from biocache.store.packing import PackPlan
from biocache.store.records import PackRecord
from biocache.store.runs import StoredRun
from biocache.store.schema import ATTENTION, HIDDEN, NORMS
from biocache.store.windows import Context, Windows, context_of_words

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["RunData"]


class RunData(StoredRun):
    """A run with its data, read on demand."""

    @cached_property
    def _columns(self) -> dict[str, NDArray[Any]]:
        return {}

    @cached_property
    def _token_columns(self) -> dict[str, NDArray[Any]]:
        return {}

    def column(self, path: str) -> NDArray[Any]:
        """Return one column of a table, such as ``samples/token_count``, as stored.

        Raises
        ------
        IntegrityError
            If it is missing or damaged.
        """
        if path not in self._columns:
            there = f"{path}/zarr.json" in self.sealed.files
            earlier = None if there else self._of_earlier_releases(path)
            self._columns[path] = read_column(self.sealed, path) if earlier is None else earlier
        return self._columns[path]

    def _of_earlier_releases(self, path: str) -> NDArray[Any] | None:
        """Return what a column that earlier releases did not write would hold; None for others."""
        if path == schema.WINDOW and self.spec.stride is None:
            return np.zeros(self.plan.tokens.length, np.int32)
        if path == schema.SEEN:
            return np.full(self.counts.samples, -1 if self.key.training_size else 0, np.int8)
        return None

    def token_column(self, path: str) -> NDArray[Any]:
        """Return one column of the table of tokens without fill, in the order of the samples; see `column`."""
        if path not in self._token_columns:
            self._token_columns[path] = self.column(path)[self.plan.tokens.positions()]
        return self._token_columns[path]

    @cached_property
    def text_digests(self) -> NDArray[np.uint64]:
        """Digests of the words of the texts that the run read, by which labels are joined; uint64 (sample, text)."""
        digests = text_digests(parts for _, parts in sample_rows(self))
        return digests.reshape(self.counts.samples, len(schema.VIEW_TEXTS[self.key.view]))

    def labels(self, name: str = schema.GOLD) -> Labels:
        """Return the labels of a label set for the words or samples of the run.

        Raises
        ------
        RunNotFoundError
            If the store has no such label set for the split.
        DataError
            If it is of another text.
        IntegrityError
            If it is damaged.
        """
        if name not in self._labels:
            place = LabelPlace.of_run(self.key, name)
            self._labels[name] = find_labels(self.group.storage, place).labels.of_run(self)
        return self._labels[name]

    @cached_property
    def _labels(self) -> dict[str, Labels]:
        return {}

    @property
    def plan(self) -> PackPlan:
        """Layout of the run.

        Raises
        ------
        IntegrityError
            If the tables that say where samples lie are missing, damaged, or do not agree.
        """
        return self._layout[0]

    @property
    def windows(self) -> Windows:
        """Windows of the run, each a sample or a part of a longer one; raises as `plan`."""
        return self._layout[1]

    @cached_property
    def context(self) -> Context:
        """The tokens by which words are read, as positions without fill; see `context_of_words`."""
        return context_of_words(self.token_column("tokens/word"), self.windows.of_token, self.column("words/segment"))

    def counted_once(self, pooling: str) -> NDArray[np.bool_]:
        """Return which tokens a pooling of samples reads, special ones included (token); see `Run.samples`."""
        ends = pooling if pooling in {"first", "last"} else "all"
        if ends not in self._counted:
            self._counted[ends] = counted_tokens(self, pooling)
        return self._counted[ends]

    @cached_property
    def _counted(self) -> dict[str, NDArray[np.bool_]]:
        return {}

    @cached_property
    def _layout(self) -> tuple[PackPlan, Windows]:
        counts = self.counts
        first = np.append(self.column("packs/first_sample"), counts.samples)
        plan = PackPlan.of(self.column("samples/token_count"), self.column("samples/entry_count"), first)
        if self.spec.level != "token":
            words = (self.column("words/sample"), self.column("words/token_count"))
            plan = plan.with_rows(row_counts(self.spec.level, counts.samples, *words))
        sound = (
            len(plan.tokens.count) == len(plan.entries.count) == counts.samples
            and len(first) == counts.packs + 1
            and first[0] == 0
            and bool((np.diff(first) > 0).all())
            and np.array_equal(self.column("samples/token_start"), plan.tokens.start)
            and np.array_equal(self.column("samples/entry_start"), plan.entries.start)
            and (plan.tokens.total, plan.entries.total) == (counts.tokens, counts.entries)
            and plan.rows.total == counts.kept_rows
        )
        windows = self._windows(plan) if sound else None
        if windows is not None and np.array_equal(plan.entries.count, windows.entries):
            return plan, windows
        raise IntegrityError(f"the tables of {self.group.where} do not agree on where its samples lie; {REMAKE}")

    def _windows(self, plan: PackPlan) -> Windows | None:
        """Return the windows of a layout; None where the tables have others."""
        if self.spec.stride is None:
            alike = np.array_equal(plan.entries.count, self.spec.entry_count(plan.tokens.count))
            return Windows.whole(plan) if alike else None
        with suppress(ValueError, IndexError):
            number = self.column(schema.WINDOW)[plan.tokens.positions()]
            return Windows.of(plan.tokens.count, number, plan.first_sample, self.spec.entry_count)
        return None

    def chunks(self, name: str) -> Chunks:
        """Return the chunks of ``hidden``, ``attention`` or ``norms``, to be read one by one."""
        kept = schema.ACTIVATIONS[name]
        axis = getattr(self.plan, kept.axis)
        return Chunks(
            run=self.group,
            records=self._records,
            kept=kept,
            layers=self.spec.variable_layers(name),
            width=self.spec.width(kept),
            length=axis.chunk,
            used=tuple(axis.pack_sizes.tolist()),
            dtype=self.spec.stored_dtype(kept),
            scales=self.spec.scales(kept),
        )

    def map_rows(self, pack: int) -> NDArray[np.int64]:
        """Return the keys of every row of every map of a pack, int64 (row): all tokens, or those up to the query."""
        plan = self.windows.plan
        windows = plan.samples_of(pack)
        tokens = plan.tokens.count[windows.start : windows.stop]
        return np.concatenate([np.arange(1, n + 1) if self.spec.causal else np.full(n, n) for n in tokens])

    def activations(self, name: str) -> "da.Array":
        """Return the valid entries of ``hidden``, ``attention`` or ``norms`` as one lazy array.

        Returns
        -------
        dask.array.Array
            (layer, token, feature), (layer, head, entry) or (layer, head, token), a block a layer of a pack: float16 or
            float32 as stored, float32 of codes. A run of words or samples has their rows instead of tokens
            (`biocache.store.levels`).

        Raises
        ------
        IncompleteRunError
            If packs are missing.
        RunNotFoundError
            If the run does not keep the variable.
        """
        self.require(name)
        return self.chunks(name).lazy()

    def certificate(self, records: Mapping[int, PackRecord] | None = None) -> dict[str, dict[str, float]]:
        """Return what the data types cost, over all committed packs: ``worst`` and ``mean``, by variable.

        Of hidden states it is the error relative to the spread of the feature, the mean being a root mean square; of
        attention the Jensen-Shannon divergence of exact and stored rows in bits; of norms as of hidden states, relative
        to the spread of the head. A variable of which packs were written
        by a release that did not measure it is left out. See `biocache.store.certificate`.

        Parameters
        ----------
        records
            Records of the packs that count, where they were read before.
        """
        chosen = self.records() if records is None else records
        plan = self.plan
        # Each token is a row of a map.
        axes = {HIDDEN.name: plan.rows, ATTENTION.name: plan.tokens, NORMS.name: plan.tokens}
        rows = {name: axis.pack_sizes.tolist() for name, axis in axes.items()}
        return summary(self.spec.kept, chosen, rows)

    def read_sample(self, name: str, sample: int) -> NDArray[Any]:
        """Read one sample of ``hidden``, ``attention`` or ``norms``, all layers.

        Parameters
        ----------
        name
            ``hidden``, ``attention`` or ``norms``.
        sample
            Position of the sample in the run.

        Returns
        -------
        numpy.ndarray
            (layer, token, feature), or of a run of words or samples the sample's rows (layer, row, feature);
            norms (layer, head, token); or dense maps (layer, head, query, key); above the diagonal of a causal model's
            map there are zeros. Of a sample of several windows the maps are blocks along the diagonal, and NaN outside
            of them.

        Raises
        ------
        IntegrityError
            If its pack is not committed, or a chunk is missing or damaged.
        """
        plan, windows = self.plan, self.windows.of_sample(sample)
        rows = self._read_rows(name, plan, sample)
        if name != "attention":
            return rows
        if len(windows) == 1:
            return dense_maps(rows, int(plan.tokens.count[sample]), self.spec.causal)
        own = self.windows.plan
        entry, token = (axis.dense_start[windows.start : windows.stop + 1] for axis in (own.entries, own.tokens))
        maps = np.full((*rows.shape[:-1], token[-1] - token[0], token[-1] - token[0]), np.nan, rows.dtype)
        for number in range(len(windows)):
            part, of_map = (slice(*(at[number : number + 2] - at[0]).tolist()) for at in (token, entry))
            maps[..., part, part] = dense_maps(rows[..., of_map], part.stop - part.start, self.spec.causal)
        return maps

    def read_window(self, name: str, window: int) -> NDArray[Any]:
        """Read one window of a variable, by its position among all windows; see `read_sample`.

        A run of words or samples has no hidden states of a window.
        """
        plan = self.windows.plan
        rows = self._read_rows(name, plan, window)
        return rows if name != "attention" else dense_maps(rows, int(plan.tokens.count[window]), self.spec.causal)

    def _read_rows(self, name: str, plan: PackPlan, sample: int) -> NDArray[Any]:
        chunks = self.chunks(name)
        pack, part = int(plan.sample_pack[sample]), getattr(plan, chunks.kept.axis).part(sample)
        # Copied, so that only one pack of one layer is in memory at a time.
        blocks = (chunks.read_committed(index, pack) for index in range(len(chunks.layers)))
        return np.stack([chunks.kept.part(block, part).copy() for block in blocks])

    def read_steps(self, name: str, window: int) -> NDArray[np.float64] | None:
        """Return the distance between neighbouring codes of one window's values, all layers; None for other types.

        Of a run of words or samples it is that of a sample's rows, by the position of the sample.

        Returns
        -------
        numpy.ndarray or None
            float64 (layer, token or row, feature).
        """
        plan, chunks = self.windows.plan if self.spec.level == "token" else self.plan, self.chunks(name)
        if not chunks.scales:
            return None
        pack, part = int(plan.sample_pack[window]), plan.rows.part(window)
        layers = range(len(chunks.layers))
        return np.stack([code_steps(chunks.read_committed_arrays(index, pack))[part] for index in layers])
