"""How much memory an extraction takes: arithmetic, done before anything is loaded."""

import os
from dataclasses import dataclass, replace

import numpy as np

from biocache.engine.extraction.batches import Batch, plan_batches, plan_windows
from biocache.engine.extraction.forward import AHEAD
from biocache.engine.machine import machine_memory, used_memory
from biocache.engine.models.shape import ModelShape
from biocache.store.errors import ResourceError
from biocache.store.packing import PackPlan
from biocache.store.schema import ATTENTION, HIDDEN
from biocache.store.spec import RunSpec
from biocache.store.text import format_bytes

__all__ = ["Budget", "KeptSizes", "choose_budget", "peak_memory"]

# Batch tokens, window tokens, and windows in memory at once. A CPU reaches its full speed with batches of some 500
# tokens; a GPU needs thousands, and then larger windows, so that samples of similar length are found. On JNLPBA windows
# of 16,384 tokens pad by 3 %, of 32,768 by 2 % at twice the memory. A GPU fills one window while another is written; a
# CPU has the same cores for both, and computes some batches ahead until the buffers of the last window are free.
_CPU, _GPU = (512, 1 << 14, 1), (1 << 13, 1 << 17, 2)
# Batches that a CPU computes at once, at most. Each lane of single-threaded products is faster than all cores on one
# product (by 5 % on two cores), and loses nothing where writers take a core for a while; but each holds a batch.
_MOST_LANES = 8
# Compute values alive at once for each token of a batch inside a block: inputs of the widest product, its result,
# the activation's temporaries, and queries, keys, values and contexts.
_INNER_COPIES = 4
# The same for each entry of an attention map: scores, mask sum, softmax and its float32 copy.
_MAP_COPIES = 4
# Chunks alive in a writer thread: the chunk, its contiguous copy for the codec, the compressed bytes.
_CHUNK_COPIES = 3
# What a process grows by that is none of the above: thread stacks, allocator slack, code paged in at the first forward.
_SLACK = 160 * 2**20


@dataclass(frozen=True, slots=True)
class Budget:
    """How the work is cut, and what that takes.

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
    """Bytes kept of a run.

    Attributes
    ----------
    hidden_row
        Bytes of one token's kept hidden states, all layers; 0 where they are not kept.
    map_row
        Bytes of one map entry, all kept layers and heads; 0 where maps are not kept.
    """

    hidden_row: int
    map_row: int

    @classmethod
    def of(cls, spec: RunSpec) -> "KeptSizes":
        """Derive the sizes from what a run keeps."""
        itemsize = np.dtype(spec.dtype).itemsize
        rows = {kept: len(kept.layers(spec.layers)) * spec.width(kept) * itemsize for kept in spec.kept}
        return cls(rows.get(HIDDEN, 0), rows.get(ATTENTION, 0))

    def total(self, tokens: int, entries: int) -> int:
        """Return the bytes of some tokens and map entries."""
        return tokens * self.hidden_row + entries * self.map_row


def _batch_bytes(batch: Batch, shape: ModelShape, kept: KeptSizes, lanes: int, *, on_device: bool) -> int:
    tokens, pairs = batch.padded_tokens, batch.padded_pairs
    # Beside the lanes' own: those that wait, and the one that is placed into its packs.
    gathered = (AHEAD * lanes + 1) * kept.total(tokens, pairs)
    if on_device:
        return gathered
    states = tokens * shape.features * (shape.layers + 1) * 4
    maps = pairs * shape.heads * shape.layers * 4 if kept.map_row else 0
    inner = tokens * shape.inner_features * _INNER_COPIES * 4 + pairs * shape.heads * _MAP_COPIES * 4
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
        How the work is cut.
    on_device
        Whether the model computes on another device than the host.
    base_bytes
        What the process uses already.
    """
    weights = shape.parameters * 4
    # While weights are loaded, the file is mapped beside the tensors that are filled from it.
    loading = 2 * weights
    running = 0
    for plan, kept in runs:
        planned = plan_windows(plan, budget.window_tokens)
        # Neighbours as a rule; where another process has the windows between, any two.
        packs = sum(sorted(len(window) for window in planned)[-budget.windows :])
        held = packs * kept.total(plan.tokens.chunk, plan.entries.chunk)
        chunk = max(plan.tokens.chunk * shape.features * 4, plan.entries.chunk * shape.heads * 4 if kept.map_row else 0)
        batches = (batch for window in planned for batch in plan_batches(plan, window, budget.batch_tokens))
        largest = max(_batch_bytes(batch, shape, kept, budget.lanes, on_device=on_device) for batch in batches)
        running = max(running, held + largest + budget.writers * _CHUNK_COPIES * chunk)
    return base_bytes + _SLACK + max(loading, (0 if on_device else weights) + running)


def choose_budget(
    runs: list[tuple[PackPlan, KeptSizes]],
    shape: ModelShape,
    *,
    device_kind: str,
    batch_tokens: int | None,
    window_tokens: int | None,
    max_memory: int | None,
) -> Budget:
    """Choose batch and window sizes that suit the device and fit the memory.

    Parameters
    ----------
    runs
        Layout and kept sizes of the runs that the model makes.
    shape
        Sizes of the model.
    device_kind
        ``cpu`` or another kind of torch.
    batch_tokens, window_tokens
        Sizes that were asked for; None for a choice.
    max_memory
        Bytes the process may use; None for a quarter of the machine's.

    Raises
    ------
    ResourceError
        If even windows of one pack take more; the message says how much.
    """
    on_device = device_kind != "cpu"
    preferred = _GPU if on_device else _CPU
    allowed = machine_memory() // 4 if max_memory is None else max_memory
    budget = Budget(
        batch_tokens=batch_tokens or preferred[0],
        window_tokens=window_tokens or preferred[1],
        windows=preferred[2],
        lanes=1 if on_device else cpu_lanes(),
        writers=max(2, min(8, (os.cpu_count() or 2) // 2)),
    )
    smallest = window_tokens or max((plan.tokens.chunk for plan, _ in runs), default=1)
    base = used_memory()
    while True:
        peak = peak_memory(runs, shape, budget, on_device=on_device, base_bytes=base)
        if peak <= allowed or (window_tokens is not None and max_memory is None):
            return replace(budget, peak_bytes=peak)
        if budget.window_tokens > smallest:
            budget = replace(budget, window_tokens=max(smallest, budget.window_tokens // 2))
        elif budget.lanes > 1:
            budget = replace(budget, lanes=budget.lanes // 2)
        else:
            raise ResourceError(
                f"extraction takes {format_bytes(peak)} of memory with windows of {budget.window_tokens} tokens, and "
                f"{'--max-memory' if max_memory else 'a quarter of the machine'} is {format_bytes(allowed)}; pass "
                f"--max-memory={-(-peak // 2**20)}M or more, fewer --layers, or a smaller --batch-tokens than "
                f"{budget.batch_tokens}"
            )
