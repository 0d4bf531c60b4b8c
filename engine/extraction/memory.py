"""Memory of an extraction: arithmetic that is done before anything is loaded."""

import os
from dataclasses import dataclass, replace

from biocache.engine.extraction.batches import Batch, plan_batches, plan_windows
from biocache.engine.extraction.forward import AHEAD
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.machine import machine_memory, used_memory
from biocache.engine.models.shape import ModelShape
from biocache.store.errors import ResourceError
from biocache.store.packing import PackPlan
from biocache.store.schema import ATTENTION, HIDDEN, NORMS
from biocache.store.spec import RunSpec
from biocache.store.text import format_bytes

__all__ = ["Budget", "KeptSizes", "choose_budget", "peak_memory"]

# Batch tokens, window tokens, and windows in memory at once. A CPU reaches its full speed with batches of some 500
# tokens; a GPU needs thousands, and then larger windows, so that samples of similar length are found. On JNLPBA windows
# of 16,384 tokens pad by 3 %, of 32,768 by 2 % at twice the memory. A GPU fills one window while another is written; a
# CPU has the same cores for both, and computes some batches ahead until the buffers of the last window are free.
_CPU, _GPU = (512, 1 << 14, 1), (1 << 13, 1 << 17, 2)
# Maximum of batches that a CPU computes at once. One thread a batch is faster than all threads on one batch (by 5 % on
# two cores) and is not slowed down while writers use a core, but each lane holds a batch in memory.
_MOST_LANES = 8
# Compute values alive at once for each token of a batch inside a block: inputs of the widest product, its result,
# the activation's temporaries, and queries, keys, values and contexts.
_INNER_COPIES = 4
# The same for each entry of an attention map: scores, mask sum, softmax and its float32 copy.
_MAP_COPIES = 4
# Chunks alive in a writer thread, at most float32: what is stored, with fill, and compressed.
_CHUNK_COPIES = 3
# Other growth of a process: thread stacks, allocator slack, code paged in at the first forward pass.
_SLACK = 160 * 2**20
# Libraries and context of CUDA, loaded at the first use of the device.
_DEVICE = 400 * 2**20


@dataclass(frozen=True, slots=True)
class Budget:
    """Batch and window sizes, and the memory that they take.

    Attributes
    ----------
    batch_tokens
        Most tokens of a forward pass, padding included.
    window_tokens
        Tokens sorted by length together.
    windows
        Windows in memory at once.
    lanes
        Batches computed at once on a CPU; a GPU computes one.
    writers
        Threads that compress and write.
    peak_bytes
        Projected peak memory of the process on the host.
    """

    batch_tokens: int
    window_tokens: int
    windows: int
    lanes: int
    writers: int
    peak_bytes: int = 0


def cpu_lanes() -> int:
    """Return how many batches to compute at once on the cores that torch may use."""
    import torch

    return min(_MOST_LANES, torch.get_num_threads())


@dataclass(frozen=True, slots=True)
class KeptSizes:
    """Bytes in memory of what is kept of a run: float32, until a pack is written.

    Attributes
    ----------
    hidden_row
        Bytes of one token's kept hidden states and norms, all layers; 0 where they are not kept.
    map_row
        Bytes of one map entry, all kept layers and heads; 0 where maps are not kept.
    reduced_rows
        Most rows of words or samples to which the tokens of a pack are reduced; 0 where tokens are kept.
    """

    hidden_row: int
    map_row: int
    reduced_rows: int = 0

    @classmethod
    def of(cls, spec: RunSpec, layout: PackPlan) -> "KeptSizes":
        """Derive the sizes from what a run keeps."""
        rows = {kept: len(spec.variable_layers(kept.name)) * spec.width(kept) * 4 for kept in spec.kept}
        reduced = 0 if spec.level == "token" else layout.rows.chunk
        return cls(rows.get(HIDDEN, 0) + rows.get(NORMS, 0), rows.get(ATTENTION, 0), reduced)

    def total(self, tokens: int, entries: int) -> int:
        """Return the bytes of some tokens and map entries."""
        return tokens * self.hidden_row + entries * self.map_row


def _pinned(size: int) -> int:
    """Return what torch takes for an array in pinned memory: it rounds up to a power of two."""
    return 1 << (size - 1).bit_length() if size else 0


def _batch_bytes(batch: Batch, shape: ModelShape, kept: KeptSizes, lanes: int, *, on_device: bool) -> int:
    tokens, entries = batch.padded_tokens, batch.padded_entries
    # Besides each lane's own: batches that wait, and the one that is copied into its packs.
    if on_device:
        # One more: the last batch is held while the next is started.
        return (AHEAD + 2) * (_pinned(tokens * kept.hidden_row) + _pinned(entries * kept.map_row))
    gathered = (AHEAD * lanes + 1) * kept.total(tokens, entries)
    states = tokens * shape.features * (shape.layers + 1) * 4
    maps = entries * shape.heads * shape.layers * 4 if kept.map_row else 0
    inner = tokens * shape.inner_features * _INNER_COPIES * 4 + entries * shape.heads * _MAP_COPIES * 4
    return gathered + lanes * (states + maps + inner)


def peak_memory(
    runs: list[tuple[PackPlan, KeptSizes]], shape: ModelShape, budget: Budget, *, on_device: bool, base_bytes: int
) -> int:
    """Return the projected peak memory of a process on the host.

    Parameters
    ----------
    runs
        Layout and kept sizes of the runs that the model makes.
    shape
        Sizes of the model.
    budget
        Batch and window sizes.
    on_device
        Whether the model computes on another device than the host.
    base_bytes
        Memory that the process uses already.
    """
    weights = shape.parameters * 4
    # While weights are loaded, the file is mapped beside the tensors that are filled from it.
    loading = 2 * weights
    running = 0
    for plan, kept in runs:
        planned = plan_windows(plan, budget.window_tokens)
        # Usually neighbours; any windows where other processes compute those between.
        packs = sum(sorted(len(window) for window in planned)[-budget.windows :])
        held = packs * kept.total(plan.tokens.chunk, plan.entries.chunk)
        # While they are reduced, the tokens of a layer are there rounded, too.
        rows = max(plan.tokens.chunk, kept.reduced_rows) + (plan.tokens.chunk if kept.reduced_rows else 0)
        chunk = max(rows * shape.features * 4, plan.entries.chunk * shape.heads * 4 if kept.map_row else 0)
        batches = (
            batch
            for window in planned
            for batch in plan_batches(plan, window, budget.batch_tokens, padded=shape.padded)
        )
        largest = max(_batch_bytes(batch, shape, kept, budget.lanes, on_device=on_device) for batch in batches)
        running = max(running, held + largest + budget.writers * _CHUNK_COPIES * chunk)
    return base_bytes + _SLACK + max(loading, (_DEVICE if on_device else weights) + running)


def choose_budget(
    runs: list[tuple[PackPlan, KeptSizes]], shape: ModelShape, device: str, request: ExtractionRequest
) -> Budget:
    """Choose the batch and window sizes that a request leaves open, to suit the device and fit the memory.

    Parameters
    ----------
    runs
        Layout and kept sizes of the runs that the model makes.
    shape
        Sizes of the model.
    device
        Device name of torch.
    request
        The request.

    Raises
    ------
    ResourceError
        If windows of one pack do not fit; the message says how much memory they take.
    """
    on_device = device.partition(":")[0] != "cpu"
    preferred = _GPU if on_device else _CPU
    allowed = request.max_memory or machine_memory() // 4
    budget = Budget(
        batch_tokens=request.batch_tokens or preferred[0],
        window_tokens=request.window_tokens or preferred[1],
        windows=preferred[2],
        lanes=1 if on_device or shape.stateful else cpu_lanes(),
        writers=max(2, min(8, (os.cpu_count() or 2) // 2)),
    )
    smallest = request.window_tokens or max((plan.tokens.chunk for plan, _ in runs), default=1)
    base = used_memory()
    while True:
        peak = peak_memory(runs, shape, budget, on_device=on_device, base_bytes=base)
        if peak <= allowed or (request.window_tokens is not None and request.max_memory is None):
            return replace(budget, peak_bytes=peak)
        if budget.window_tokens > smallest:
            budget = replace(budget, window_tokens=max(smallest, budget.window_tokens // 2))
        elif budget.lanes > 1:
            budget = replace(budget, lanes=budget.lanes // 2)
        else:
            named = "--max-memory" if request.max_memory else "a quarter of the machine"
            raise ResourceError(
                f"extraction takes {format_bytes(peak)} of memory with windows of {budget.window_tokens} tokens, and "
                f"{named} is {format_bytes(allowed)}; pass --max-memory={-(-peak // 2**20)}M or more, fewer --layers, "
                f"or a smaller --batch-tokens than {budget.batch_tokens}"
            )
