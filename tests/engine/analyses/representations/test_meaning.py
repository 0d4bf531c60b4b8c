"""What the numbers mean: unrelated, rotated and shuffled representations, blocks left out, coverage of intervals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plain_similarity as plain
import pytest
import xarray as xr
from attention_factory import source
from numpy.typing import NDArray
from scipy.stats import ortho_group
from store_factory import Synthetic

from biocache.engine import RepresentationRequest, compare_representations
from biocache.engine.analyses.representations.pairs import correlations, describe, shared_neighbours
from biocache.engine.analyses.representations.products import Products, Side, blocks_of, mean_kernels
from biocache.engine.analyses.representations.request import METRICS
from biocache.engine.analyses.representations.result import _interval
from biocache.engine.estimates import Estimates

Rows = NDArray[np.float32]


def samples_of(number: int, hidden: list[Rows] | None = None, samples: int = 64, **changes: Any) -> Synthetic:
    """Make up a run of samples of one word of one token, whose rows are given or independent of other runs'."""
    facts = {"keep": ("hidden",), "layers": (1,), "dtype": "float32", "capacity": 90, "maps": number}
    run = source((1,) * samples, model=f"model{number}", training_size=0, specials=False, **(facts | changes))
    return run if hidden is None else replace(run, hidden=hidden)


def compared(folder: Path, **settings: Any) -> xr.Dataset:
    defaults: dict[str, Any] = {"metrics": METRICS, "level": "sample", "blocks": 8}
    request = RepresentationRequest(model="model1", against="model0", training_sizes=(0,), **(defaults | settings))
    return compare_representations(folder, request).squeeze()


def rows_of(run: Synthetic) -> NDArray[np.float64]:
    """Return the mean of the tokens of each sample, (sample, feature)."""
    return np.stack([rows[0].astype(np.float64).mean(axis=0) for rows in run.hidden])


@pytest.mark.slow
def test_unrelated_representations_are_at_0_where_the_biased_statistic_is_at_0_92(tmp_path: Path) -> None:
    for number in range(2):
        run, rng = samples_of(number, feature_size=768), np.random.default_rng(number)
        rows = [np.broadcast_to(rng.normal(size=768), own.shape).astype(np.float32) for own in run.hidden]
        samples_of(number, rows, feature_size=768).write_all(tmp_path)
    debiased = compared(tmp_path, metrics=("cka",))
    assert abs(float(debiased["value"])) < 0.05
    assert float(debiased["value_ci_low"]) < 0 < float(debiased["value_ci_high"])
    assert float(debiased["chance"]) == 0
    biased = compared(tmp_path, metrics=("cka",), biased=True)
    assert float(biased["value"]) == pytest.approx(0.92, abs=0.02)
    # The chance level says so.
    assert float(biased["value"]) == pytest.approx(float(biased["chance"]), abs=0.01)


@pytest.mark.slow
def test_rotated_scaled_and_shifted_representations_are_the_same(tmp_path: Path) -> None:
    own = samples_of(0, feature_size=6, samples=40)
    rotation = ortho_group.rvs(6, random_state=1)
    rotated = [(3.5 * rows @ rotation).astype(np.float32) for rows in own.hidden]
    own.write_all(tmp_path)
    samples_of(1, rotated, feature_size=6, samples=40).write_all(tmp_path)
    result = compared(tmp_path)
    np.testing.assert_allclose(result["value"].sel(metric=["cka", "procrustes", "knn"]), [1, 0, 1], atol=1e-5)
    np.testing.assert_allclose(result["value_ci_low"].sel(metric=["cka", "procrustes", "knn"]), [1, 0, 1], atol=1e-5)
    # Correlation distance is of the features as they are: a rotation mixes them.
    assert 0.5 < float(result["value"].sel(metric="rsa")) < 1
    scaled = [(2 * rows + 5).astype(np.float32) for rows in own.hidden]
    samples_of(2, scaled, feature_size=6, samples=40).write_all(tmp_path)
    request = RepresentationRequest(model="model2", against="model0", training_sizes=(0,), metrics=METRICS)
    values = compare_representations(tmp_path, request)["value"].squeeze()
    np.testing.assert_allclose(values.sel(metric=["cka", "procrustes", "rsa"]), [1, 0, 1], atol=1e-5)


def sums_of(first: NDArray[Any], second: NDArray[Any], block: NDArray[np.int64]) -> tuple[Any, Products, Side, Side]:
    blocks = int(block.max()) + 1
    products = Products.zero(blocks, first.shape[1], second.shape[1])
    sides = [Side.zero(blocks, rows.shape[1]) for rows in (first, second)]
    squares = [np.einsum("nd,nd->n", rows, rows) for rows in (first, second)]
    for number, chosen in blocks_of(block):
        products.add(number, first[chosen], second[chosen], squares[0][chosen], squares[1][chosen])
        for side, rows, square in zip(sides, (first, second), squares, strict=True):
            side.add(number, rows[chosen], square[chosen])
    return np.bincount(block).astype(float), products, *sides


@pytest.fixture
def related() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return rows of two layers that have something in common, far from their origins, and blocks in any order."""
    rng = np.random.default_rng(5)
    common = rng.normal(size=(48, 4))
    first = common @ rng.normal(size=(4, 7)) + rng.normal(size=(48, 7)) + 3
    second = common @ rng.normal(size=(4, 5)) + rng.normal(size=(48, 5)) - 2
    return first, second, rng.permutation(np.arange(48) % 6)


@pytest.mark.parametrize("biased", [False, True])
def test_values_without_a_block_are_those_of_the_units_that_are_left(related: Any, biased: bool) -> None:
    first, second, block = related
    hsic = plain.biased_hsic if biased else plain.unbiased_hsic
    found = sums_of(first, second, block)
    values = found[1].hsic(found[0], *found[2:], biased=biased)
    expected = [hsic(first[kept], second[kept]) for kept in (block != number for number in range(-1, 6))]
    assert values[0] == pytest.approx(expected[0], rel=1e-6)
    # Products of blocks are float32.
    np.testing.assert_allclose(values[1:], expected[1:], rtol=1e-4)


def test_pairs_without_a_block_are_those_of_the_units_that_are_left(related: Any) -> None:
    first, second, block = related
    described = [[describe(rows, ranks=True, neighbours=4 + 8)] for rows in (first, second)]
    left = [block != number for number in range(-1, 6)]
    ranked = correlations(*described, block, 6)[0, 0]
    np.testing.assert_allclose(ranked, [plain.rsa(first[kept], second[kept]) for kept in left], rtol=1e-9)
    shared = shared_neighbours(*described, block, 6, 4)[0, 0]
    np.testing.assert_allclose(shared, [plain.knn(first[kept], second[kept], 4) for kept in left], rtol=1e-9)


def test_equal_distances_share_their_rank() -> None:
    rows = np.repeat(np.eye(4, 6, dtype=np.float32) + 1, 3, axis=0)
    other = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    described = [[describe(each, ranks=True, neighbours=0)] for each in (rows, other)]
    assert len(np.unique(described[0][0].rank)) == 2
    value = correlations(*described, np.zeros(12, np.int64), 1)[0, 0, 0]
    assert value == pytest.approx(plain.rsa(rows.astype(float), other.astype(float)))


def test_the_distance_without_a_block_is_nearly_that_of_the_units_that_are_left() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(size=(2000, 4))
    rows = [common @ rng.normal(size=(4, size)) + rng.normal(size=(2000, size)) for size in (6, 5)]
    block = np.arange(2000) // 100
    count, products, *sides = sums_of(*rows, block)
    values = products.procrustes(count, *sides)
    exact = [plain.procrustes(*(own[block != number] for own in rows)) for number in range(-1, 20)]
    assert values[0] == pytest.approx(exact[0], rel=1e-9)
    # The approximation is of second order in the share of a block.
    np.testing.assert_allclose(values[1:] - values[0], np.array(exact[1:]) - exact[0], atol=5e-4)
    assert np.ptp(exact[1:]) > 5e-3


def test_chance_of_biased_cka_is_the_mean_over_orders_of_units(related: Any) -> None:
    first, second, _ = related
    rng = np.random.default_rng(0)
    shuffled = [plain.cka(first, second[rng.permutation(48)], biased=True) for _ in range(400)]
    count, _, *sides = sums_of(first, second, np.zeros(48, np.int64))
    traces = [mean_kernels(count, side) for side in sides]
    scale = [plain.biased_hsic(rows, rows) for rows in (first, second)]
    chance = traces[0] * traces[1] / 47**3 / np.sqrt(scale[0] * scale[1])
    assert chance == pytest.approx(np.mean(shuffled), abs=4 * np.std(shuffled) / 20)
    debiased = [plain.cka(first, second[rng.permutation(48)]) for _ in range(400)]
    assert np.mean(debiased) == pytest.approx(0, abs=4 * np.std(debiased) / 20)


@pytest.mark.slow
def test_chance_levels_of_a_result_are_those_of_shuffled_units(tmp_path: Path) -> None:
    runs = [samples_of(number, feature_size=9, samples=60) for number in range(2)]
    for run in runs:
        run.write_all(tmp_path)
    first, second = map(rows_of, runs)
    result = compared(tmp_path)
    rng = np.random.default_rng(1)
    orders = [rng.permutation(60) for _ in range(100)]
    assert float(result["chance"].sel(metric="knn")) == pytest.approx(10 / 59)
    shares = [plain.knn(first, second[order], 10) for order in orders]
    assert np.mean(shares) == pytest.approx(10 / 59, abs=4 * np.std(shares) / 10)
    ranked = [plain.rsa(first, second[order]) for order in orders]
    assert np.mean(ranked) == pytest.approx(float(result["chance"].sel(metric="rsa")), abs=4 * np.std(ranked) / 10)
    distances = [plain.procrustes(first, second[order]) for order in orders]
    assert float(result["chance"].sel(metric="procrustes")) == pytest.approx(
        np.mean(distances), abs=4 * np.std(distances)
    )
    biased = compared(tmp_path, metrics=("cka",), biased=True)
    values = [plain.cka(first, second[order], biased=True) for order in orders]
    assert float(biased["chance"]) == pytest.approx(np.mean(values), abs=4 * np.std(values) / 10)


def cka_with_blocks(first: NDArray[Any], second: NDArray[Any], block: NDArray[np.int64]) -> NDArray[np.float64]:
    parts = [sums_of(*pair, block) for pair in ((first, second), (first, first), (second, second))]
    cross, own, other = (part[1].hsic(part[0], *part[2:], biased=False) for part in parts)
    return np.asarray(cross / np.sqrt(own * other))


def procrustes_with_blocks(first: NDArray[Any], second: NDArray[Any], block: NDArray[np.int64]) -> NDArray[np.float64]:
    count, products, *sides = sums_of(first, second, block)
    return products.procrustes(count, *sides)


def rsa_with_blocks(first: NDArray[Any], second: NDArray[Any], block: NDArray[np.int64]) -> NDArray[np.float64]:
    described = [[describe(rows, ranks=True, neighbours=0)] for rows in (first, second)]
    return np.asarray(correlations(*described, block, int(block.max()) + 1)[0, 0])


def knn_with_blocks(first: NDArray[Any], second: NDArray[Any], block: NDArray[np.int64]) -> NDArray[np.float64]:
    described = [[describe(rows, ranks=False, neighbours=5 + 10)] for rows in (first, second)]
    return np.asarray(shared_neighbours(*described, block, int(block.max()) + 1, 5)[0, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("cka", cka_with_blocks),
        ("procrustes", procrustes_with_blocks),
        ("rsa", rsa_with_blocks),
        ("knn", knn_with_blocks),
    ],
)
def test_intervals_cover_where_units_of_a_group_are_alike(metric: str, values: Callable[..., Any]) -> None:
    rng = np.random.default_rng(11)
    mixing = rng.normal(size=(4, 8)), rng.normal(size=(4, 8))

    def drawn(groups: int) -> list[NDArray[np.float64]]:
        common = np.repeat(rng.normal(size=(groups, 4)), 5, axis=0) + 0.7 * rng.normal(size=(groups * 5, 4))
        return [common @ each + rng.normal(size=(groups * 5, 8)) for each in mixing]

    found = [values(*drawn(24), np.arange(120) // 10) for _ in range(160)]
    # The mean of what is estimated: neighbours of 120 units are others than those of all there are.
    truth = np.mean([each[0] for each in found])
    low, high = np.transpose(
        [_interval(metric, Estimates(each[0], each[1:], np.ones(len(each) - 1))) for each in found]
    )
    covered = np.mean((low <= truth) & (truth <= high))
    assert 0.90 <= covered <= 0.99, covered
