"""Placing: the samples of a batch to their packs, in compiled code that frees Python's lock."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.extraction.forward import Activations
from biocache.store.compiling import compiled
from biocache.store.packing import PackPlan
from biocache.store.schema import Activation
from biocache.store.writing import PackBuffer

__all__ = ["place"]


@compiled
def _copy(source: NDArray[Any], target: NDArray[Any]) -> None:
    for i in range(target.size):
        target[i] = source[i]


@compiled
def _move(
    source: NDArray[Any],
    target: NDArray[Any],
    here: NDArray[np.int64],
    there: NDArray[np.int64],
    size: NDArray[np.int64],
) -> None:
    for row in range(target.shape[0]):
        for part in range(size.size):
            _copy(
                source[row, here[part] : here[part] + size[part]], target[row, there[part] : there[part] + size[part]]
            )


def place(
    activations: Activations, plan: PackPlan, buffers: Mapping[int, PackBuffer], pool: ThreadPoolExecutor
) -> None:
    """Copy a batch's samples to their places in the buffers of their packs, packs at once."""
    samples = activations.batch.samples
    packs = plan.sample_pack[samples]
    moves = []
    for kept, values in activations.arrays.items():
        axis, step = getattr(plan, kept.computed), values.shape[-1] if kept.ragged == 0 else 1
        size = axis.count[samples] * step
        here, there = np.cumsum(size) - size, axis.start[samples] % axis.chunk * step
        source = _rows(kept, values)
        for pack, buffer in buffers.items():
            own = packs == pack
            if own.any():
                target = _rows(kept, getattr(buffer, kept.name))
                moves.append(pool.submit(_move, source, target, here[own], there[own], size[own]))
    for move in moves:
        move.result()


def _rows(kept: Activation, values: NDArray[Any]) -> NDArray[Any]:
    """Return the bits of all layers as rows along which a sample is one piece."""
    bits = values.view(f"u{values.itemsize}")
    return bits.reshape(len(bits), -1) if kept.ragged == 0 else bits.reshape(-1, bits.shape[-1])
