"""Reductions of ragged groups, against a loop over tokens."""

import math
from typing import Any

import numpy as np
import pytest
from by_hand import assert_close, pooled
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from biocache.store.coding import Coded
from biocache.store.ragged import reduce_segments
from biocache.store.schema import POOLINGS

# Whether a token is of no group, and how many groups begin (and, but for the last, stay empty) before it.
TOKENS = st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=40)


def groups(tokens: list[tuple[bool, int]]) -> NDArray[np.int64]:
    current, owners = 0, []
    for none, step in tokens:
        current += step
        owners.append(-1 if none else current)
    return np.array(owners, np.int64)


def by_loop(values: NDArray[Any], group: NDArray[Any], count: int, pooling: str) -> NDArray[np.float64]:
    members = [[values[token] for token in range(len(group)) if group[token] == owner] for owner in range(count)]
    return np.array([pooled(rows, pooling, values.shape[1]) for rows in members]).reshape(count, values.shape[1])


# The first example compiles.
@settings(deadline=None)
@given(
    tokens=TOKENS,
    more=st.integers(0, 3),
    features=st.integers(1, 5),
    dtype=st.sampled_from(["float16", "float32"]),
    pooling=st.sampled_from(POOLINGS),
    seed=st.integers(0, 99),
)
@example(tokens=[], more=2, features=3, dtype="float16", pooling="mean", seed=0)
@example(tokens=[(True, 0)], more=1, features=3, dtype="float32", pooling="max", seed=0)
@example(tokens=[(False, 0), (True, 0), (False, 0)], more=0, features=2, dtype="float16", pooling="max", seed=1)
@example(
    tokens=[(True, 1), (False, 1), (True, 0), (False, 0)], more=1, features=2, dtype="float32", pooling="mean", seed=1
)
def test_every_group_is_what_a_loop_gives(
    tokens: list[tuple[bool, int]], more: int, features: int, dtype: str, pooling: str, seed: int
) -> None:
    group = groups(tokens)
    count = int(group.max(initial=0)) + more
    if (group >= count).any():
        count += 1
    values = np.random.default_rng(seed).normal(-1, 3, (len(group), features)).astype(dtype)
    kept = values.copy(), group.copy()
    reduced = reduce_segments(values, group, count, pooling)
    assert reduced.shape == (count, features)
    assert_close(reduced, by_loop(values, group, count, pooling))
    np.testing.assert_array_equal(values, kept[0])
    np.testing.assert_array_equal(group, kept[1])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_of_an_interrupted_group(pooling: str) -> None:
    values = np.array([[9, 9], [1, -5], [9, 9], [4, -2], [1, -8], [7, 0], [9, 9]], np.float16)
    reduced = reduce_segments(values, np.array([-1, 1, -1, 1, 1, 3, -1]), 5, pooling)
    expected = {"mean": [2, -5], "first": [1, -5], "last": [1, -8], "max": [4, -2]}[pooling]
    nothing = [np.nan, np.nan]
    np.testing.assert_array_equal(reduced, np.array([nothing, expected, nothing, [7, 0], nothing], np.float32))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_groups_without_any_token_are_nan(pooling: str) -> None:
    for group in (np.zeros(0, np.int64), np.array([-1, -1])):
        reduced = reduce_segments(np.ones((len(group), 3), np.float16), group, 2, pooling)
        assert reduced.dtype == np.float32
        assert reduced.shape == (2, 3)
        assert np.isnan(reduced).all()
    assert reduce_segments(np.ones((2, 3)), np.array([-1, -1]), 0, pooling).shape == (0, 3)


def test_halves_are_summed_as_singles() -> None:
    # In halves 2048 + 1 is 2048, and 40000 + 40000 is infinite.
    ones = reduce_segments(np.ones((5000, 2), np.float16), np.zeros(5000, int), 1, "mean")
    assert ones.tolist() == [[1, 1]]
    small = np.array([[2048], *([[1]] * 7)], np.float16)
    assert reduce_segments(small, np.zeros(8, int), 1, "mean").tolist() == [[2055 / 8]]
    large = np.full((3, 1), 40000, np.float16)
    assert reduce_segments(large, np.array([0, -1, 0]), 1, "mean").tolist() == [[40000]]
    assert reduce_segments(large, np.zeros(3, int), 1, "max").dtype == np.float32


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ValueError, match="pooling 'median' is not one of mean, first, last, max"):
        reduce_segments(np.ones((2, 2)), np.zeros(2, int), 1, "median")


@pytest.mark.parametrize("group", [[1, 0], [0, 1, 0], [0, 2, -1, 1], [2, 0, 2, -1, 0, 1, 2]])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_groups_may_come_in_any_order(group: list[int], pooling: str, dtype: type[np.floating]) -> None:
    owners = np.array(group)
    values = np.random.default_rng(0).normal(size=(len(group), 3)).astype(dtype)
    reduced = reduce_segments(values, owners, 3, pooling)
    for one in range(3):
        own = values[owners == one].astype(np.float64)
        if not len(own):
            assert np.isnan(reduced[one]).all()
            continue
        expected = {"mean": own.mean(axis=0), "first": own[0], "last": own[-1], "max": own.max(axis=0)}[pooling]
        np.testing.assert_allclose(reduced[one], expected, rtol=1e-6)


def test_a_gap_is_no_decrease() -> None:
    reduced = reduce_segments(np.arange(4.0)[:, np.newaxis], np.array([1, -1, 1, 2]), 3, "mean")
    np.testing.assert_array_equal(reduced, [[np.nan], [1], [3]])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_half_is_widened_exactly(pooling: str) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    reduced = reduce_segments(halves[np.newaxis], np.zeros(1, int), 1, pooling)
    np.testing.assert_array_equal(reduced[0], halves.astype(np.float32))


def test_means_of_halves_are_rounded_once() -> None:
    # From 2**-20 to 2**15: a sum in float32 loses the small ones, and another order of the tokens gives another sum.
    rng = np.random.default_rng(0)
    values = np.ldexp(rng.normal(size=(300, 50)), rng.integers(-18, 14, (300, 50))).astype(np.float16)
    exact = [math.fsum(column) / 300 for column in values.T.tolist()]
    for order in (np.arange(300), rng.permutation(300)):
        reduced = reduce_segments(values[order], np.zeros(300, int), 1, "mean")
        np.testing.assert_array_equal(reduced[0], np.array(exact, np.float32))


def test_a_maximum_passes_on_what_is_not_a_number() -> None:
    values = np.array([[np.nan, 1], [2, np.nan], [3, 4]], np.float16)
    assert np.isnan(reduce_segments(values, np.zeros(3, int), 1, "max")).all()


def test_a_group_beyond_the_last_is_refused() -> None:
    for pooling in POOLINGS:
        with pytest.raises(ValueError, match="group 2 is not one of 2"):
            reduce_segments(np.ones((2, 2)), np.array([0, 2]), 2, pooling)


@pytest.mark.parametrize("dtype", [">f2", "<f2", ">f4", "float64"])
def test_any_layout_in_memory(dtype: str) -> None:
    values = np.arange(24.0).reshape(4, 6).astype(dtype)
    group = np.array([0, 0, 1, 1])
    for part in (values[:, ::2], np.asfortranarray(values), values[::-1]):
        part.flags.writeable = False
        expected = part.astype(float).reshape(2, 2, -1).mean(axis=1)
        np.testing.assert_array_equal(reduce_segments(part, group, 2, "mean"), expected)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("features", [1, 7, 64])
def test_codes_are_reduced_as_their_values_are(pooling: str, features: int) -> None:
    rng = np.random.default_rng(features)
    codes = rng.integers(-127, 128, (300, features)).astype(np.int8)
    # Products in another order differ in their last digit.
    token, feature = (np.exp(rng.normal(size=size) * 9).astype(np.float32) for size in (300, features))
    values = codes.astype(np.float32) * token[:, np.newaxis] * feature
    assert (values != codes * (token[:, np.newaxis] * feature)).any()
    group = np.sort(rng.integers(-1, 90, 300))
    reduced = reduce_segments(Coded(codes, token, feature), group, 95, pooling)
    np.testing.assert_array_equal(reduced, reduce_segments(values, group, 95, pooling))
    assert_close(reduced, by_loop(values, group, 95, pooling))
