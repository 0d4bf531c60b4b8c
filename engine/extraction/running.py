"""Running an extraction: windows through the model and into the store."""

from collections import deque
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace

import numpy as np

from biocache.engine.extraction.batches import Batch, plan_batches, plan_windows
from biocache.engine.extraction.forward import Activations, Forward, TokenTable
from biocache.engine.extraction.memory import Budget
from biocache.engine.extraction.placing import place
from biocache.engine.models.loading import LoadedModel
from biocache.store.reading import Run
from biocache.store.records import PackRecord
from biocache.store.writing import PackBuffer, RunWriter

__all__ = ["Progress", "RunReport", "fill_run"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run, passed to the caller's callback.

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
    written_bytes
        Bytes of the chunks that this process wrote.
    remarks
        What the configuration and a trial of the model say that a user should know.
    """

    run: str
    packs: int
    packs_written: int = 0
    packs_done: int = 0
    tokens_written: int = 0
    tokens_computed: int = 0
    tokens_padded: int = 0
    written_bytes: int = 0
    remarks: tuple[str, ...] = ()

    def __add__(self, other: "RunReport") -> "RunReport":
        counts = ("packs_written", "tokens_written", "tokens_computed", "tokens_padded", "written_bytes")
        both = {name: getattr(self, name) + getattr(other, name) for name in counts}
        return replace(self, packs_done=max(self.packs_done, other.packs_done), **both)

    @property
    def complete(self) -> bool:
        """Whether every pack of the run is committed."""
        return self.packs_done == self.packs


def token_table(run: Run) -> TokenTable:
    """Read the model inputs from the run's own tables."""
    counts = run.windows.plan.tokens.count
    return TokenTable(
        run.token_column("tokens/token_id"),
        run.token_column("tokens/segment"),
        np.cumsum(counts) - counts,
    )


def fill_run(
    run: Run,
    loaded: LoadedModel,
    budget: Budget,
    *,
    windows: Container[int] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunReport:
    """Compute and commit the packs of a run that have no record.

    Windows that another process is computing are skipped and looked at again at the end, in case that process was
    stopped.

    Parameters
    ----------
    run
        The run, created.
    loaded
        The model; its digest must be the run's.
    budget
        Batch and window sizes.
    windows
        Windows to compute, by index; None for all.
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
    with closing(filler.writer), filler.placers:
        planned = plan_windows(run.plan, budget.window_tokens)
        return filler.fill([packs for index, packs in enumerate(planned) if windows is None or index in windows])


@dataclass(eq=False)
class _Filling:
    """A claimed window between the model and the disk.

    Attributes
    ----------
    claim
        Held until the window's packs are committed.
    pending
        Packs without a record.
    left
        Number of batches whose activations are not in the buffers yet.
    buffers
        Activations of the pending packs; empty before the first batch.
    futures
        Packs that are being written.
    """

    claim: ExitStack
    pending: set[int]
    left: int
    buffers: dict[int, PackBuffer] = field(default_factory=dict)
    futures: dict[int, Future[PackRecord]] = field(default_factory=dict)


class _Filler:
    """Runs the windows of one run through the model, and passes each to the writer threads.

    There is no pause between windows: the model computes the next window while the last is written, and its buffers
    are reused after that.
    """

    def __init__(
        self, run: Run, loaded: LoadedModel, budget: Budget, on_progress: Callable[[Progress], None] | None
    ) -> None:
        self.run = run
        self.writer = RunWriter(run)
        self._forward = Forward(loaded.model, run.spec, token_table(run), lanes=budget.lanes)
        self._budget = budget
        # On a CPU the cores are the model's.
        self.placers = ThreadPoolExecutor(min(6, budget.writers) if budget.windows > 1 else 1, "biocache-place")
        self._on_progress = on_progress
        self._written: dict[int, PackRecord] = {}
        self._tokens_computed = self._tokens_padded = self._tokens_total = 0
        # Buffers of written packs are reused: touching new memory takes longer than filling it.
        self._free: list[PackBuffer] = []

    def fill(self, share: list[range]) -> RunReport:
        pending = set(self.writer.pending())
        batches = (batch for window in share for batch in self._batches(window, pending))
        self._tokens_total = int(sum(batch.lengths.sum() for batch in batches))
        # On an error the writers end before the claims, so that no other process computes what they commit.
        with (
            ExitStack() as held,
            ThreadPoolExecutor(self._budget.writers, thread_name_prefix="biocache-write") as pool,
        ):
            busy = self._sweep(share, pool, held, wait=False)
            self._sweep(busy, pool, held, wait=True)
        tokens, packs = self.run.plan.tokens.pack_sizes, self.run.counts.packs
        return RunReport(
            run=str(self.run.key),
            packs=packs,
            packs_written=len(self._written),
            packs_done=packs - len(self.writer.pending()),
            tokens_written=int(sum(tokens[pack] for pack in self._written)),
            tokens_computed=self._tokens_computed,
            tokens_padded=self._tokens_padded,
            written_bytes=sum(record.stored_bytes for record in self._written.values()),
        )

    def _sweep(self, windows: list[range], pool: ThreadPoolExecutor, held: ExitStack, *, wait: bool) -> list[range]:
        """Compute windows; return those that another process holds."""
        busy: list[range] = []
        begun: deque[_Filling] = deque()
        writing: deque[_Filling] = deque()
        batches = self._claimed_batches(windows, begun, busy, held, wait=wait)
        for activations in self._forward.run(batches):
            filling = begun[0]
            if not filling.buffers:
                # In memory are this window and, on a device that computes without the host, one more.
                while len(writing) >= self._budget.windows:
                    self._finish(writing.popleft())
                filling.buffers = {pack: self._buffer() for pack in sorted(filling.pending)}
            self._take(activations, filling)
            if not filling.left:
                filling.futures = {
                    pack: pool.submit(self.writer.write_pack, pack, buffer) for pack, buffer in filling.buffers.items()
                }
                writing.append(begun.popleft())
        while writing:
            self._finish(writing.popleft())
        return busy

    def _claimed_batches(
        self, windows: list[range], begun: deque[_Filling], busy: list[range], held: ExitStack, *, wait: bool
    ) -> Iterator[Batch]:
        """Claim windows one after the other and yield their batches."""
        for window in windows:
            claim = ExitStack()
            if not claim.enter_context(self.writer.claim(window, wait=wait)):
                claim.close()
                busy.append(window)
                continue
            held.push(claim)
            # Read while the claim is held: its last holder may have committed some.
            pending = set(self.writer.pending(window))
            batches = list(self._batches(window, pending))
            if not batches:
                claim.close()
                continue
            begun.append(_Filling(claim, pending, len(batches)))
            yield from batches

    def _batches(self, window: range, pending: set[int]) -> Iterator[Batch]:
        """Yield the batches of a window that hold a sample of a pending pack.

        All packs of the window are batched, so that the batches and the numbers are those of an extraction that was
        never interrupted.
        """
        if pending.isdisjoint(window):
            return
        plan = self.run.windows.plan
        packs = plan.sample_pack
        for batch in plan_batches(plan, window, self._budget.batch_tokens, padded=self.run.spec.padded):
            if not pending.isdisjoint(packs[batch.samples].tolist()):
                yield batch

    def _buffer(self) -> PackBuffer:
        return self._free.pop() if self._free else PackBuffer.empty(self.run.spec, self.run.plan)

    def _take(self, activations: Activations, filling: _Filling) -> None:
        place(activations, self.run.windows.plan, filling.buffers, self.placers)
        filling.left -= 1
        self._tokens_computed += int(activations.batch.lengths.sum())
        self._tokens_padded += activations.batch.padded_tokens
        if self._on_progress is not None:
            self._on_progress(Progress(str(self.run.key), self._tokens_computed, self._tokens_total))

    def _finish(self, filling: _Filling) -> None:
        # On an error the claim stays until all writing ends: other packs of the window may still be written.
        for pack, future in filling.futures.items():
            self._written[pack] = future.result()
        filling.claim.close()
        self._free += filling.buffers.values()
