"""Comparisons of representations over seeds of the training, and between them, against plain NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_factory import source
from numpy.typing import NDArray
from plain_similarity import cka, knn
from seeds import every_pair, stand_ins, t_interval
from store_factory import Synthetic

from biocache.engine import RepresentationRequest, compare_representations
from biocache.engine.analyses.representations.analysis import RepresentationComparison
from biocache.store import Store
from biocache.store.errors import RunNotFoundError

ANALYSIS = RepresentationComparison()
SEEDS = (1, 2, 3)
NEIGHBOURS = 3
PLAIN = {"cka": cka, "knn": lambda first, second: knn(first, second, NEIGHBOURS)}


def made(size: int, seed: int, **changes: Any) -> Synthetic:
    facts = {"keep": ("hidden",), "layers": (0, 1), "maps": 10 * size + seed}
    return source(training_size=size, seed=seed, **(facts | changes))


def rows(root: Path, size: int, seed: int, layer: int) -> NDArray[np.float64]:
    run = Store.open(root).run(training_size=size, seed=seed)
    return np.asarray(run.words(labels=()).hidden.sel(layer=layer).values, np.float64)


@pytest.fixture
def several(tmp_path: Path) -> Path:
    made(0, 42).write_all(tmp_path)
    for seed in SEEDS:
        made(10, seed).write_all(tmp_path)
    made(30, 1).write_all(tmp_path)
    return tmp_path


def scaled(metric: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.arctanh(values) if metric == "cka" else values


def back(metric: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.tanh(values) if metric == "cka" else np.clip(values, 0, 1)


@pytest.mark.slow
def test_values_are_means_over_seeds_and_the_floor_is_between_them(several: Path) -> None:
    result = compare_representations(several, RepresentationRequest(neighbours=NEIGHBOURS))
    assert result["seed_count"].values.tolist() == [3, 1]
    assert result["between_seeds"].dims == ("metric", "training_size", "other_layer")
    assert result["between_seeds"].sel(training_size=30).isnull().all()
    assert result["seed_value"].sel(training_size=30, seed=2).isnull().all()
    sample = Store.open(several).run(training_size=0).column("words/sample")
    kept = [np.ones(len(sample), bool), *(sample != out for out in range(8))]
    for metric, plain in PLAIN.items():
        for layer, other in ((0, 0), (1, 1), (0, 1)):
            first = rows(several, 0, 42, layer)
            own = np.array(
                [[plain(first[keep], rows(several, 10, seed, other)[keep]) for keep in kept] for seed in SEEDS]
            )
            part = result.sel(metric=metric, training_size=10, layer=layer, other_layer=other)
            np.testing.assert_allclose(part["value"], own[:, 0].mean(), atol=1e-5)
            np.testing.assert_allclose(part["seed_value"], own[:, 0], atol=1e-5)
            mean = own.mean(axis=0)
            bounds = t_interval(
                scaled(metric, mean[0]), scaled(metric, mean[1:]), np.ones(8), scaled(metric, own[:, 0])
            )
            found = [part["value_ci_low"], part["value_ci_high"]]
            np.testing.assert_allclose(found, back(metric, np.array(bounds)), atol=2e-4)
        for layer in (0, 1):
            runs = [rows(several, 10, seed, layer) for seed in SEEDS]
            pairs = {
                (a, b): np.array([plain(runs[a][keep], runs[b][keep]) for keep in kept]) for a, b in every_pair(SEEDS)
            }
            part = result.sel(metric=metric, training_size=10, other_layer=layer)
            mean = np.mean(list(pairs.values()), axis=0)
            np.testing.assert_allclose(part["between_seeds"], mean[0], atol=1e-5)
            values = stand_ins({pair: own[0] for pair, own in pairs.items()}, range(3))
            bounds = t_interval(scaled(metric, mean[0]), scaled(metric, mean[1:]), np.ones(8), scaled(metric, values))
            found = [part["between_seeds_ci_low"], part["between_seeds_ci_high"]]
            np.testing.assert_allclose(found, back(metric, np.array(bounds)), atol=2e-4)


@pytest.mark.slow
def test_the_tables_the_notes_and_the_figure_have_the_floor(several: Path) -> None:
    request = RepresentationRequest(metrics=("cka",))
    result = compare_representations(several, request)
    frame = ANALYSIS.frame(result, request)
    assert len(frame) == 2 * 2 * 2
    assert frame["between_seeds"].notnull().sum() == 2
    (row,) = frame[(frame.training_size == 10) & (frame.layer == 1) & (frame.other_layer == 1)].to_dict("records")
    assert (
        row["seed_value_2"]
        == result["seed_value"].sel(metric="cka", training_size=10, layer=1, other_layer=1, seed=2).item()
    )
    table = ANALYSIS.summary(result, request)
    own = result.sel(metric="cka", training_size=10, other_layer=1)
    for end in ("", "_ci_low", "_ci_high"):
        assert table["cka between seeds" + end][1] == own[f"between_seeds{end}"].item()
    said = list(ANALYSIS.notes(result, request))
    assert any(note.startswith("means are over 3 seeds at 10 %, 1 seed at 30 % of the training") for note in said)
    assert any(note.startswith("cka is farther from the baseline than between two seeds at 10 % in ") for note in said)
    figure = ANALYSIS.draw("curves", result, request)
    assert figure is not None
    assert "10 %, between seeds" in [line.get_label() for line in figure.axes[0].lines]


@pytest.mark.slow
def test_seeds_that_are_named_are_those_that_count(several: Path) -> None:
    request = RepresentationRequest(metrics=("cka",), training_sizes=(10,))
    one = compare_representations(several, RepresentationRequest(metrics=("cka",), seeds=(1,)))
    assert not {"seed", "seed_value", "between_seeds"} & {*one.variables}
    assert any("all runs have one seed" in note for note in ANALYSIS.notes(one, request))
    all_seeds = compare_representations(several, request)
    np.testing.assert_array_equal(
        one["value"].sel(training_size=10), all_seeds["seed_value"].sel(training_size=10, seed=1)
    )
    with pytest.raises(RunNotFoundError, match=r"no run of .*seed='2,3', .*training_size=30; extract it with `extract"):
        compare_representations(several, RepresentationRequest(seeds=SEEDS))
