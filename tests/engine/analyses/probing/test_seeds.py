"""Probes over seeds of the fine-tuning: means with their intervals, and tests of sizes, layers and models."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planted import ner_store
from report_factory import Page
from scipy import stats
from seeds import t_interval

from biocache.engine import ProbeRequest, ReportRequest, compare_probes, probe, write_report
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.comparison import ProbeComparison
from biocache.engine.analyses.probing.fitting import FIT_KIND
from biocache.engine.metrics import sample_counts, scores_of_counts
from biocache.engine.statistics import holm
from biocache.store import Store
from biocache.store.results import list_results

NAMES = ("O", "B-protein", "I-protein")
REQUEST = ProbeRequest(task="ner", label_scheme="bio", score="accuracy", layers=(1,))
# Strength of the labels in layer 1 by model, training size and seed.
STRENGTHS = {
    ("a", 0, 42): 0.5,
    ("a", 30, 1): 1.0,
    ("a", 30, 2): 1.6,
    ("a", 30, 3): 1.3,
    ("b", 0, 42): 1.5,
    ("b", 30, 1): 2.0,
    ("b", 30, 2): 2.5,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("seeds")
    for (model, size, seed), strength in STRENGTHS.items():

        def of_seed(made: Any, seed: int = seed) -> Any:
            return replace(made, spec=replace(made.spec, key=replace(made.spec.key, seed=seed)))

        change = {"train": of_seed, "test": of_seed}
        ner_store(folder, model=model, training_size=size, strength=strength, seed=0, change=change)
    return Store.open(folder)


def left_out(store: Store) -> dict[tuple[str, int, int, int], NDArray[np.float64]]:
    """Return the accuracy of all test words, and that without each sample, of every model and layer."""
    found = {}
    for kept in list_results(store.path, FIT_KIND):
        run = store.run(**dict(_key(kept.inputs["runs"])))
        gold, sample = run.labels().values, run.column("words/sample")
        counts = sample_counts(gold, kept.load().predicted.to_numpy(), sample, NAMES, "bio")
        weights = np.vstack([np.ones(30), 1 - np.eye(30)])
        key = run.key
        found[key.model, key.training_size, key.seed, kept.inputs["layer"]] = scores_of_counts(
            weights @ counts, NAMES, ("accuracy",)
        )[:, 0]
    return found


def _key(runs: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    task, dataset, model, size, seed, view, _ = runs[0]["run"].split("/")
    yield from {"task": task, "dataset": dataset, "model": model, "view": view, "split": "test"}.items()
    yield from {"training_size": int(size.removeprefix("size-")), "seed": int(seed.removeprefix("seed-"))}.items()


def size_of_groups(store: Store) -> NDArray[np.float64]:
    run = store.run(model="a", training_size=0, split="test")
    return np.bincount(run.column("words/sample")).astype(np.float64)


@pytest.mark.slow
def test_tests_are_of_means_over_the_seeds_that_both_sides_have(store: Store) -> None:
    pairs = compare_probes(store.path, REQUEST)
    scores, size = left_out(store), size_of_groups(store)
    frame = ProbeComparison().frame(pairs, REQUEST)
    assert frame.family_name.unique().tolist() == [
        "training sizes of a",
        "training sizes of b",
        "models at training size 0",
        "models at training size 30",
        "layers of a, training size 0",
        "layers of a, training size 30",
        "layers of b, training size 0",
        "layers of b, training size 30",
    ]
    found = {
        (row.model_a, row.training_size_a, row.layer_a, row.model_b, row.training_size_b, row.layer_b): row
        for row in frame.itertuples()
    }
    for place, seeds in (
        (("a", 0, 1, "a", 30, 1), {1: 42, 2: 42, 3: 42}),
        (("a", 30, 1, "b", 30, 1), {1: 1, 2: 2}),
        (("a", 30, 0, "a", 30, 1), {1: 1, 2: 2, 3: 3}),
        (("b", 0, 1, "b", 30, 1), {1: 42, 2: 42}),
    ):
        row = found[place]
        assert row.seeds == ", ".join(map(str, seeds))
        sides = [place[:3], place[3:]]
        a, b = (
            np.array([scores[model, size_, (own if size_ else 42), layer] for own in seeds])
            for model, size_, layer in sides
        )
        difference = b - a
        mean = difference.mean(axis=0)
        assert row.difference == pytest.approx(mean[0])
        bounds = t_interval(mean[0], mean[1:], size, difference[:, 0])
        assert (row.ci_low, row.ci_high) == pytest.approx(bounds)
        half = bounds[1] - mean[0]
        of_groups = 29 / 30 * ((mean[1:] - mean[1:].mean()) ** 2).sum()
        of_seeds = difference[:, 0].var(ddof=1) / len(seeds)
        freedom = (of_groups + of_seeds) ** 2 / (
            of_groups**2 / (size.sum() ** 2 / (size**2).sum() - 1) + of_seeds**2 / (len(seeds) - 1)
        )
        error = half / stats.t.ppf(0.975, freedom)
        assert row.p == pytest.approx(2 * stats.t.sf(abs(mean[0]) / error, freedom))
    for _, own in frame.groupby("family"):
        np.testing.assert_allclose(own.p_holm, holm(own.p.to_numpy()))


@pytest.mark.slow
def test_what_seeds_a_test_holds_is_said(store: Store) -> None:
    pairs = compare_probes(store.path, REQUEST)
    _, first, second, *said = ProbeComparison().notes(pairs, REQUEST)
    assert (
        first == "differences are means over the seeds that both sides have: tests hold what other seeds would change"
    )
    # Models at size 0 in two layers, and layers of both models at size 0.
    assert second == "training variance is not in 4 of 12 tests, whose sides share one seed"
    assert any("pairs of models at training size 30, seeds 1, 2, differ in accuracy" in note for note in said)
    one = compare_probes(store.path, replace(REQUEST, run_seeds=(1,), models=("a",)))
    assert set(one.seeds.values.tolist()) == {"1", "42"}
    assert list(ProbeComparison().notes(one, REQUEST))[1].startswith("all runs have one seed")


@pytest.mark.slow
def test_the_mean_over_seeds_has_a_row_with_its_interval(store: Store, tmp_path: Path) -> None:
    request = replace(REQUEST, models=("a",))
    result = probe(store.path, request)
    scores, size = left_out(store), size_of_groups(store)
    assert result.over_seeds.dims == ("score", "model", "training_size", "layer")
    own = np.array([scores["a", 30, seed, 1] for seed in (1, 2, 3)])
    mean = own.mean(axis=0)
    bounds = t_interval(mean[0], mean[1:], size, own[:, 0])
    place = {"score": "accuracy", "model": "a", "training_size": 30, "layer": 1}
    found = [result[f"over_seeds{end}"].sel(place).item() for end in ("", "_ci_low", "_ci_high")]
    assert found == pytest.approx([mean[0], *np.clip(bounds, 0, 1)])
    # The pre-trained model has one run.
    assert result.over_seeds.sel(training_size=0).isnull().all()
    table = Probing().summary(result, request)
    (row,) = table[(table.seed == "mean") & (table.layer == 1)].to_dict("records")
    assert [row[name] for name in ("accuracy", "accuracy_ci_low", "accuracy_ci_high")] == found
    assert not any("over_seeds" in name for name in table.columns)
    frame = Probing().frame(result, request)
    rows = frame[(frame.training_size == 30) & (frame.layer == 1)]
    assert rows.accuracy_over_seeds.tolist() == [found[0]] * 3
    assert any("those of means over seeds also" in note for note in Probing().notes(result, request))
    write_report(store.path, tmp_path / "page.html", ReportRequest(samples=0))
    page = Page(tmp_path / "page.html")
    assert "those of means over seeds also" in page.text
    (shown,) = [row for row in page.rows("probes-1") if row["seed"] == "mean" and row["layer"] == 1]
    assert [shown[name] for name in ("accuracy", "accuracy_ci_low", "accuracy_ci_high")] == pytest.approx(found)
    alone = probe(store.path, replace(request, run_seeds=(1,)))
    assert "over_seeds" not in alone
    # The pre-trained model serves every seed.
    assert alone.accuracy.sel(training_size=0, seed=42, layer=1).notnull().all()


@pytest.mark.slow
def test_models_alone_can_be_compared(store: Store) -> None:
    request = replace(REQUEST, training_sizes=(0,), layers=(0,))
    pairs = compare_probes(store.path, request)
    assert pairs.between.values.tolist() == ["model"]
    assert (pairs.model_a.item(), pairs.model_b.item()) == ("a", "b")
    assert pairs.difference.item() == 0
