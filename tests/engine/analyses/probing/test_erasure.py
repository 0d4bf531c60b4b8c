"""The eraser of a concept against the formula of the paper, and against probes that look for what was erased."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from plain_erasure import plain_eraser
from sklearn.linear_model import LinearRegression, LogisticRegression

from biocache.engine.analyses.probing import erasure
from biocache.engine.analyses.probing.erasure import Eraser, erasing_memory, fit_eraser

Values = NDArray[Any]


def made(rows: int, features: int, classes: int, *, seed: int = 0) -> tuple[NDArray[np.float32], Values]:
    """Return features of unlike variances that are not independent, and classes that are in some of them."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, rows, p=np.arange(classes, 0, -1) / np.arange(classes + 1).sum())
    mixing = rng.normal(size=(features, features)) * np.geomspace(0.01, 100, features)
    values = (rng.normal(size=(rows, features)) + rng.normal(size=(classes, features))[labels]) @ mixing
    return (values + rng.normal(size=features) * 50).astype(np.float32), labels


def fitted(features: NDArray[np.float32], concept: Values) -> Eraser:
    return fit_eraser(features, np.arange(len(features)), lambda rows: concept[rows])


def erased(features: NDArray[np.float32], concept: Values) -> NDArray[np.float32]:
    found = features.copy()
    fitted(features, concept).erase(found)
    return found


def plain(features: NDArray[np.float32], concept: Values) -> Values:
    return plain_eraser(features, concept)(features)


@pytest.mark.parametrize("block", [7, 4096])
@pytest.mark.parametrize("classes", [2, 4])
def test_rows_are_those_of_the_paper(monkeypatch: pytest.MonkeyPatch, block: int, classes: int) -> None:
    monkeypatch.setattr(erasure, "_BLOCK", block)
    features, labels = made(300, 8, classes)
    concept = np.eye(classes)[labels]
    scale = features.std(axis=0)
    np.testing.assert_allclose(erased(features, concept) / scale, plain(features, concept) / scale, atol=2e-4)


def test_numbers_are_erased_too() -> None:
    features, labels = made(300, 8, 4)
    numbers = np.stack([labels**2.0, np.random.default_rng(1).normal(size=300)], axis=1)
    scale = features.std(axis=0)
    found = erased(features, numbers)
    np.testing.assert_allclose(found / scale, plain(features, numbers) / scale, atol=2e-4)
    assert LinearRegression().fit(found, numbers).score(found, numbers) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("rows", [300, 9])
def test_a_covariance_that_is_singular(rows: int) -> None:
    """Features that follow from others, a constant one, and more features than rows."""
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 3
    # Whole numbers, so that no rounding makes them independent.
    own = rng.integers(-99, 99, (rows, 8)) + 40 * rng.integers(-1, 2, (3, 8))[labels]
    features = np.concatenate([own, own[:, :3] - own[:, 3:6], np.full((rows, 1), 7)], axis=1).astype(np.float32)
    concept = np.eye(3)[labels]
    found, expected = erased(features, concept), plain(features, concept)
    scale = np.maximum(features.std(axis=0), 1e-3)
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-3)
    np.testing.assert_array_equal(found[:, -1], 7)
    centred = (found - found.mean(axis=0, dtype=np.float64)) / scale
    np.testing.assert_allclose(centred.T @ (concept - concept.mean(axis=0)) / rows, 0, atol=2e-4)


@pytest.mark.parametrize("classes", [2, 5])
def test_linear_probes_fall_to_the_majority(classes: int) -> None:
    features, labels = made(600, 12, classes)
    concept = np.eye(classes)[labels]
    found = erased(features, concept)
    majority = np.bincount(labels).max() / len(labels)

    def accuracy(values: Values, c: float) -> float:
        scaled = (values - values.mean(axis=0, dtype=np.float64)) / values.std(axis=0, dtype=np.float64)
        return float(LogisticRegression(C=c, max_iter=500).fit(scaled, labels).score(scaled, labels))

    assert accuracy(features, 0.1) > majority + 0.2
    for c in (0.1, 1e6):
        assert accuracy(found, c) == pytest.approx(majority)
    assert LinearRegression().fit(features, concept).score(features, concept) > 0.2
    assert LinearRegression().fit(found, concept).score(found, concept) == pytest.approx(0, abs=1e-6)


def test_rows_change_less_than_by_an_orthogonal_projection() -> None:
    features, labels = made(400, 10, 3)
    concept = np.eye(3)[labels]
    x = features.astype(np.float64)
    centred = x - x.mean(axis=0)
    shared = centred.T @ (concept - concept.mean(axis=0))
    axes, strength, _ = np.linalg.svd(shared, full_matrices=False)
    axes = axes[:, strength > 1e-9 * strength.max()]
    change = centred @ axes @ axes.T
    # Both have no covariance with the concept.
    np.testing.assert_allclose((centred - change).T @ (concept - concept.mean(axis=0)), 0, atol=1e-6 * strength.max())
    eraser = fitted(features, concept)
    own = (centred @ eraser.reading) @ eraser.writing.T
    assert np.square(own).sum() < 0.9 * np.square(change).sum()
    # In another norm as well: features of variance 1.
    assert np.square(own / x.std(axis=0)).sum() < np.square(change / x.std(axis=0)).sum()


def test_nothing_is_left_of_a_feature_that_is_the_concept() -> None:
    """What rounding leaves of it would be a label again once it is scaled to a variance of 1."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    features = np.stack([labels - 0.5, rng.normal(size=200)], axis=1).astype(np.float32)
    eraser = fitted(features, np.eye(2)[labels])
    found = features.copy()
    eraser.erase(found)
    assert eraser.gone.tolist() == [True, False]
    assert len(set(found[:, 0].tolist())) == 1
    assert found[:, 1].std() > 0.5


def test_the_mean_and_what_has_nothing_of_the_concept_stay() -> None:
    features, labels = made(300, 6, 3)
    found = erased(features, np.eye(3)[labels])
    np.testing.assert_allclose(found.mean(axis=0), features.mean(axis=0), rtol=1e-4, atol=1e-3)
    eraser = fitted(features, np.zeros((300, 2)))
    assert eraser.reading.shape == (6, 0)
    same = features.copy()
    eraser.erase(same)
    np.testing.assert_array_equal(same, features)


def test_rows_without_the_concept_do_not_decide_and_are_erased_as_the_others() -> None:
    features, labels = made(300, 6, 3)
    known = np.arange(0, 300, 2)
    concept = np.eye(3)[labels[known]]
    eraser = fit_eraser(features, known, lambda rows: concept[rows])
    alone = fitted(features[known], concept)
    np.testing.assert_allclose(eraser.writing @ eraser.reading.T, alone.writing @ alone.reading.T, rtol=1e-9, atol=1e-9)
    found, some = features.copy(), features[known].copy()
    eraser.erase(found)
    alone.erase(some)
    np.testing.assert_allclose(found[known], some, rtol=1e-6, atol=1e-4)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows_and_is_what_is_planned() -> None:
    rng, eye, peaks = np.random.default_rng(0), np.eye(4), []
    whole, labels = rng.normal(size=(40_000, 192)).astype(np.float32), rng.integers(0, 4, 40_000)
    for rows in (20_000, 40_000):
        features, concept = whole[:rows].copy(), eye[labels[:rows]]
        tracemalloc.start()
        fitted(features, concept).erase(features)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < erasing_memory(192, 4)
