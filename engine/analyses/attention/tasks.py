"""How blocks are cut into the tasks of a layer, and the memory that these take."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from biocache.engine.machine import machine_memory
from biocache.store import Run
from biocache.store.chunks import ahead
from biocache.store.errors import ResourceError
from biocache.store.labels import Labels
from biocache.store.text import format_bytes

__all__ = ["block_bytes", "held_bytes", "parts_of", "refuse_many_classes"]

P = TypeVar("P")

# Maximum number of tasks of a layer: each returns its sums, which are as large for one pack as for many.
_MOST_TASKS = 64
# Copies of a block in memory: as stored, and widened tile by tile.
_BLOCK_COPIES = 2


def parts_of(packs: Sequence[P]) -> list[Sequence[P]]:
    """Return the packs of a run, some for each task of a layer."""
    size = -(-len(packs) // _MOST_TASKS)
    return [packs[begin : begin + size] for begin in range(0, len(packs), size)]


def block_bytes(run: Run, *, with_norms: bool = False) -> int:
    """Return the bytes of a layer of a pack in memory: attention as it is read, norms in float32."""
    maps = run.plan.entries.chunk * np.dtype(run.chunks("attention").value_dtype).itemsize
    return run.spec.head_count * (maps + with_norms * run.plan.tokens.chunk * 4)


def held_bytes(run: Run, blocks: Sequence[int]) -> int:
    """Return the bytes that a task holds of blocks of these sizes, and of those that are read ahead, from a store."""
    return _BLOCK_COPIES * sum(blocks) + ahead(run.group.storage) * max(blocks)


def refuse_many_classes(by: str | None, labels: Labels | None, resampled: int) -> None:
    """Refuse a label set whose classes take too much memory for their resamples.

    Parameters
    ----------
    by
        Its name.
    labels
        The set; None where means are not split.
    resampled
        Bytes of the resampled sums of all layers.

    Raises
    ------
    ResourceError
        If they are more than half of the machine's memory.
    """
    limit = machine_memory() // 2
    if labels is not None and resampled > limit:
        raise ResourceError(
            f"--by={by} has {len(labels.names):,} classes, whose resamples take {format_bytes(resampled)}, and half of "
            f"the machine is {format_bytes(limit)}; pass fewer --resamples, or name a set of fewer classes with --by"
        )
