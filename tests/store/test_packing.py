"""The layout of a run, against its rules spelled out one sample at a time."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from biocache.store.packing import CHUNK_BYTES, PackPlan, entry_capacity, plan_packs, token_capacity

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=60)
CAPACITY = st.integers(1, 64)


def square(lengths: list[int], capacity: int, entries: int | None = None) -> PackPlan:
    tokens = np.asarray(lengths)
    return plan_packs(tokens, tokens**2, capacity, entries)


def greedy(lengths: list[int], capacity: int, entries: int | None = None) -> list[list[int]]:
    packs: list[list[int]] = []
    for sample in range(len(lengths)):
        grown = [lengths[other] for other in [*(packs[-1] if packs else []), sample]]
        fits = sum(grown) <= capacity and (entries is None or sum(length**2 for length in grown) <= entries)
        if packs and fits:
            packs[-1].append(sample)
        else:
            packs.append([sample])
    return packs


@given(LENGTHS, CAPACITY, st.none() | st.integers(1, 2000))
@example([10, 10], 20, None)
@example([10, 11], 20, None)
@example([10, 10], 20, 200)
@example([10, 10], 20, 199)
@example([1], 1, 1)
@example([40, 1, 40], 8, 100)
def test_packs_are_filled_greedily_with_consecutive_samples(
    lengths: list[int], capacity: int, entries: int | None
) -> None:
    plan = square(lengths, capacity, entries)
    packs = greedy(lengths, capacity, entries)
    assert [list(plan.samples_of(pack)) for pack in range(plan.pack_count)] == packs
    assert plan.sample_pack.tolist() == [number for number, pack in enumerate(packs) for _ in pack]
    assert plan.tokens.pack_sizes.tolist() == [sum(lengths[sample] for sample in pack) for pack in packs]
    assert plan.entries.pack_sizes.tolist() == [sum(lengths[sample] ** 2 for sample in pack) for pack in packs]


@given(LENGTHS, CAPACITY, st.integers(1, 2000))
def test_no_pack_passes_a_capacity_but_for_one_long_sample(lengths: list[int], capacity: int, entries: int) -> None:
    plan = square(lengths, capacity, entries)
    for pack, (tokens, own) in enumerate(zip(plan.tokens.pack_sizes, plan.entries.pack_sizes, strict=True)):
        assert (tokens <= capacity and own <= entries) or len(plan.samples_of(pack)) == 1


@pytest.mark.slow
@given(LENGTHS, CAPACITY)
def test_every_pack_is_one_chunk_along_both_axes(lengths: list[int], capacity: int) -> None:
    plan = square(lengths, capacity)
    assert plan.tokens.chunk == plan.tokens.pack_sizes.max()
    assert plan.entries.chunk == plan.entries.pack_sizes.max()
    assert plan.tokens.length == plan.pack_count * plan.tokens.chunk
    assert plan.entries.length == plan.pack_count * plan.entries.chunk
    for starts, counts, chunk in (
        (plan.tokens.start, plan.tokens.count, plan.tokens.chunk),
        (plan.entries.start, plan.entries.count, plan.entries.chunk),
    ):
        ends = starts + counts
        assert (starts[1:] >= ends[:-1]).all(), "samples overlap"
        assert (starts // chunk).tolist() == ((ends - 1) // chunk).tolist() == plan.sample_pack.tolist()
        for pack in range(plan.pack_count):
            own = plan.samples_of(pack)
            assert starts[own.start] == pack * chunk
            np.testing.assert_array_equal(starts[own.start + 1 : own.stop], ends[own.start : own.stop - 1])


@given(LENGTHS, CAPACITY)
def test_axis_positions_are_those_of_every_token(lengths: list[int], capacity: int) -> None:
    plan = square(lengths, capacity)
    positions = [start + n for start, length in zip(plan.tokens.start, lengths, strict=True) for n in range(length)]
    assert plan.tokens.positions().tolist() == positions


def test_an_over_long_sample_is_alone() -> None:
    plan = square([2, 3, 50, 4, 4], 8)
    assert plan.first_sample.tolist() == [0, 2, 3, 5]
    assert plan.tokens.start.tolist() == [0, 2, 50, 100, 104]


def test_narrow_types_do_not_overflow() -> None:
    tokens = np.full(300, 100, dtype=np.int8)
    plan = plan_packs(tokens, tokens.astype(np.int64) ** 2, 10_000)
    assert plan.tokens.count.dtype == plan.tokens.start.dtype == np.int64
    assert plan.tokens.pack_sizes.tolist() == [10_000, 10_000, 10_000]
    assert plan.tokens.start[-1] == 29_900


def test_no_samples_make_no_packs() -> None:
    plan = square([], 8)
    assert plan.pack_count == plan.tokens.length == plan.entries.length == 0
    assert plan.tokens.positions().tolist() == []


@pytest.mark.parametrize(
    ("features", "itemsize", "tokens"),
    [(768, 2, 8192), (384, 2, 16384), (768, 4, 4096), (1024, 2, 8192), (1, 1, 2**24), (2**24, 2, 1), (2**30, 4, 1)],
)
def test_token_capacity(features: int, itemsize: int, tokens: int) -> None:
    assert token_capacity(features, itemsize) == tokens


@given(st.integers(1, 2**20), st.sampled_from([2, 4]))
def test_token_capacity_is_the_largest_power_of_two_that_fits(features: int, itemsize: int) -> None:
    tokens = token_capacity(features, itemsize)
    assert tokens.bit_count() == 1
    assert tokens * features * itemsize <= CHUNK_BYTES < 2 * tokens * features * itemsize


@pytest.mark.parametrize(("heads", "itemsize", "entries"), [(12, 2, 699_050), (16, 4, 2**18), (2**24, 2, 1)])
def test_entry_capacity_is_the_largest_that_fits(heads: int, itemsize: int, entries: int) -> None:
    assert entry_capacity(heads, itemsize) == entries
