"""Attention rollout: the maps of layers multiplied, so that rows are of the input that reaches a layer.

References
----------
Abnar S, Zuidema W. Quantifying attention flow in transformers. ACL 2020.
https://doi.org/10.18653/v1/2020.acl-main.385
"""

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.alignment import Side
from biocache.engine.analyses.attention.preparing import block_of
from biocache.engine.analyses.heads.describing import Described, DescribedPack, HeadSums, describe_block
from biocache.store.chunks import Chunks, dense_maps, read_ahead

__all__ = ["LayerSums", "roll_packs", "rolled"]

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LayerSums:
    """The sums of each layer over some samples; those of any packs add."""

    layers: tuple[HeadSums, ...]

    def __add__(self, other: Self) -> "LayerSums":
        return LayerSums(tuple(own + more for own, more in zip(self.layers, other.layers, strict=True)))


def roll_packs(packs: list[DescribedPack], layers: int, what: Described) -> LayerSums:
    """Describe the rolled-out maps of each layer of some packs of a run.

    Parameters
    ----------
    packs
        The packs.
    layers
        Number of stored layers, which are the first ones of the model.
    what
        What to measure.
    """
    wanted = ((pack.chunks, layer, pack.pack) for pack in packs for layer in range(layers))
    blocks = read_ahead(wanted, Chunks.read_committed)
    return reduce(add, (LayerSums(tuple(_of_layers(pack, blocks, layers, what))) for pack in packs))


def _of_layers(pack: DescribedPack, blocks: Any, layers: int, what: Described) -> list[HeadSums]:
    maps: Values | None = None
    sums = []
    for _ in range(layers):
        maps = rolled(maps, next(blocks), pack.alignment.first)
        sums.append(describe_block(block_of(maps.astype(np.float32)[np.newaxis]), pack, what))
    return sums


def rolled(before: Values | None, stored: NDArray[Any], side: Side) -> Values:
    """Roll out the maps of one more layer of a pack.

    Of a layer with the mean A of its heads' maps it is ``B = (A + I) / 2`` with rows that are scaled to the sum 1,
    times the maps of the layers before, ``R_l = B_l R_(l-1)``; of the first it is B.

    Parameters
    ----------
    before
        The maps of the layer before, rolled out, as they are returned; None for the first layer.
    stored
        The maps of the layer, float16 or float32 (head, entry).
    side
        Where the maps lie.

    Returns
    -------
    numpy.ndarray
        float64 (entry).
    """
    mean = stored.mean(axis=0, dtype=np.float64)
    maps: Values = np.empty_like(mean)
    for first, count, entries in zip(side.entry.tolist(), side.count.tolist(), side.entries.tolist(), strict=True):
        own = slice(first, first + entries)
        layer = dense_maps(mean[own], count, side.causal) / 2
        layer[np.diag_indices(count)] += 0.5
        layer /= layer.sum(axis=1, keepdims=True)
        if before is not None:
            layer = layer @ dense_maps(before[own], count, side.causal)
        maps[own] = layer[np.tril_indices(count)] if side.causal else layer.ravel()
    return maps
