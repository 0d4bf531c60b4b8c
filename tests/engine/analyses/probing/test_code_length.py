"""The online code, against one computed in loops."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import ner_store, nli_store
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from biocache.engine import ClassifierOptions, ProbeRequest, probe
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.code_length import online_code, portion_bounds
from biocache.engine.analyses.probing.features import Rows


def made(samples: int = 200, features: int = 5, classes: int = 3, words: int = 1, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples * words)
    states = rng.normal(size=(len(labels), features)).astype(np.float32)
    states[np.arange(len(labels)), labels] += 2
    return Rows(states, labels, np.repeat(np.arange(samples), words))


def copied(rows: Rows) -> Rows:
    return Rows(rows.features.copy(), rows.labels, rows.sample)


def test_portions_are_the_standard_ones() -> None:
    assert portion_bounds(10_000) == [10, 20, 40, 80, 160, 320, 625, 1250, 2500, 5000, 10_000]
    assert portion_bounds(3) == [1, 2, 3]
    assert portion_bounds(1) == [1]


def naive_code(rows: Rows, classes: int, seed: int) -> float:
    """Code one label after another, with a probe fitted on the labels of all portions before."""
    order = np.random.default_rng(seed).permutation(np.unique(rows.sample)).tolist()
    bounds = portion_bounds(len(order))
    bits = 0.0
    for sample in order:
        place = order.index(sample)
        known = max([bound for bound in bounds if bound <= place], default=0)
        if not known:
            bits += np.log2(classes) * (rows.sample == sample).sum()
            continue
        past = np.isin(rows.sample, order[:known])
        scaler = StandardScaler().fit(rows.features[past])
        labels = rows.labels[past]
        model = LogisticRegression(max_iter=1000) if len(set(labels)) > 1 else None
        if model is not None:
            model.fit(scaler.transform(rows.features[past]), labels)
        for row in np.flatnonzero(rows.sample == sample):
            label = rows.labels[row]
            if model is None:
                chance = float(label == labels[0])
            elif label in model.classes_:
                found = model.predict_proba(scaler.transform(rows.features[row : row + 1]))
                chance = float(found[0, model.classes_.tolist().index(label)])
            else:
                chance = 0.0
            bits -= np.log2((past.sum() * chance + 1) / (past.sum() + classes))
    return float(bits)


@pytest.mark.slow
@pytest.mark.parametrize("words", [1, 3])
def test_the_code_is_that_of_one_label_after_another(words: int) -> None:
    rows = made(samples=120, words=words)
    bits, _, labels, _ = online_code(copied(rows), "logistic", ClassifierOptions(), 3, seed=7)
    assert labels.sum() == len(rows)
    assert bits[0] == labels[0] * np.log2(3)
    assert bits.sum() == pytest.approx(naive_code(rows, 3, 7), rel=1e-5)


@pytest.mark.parametrize("words", [1, 3])
def test_the_prior_code_counts_the_labels_of_the_portions_before(words: int) -> None:
    rows = made(samples=60, words=words)
    # Nearly all labels are of one class, as tags outside of entities are.
    rows = Rows(rows.features, np.where(np.arange(len(rows)) % 9, 0, rows.labels), rows.sample)
    code = online_code(copied(rows), "logistic", ClassifierOptions(), 3, seed=7)
    order = np.random.default_rng(7).permutation(60).tolist()
    bounds, bits = portion_bounds(60), 0.0
    for sample in range(60):
        known = max([bound for bound in bounds if bound <= order.index(sample)], default=0)
        past = rows.labels[np.isin(rows.sample, order[:known])].tolist()
        for label in rows.labels[rows.sample == sample].tolist():
            bits -= np.log2((past.count(label) + 1) / (len(past) + 3))
    assert code.prior_bits.sum() == pytest.approx(bits)
    assert code.prior_bits.sum() < 0.7 * len(rows) * np.log2(3)


def test_a_code_knows_whether_its_solvers_converged() -> None:
    assert online_code(made(samples=40), "logistic", ClassifierOptions(), 3, seed=0).converged
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert not online_code(made(samples=40), "logistic", ClassifierOptions(max_iterations=2), 3, seed=0).converged


@pytest.mark.slow
def test_fits_of_controls_and_codes_that_stopped_early_are_counted(tmp_path: Path) -> None:
    ner_store(tmp_path)
    request = ProbeRequest(
        task="ner",
        label_scheme="bio",
        control=True,
        mdl=True,
        layers=(0,),
        resamples=20,
        options=ClassifierOptions(max_iterations=2),
    )
    result = probe(tmp_path, request)
    notes = list(Probing().notes(result, request))
    for name, goal in (("", "task"), ("control_", "control"), ("code_", "code"), ("control_code_", "control's code")):
        assert (result[f"{name}converged"] == 0).all()
        line = f"1 fit of the {goal} stopped at --max-iterations before the solver converged; raise it"
        assert line in notes
    done = probe(tmp_path, replace(request, options=ClassifierOptions()))
    assert all((done[f"{name}converged"] == 1).all() for name in ("", "control_", "code_", "control_code_"))


@pytest.mark.slow
def test_a_code_that_is_not_shorter_than_the_prior_code_is_named(tmp_path: Path) -> None:
    ner_store(tmp_path, planted=2)
    request = ProbeRequest(task="ner", label_scheme="bio", mdl=True, resamples=20)
    result = probe(tmp_path, request)
    np.testing.assert_allclose(result.prior_compression, result.prior_code_length / result.code_length)
    # The states of layers 0 and 1 are noise.
    assert (result.prior_compression.squeeze() > 1).values.tolist() == [False, False, True]
    line = "the code of tiny at training size 30, seed 42 is not shorter than the prior code, which needs no features, "
    (note,) = [note for note in Probing().notes(result, request) if note.startswith(line)]
    assert "at layer 0, 1: the probe read nothing there" in note


@pytest.mark.slow
def test_what_can_be_read_takes_fewer_bits_and_noise_takes_more() -> None:
    rows = made(samples=2000)
    uniform = len(rows) * np.log2(3)
    noise = Rows(np.random.default_rng(1).normal(size=rows.features.shape).astype(np.float32), rows.labels, rows.sample)
    readable = online_code(copied(rows), "logistic", ClassifierOptions(), 3, seed=0)
    guessed = online_code(noise, "logistic", ClassifierOptions(), 3, seed=0)
    assert readable.bits.sum() < 0.6 * uniform
    assert uniform < guessed.bits.sum() < 1.1 * uniform


def test_a_class_that_comes_late_costs_no_infinite_code() -> None:
    rows = made(samples=300)
    order = np.random.default_rng(0).permutation(300)
    # The order in which the code sends them: the third class is only in the last half.
    labels = rows.labels.copy()
    labels[order[:150]] %= 2
    labels[order[:2]] = 0
    bits = online_code(Rows(rows.features, labels, rows.sample), "logistic", ClassifierOptions(), 3, seed=0).bits
    assert np.isfinite(bits).all()


@pytest.mark.slow
def test_sequences_are_coded_as_wholes() -> None:
    rows = made(samples=150, words=4)
    options = ClassifierOptions(hidden_size=8, epochs=15, learning_rate=0.02)
    bits, _, labels, _ = online_code(copied(rows), "bilstm-crf", options, 3, seed=0)
    assert labels.sum() == 600
    assert bits.sum() < 0.8 * 600 * np.log2(3)
    noise = Rows(np.zeros_like(rows.features), rows.labels, rows.sample)
    assert online_code(noise, "bilstm-crf", options, 3, seed=0)[0].sum() > 0.95 * 600 * np.log2(3)


@pytest.mark.slow
def test_layers_are_told_apart_by_their_code(tmp_path: Path) -> None:
    ner_store(tmp_path, planted=2)
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", mdl=True, seeds=2))
    uniform = result.uniform_code_length
    # Words that have tokens, of three classes.
    assert (uniform == result.train_rows * np.log2(3)).all()
    np.testing.assert_allclose(result.compression, uniform / result.code_length)
    assert (result.code_length.argmin("layer") == 2).all()
    assert (result.compression.sel(layer=2) > 1.5).all()
    assert (result.code_length.isel(probe_seed=0) != result.code_length.isel(probe_seed=1)).all()


@pytest.mark.slow
def test_fewer_samples_than_portions(tmp_path: Path) -> None:
    nli_store(tmp_path, lengths=(5, 6, 7, 5))
    result = probe(tmp_path, ProbeRequest(task="nli", mdl=True, seeds=2))
    assert np.isfinite(result.code_length).all()
    np.testing.assert_allclose(result.uniform_code_length, 4 * np.log2(result.sizes["label"]))
