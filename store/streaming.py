"""Streaming a layer in batches, for training loops, in bounded memory."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.data import RunData
from biocache.store.errors import SettingError

__all__ = ["RaggedBatch", "TokenBatches", "generate_batches", "torch_dataset"]

# Layers of a pack that are read at the same time.
_AT_ONCE = 8


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
    # All workers shuffle with the same seed.
    order = _order(run, seed, window_packs, _share())
    for samples, hidden in _read(run, (index,), _planned(run, order, batch_tokens), window_packs):
        yield RaggedBatch(hidden[0], *_places(run, samples))


class TokenBatches:
    """Batches of some layers for PyTorch; see `Run.torch_dataset`.

    Parameters
    ----------
    run, indices
        The run, and the positions of the layers.
    batch_tokens, window_packs
        As of `Run.torch_dataset`.
    seed
        Seed of the shuffling; None for the order of the run.
    """

    def __init__(
        self,
        run: RunData,
        indices: tuple[int, ...],
        batch_tokens: int,
        seed: int | None,
        window_packs: int,
    ) -> None:
        self._run = run
        self._indices = indices
        self._batch_tokens = batch_tokens
        self._seed = seed
        self._window_packs = window_packs
        self._epoch = 0
        self._begin = 0
        self._given = 0

    def __reduce__(self) -> tuple[Any, ...]:
        settings = (self._run, self._indices, self._batch_tokens, self._seed, self._window_packs)
        return torch_dataset, settings, self.state_dict()

    def __setstate__(self, state: dict[str, int]) -> None:
        self.load_state_dict(state)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, which decides the shuffling together with the seed."""
        self._epoch, self._begin, self._given = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Return where this process is: the epoch, and the batches of its share that it has given."""
        return {"epoch": self._epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from where a process was; of a share that is as large."""
        self._epoch, self._begin, self._given = state["epoch"], state["batches"], state["batches"]

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the batches of the share of this rank and worker, of the one epoch."""
        seed = None if self._seed is None else (self._seed, self._epoch)
        order = _order(self._run, seed, self._window_packs, _share())
        planned = _planned(self._run, order, self._batch_tokens)
        begin, self._begin, self._given = self._begin, 0, self._begin
        for samples, hidden in _read(self._run, self._indices, planned, self._window_packs, begin):
            self._given += 1
            row_size, sample, token = _places(self._run, samples)
            yield {"hidden": hidden, "row_size": row_size, "sample": sample, "token": token}
        self._given = 0


def torch_dataset(*settings: Any) -> TokenBatches:
    """Return batches that a torch ``DataLoader`` takes for an iterable dataset; see `Run.torch_dataset`.

    The store needs no torch: its class is found where a training script has imported it.

    Raises
    ------
    SettingError
        If torch is not imported.
    """
    data = sys.modules.get("torch.utils.data")
    if data is None:
        raise SettingError("torch is not imported: import torch.utils.data before torch_dataset is called")
    kind = type("TorchDataset", (TokenBatches, data.IterableDataset), {})
    made: TokenBatches = kind(*settings)
    return made


def _share() -> tuple[int, int]:
    """Return the number of this share of the packs, and how many there are.

    Shares are those of the ranks of ``torch.distributed``, each divided among the workers of its ``DataLoader``.
    """
    distributed, data = (sys.modules.get(f"torch.{name}") for name in ("distributed", "utils.data"))
    rank, ranks = 0, 1
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        rank, ranks = distributed.get_rank(), distributed.get_world_size()
    worker = None if data is None else data.get_worker_info()
    if worker is None:
        return rank, ranks
    return rank * worker.num_workers + worker.id, ranks * worker.num_workers


def _order(
    run: RunData, seed: int | tuple[int, int] | None, window_packs: int, share: tuple[int, int]
) -> Iterator[list[int]]:
    """Yield the samples of a share, a window of packs at a time, in the order in which they are given."""
    rng = None if seed is None else np.random.default_rng(seed)
    packs = np.arange(run.plan.pack_count)
    if rng is not None:
        rng.shuffle(packs)
    packs = packs[share[0] :: share[1]]
    for begin in range(0, len(packs), window_packs):
        samples = [sample for pack in packs[begin : begin + window_packs] for sample in run.plan.samples_of(int(pack))]
        if rng is not None:
            rng.shuffle(samples)
        yield samples


def _planned(run: RunData, windows: Iterator[list[int]], batch_tokens: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the samples of each batch, and those of the window that come after it.

    Samples that do not fill a batch wait for the next window: only the last batch is short.
    """
    count = run.plan.tokens.count
    waiting: list[int] = []
    size = 0
    for samples in windows:
        for place, sample in enumerate(samples):
            if waiting and size + count[sample] > batch_tokens:
                yield waiting, samples[place:]
                waiting, size = [], 0
            waiting.append(sample)
            size += int(count[sample])
    if waiting:
        yield waiting, []


# Rows of each layer of the samples that were read and not given yet.
_Blocks = dict[int, list[NDArray[np.floating]]]


def _read(
    run: RunData,
    indices: tuple[int, ...],
    planned: Iterator[tuple[list[int], list[int]]],
    window_packs: int,
    begin: int = 0,
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Yield the samples of the batches from one on, and their rows as of `_joined`.

    Each pack is read once, with the window that it is in.
    """
    held: _Blocks = {}
    chunks, plan = run.chunks("hidden"), run.plan
    with ThreadPoolExecutor(_AT_ONCE, "biocache-read") as pool:
        for number, (samples, later) in enumerate(planned):
            if number < begin:
                continue
            wanted = dict.fromkeys([*samples, *later])
            packs = dict.fromkeys(int(plan.sample_pack[sample]) for sample in wanted if sample not in held)
            for place, pack in enumerate(packs):
                if place % window_packs == 0:
                    # Copied, since a view keeps its whole pack in memory while the next window is read.
                    held.update({sample: [rows.copy() for rows in layers] for sample, layers in held.items()})
                blocks = list(pool.map(lambda index, pack=pack: chunks.read_committed(index, pack), indices))
                for sample in plan.samples_of(pack):
                    if sample in wanted:
                        held[sample] = [block[plan.tokens.part(sample)] for block in blocks]
                del blocks
            yield [*samples], _joined(run, samples, held, pool)
            for sample in samples:
                del held[sample]


def _joined(run: RunData, samples: list[int], blocks: _Blocks, pool: ThreadPoolExecutor) -> NDArray[np.float32]:
    """Return the rows of some samples, (layer, token, feature)."""
    layers = len(blocks[samples[0]])
    size = int(run.plan.tokens.count[samples].sum())
    joined = np.empty((layers, size, run.spec.feature_size), np.float32)

    def join(layer: int) -> None:
        np.concatenate([blocks[sample][layer] for sample in samples], out=joined[layer], casting="same_kind")

    # Most of the time the system gives new memory, a core at a time.
    list(pool.map(join, range(layers)))
    return joined


def _places(run: RunData, samples: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the tokens of each sample, the samples, and the positions of their tokens."""
    first = run.plan.tokens.dense_start
    tokens = np.concatenate([np.arange(first[sample], first[sample + 1]) for sample in samples])
    return run.plan.tokens.count[samples], np.array(samples, np.int64), tokens
