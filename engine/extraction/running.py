"""Running an extraction: windows through the model and into the store."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from biocache.engine.extraction.batches import Batch, Window, plan_batches, plan_windows
from biocache.engine.extraction.forward import Activations, Forward, TokenTable
from biocache.engine.extraction.memory import Budget
from biocache.engine.extraction.request import Partition
from biocache.engine.models import LoadedModel
from biocache.store.packing import PackPlan
from biocache.store.reading import Run
from biocache.store.records import PackRecord
from biocache.store.writing import PackBuffer, RunWriter

__all__ = ["Progress", "RunReport", "fill_run"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; handed to the caller's callback.

    Attributes
    ----------
    run
        Path of the run below the store.
    tokens_done
        Tokens computed by this process so far, padding not counted.
    tokens_total
        Tokens that this process has to compute.
    """

    run: str
    tokens_done: int
    tokens_total: int


@dataclass(frozen=True, slots=True)
class RunReport:
    """What an extraction did for one run.

    Attributes
    ----------
    run
        Path of the run below the store.
    packs
        Packs of the run.
    packs_written
        Packs that this process computed and committed.
    packs_done
        Packs that are committed now.
    tokens_written
        Tokens in the packs that this process committed.
    tokens_computed
        Tokens that went through the model, padding not counted.
    tokens_padded
        Tokens that went through the model, padding counted.
    bytes_written
        Bytes of the chunks that this process wrote.
    """

    run: str
    packs: int
    packs_written: int
    packs_done: int
    tokens_written: int
    tokens_computed: int
    tokens_padded: int
    bytes_written: int

    @property
    def complete(self) -> bool:
        """Whether every pack of the run is committed."""
        return self.packs_done == self.packs


class _Tally:
    """What has been done so far."""

    def __init__(self) -> None:
        self.packs: dict[int, PackRecord] = {}
        self.computed = 0
        self.padded = 0

    def report(self, run: Run, pending: int) -> RunReport:
        tokens = run.plan.pack_tokens
        return RunReport(
            run=str(run.key),
            packs=run.counts.packs,
            packs_written=len(self.packs),
            packs_done=run.counts.packs - pending,
            tokens_written=int(sum(tokens[pack] for pack in self.packs)),
            tokens_computed=self.computed,
            tokens_padded=self.padded,
            bytes_written=sum(record.stored_bytes for record in self.packs.values()),
        )


def token_table(run: Run) -> TokenTable:
    """Read what the model is fed from the run's own tables."""
    positions = run.plan.axis_positions()
    counts = run.plan.token_count
    return TokenTable(
        run.column("tokens/token_id")[positions],
        run.column("tokens/segment")[positions],
        np.cumsum(counts) - counts,
    )


def fill_run(
    run: Run,
    loaded: LoadedModel,
    budget: Budget,
    *,
    partition: Partition | None = None,
    windows: list[int] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunReport:
    """Compute and commit the packs of a run that have no record.

    Windows that another process is computing are passed over, and looked at again at the end, in case that
    process was stopped.

    Parameters
    ----------
    run
        The run, created.
    loaded
        The model; its digest must be the run's.
    budget
        Batch and window sizes.
    partition
        Share of the windows; None for all.
    windows
        Windows to compute, by index; None for those of the partition.
    on_progress
        Called after every batch.

    Returns
    -------
    RunReport
        What was done.

    Raises
    ------
    BiocacheError
        If the device's memory, the disk or the data type does not suffice. Committed packs stay.
    """
    filler = _Filler(run, loaded, budget, on_progress)
    try:
        share = [
            window
            for window in plan_windows(run.plan, budget.window_tokens)
            if (windows is None or window.index in windows) and _in_partition(window, partition)
        ]
        return filler.fill(share)
    finally:
        filler.writer.close()


def _in_partition(window: Window, partition: Partition | None) -> bool:
    return partition is None or window.index % partition.count == partition.index - 1


class _Filler:
    """Takes the windows of one run through the model, one ahead of the threads that write."""

    def __init__(
        self, run: Run, loaded: LoadedModel, budget: Budget, on_progress: Callable[[Progress], None] | None
    ) -> None:
        self.run = run
        self.writer = RunWriter(run)
        self._forward = Forward(loaded.model, run.spec, token_table(run), lanes=budget.lanes)
        self._budget = budget
        self._on_progress = on_progress
        self._tally = _Tally()
        self._total = 0
        # Buffers of written packs are used again: touching new memory takes longer than filling it.
        self._free: list[PackBuffer] = []

    def fill(self, share: list[Window]) -> RunReport:
        pending = set(self.writer.pending())
        self._total = sum(batch.lengths.sum() for window in share for batch in self._batches(window, pending))
        # On an error the writers end before the claims: nobody else computes what they are committing.
        with (
            ExitStack() as held,
            ThreadPoolExecutor(self._budget.writers, thread_name_prefix="biocache-write") as pool,
        ):
            busy = self._sweep(share, pool, held, wait=False)
            self._sweep(busy, pool, held, wait=True)
        return self._tally.report(self.run, len(self.writer.pending()))

    def _sweep(self, windows: list[Window], pool: ThreadPoolExecutor, held: ExitStack, *, wait: bool) -> list[Window]:
        """Compute windows; return those that another process holds."""
        busy: list[Window] = []
        writing: _Writing | None = None
        for window in windows:
            claim = ExitStack()
            if not claim.enter_context(self.writer.claim(window.packs, wait=wait)):
                claim.close()
                busy.append(window)
                continue
            held.push(claim)
            # Asked only once the claim is held: who held it before may have committed some.
            pending = set(self.writer.pending()) & set(window.packs)
            buffers = self._compute(window, pending)
            if writing is not None:
                self._finish(writing)
            futures = {pack: pool.submit(self.writer.write_pack, pack, buffer) for pack, buffer in buffers.items()}
            writing = _Writing(futures, list(buffers.values()), claim)
        if writing is not None:
            self._finish(writing)
        return busy

    def _finish(self, writing: "_Writing") -> None:
        with writing.claim:
            for pack, future in writing.futures.items():
                self._tally.packs[pack] = future.result()
        self._free += writing.buffers

    def _batches(self, window: Window, pending: set[int]) -> Iterator[Batch]:
        """Yield the batches of a window that hold a sample of a pending pack.

        All packs of the window take part in the batching, so that the batches, and with them the numbers, are
        those of an extraction that was never interrupted.
        """
        if pending.isdisjoint(window.packs):
            return
        packs = self.run.plan.sample_pack
        for batch in plan_batches(self.run.plan, window.packs, self._budget.batch_tokens):
            if not pending.isdisjoint(packs[batch.samples].tolist()):
                yield batch

    def _compute(self, window: Window, pending: set[int]) -> dict[int, PackBuffer]:
        plan = self.run.plan
        buffers = {
            pack: self._free.pop() if self._free else PackBuffer.empty(self.run.spec, plan) for pack in sorted(pending)
        }
        for activations in self._forward.run(self._batches(window, pending)):
            _place(activations, plan, buffers)
            self._tally.computed += int(activations.batch.lengths.sum())
            self._tally.padded += activations.batch.padded_tokens
            if self._on_progress is not None:
                self._on_progress(Progress(str(self.run.key), self._tally.computed, int(self._total)))
        return buffers


@dataclass(frozen=True, eq=False)
class _Writing:
    """The packs of a window on their way to disk, and the claim that ends when they are there."""

    futures: dict[int, Future[PackRecord]]
    buffers: list[PackBuffer]
    claim: ExitStack


def _place(activations: Activations, plan: PackPlan, buffers: dict[int, PackBuffer]) -> None:
    """Copy a batch's samples to their places in the buffers of their packs."""
    tokens = pairs = 0
    for sample in activations.batch.samples.tolist():
        pack = int(plan.sample_pack[sample])
        size, entries = int(plan.token_count[sample]), int(plan.pair_count[sample])
        buffer = buffers.get(pack)
        if buffer is not None:
            begin = int(plan.token_start[sample]) - pack * plan.token_chunk
            if buffer.hidden is not None and activations.hidden is not None:
                buffer.hidden[:, begin : begin + size] = activations.hidden[:, tokens : tokens + size]
            begin = int(plan.pair_start[sample]) - pack * plan.pair_chunk
            if buffer.attention is not None and activations.attention is not None:
                buffer.attention[:, :, begin : begin + entries] = activations.attention[:, :, pairs : pairs + entries]
        tokens += size
        pairs += entries
