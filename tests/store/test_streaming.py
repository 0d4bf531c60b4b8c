"""Batches of a layer for training loops, against what was written."""

import gc
import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from store_factory import Synthetic, chunk_file, synthetic

from biocache.store import Run, Store
from biocache.store.chunks import Chunks
from biocache.store.errors import IncompleteRunError, IntegrityError, RunNotFoundError, SettingError
from biocache.store.streaming import RaggedBatch

# Fifteen packs of two to five samples.
LENGTHS = [4, 2, 5, 3, 6, 1] * 10


@pytest.fixture(scope="module")
def source() -> Synthetic:
    return synthetic(LENGTHS, 15)


@pytest.fixture(scope="module")
def run(source: Synthetic, tmp_path_factory: pytest.TempPathFactory) -> Run:
    assert source.plan.pack_count == 15
    return source.write_all(tmp_path_factory.mktemp("store"))


def order(batches: Iterator[RaggedBatch]) -> list[int]:
    return [sample for batch in batches for sample in batch.sample.tolist()]


def assert_streams(source: Synthetic, batches: list[RaggedBatch], layer: int, batch_tokens: int) -> None:
    """Every sample comes once, with its values and places, in batches as full as whole samples make them."""
    starts = [sum(map(len, (h[0] for h in source.hidden[:sample]))) for sample in range(len(source.hidden))]
    for batch in batches:
        assert batch.hidden.dtype == np.float32
        assert batch.row_size.dtype == batch.sample.dtype == batch.token.dtype == np.int64
        expected = [source.hidden[sample][layer] for sample in batch.sample]
        np.testing.assert_array_equal(batch.hidden, np.concatenate(expected).astype(np.float32))
        assert batch.row_size.tolist() == [len(rows) for rows in expected]
        tokens = [starts[s] + n for s in batch.sample for n in range(len(source.hidden[s][0]))]
        assert batch.token.tolist() == tokens
        assert len(tokens) <= batch_tokens or len(batch.sample) == 1
    assert sorted(order(iter(batches))) == list(range(len(source.hidden)))
    for batch, following in pairwise(batches):
        assert len(batch.hidden) + following.row_size[0] > batch_tokens


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch_tokens=st.integers(1, 300),
    shuffle=st.booleans(),
    seed=st.integers(0, 9),
    window_packs=st.integers(1, 20),
    layer=st.integers(0, 2),
)
def test_every_sample_comes_once_in_full_batches(
    source: Synthetic, run: Run, batch_tokens: int, shuffle: bool, seed: int, window_packs: int, layer: int
) -> None:
    batches = list(run.iter_batches(layer, batch_tokens, shuffle=shuffle, seed=seed, window_packs=window_packs))
    assert_streams(source, batches, layer, batch_tokens)
    if not shuffle:
        assert order(iter(batches)) == list(range(len(LENGTHS)))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_sample_longer_than_a_batch_is_one_of_its_own(tmp_path: Path, dtype: str) -> None:
    source = synthetic([2, 30, 1, 8, 8, 9], 12, dtype=dtype)
    batches = list(source.write_all(tmp_path).iter_batches(1, 8))
    assert [batch.row_size.tolist() for batch in batches] == [[2], [30], [1], [8], [8], [9]]
    assert_streams(source, batches, 1, 8)


def test_layers_are_named_by_number(tmp_path: Path) -> None:
    source = synthetic(layers=(2, 5))
    (batch,) = source.write_all(tmp_path).iter_batches(5)
    np.testing.assert_array_equal(batch.hidden, np.concatenate([h[1] for h in source.hidden]).astype(np.float32))


def test_shuffling_is_decided_by_its_seed(run: Run) -> None:
    def shuffled(seed: int) -> list[int]:
        return order(run.iter_batches(0, 20, shuffle=True, seed=seed))

    orders = [shuffled(seed) for seed in range(4)]
    assert shuffled(2) == orders[2]
    assert len({tuple(o) for o in orders}) == 4
    assert list(range(len(LENGTHS))) not in orders
    assert order(run.iter_batches(0, 20, seed=1)) == list(range(len(LENGTHS)))


def test_packs_are_shuffled_and_samples_within_windows(source: Synthetic, run: Run) -> None:
    pack_of = source.plan.sample_pack.tolist()
    windows = []
    found = order(run.iter_batches(0, 20, shuffle=True, seed=3, window_packs=3))
    while found:
        packs = set()
        window: list[int] = []
        while found and (len(packs) < 3 or pack_of[found[0]] in packs):
            packs.add(pack_of[found[0]])
            window.append(found.pop(0))
        windows.append((packs, window))
    assert [len(packs) for packs, _ in windows] == [3] * 5
    seen = [sorted(packs) for packs, _ in windows]
    assert seen != sorted(seen)
    assert any(packs[-1] - packs[0] > 2 for packs in seen)
    # Samples of the three packs are mixed, not taken pack by pack.
    assert any([pack_of[s] for s in window] != sorted(pack_of[s] for s in window) for _, window in windows)
    changes = [sum(pack_of[a] != pack_of[b] for a, b in pairwise(w)) for _, w in windows]
    assert max(changes) > 3


def test_every_order_of_two_packs_comes(tmp_path: Path) -> None:
    run = synthetic([2, 2, 2, 2], 4).write_all(tmp_path)
    one_pack_windows = {
        tuple(order(run.iter_batches(0, shuffle=True, seed=seed, window_packs=1))) for seed in range(60)
    }
    assert one_pack_windows == {
        (*first, *second)
        for halves in (((0, 1), (2, 3)), ((2, 3), (0, 1)))
        for first in (halves[0], halves[0][::-1])
        for second in (halves[1], halves[1][::-1])
    }


def test_places_lead_to_labels(source: Synthetic, run: Run) -> None:
    samples, tokens = run.samples(), run.tokens()
    batch = next(run.iter_batches(2, 40, shuffle=True, seed=5))
    assert len(batch.sample) > 3
    assert samples.isel(sample=batch.sample)["sample_id"].values.tolist() == [f"s{s}" for s in batch.sample]
    rows = tokens.isel(token=batch.token)
    assert rows["sample"].values.tolist() == np.repeat(batch.sample, batch.row_size).tolist()
    stored = rows["hidden"].sel(layer=2).compute(scheduler="synchronous")
    np.testing.assert_array_equal(stored.values.astype(np.float32), batch.hidden)


# Memory


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("window_packs", [1, 3])
def test_packs_are_read_a_window_at_a_time_and_once(
    run: Run, reads: list[tuple[str, int, int]], shuffle: bool, window_packs: int
) -> None:
    batches = run.iter_batches(1, 8, shuffle=shuffle, window_packs=window_packs)
    assert reads == []
    pack_of = run.plan.sample_pack
    given_samples = 0
    for batch in batches:
        given_samples += len(batch.sample)
        # Samples that were read and not yet given are those of a window and of the batch that waits.
        ahead = sum(int((pack_of == pack).sum()) for _, _, pack in reads) - given_samples
        assert ahead <= 5 * window_packs + 8
    assert sorted(reads) == [("hidden", 1, pack) for pack in range(15)]


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("window_packs", "batch_tokens"), [(1, 4), (2, 8), (4, 8), (2, 50)])
def test_no_more_packs_are_held_than_a_window(
    run: Run, monkeypatch: pytest.MonkeyPatch, shuffle: bool, window_packs: int, batch_tokens: int
) -> None:
    alive: list[weakref.ref[NDArray[Any]]] = []
    most = 0
    original = Chunks.read_committed

    def spy(chunks: Chunks, index: int, pack: int) -> NDArray[Any]:
        nonlocal most
        # An array of its own, whose views do not lead past it to the whole chunk.
        values = original(chunks, index, pack).copy()
        alive.append(weakref.ref(values))
        most = max(most, sum(block() is not None for block in alive))
        return values

    monkeypatch.setattr(Chunks, "read_committed", spy)
    gc.collect()
    for _ in run.iter_batches(0, batch_tokens, shuffle=shuffle, window_packs=window_packs):
        pass
    assert len(alive) == 15
    assert most == window_packs


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 3}, "layer 3 is not stored in run .*; it has 0, 1, 2"),
        ({"layer": -1}, "layer -1 is not stored"),
        ({"batch_tokens": 0}, "batch_tokens 0 is not a positive number"),
        ({"window_packs": 0}, "window_packs 0 is not a positive number"),
        ({"seed": -1, "shuffle": True}, "seed -1 is negative"),
    ],
)
def test_settings_that_cannot_be_used(run: Run, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        run.iter_batches(**{"layer": 0, **settings})


def test_what_cannot_be_streamed_is_refused_at_once(tmp_path: Path) -> None:
    source = synthetic()
    run = source.create(tmp_path / "half")
    source.write(run, [1])
    with pytest.raises(IncompleteRunError, match="1 of 3 packs are there"):
        run.iter_batches(0)
    with pytest.raises(RunNotFoundError, match="keeps attention and no hidden"):
        synthetic(keep=("attention",)).write_all(tmp_path / "other").iter_batches(0)
    Store.open(tmp_path / "half").remove(run)
    with pytest.raises(RunNotFoundError, match="was removed"):
        run.iter_batches(0)


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_damaged_pack_is_an_error(tmp_path: Path, damage: str) -> None:
    run = synthetic().write_all(tmp_path)
    chunk = chunk_file(run, "hidden", 2, 1)
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:-1])
    batches = run.iter_batches(2, 4, window_packs=1)
    assert next(batches).sample.tolist() == [0]
    with pytest.raises(IntegrityError, match="layer 2 of hidden in pack 1 of"):
        list(batches)
    assert len(order(run.iter_batches(1))) == 6
