"""Streaming a layer in batches, for training loops, in bounded memory."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biocache.store.data import RunData

__all__ = ["RaggedBatch", "generate_batches"]


@dataclass(frozen=True, eq=False)
class RaggedBatch:
    """Hidden states of whole samples, one after another, without padding.

    Attributes
    ----------
    hidden
        float32 (token, feature).
    row_size
        Tokens of every sample, int64 (sample).
    sample
        Position of every sample in the run, int64 (sample): ``run.samples().isel(sample=batch.sample)`` labels them.
    token
        Position of every token in the run, int64 (token): ``run.tokens().isel(token=batch.token)`` labels them.
    """

    hidden: NDArray[np.float32]
    row_size: NDArray[np.int64]
    sample: NDArray[np.int64]
    token: NDArray[np.int64]


def generate_batches(
    run: RunData, index: int, batch_tokens: int, seed: int | None, window_packs: int
) -> Iterator[RaggedBatch]:
    """Yield a layer, by position, in batches; unshuffled where the seed is None; see `Run.iter_batches`."""
    rng = None if seed is None else np.random.default_rng(seed)
    packs = np.arange(run.plan.pack_count)
    if rng is not None:
        rng.shuffle(packs)
    # All workers shuffled them with the same seed.
    packs = packs[_share()]
    # Samples that do not fill a batch wait for the next window: only the last batch is short.
    waiting: list[tuple[int, NDArray[np.floating]]] = []
    size = 0
    for begin in range(0, len(packs), window_packs):
        rows = [row for pack in packs[begin : begin + window_packs] for row in _samples(run, index, int(pack))]
        if rng is not None:
            rng.shuffle(rows)
        for sample, hidden in rows:
            if waiting and size + len(hidden) > batch_tokens:
                yield _batch(run, waiting)
                waiting, size = [], 0
            waiting.append((sample, hidden))
            size += len(hidden)
        # Copied, since a view keeps its whole pack in memory while the next window is read.
        waiting = [(sample, hidden.copy()) for sample, hidden in waiting]
        del rows, hidden
    if waiting:
        yield _batch(run, waiting)


def _share() -> slice:
    """Return the packs of this process: its share if it is a worker of a torch DataLoader, else all."""
    data = sys.modules.get("torch.utils.data")
    worker = None if data is None else data.get_worker_info()
    return slice(None) if worker is None else slice(worker.id, None, worker.num_workers)


def _samples(run: RunData, index: int, pack: int) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Yield the samples of a pack, views into its one block."""
    plan = run.plan
    block = run.chunks("hidden").read_committed(index, pack)
    for sample in plan.samples_of(pack):
        yield sample, block[plan.tokens.part(sample)]


def _batch(run: RunData, rows: list[tuple[int, NDArray[np.floating]]]) -> RaggedBatch:
    samples, blocks = zip(*rows, strict=True)
    first = run.plan.tokens.dense_start
    return RaggedBatch(
        np.concatenate(blocks, dtype=np.float32),
        np.array([len(block) for block in blocks], np.int64),
        np.array(samples, np.int64),
        np.concatenate([np.arange(first[i], first[i + 1]) for i in samples]),
    )
