"""Paired comparisons of training sizes and layers, against differences taken by hand."""

from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planted import ner_store

from biocache.engine import ProbeRequest, compare_probes, probe
from biocache.engine.analyses.probing.comparison import ProbeComparison
from biocache.engine.analyses.probing.fitting import FIT_KIND
from biocache.engine.estimates import Estimates, estimate
from biocache.engine.metrics import sample_counts, scores_of_counts
from biocache.engine.statistics import holm
from biocache.store import Store
from biocache.store.errors import SettingError
from biocache.store.results import list_results

NAMES = ("O", "B-protein", "I-protein")


def scored(counts: NDArray[Any], score: str, weights: NDArray[Any]) -> NDArray[Any]:
    return scores_of_counts(weights @ counts, NAMES, (score,))[:, 0]


@pytest.fixture
def sizes(tmp_path: Path) -> Store:
    """Return a store in which layer 1 knows more at 100 % than at 30 %, and layers 0 and 2 nothing."""
    ner_store(tmp_path, training_size=30, strength=1.0)
    return ner_store(tmp_path, training_size=100, strength=8.0)


@pytest.mark.slow
def test_families_are_of_sizes_in_all_layers_and_of_layers_at_each_size(sizes: Store) -> None:
    pairs = compare_probes(sizes.path, ProbeRequest(task="ner", label_scheme="bio"))
    between = pairs.between.values.tolist()
    assert between == ["training_size"] * 3 + ["layer"] * 6
    by_size = pairs.isel(comparison=slice(0, 3))
    assert by_size.layer_a.values.tolist() == by_size.layer_b.values.tolist() == [0, 1, 2]
    assert set(by_size.training_size_a.values) == {30}
    assert set(by_size.training_size_b.values) == {100}
    by_layer = pairs.isel(comparison=slice(3, 6))
    assert list(zip(by_layer.layer_a.values, by_layer.layer_b.values, strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert set(by_layer.training_size_a.values) == {30}


@pytest.mark.slow
def test_what_differs_is_found_and_what_does_not_is_not(sizes: Store) -> None:
    pairs = compare_probes(sizes.path, ProbeRequest(task="ner", label_scheme="bio", score="accuracy"))
    frame = pairs.to_dataframe()
    found = {(row.between, row.training_size_a, row.layer_a, row.layer_b): row for row in frame.itertuples()}
    for place in ((30, 0, 1), (30, 1, 2), (100, 0, 1), (100, 1, 2)):
        row = found["layer", *place]
        assert row.p_holm < 0.05
        # b less a: layer 1 is better than 0, and 2 is worse than 1.
        assert (row.difference > 0) == (row.layer_b == 1)
        assert (row.ci_low > 0) == (row.layer_b == 1)
    sizes_of = {layer: found["training_size", 30, layer, layer] for layer in range(3)}
    assert sizes_of[1].p_holm < 0.05
    # The other layers have the same states at both sizes.
    assert [(sizes_of[layer].difference, sizes_of[layer].p_holm) for layer in (0, 2)] == [(0.0, 1.0)] * 2


@pytest.mark.slow
def test_values_are_those_of_the_paired_resamples(sizes: Store) -> None:
    request = ProbeRequest(task="ner", label_scheme="bio", training_sizes=(100,), resamples=300)
    pairs = compare_probes(sizes.path, replace(request, score="macro_f1"))
    result = probe(sizes.path, request)
    run = sizes.run(split="test", training_size=100)
    gold, sample = run.labels().values, run.column("words/sample")
    fits = {
        found.inputs["layer"]: found.load().predicted.to_numpy()
        for found in list_results(sizes.path, FIT_KIND)
        if found.inputs["runs"][0]["run"].split("/")[3] == "size-100"
    }
    counts = [sample_counts(gold, fits[layer], sample, NAMES, "bio") for layer in range(3)]
    scores = [estimate(partial(scored, own, "macro_f1"), np.bincount(sample), 300) for own in counts]
    p = []
    for place, (a, b) in enumerate(combinations(range(3), 2)):
        difference = scores[b] - scores[a]
        pair = pairs.isel(comparison=place)
        np.testing.assert_allclose([pair.ci_low, pair.ci_high], difference.interval())
        observed = (result.macro_f1.sel(layer=b) - result.macro_f1.sel(layer=a)).item()
        assert pair.difference.item() == pytest.approx(observed)
        p.append(difference.p())
    np.testing.assert_allclose(pairs.p, p)
    np.testing.assert_allclose(pairs.p_holm, holm(np.array(p)))


@pytest.mark.slow
def test_there_are_resamples_enough_for_the_smallest_corrected_value(sizes: Store) -> None:
    pairs = compare_probes(sizes.path, ProbeRequest(task="ner", label_scheme="bio", resamples=10))
    assert pairs.attrs["resamples"] == 2 * 3 / 0.05
    assert 3 * 2 / (pairs.attrs["resamples"] + 1) < 0.05
    assert (
        compare_probes(sizes.path, ProbeRequest(task="ner", label_scheme="bio", resamples=500)).attrs["resamples"]
        == 500
    )


@pytest.mark.slow
def test_the_intervals_of_a_result_are_of_the_mean_over_seeds(sizes: Store) -> None:
    request = ProbeRequest(
        task="ner", label_scheme="bio", training_sizes=(30,), layers=(1,), seeds=3, max_train_samples=15, resamples=200
    )
    result = probe(sizes.path, request)
    run = sizes.run(split="test", training_size=30)
    gold, sample = run.labels().values, run.column("words/sample")
    fits = {(f.inputs["layer"], f.inputs["seed"]): f.load() for f in list_results(sizes.path, FIT_KIND)}
    counts = [sample_counts(gold, fits[1, seed].predicted.to_numpy(), sample, NAMES, "bio") for seed in range(3)]
    scores = [estimate(partial(scored, own, "accuracy"), np.bincount(sample), 200) for own in counts]
    bounds = [result[name].sel(score="accuracy", layer=1).item() for name in ("ci_low", "ci_high")]
    np.testing.assert_allclose(bounds, Estimates.mean(scores).interval())
    mean = result.accuracy.sel(layer=1).mean().item()
    assert bounds[0] < mean < bounds[1]


@pytest.mark.slow
def test_pairs_that_differ_are_counted_in_their_family(sizes: Store) -> None:
    request = ProbeRequest(task="ner", label_scheme="bio", score="accuracy")
    pairs = compare_probes(sizes.path, request)
    assert pairs.family.values.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    frame = pairs.to_dataframe()
    for _, own in frame.groupby("family"):
        np.testing.assert_allclose(own.p_holm, holm(own.p.to_numpy()))
    counts = (frame.p_holm < 0.05).groupby(frame.family).sum().tolist()
    # The layer that knows more at 100 % is one of three; it differs from both others at each size.
    assert counts == [1, 2, 2]
    names = ("training sizes of tiny", "layers of tiny, training size 30", "layers of tiny, training size 100")
    assert pairs.family_name.values.tolist()[::3] == list(names)
    groups, seeds, *said, last = ProbeComparison().notes(pairs, request)
    assert groups.startswith("intervals are over 30 samples, taken as independent")
    assert seeds.startswith("all runs have one seed")
    assert said == [
        f"{count} of 3 pairs of {name}, seed 42, differ in accuracy (p < 0.05 after Holm's correction in this family)"
        for count, name in zip(counts, names, strict=True)
    ]
    assert last.startswith("each of the 3 families has its own 5% chance")


@pytest.mark.slow
def test_one_place_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    ner_store(tmp_path)
    with pytest.raises(SettingError, match="nothing to compare; name more of them"):
        compare_probes(tmp_path, ProbeRequest(task="ner", label_scheme="bio", layers=(0,)))
    with pytest.raises(SettingError, match="score 'merged_entity_f1' is not one of"):
        compare_probes(tmp_path, ProbeRequest(task="ner", label_scheme="bio", score="merged_entity_f1"))
