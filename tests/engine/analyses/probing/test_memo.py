"""What the store has is not computed again, and nothing else is taken for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from planted import ceiling, ner_store, nli_store

from biocache.engine import ClassifierOptions, ProbeRequest, compare_probes, probe
from biocache.engine.analyses.probing import classifiers, fitting
from biocache.engine.analyses.probing.fitting import FIT_KIND, Fit
from biocache.engine.analysis import find
from biocache.store import Run
from biocache.store.results import list_results


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Fit]:
    """Collect what is fitted from now on."""
    seen: list[Fit] = []
    original = fitting.run_fit

    def spy(store: str, fit: Fit) -> xr.Dataset:
        seen.append(fit)
        return original(store, fit)

    monkeypatch.setattr(fitting, "run_fit", spy)
    return seen


@pytest.mark.slow
def test_a_second_call_fits_nothing_reads_nothing_and_answers_the_same(
    tmp_path: Path, fits: list[Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    ner_store(tmp_path)
    request = ProbeRequest(task="ner", label_scheme="bio", control=True, mdl=True)
    assert find("probe", tmp_path, request).result() is None
    first = probe(tmp_path, request)
    # Of each layer the task, its control, its code and that of the control.
    assert len(fits) == 12
    fits.clear()

    def refuse(*_: Any) -> None:
        raise AssertionError("activations are read")

    monkeypatch.setattr(Run, "activations", refuse)
    again = probe(tmp_path, request)
    found = find("probe", tmp_path, request).result()
    assert fits == []
    xr.testing.assert_identical(first, again)
    assert found is not None
    xr.testing.assert_identical(first, found)


@pytest.mark.slow
def test_more_layers_seeds_goals_or_models_cost_those_alone(tmp_path: Path, fits: list[Fit]) -> None:
    ner_store(tmp_path)
    probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", layers=(1,), probe="linear-svc"))
    assert sorted(fit.layer for fit in fits) == [0, 1]
    for request, expected in (
        (ProbeRequest(task="ner", label_scheme="bio", probe="linear-svc"), {(2, 0, "task")}),
        (
            ProbeRequest(task="ner", label_scheme="bio", probe="linear-svc", seeds=2),
            {(layer, 1, "task") for layer in range(3)},
        ),
        (
            ProbeRequest(task="ner", label_scheme="bio", probe="linear-svc", control=True),
            {(layer, 0, "control") for layer in range(3)},
        ),
        (ProbeRequest(task="ner", label_scheme="bio", probe="linear-svc", resamples=10), set()),
    ):
        fits.clear()
        probe(tmp_path, request)
        assert {(fit.layer, fit.seed, fit.goal) for fit in fits} == expected
        assert len(fits) == len(expected)
    fits.clear()
    ner_store(tmp_path, model="other")
    probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", probe="linear-svc"))
    assert {fit.train[0].model for fit in fits} == {"other"}


@pytest.mark.slow
def test_seeds_that_decide_nothing_share_a_fit(tmp_path: Path, fits: list[Fit]) -> None:
    ner_store(tmp_path)
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", seeds=3))
    assert len(fits) == 3
    assert (result.accuracy == result.accuracy.isel(probe_seed=0)).all()
    fits.clear()
    spread = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", seeds=3, max_train_samples=20))
    assert len(fits) == 9
    assert (spread.accuracy.std("probe_seed") > 0).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"probe": "svc"},
        {"pooling": "first"},
        {"options": ClassifierOptions(c=0.5)},
        {"options": ClassifierOptions(max_iterations=5)},
        {"max_train_samples": 30},
    ],
)
def test_other_settings_are_other_fits(tmp_path: Path, fits: list[Fit], settings: dict[str, Any]) -> None:
    ner_store(tmp_path)
    first = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", layers=(0,)))
    other = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", layers=(0,), **settings))
    assert len(fits) == 2
    assert not first.identical(other)


@pytest.mark.slow
def test_options_of_other_classifiers_are_not_asked(tmp_path: Path, fits: list[Fit]) -> None:
    ner_store(tmp_path)
    for options in (ClassifierOptions(), ClassifierOptions(gamma=3.0, epochs=77)):
        probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", layers=(0,), options=options))
    assert len(fits) == 1


@pytest.mark.slow
def test_a_fit_of_another_library_is_another_fit(
    tmp_path: Path, fits: list[Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    ner_store(tmp_path)
    for fast in (False, True, False):
        if fast:
            pytest.importorskip("sklearnex")
        monkeypatch.setattr(classifiers, "fast_svc", lambda fast=fast: fast)
        probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", layers=(0,), probe="svc"))
    assert len(fits) == 2


@pytest.mark.slow
def test_runs_made_anew_are_probed_anew(tmp_path: Path, fits: list[Fit]) -> None:
    store = ner_store(tmp_path)
    request = ProbeRequest(task="ner", label_scheme="bio", layers=(0,))
    assert probe(tmp_path, request).accuracy.item() < 0.55
    for run in store.select():
        store.remove(run)
    anew = ner_store(tmp_path, model_digest="n" * 64, planted=0)
    assert probe(tmp_path, request).accuracy.item() == pytest.approx(ceiling(anew))
    assert len(fits) == 2


@pytest.mark.slow
def test_force_computes_again(tmp_path: Path, fits: list[Fit]) -> None:
    ner_store(tmp_path)
    request = ProbeRequest(task="ner", label_scheme="bio", layers=(0,))
    first = probe(tmp_path, request)
    again = probe(tmp_path, request, force=True)
    assert len(fits) == 2
    np.testing.assert_array_equal(first.accuracy, again.accuracy)
    assert len(list_results(tmp_path, FIT_KIND)) == 1
    assert len(list_results(tmp_path, "probe")) == 1


@pytest.mark.slow
def test_an_interrupted_probing_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nli_store(tmp_path)
    seen: list[int] = []
    original = fitting.run_fit

    def fail_at_two(store: str, fit: Fit) -> xr.Dataset:
        seen.append(fit.layer)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(store, fit)

    monkeypatch.setattr(fitting, "run_fit", fail_at_two)
    # One fit at a time, so that none is under way when the interrupt comes.
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    request = ProbeRequest(task="nli")
    with pytest.raises(KeyboardInterrupt):
        probe(tmp_path, request)
    kept = {result.inputs["layer"] for result in list_results(tmp_path, FIT_KIND)}
    assert len(kept) == 2
    seen[:] = [-1] * 3
    probe(tmp_path, request)
    assert set(seen[3:]) == {0, 1, 2} - kept


@pytest.mark.slow
def test_comparisons_take_the_fits_that_are_there(tmp_path: Path, fits: list[Fit]) -> None:
    ner_store(tmp_path)
    request = ProbeRequest(task="ner", label_scheme="bio")
    probe(tmp_path, request)
    fits.clear()
    compare_probes(tmp_path, request)
    assert fits == []
