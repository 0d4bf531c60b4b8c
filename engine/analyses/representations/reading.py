"""Reading the units of a run in chunks, which are the same whatever its packs are."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.representations.runs import Units, view_of
from biocache.store import Run

__all__ = ["CHUNK", "read_chunks"]

#: Units that are in memory, and multiplied, at once.
CHUNK = 4096


def read_chunks(
    run: Run, level: str, pooling: str, layers: Sequence[int], units: Units
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield chunks of the units of some layers, each pack read once.

    Parameters
    ----------
    run
        The run.
    level, pooling
        What a row is; see `view_of`.
    layers
        The layers, by number.
    units
        The units.

    Yields
    ------
    slice, numpy.ndarray
        The places of `CHUNK` units, at the end fewer, and float32 (layer, unit, feature); valid until the next.
    """
    view = view_of(run, level, pooling)
    hidden = view.hidden.sel(layer=list(layers)).data
    rows = np.searchsorted(view[level].to_numpy(), units.position)
    ends = np.cumsum(hidden.chunks[1])
    bounds = np.searchsorted(rows, np.concatenate([[0], ends]))
    chunk = np.empty((len(layers), min(CHUNK, len(units)), hidden.shape[2]), np.float32)
    begin = filled = 0
    with ThreadPoolExecutor(max(1, min(run.group.storage.at_once, len(layers))), "biocache-read") as pool:
        for pack in np.flatnonzero(np.diff(bounds)).tolist():
            parts = [hidden.blocks[place, pack] for place in range(len(layers))]
            blocks = list(pool.map(lambda part: part.compute(scheduler="synchronous")[0], parts))
            wanted = rows[bounds[pack] : bounds[pack + 1]] - (ends[pack] - hidden.chunks[1][pack])
            while len(wanted):
                taken = wanted[: chunk.shape[1] - filled]
                for place, block in enumerate(blocks):
                    chunk[place, filled : filled + len(taken)] = block[taken]
                wanted = wanted[len(taken) :]
                filled += len(taken)
                if filled == chunk.shape[1] or begin + filled == len(units):
                    yield slice(begin, begin + filled), chunk[:, :filled]
                    begin, filled = begin + filled, 0
