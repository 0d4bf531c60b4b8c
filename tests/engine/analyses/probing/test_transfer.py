"""Probes that are fitted at one training size and scored at others, against plain scikit-learn."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import Change, ner_store, split_runs, word_rows
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler
from store_factory import Synthetic, least

from biocache.engine import ClassifierOptions, ProbeRequest, compare_probes, probe
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.comparison import ProbeComparison
from biocache.engine.analyses.probing.transfer import fitted_keys
from biocache.store import Store
from biocache.store.errors import AmbiguousRunError, RunNotFoundError, SettingError, SpecMismatchError

FIXED = ClassifierOptions(c=1.0)
ROTATION = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]


def rotated(source: Synthetic) -> Synthetic:
    """Turn the states: what was there is there, in other directions."""
    hidden = [(states.astype(np.float64) @ ROTATION).astype(states.dtype) for states in source.hidden]
    return replace(source, hidden=hidden)


def transfer_store(root: Path, *, seeds: tuple[int, ...] = (42,), **settings: Any) -> Store:
    """Write size 0, and size 100 as size 0 turned, of other weights."""
    ner_store(root, training_size=0, **settings)
    turned: dict[str, Change] = {"train": rotated, "test": rotated}
    for seed in seeds:
        for split in ("train", "test"):
            made = turned[split](split_runs(split, training_size=100, model_digest="n" * 64, **settings))
            made = replace(made, spec=replace(made.spec, key=replace(made.spec.key, seed=seed)))
            made.write_labelled(root)
    return Store.open(root)


def expected(layer: int, trained: Synthetic, scored: Synthetic) -> tuple[float, float]:
    """Return the accuracy of scikit-learn, and that of the majority, of words with tokens and without."""
    features, labels, _ = word_rows(trained, layer)
    scaler = StandardScaler().fit(features)
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(scaler.transform(features), labels)
    test, _, position = word_rows(scored, layer)
    gold = scored.columns["words/label"]
    answers = np.full(len(gold), np.bincount(labels).argmax())
    usual = float(accuracy_score(gold, answers))
    answers[position] = fitted.predict(scaler.transform(test))
    return float(accuracy_score(gold, answers)), usual


@pytest.mark.slow
def test_scores_are_those_of_a_probe_of_the_fitted_size(tmp_path: Path) -> None:
    transfer_store(tmp_path)
    request = ProbeRequest(task="ner", label_scheme="bio", fit_at=0, options=FIXED)
    result = probe(tmp_path, request)
    own = probe(tmp_path, replace(request, fit_at=None))
    train, test = split_runs("train", training_size=0), split_runs("test", training_size=0)
    for layer in range(3):
        for size, scored in ((0, test), (100, rotated(test))):
            accuracy, usual = expected(layer, train, scored)
            place = {"layer": layer, "training_size": size}
            assert result.accuracy.sel(place).item() == pytest.approx(accuracy)
            assert result.majority.sel(training_size=size, score="accuracy").item() == pytest.approx(usual)
            low, high = (result[name].sel(place).sel(score="accuracy").item() for name in ("ci_low", "ci_high"))
            assert low <= accuracy <= high
    # What is at its own size is what is found without.
    np.testing.assert_array_equal(result.accuracy.sel(training_size=0), own.accuracy.sel(training_size=0))
    # Turned, not lost: found by the probe of its own size alone.
    at = {"layer": 1, "training_size": 100}
    assert own.accuracy.sel(at).item() > result.accuracy.sel(at).item() + 0.2


@pytest.mark.slow
def test_the_result_says_where_probes_were_fitted(tmp_path: Path) -> None:
    transfer_store(tmp_path)
    request = ProbeRequest(task="ner", label_scheme="bio", fit_at=0, options=FIXED, control=True)
    result, analysis = probe(tmp_path, request), Probing()
    assert result.attrs["fitted_at"] == 0
    assert result.attrs["title"].endswith(", fitted at training size 0")
    assert any("each probe was fitted at training size 0" in note for note in analysis.notes(result, request))
    frame = analysis.frame(result, request)
    assert list(frame.columns[:4]) == ["model", "fitted_at", "training_size", "seed"]
    assert (frame.fitted_at == 0).all()
    assert set(frame.training_size) == {0, 100}
    table = analysis.summary(result, request)
    assert (table["fitted_at"] == 0).all()
    # The control is fitted at that size as well: its labels are the same at all.
    assert result.control.sel(score="accuracy").notnull().all()
    usual = replace(request, fit_at=None)
    plain = probe(tmp_path, usual)
    assert "fitted_at" not in plain.attrs
    assert "fitted_at" not in analysis.frame(plain, usual)
    assert len(Store.open(tmp_path).results("probe")) == 2


@pytest.mark.slow
def test_one_run_serves_all_seeds_and_no_train_run_of_others_is_needed(tmp_path: Path) -> None:
    store = transfer_store(tmp_path, seeds=(1, 2))
    request = ProbeRequest(task="ner", label_scheme="bio", fit_at=0, options=FIXED, layers=(0,))
    result = probe(tmp_path, request)
    for seed in (1, 2):
        assert result.accuracy.sel(training_size=100, seed=seed).notnull().all()
        store.remove(store.run(training_size=100, seed=seed, split="train").key)
    again = probe(tmp_path, request, force=True)
    np.testing.assert_array_equal(again.accuracy, result.accuracy)
    with pytest.raises(RunNotFoundError, match="no train run"):
        probe(tmp_path, replace(request, fit_at=None))


@pytest.mark.slow
def test_c_is_chosen_at_the_fitted_size(tmp_path: Path) -> None:
    transfer_store(tmp_path)
    validation = split_runs("test", training_size=0)
    key = replace(validation.spec.key, split="validation")
    replace(validation, spec=replace(validation.spec, key=key)).write_labelled(tmp_path)
    request = ProbeRequest(task="ner", label_scheme="bio", fit_at=0, tune=True)
    result = probe(tmp_path, request)
    own = probe(tmp_path, replace(request, fit_at=None, training_sizes=(0,)))
    for size in (0, 100):
        np.testing.assert_array_equal(result.c.sel(training_size=size), own.c.sel(training_size=0))


@pytest.mark.slow
def test_sizes_are_compared_on_the_scores_of_one_probe(tmp_path: Path) -> None:
    transfer_store(tmp_path)
    request = ProbeRequest(task="ner", label_scheme="bio", fit_at=0, options=FIXED, score="accuracy")
    scores, pairs = probe(tmp_path, request).accuracy, compare_probes(tmp_path, request)
    between = pairs.where(pairs.between == "training_size", drop=True)
    for layer, difference in zip(between.layer_a.values.astype(int), between.difference.values, strict=True):
        own = scores.sel(layer=layer).squeeze()
        assert difference == pytest.approx(own.sel(training_size=100).item() - own.sel(training_size=0).item())
    assert any("fitted at training size 0" in note for note in ProbeComparison().notes(pairs, request))


@pytest.mark.slow
def test_what_cannot_be_fitted_is_one_line(tmp_path: Path) -> None:
    transfer_store(tmp_path, seeds=(1, 2))
    asked = ProbeRequest(task="ner", label_scheme="bio", fit_at=30)
    with pytest.raises(RunNotFoundError, match="tiny has no train run of training size 30, where fit_at fits"):
        probe(tmp_path, asked)
    with pytest.raises(AmbiguousRunError, match="with seeds 1, 2, and one that is scored, at 0 %, with seed 42"):
        probe(tmp_path, replace(asked, fit_at=100))
    sized = replace(asked, fit_at=100, training_sizes=(100,), options=FIXED, layers=(0,))
    assert probe(tmp_path, sized).accuracy.notnull().all()
    with pytest.raises(SettingError, match=r"fit_at 0 fits one probe for all training sizes, and mdl measures"):
        ProbeRequest(task="ner", fit_at=0, mdl=True)
    with pytest.raises(SettingError, match=r"fit_at 0 reads the train split of one training size, and train_on unseen"):
        ProbeRequest(task="ner", fit_at=0, train_on="unseen")
    with pytest.raises(SettingError, match="fit_at 101 is not a whole number from 0 to 100"):
        ProbeRequest(task="ner", fit_at=101)


@pytest.mark.slow
def test_every_seed_is_scored_by_the_probe_of_the_one_pretrained_run(tmp_path: Path) -> None:
    ner_store(tmp_path, training_size=0)
    scored = {}
    for seed, turn in ((1, lambda states: -states), (2, lambda states: states), (3, lambda states: 0 * states)):
        for split in ("train", "test"):
            made = split_runs(split, training_size=100, model_digest="n" * 64)
            made = replace(
                made,
                spec=replace(made.spec, key=replace(made.spec.key, seed=seed)),
                hidden=[turn(states) for states in made.hidden],
            )
            made.write_labelled(tmp_path)
        scored[seed] = made
    request = ProbeRequest(task="ner", label_scheme="bio", fit_at=0, options=FIXED, run_seeds=(1, 2, 3))
    # The pre-trained run is of every seed, and is scored too.
    found = probe(tmp_path, request).accuracy.squeeze("model")
    assert found.sel(training_size=0, seed=42).notnull().all()
    found = found.sel(training_size=100, seed=[1, 2, 3])
    fitted = split_runs("train", training_size=0)
    for layer in found.layer.values.tolist():
        answers = [expected(layer, fitted, scored[seed])[0] for seed in (1, 2, 3)]
        assert len(set(answers)) > 1
        np.testing.assert_allclose(found.sel(layer=layer).squeeze(), answers)


@pytest.mark.slow
def test_runs_of_other_features_are_refused(tmp_path: Path) -> None:
    ner_store(tmp_path, training_size=0)
    for split in ("train", "test"):
        split_runs(split, training_size=100, model_digest="n" * 64, compute_dtype="bfloat16").write_labelled(tmp_path)
    with pytest.raises(SpecMismatchError, match="compute dtype differ"):
        probe(tmp_path, ProbeRequest(task="ner", fit_at=0))


def test_models_that_were_trained_elsewhere_are_fitted_there(tmp_path: Path) -> None:
    for size, trained_on, seed in ((0, "", 42), (30, "", 42), (30, "other", 42), (100, "other", 42)):
        least(training_size=size, trained_on=trained_on, seed=seed, split="train").write_all(tmp_path)
    store = Store.open(tmp_path)
    scored = store.run(training_size=100, trained_on="other").key
    assert [key.trained_on for key in fitted_keys(store, scored, 30, ("sentence",)).values()] == ["other"]
    assert [key.training_size for key in fitted_keys(store, scored, 0, ("sentence",)).values()] == [0]
