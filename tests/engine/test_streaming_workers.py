"""Batches in the workers of a DataLoader: every sample comes once an epoch, from one of them."""

import itertools
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from store_factory import synthetic
from torch.utils.data import DataLoader, IterableDataset

from biocache.store import Store
from biocache.store.errors import SettingError
from biocache.store.streaming import RaggedBatch, TokenBatches


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


def given(loader: DataLoader) -> list[int]:
    return [sample for batch in loader for sample in batch["sample"].tolist()]


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_a_torch_dataset_gives_every_sample_once_an_epoch(tmp_path: Path, workers: int, shuffle: bool) -> None:
    source = synthetic(lengths=[3, 1, 4, 1, 5, 2, 6, 5, 3, 5], capacity=8)
    dataset = source.write_all(tmp_path).torch_dataset([2, 0], batch_tokens=6, shuffle=shuffle, seed=3)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    orders = []
    for epoch in range(3):
        dataset.set_epoch(epoch)
        order = []
        for batch in loader:
            assert batch["hidden"].dtype == torch.float32
            parts = torch.split(batch["hidden"], batch["row_size"].tolist(), dim=1)
            for sample, hidden in zip(batch["sample"].tolist(), parts, strict=True):
                np.testing.assert_array_equal(hidden, source.hidden[sample][[2, 0]].astype(np.float32))
                order.append(sample)
        assert sorted(order) == list(range(10))
        orders.append(tuple(order))
    assert len(set(orders)) == (3 if shuffle else 1)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int) -> None:
    run = synthetic(lengths=[3, 1, 4, 1, 5, 2, 6, 5, 3, 5], capacity=8).write_all(tmp_path)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: ranks)
    seen: list[int] = []
    for rank in range(ranks):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        dataset = run.torch_dataset([1], shuffle=True, seed=1)
        assert isinstance(dataset, IterableDataset)
        seen += [sample for batch in dataset for sample in batch["sample"].tolist()]
    assert sorted(seen) == list(range(10))


@pytest.mark.parametrize("begun", [0, 1, 3, 5])
def test_an_epoch_goes_on_in_its_middle(tmp_path: Path, begun: int) -> None:
    run = synthetic(lengths=[3, 1, 4, 1, 5, 2, 6, 5, 3, 5], capacity=8).write_all(tmp_path)

    def fresh() -> TokenBatches:
        dataset = run.torch_dataset(batch_tokens=6, shuffle=True, seed=4)
        dataset.set_epoch(2)
        return dataset

    whole = [batch["sample"].tolist() for batch in fresh()]
    assert len(whole) > 5
    dataset = fresh()
    first = [batch["sample"].tolist() for batch in itertools.islice(dataset, begun)]
    state = dataset.state_dict()
    assert state == {"epoch": 2, "batches": begun}
    again = run.torch_dataset(batch_tokens=6, shuffle=True, seed=4)
    again.load_state_dict(state)
    assert first + [batch["sample"].tolist() for batch in again] == whole
    # The next epoch begins at its beginning.
    again.set_epoch(2)
    assert [batch["sample"].tolist() for batch in again] == whole


def test_a_torch_dataset_travels_to_another_process(tmp_path: Path) -> None:
    run = synthetic().write_all(tmp_path)
    dataset = pickle.loads(pickle.dumps(run.torch_dataset(shuffle=True)))
    assert isinstance(dataset, IterableDataset)
    assert sorted(given(DataLoader(dataset, batch_size=None))) == list(range(6))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [0, 9]}, "layers 9 are not stored in run .*; it has 0, 1, 2"),
        ({"layers": []}, "layers none are not stored"),
        ({"batch_tokens": 0}, "batch_tokens 0 is not a positive number"),
        ({"seed": -1}, "seed -1 is negative"),
    ],
)
def test_settings_of_a_dataset_that_cannot_be_used(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        synthetic().write_all(tmp_path).torch_dataset(**settings)


def test_without_torch_it_says_what_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = synthetic().write_all(tmp_path)
    monkeypatch.delitem(sys.modules, "torch.utils.data")
    with pytest.raises(SettingError, match=r"import torch\.utils\.data before"):
        run.torch_dataset()
