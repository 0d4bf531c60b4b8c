"""The test split takes no part in fitting, scaling or choosing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import ner_store, nli_store, relabelled
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, probe
from biocache.engine.analyses.probing import fitting
from biocache.engine.analyses.probing.classifiers import Scaled

OPTIONS = ClassifierOptions(epochs=2, hidden_size=8)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[Scaled]:
    """Collect every probe that is fitted, with its scaling."""
    seen: list[Scaled] = []
    original = fitting.fit_scaled

    def spy(*arguments: Any) -> Scaled:
        seen.append(original(*arguments))
        return seen[-1]

    monkeypatch.setattr(fitting, "fit_scaled", spy)
    return seen


def poisoned(source: Synthetic) -> Synthetic:
    """Give the test split states that would move every mean, and other labels."""
    hidden = [np.full_like(states, 1000) for states in source.hidden]
    column = "words/label" if source.spec.key.task == "ner" else "samples/label"
    return replace(relabelled(source, (source.columns[column] + 1) % 3), hidden=hidden)


def parameters(scaled: Scaled) -> dict[str, Any]:
    """Return all numbers of a fitted probe."""
    inner = scaled.classifier
    found: dict[str, Any] = {"mean": scaled.mean, "scale": scaled.scale}
    if hasattr(inner, "_network"):
        found |= {name: values.numpy() for name, values in inner._network.state_dict().items()}
    else:
        estimator = inner._estimator
        names = ("coef_", "intercept_", "coefs_", "dual_coef_", "support_vectors_")
        for name in names:
            try:
                value = getattr(estimator, name)
            except AttributeError:  # The weights of a kernel machine are not in the space of the features.
                continue
            found[name] = np.concatenate([part.ravel() for part in value]) if isinstance(value, list) else value
    assert len(found) > 2
    return found


@pytest.mark.slow
@pytest.mark.parametrize("classifier", ["svc", "logistic", "linear-svc", "mlp", "bilstm-crf"])
def test_a_poisoned_test_split_changes_nothing_in_the_fitted_probe(
    tmp_path: Path, fitted: list[Scaled], classifier: str
) -> None:
    request = ProbeRequest(
        task="ner", label_scheme="bio", probe=classifier, options=OPTIONS, layers=(0,), seeds=2, max_train_samples=40
    )
    ner_store(tmp_path / "sound")
    ner_store(tmp_path / "poisoned", change={"test": poisoned})
    sound = probe(tmp_path / "sound", request)
    count = len(fitted)
    spoilt = probe(tmp_path / "poisoned", request)
    assert count == 2
    assert len(fitted) == 4
    for one, other in zip(sorted_by_mean(fitted[:2]), sorted_by_mean(fitted[2:]), strict=True):
        ours, theirs = parameters(one), parameters(other)
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], err_msg=name)
    # The poison is seen where it should be.
    assert not np.array_equal(sound.accuracy, spoilt.accuracy)


def sorted_by_mean(probes: list[Scaled]) -> list[Scaled]:
    """Order fits, which end in any order, by what they were scaled with."""
    return sorted(probes, key=lambda each: float(each.mean[0]))


@pytest.mark.slow
def test_a_poisoned_train_split_does_change_it(tmp_path: Path, fitted: list[Scaled]) -> None:
    request = ProbeRequest(task="ner", label_scheme="bio", layers=(0,))
    ner_store(tmp_path / "sound")
    ner_store(tmp_path / "poisoned", change={"train": poisoned})
    probe(tmp_path / "sound", request)
    probe(tmp_path / "poisoned", request)
    assert not np.array_equal(fitted[0].mean, fitted[1].mean)


@pytest.mark.slow
def test_the_code_length_is_of_the_train_split_alone(tmp_path: Path) -> None:
    request = ProbeRequest(task="nli", mdl=True, control=True)
    nli_store(tmp_path / "sound")
    nli_store(
        tmp_path / "poisoned",
        change=lambda source: poisoned(source) if source.spec.key.split == "test" else source,
    )
    sound, spoilt = probe(tmp_path / "sound", request), probe(tmp_path / "poisoned", request)
    np.testing.assert_array_equal(sound.code_length, spoilt.code_length)
    np.testing.assert_array_equal(sound.train_rows, spoilt.train_rows)


@pytest.mark.slow
def test_scaling_is_that_of_the_rows_fitted_on(tmp_path: Path, fitted: list[Scaled]) -> None:
    store = ner_store(tmp_path)
    probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", layers=(0,), max_train_samples=17))
    run = store.run(split="train")
    words = run.words()
    drawn = np.random.default_rng(0).permutation(run.counts.samples)[:17]
    features = words.hidden.sel(layer=0).to_numpy()[np.isin(words["sample"], drawn)]
    np.testing.assert_allclose(fitted[0].mean, features.mean(axis=0, dtype=np.float64), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fitted[0].scale, features.std(axis=0, dtype=np.float64), rtol=1e-6)
