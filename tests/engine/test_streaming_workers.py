"""Batches in the workers of a DataLoader: every sample comes once an epoch, from one of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from store_factory import synthetic
from torch.utils.data import DataLoader, IterableDataset

from biocache.store import Store
from biocache.store.streaming import RaggedBatch


class Batches(IterableDataset):
    """Opens the store where it is iterated, as a training script does."""

    def __init__(self, root: Path, *, shuffle: bool) -> None:
        super().__init__()
        self._root = root
        self._shuffle = shuffle

    def __iter__(self) -> Iterator[RaggedBatch]:
        return Store.open(self._root).run().iter_batches(1, batch_tokens=6, shuffle=self._shuffle, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 2, 3, 9])
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_every_sample_comes_once(tmp_path: Path, workers: int, shuffle: bool) -> None:
    source = synthetic(lengths=[3, 1, 4, 1, 5, 2, 6, 5, 3, 5], capacity=8)
    run = source.write_all(tmp_path)
    assert run.plan.pack_count == 5
    loader = DataLoader(Batches(tmp_path, shuffle=shuffle), batch_size=None, num_workers=workers)
    seen: list[int] = []
    for batch in loader:
        for sample, hidden in zip(batch.sample, np.split(batch.hidden, np.cumsum(batch.row_size)[:-1]), strict=True):
            np.testing.assert_array_equal(hidden, source.hidden[sample][1].astype(np.float32))
            seen.append(int(sample))
    assert sorted(seen) == list(range(10))
