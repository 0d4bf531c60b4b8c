"""Kernels at the edges of what they may be given."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from biocache.engine.analyses.attention import projection
from biocache.engine.analyses.attention.maps import Block, Layout, Maps, Pairs, Tokens
from biocache.engine.analyses.attention.metrics import METRICS, Part

PAIRWISE = {name: metric for name, metric in METRICS.items() if metric.has_chance}


def part_of(maps: list[NDArray[Any]], causal: bool = False) -> tuple[Part, Layout]:
    """Lay out maps, a sample each (head, query, key)."""
    size = np.array([own.shape[-1] for own in maps])
    entries = size * (size + 1) // 2 if causal else size**2
    flat = [own[:, *np.tril_indices(own.shape[-1])] if causal else own.reshape(len(own), -1) for own in maps]
    stored = np.concatenate(flat, axis=1)
    start = np.cumsum(size) - size
    position = np.concatenate([np.arange(own) for own in size])
    tokens = Tokens(np.cumsum(entries) - entries, start, size, position.astype(np.int32), position % 3 == 0, causal)
    layout = Layout(size, start, np.cumsum(entries) - entries, position.astype(np.float32), causal)
    prepared = Maps(
        np.full(stored.shape, np.nan, np.float32), np.full((len(stored), size.sum()), np.nan, np.float32), causal
    )
    bits = stored.view(np.uint16) if stored.dtype == np.float16 else stored
    block = Block(bits.reshape(-1), bits.shape[1], len(bits))
    projection.widen(block, tokens, layout, prepared)
    projected = Maps(np.full_like(prepared.values, np.nan), np.full_like(prepared.mass, np.nan), causal)
    projection.project(block, tokens, layout, projected)
    np.testing.assert_allclose(projected.values, prepared.values, rtol=1e-6)
    np.testing.assert_allclose(projected.mass, prepared.mass, rtol=1e-6)
    return Part(block, tokens, prepared), layout


def value(name: str, first: NDArray[Any], second: NDArray[Any], causal: bool = False) -> float:
    """Return a metric of two maps (query, key)."""
    own, layout = part_of([first[np.newaxis]], causal)
    other, _ = part_of([second[np.newaxis]], causal)
    zero = np.zeros((1, 1), np.int64)
    return float(METRICS[name].measure(own, other, layout, Pairs(zero, zero))[0, 0])


def random_map(tokens: int, seed: int, dtype: str = "float32") -> NDArray[Any]:
    weights = np.random.default_rng(seed).gamma(0.2, size=(tokens, tokens)) + 1e-6
    return (weights / weights.sum(axis=1, keepdims=True)).astype(dtype)


HALVES = np.arange(0x7C00, dtype=np.uint16)
LEVELS = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize(
    ("numbers", "values"),
    [
        (HALVES, HALVES.view(np.float16).astype(np.float32)),
        (LEVELS, (LEVELS.astype(np.float32) / np.float32(255)) ** 2),
    ],
    ids=["halves", "codes"],
)
@pytest.mark.parametrize("kernel", [projection.widen, projection.project])
def test_every_half_that_is_not_negative_and_every_code_is_widened_exactly(
    kernel: Any, numbers: NDArray[Any], values: NDArray[np.float32]
) -> None:
    # Rows of one key, which their scale would all make 1: the mass is what was read.
    size = np.ones(len(numbers), np.int64)
    start = np.arange(len(numbers))
    tokens = Tokens(start, start, size, np.zeros(len(numbers), np.int32), np.zeros(len(numbers), bool), False)
    maps = Maps(np.empty((1, len(numbers)), np.float32), np.empty((1, len(numbers)), np.float32), False)
    layout = Layout(size, start, start, np.zeros(len(numbers), np.float32), False)
    kernel(Block(numbers, len(numbers), 1), tokens, layout, maps)
    np.testing.assert_array_equal(maps.mass[0], values)


def test_maps_of_codes_are_widened_as_their_values_are() -> None:
    codes = np.random.default_rng(0).integers(0, 256, (3, 40, 40)).astype(np.uint8)
    own, layout = part_of([codes], False)
    values, _ = part_of([(codes.astype(np.float32) / np.float32(255)) ** 2], False)
    # Sums of a row may be in another order.
    np.testing.assert_allclose(own.maps.mass, values.maps.mass, rtol=1e-6)
    np.testing.assert_allclose(own.maps.values, values.maps.values, rtol=1e-6)
    assert METRICS["cosine"].measure(own, values, layout, Pairs(*np.zeros((2, 1, 1), np.int64))) == pytest.approx(1)


@pytest.mark.parametrize("tokens", [2, 3, 8, 17, 64, 130])
@pytest.mark.parametrize("name", PAIRWISE)
def test_equal_maps_are_exactly_alike(name: str, tokens: int) -> None:
    for seed in range(5):
        for dtype in ("float16", "float32"):
            own = random_map(tokens, seed, dtype)
            assert value(name, own, own.copy()) == METRICS[name].identity


@pytest.mark.parametrize("name", ["js", "hellinger", "tv"])
def test_maps_without_a_common_key_are_1_apart_and_none_are_farther(name: str) -> None:
    even, odd = np.zeros((6, 6), np.float16), np.zeros((6, 6), np.float16)
    even[:, ::2], odd[:, 1::2] = 1 / 3, 1 / 3
    assert value(name, even, odd) == pytest.approx(1, abs=1e-6)
    for seed in range(20):
        sharp = np.eye(9, dtype=np.float32)[np.random.default_rng(seed).integers(0, 9, 9)]
        assert 0 <= value(name, sharp, random_map(9, seed)) <= 1


@pytest.mark.parametrize("name", PAIRWISE)
def test_pairwise_metrics_are_symmetric(name: str) -> None:
    first, second = random_map(33, 1), random_map(33, 2)
    assert value(name, first, second) == pytest.approx(value(name, second, first), rel=1e-6)


def test_small_divergences_keep_their_digits() -> None:
    first = random_map(40, 3).astype(np.float64)
    for size in (1e-2, 1e-3, 1e-4):
        noise = np.random.default_rng(4).uniform(1 - size, 1 + size, first.shape)
        second = first * noise
        second /= second.sum(axis=1, keepdims=True)
        a, b = first.astype(np.float32).astype(np.float64), second.astype(np.float32).astype(np.float64)
        a, b = a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)
        mean = (a + b) / 2
        expected = float(np.mean((a * np.log2(a / mean) + b * np.log2(b / mean)).sum(axis=1) / 2))
        assert value("js", first.astype(np.float32), second.astype(np.float32)) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", METRICS)
def test_rows_without_mass_do_not_count(name: str) -> None:
    first, second = random_map(7, 5), random_map(7, 6)
    kept = [0, 1, 2, 3, 4, 5]
    gone = first.copy()
    gone[6] = 0
    without = value(name, gone, second)
    assert np.isfinite(without)
    if name in ("row-cosine", "js", "hellinger", "tv"):
        rows = [value(name, first[[q] * 7], second[[q] * 7]) for q in kept]
        assert without == pytest.approx(np.mean(rows), rel=1e-5)
    nothing = np.zeros((7, 7), np.float32)
    assert np.isnan(value(name, nothing, second))


@pytest.mark.parametrize("name", PAIRWISE)
def test_rows_that_see_one_key_take_no_part(name: str) -> None:
    one = np.ones((1, 1), np.float32)
    assert np.isnan(value(name, one, one))
    # The first row of a causal model is alike in all heads, and says nothing of the second.
    first, second = (np.tril(random_map(2, seed)) for seed in (1, 2))
    first /= first.sum(axis=1, keepdims=True)
    second /= second.sum(axis=1, keepdims=True)
    last = [np.tile(own[1], (2, 1)) for own in (first, second)]
    assert value(name, first, second, causal=True) == pytest.approx(value(name, *last), rel=1e-5)
    assert value(name, first, second, causal=True) != pytest.approx(value(name, first, second), rel=1e-3)


def test_one_key_has_no_entropy_to_change() -> None:
    one = np.ones((1, 1), np.float32)
    assert np.isnan(value("entropy", one, one))
    assert value("distance", one, one) == 0
    # The first row of a causal model is left out, so these are of the second alone.
    even, sharp = np.array([[1, 0], [0.5, 0.5]], np.float32), np.array([[1, 0], [0, 1]], np.float32)
    assert value("entropy", sharp, even, causal=True) == pytest.approx(1)
    assert value("entropy", even, sharp, causal=True) == pytest.approx(-1)


def test_a_sample_without_a_row_is_not_a_number() -> None:
    own, layout = part_of([random_map(3, 0)[np.newaxis]])
    empty = layout._replace(size=np.zeros(1, np.int64), position=np.empty(0, np.float32))
    maps = Maps(own.maps.values[:, :0], own.maps.mass[:, :0], False)
    tokens = own.tokens._replace(group=np.full(3, -1, np.int32))
    zero = np.zeros((1, 1), np.int64)
    part = Part(own.stored, tokens, maps)
    for metric in METRICS.values():
        assert np.isnan(metric.measure(part, part, empty, Pairs(zero, zero))).all()


def test_samples_and_heads_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(7)
    sizes = (5, 1, 40, 3)
    first = [np.stack([random_map(n, int(rng.integers(1000))) for _ in range(3)]) for n in sizes]
    second = [np.stack([random_map(n, int(rng.integers(1000))) for _ in range(3)]) for n in sizes]
    own, layout = part_of(first)
    other, _ = part_of(second)
    left, right = np.tile([0, 1, 2], (4, 1)), np.tile([2, 0, 1], (4, 1))
    for name, metric in METRICS.items():
        together = metric.measure(own, other, layout, Pairs(left, right))
        if name == "special-mass":
            continue
        for sample in range(4):
            for head in range(3):
                alone = value(name, first[sample][head], second[sample][(head + 2) % 3])
                np.testing.assert_array_equal(together[sample, head], alone)
