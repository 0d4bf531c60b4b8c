"""C is chosen on the validation split as a loop over scikit-learn chooses it, and on nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from planted import nli_store, relabelled, runs_of, split_runs, word_rows, write
from seqeval.metrics import f1_score
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, compare_probes, probe
from biocache.engine.analyses.probing import fitting
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.classifiers import fit_scaled, moments
from biocache.engine.analyses.probing.code_length import online_code
from biocache.engine.analyses.probing.controls import control_labels
from biocache.engine.analyses.probing.features import Rows
from biocache.engine.analyses.probing.fitting import Fit
from biocache.engine.analyses.probing.planning import FitShape, fit_memory
from biocache.engine.analyses.probing.request import C_GRID
from biocache.engine.analyses.probing.target import find_target
from biocache.engine.analyses.probing.tuning import fit_tuned
from biocache.store.errors import DataError, RunNotFoundError, SettingError, SpecMismatchError

REQUEST = ProbeRequest(task="ner", label_scheme="bio", resamples=20)
LENGTHS = tuple(int(length) for length in np.random.default_rng(3).integers(4, 12, 20))


def sources(**settings: Any) -> dict[str, Synthetic]:
    """Make up runs whose labels are hard to read, so that the penalty matters."""
    settings = {"strength": 2.0, **settings}
    found = {split: split_runs(split, **settings) for split in ("train", "test")}
    return found | {"validation": split_runs("validation", lengths=LENGTHS, **{**settings, "seed": 5})}


def tags(source: Synthetic, codes: NDArray[np.integer]) -> list[list[str]]:
    names = np.array(source.label_names, dtype=object)[codes]
    sample = source.columns["words/sample"]
    return [names[sample == number].tolist() for number in np.unique(sample)]


def predicted(model: LogisticRegression, scaler: StandardScaler, source: Synthetic, layer: int, usual: int) -> Any:
    features, _, position = word_rows(source, layer)
    answers = np.full(len(source.columns["words/label"]), usual)
    answers[position] = model.predict(scaler.transform(features))
    return answers


def chosen_by_hand(made: dict[str, Synthetic], layer: int) -> tuple[float, NDArray[np.int64]]:
    """Return the C with the highest entity F1 on validation, and what its probe predicts of the test words."""
    features, labels, _ = word_rows(made["train"], layer)
    scaler, usual = StandardScaler().fit(features), int(np.bincount(labels).argmax())
    gold = tags(made["validation"], made["validation"].columns["words/label"])
    fits = [LogisticRegression(C=c, max_iter=1000).fit(scaler.transform(features), labels) for c in C_GRID]
    found = [tags(made["validation"], predicted(fit, scaler, made["validation"], layer, usual)) for fit in fits]
    best = int(np.argmax([f1_score(gold, answers, zero_division=0) for answers in found]))
    return C_GRID[best], predicted(fits[best], scaler, made["test"], layer, usual)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Fit]:
    """Collect what is fitted from now on."""
    seen: list[Fit] = []
    original = fitting.run_fit

    def spy(store: Any, fit: Fit) -> xr.Dataset:
        seen.append(fit)
        return original(store, fit)

    monkeypatch.setattr(fitting, "run_fit", spy)
    return seen


@pytest.mark.slow
def test_each_layer_has_the_c_that_is_best_on_validation(tmp_path: Path) -> None:
    made = sources()
    write(tmp_path, made.values())
    result = probe(tmp_path, REQUEST).squeeze()
    gold = made["test"].columns["words/label"]
    for layer in range(3):
        c, answers = chosen_by_hand(made, layer)
        own = result.sel(layer=layer)
        assert own.c.item() == c
        assert own.accuracy.item() == pytest.approx((answers == gold).mean())
        assert own.entity_f1.item() == pytest.approx(f1_score(tags(made["test"], gold), tags(made["test"], answers)))
    assert len(np.unique(result.c)) > 1
    frame = Probing().frame(probe(tmp_path, REQUEST), REQUEST)
    np.testing.assert_allclose(frame.c, result.c)
    (note,) = [note for note in Probing().notes(probe(tmp_path, REQUEST), REQUEST) if note.startswith("C was chosen")]
    assert "by entity F1 on the validation split, from 1e-05, 0.0001, 0.001, 0.01, 0.1, 1, 10" in note


@pytest.mark.slow
def test_the_test_split_takes_no_part_and_the_validation_split_decides(tmp_path: Path) -> None:
    made = sources()
    first = probe(write(tmp_path / "a", made.values()).path, REQUEST)
    hidden = [np.full_like(states, 1000) for states in made["test"].hidden]
    poisoned = replace(made["test"], hidden=hidden)
    other = probe(write(tmp_path / "b", ({**made, "test": poisoned}).values()).path, REQUEST)
    np.testing.assert_array_equal(first.c, other.c)
    # Labels that no probe can read: what is chosen is another C.
    noise = np.random.default_rng(0).permutation(made["validation"].columns["words/label"])
    shuffled = {**made, "validation": relabelled(made["validation"], noise)}
    assert (probe(write(tmp_path / "c", shuffled.values()).path, REQUEST).c != first.c).any()


@pytest.mark.slow
def test_a_result_of_a_fixed_c_is_not_taken_for_a_chosen_one(tmp_path: Path, fits: list[Fit]) -> None:
    made = sources()
    write(tmp_path, [made["train"], made["test"]])
    fixed = probe(tmp_path, REQUEST)
    assert (fixed.c == 1).all()
    assert "has no validation run; extract it with --split=validation, or fix --C" in fixed.attrs["c_fixed"]
    assert any(note.startswith("C is 1 in every layer, not chosen") for note in Probing().notes(fixed, REQUEST))
    assert "c" not in Probing().frame(fixed, REQUEST)
    fits.clear()
    # The same numbers by the same value given.
    given = replace(REQUEST, options=ClassifierOptions(c=1.0))
    probe(tmp_path, given)
    assert fits == []
    write(tmp_path, [made["validation"]])
    chosen = probe(tmp_path, REQUEST)
    assert len(fits) == 3
    assert (chosen.c != 1).any()
    fits.clear()
    assert (probe(tmp_path, given).c == 1).all()
    assert probe(tmp_path, replace(REQUEST, tune=True)).identical(chosen)
    # Pairs are compared from the same fits.
    compare_probes(tmp_path, REQUEST)
    assert fits == []


@pytest.mark.slow
def test_without_a_validation_run_of_each_model_c_is_the_same_for_all(tmp_path: Path) -> None:
    made = sources()
    write(tmp_path, [*made.values(), *(split_runs(split, model="other") for split in ("train", "test"))])
    result = probe(tmp_path, REQUEST)
    assert (result.c == 1).all()
    assert result.attrs["c_fixed"].startswith("other at training size 30")
    with pytest.raises(RunNotFoundError, match="other at training size 30 %, seed 42 has no validation run"):
        probe(tmp_path, replace(REQUEST, tune=True))
    assert (probe(tmp_path, replace(REQUEST, models=("tiny",))).c != 1).any()


@pytest.mark.slow
def test_validation_runs_that_do_not_fit_are_not_used(tmp_path: Path) -> None:
    made = sources()
    unlike = {
        "spec": (replace(made["validation"].spec, model_digest="x" * 64), SpecMismatchError, "model"),
        "labels": (None, DataError, "has labels 'B-cell', which neither the train nor the test split has"),
    }
    for name, (spec, error, message) in unlike.items():
        changes: dict[str, Any] = {"spec": spec} if spec else {"label_names": ("O", "B-protein", "B-cell")}
        write(tmp_path / name, [made["train"], made["test"], replace(made["validation"], **changes)])
        assert (probe(tmp_path / name, REQUEST).c == 1).all()
        with pytest.raises(error, match=message):
            probe(tmp_path / name, replace(REQUEST, tune=True))


@pytest.mark.slow
def test_where_validation_is_scored_c_is_not_chosen_on_it(tmp_path: Path) -> None:
    write(tmp_path, sources().values())
    result = probe(tmp_path, replace(REQUEST, score_on="validation"))
    assert (result.c == 1).all()
    assert result.attrs["c_fixed"] == "the validation split is scored"


def test_settings_that_conflict() -> None:
    with pytest.raises(SettingError, match="tune chooses C on the validation split, which"):
        replace(REQUEST, tune=True, score_on="validation")
    with pytest.raises(SettingError, match=r"tune chooses C, and c 0\.1 fixes it"):
        replace(REQUEST, tune=True, options=ClassifierOptions(c=0.1))


@pytest.mark.slow
def test_a_probe_without_c_has_nothing_to_choose(tmp_path: Path) -> None:
    write(tmp_path, sources().values())
    network = replace(REQUEST, probe="mlp", options=ClassifierOptions(epochs=2, hidden_size=4))
    result = probe(tmp_path, network)
    assert "c" not in result
    assert not {"c_fixed", "c_grid"} & result.attrs.keys()
    with pytest.raises(SettingError, match="tune chooses C, and mlp has none; leave it out"):
        probe(tmp_path, replace(network, tune=True))


@pytest.mark.slow
def test_a_control_and_codes_are_of_the_probe_that_was_chosen(tmp_path: Path) -> None:
    made = sources()
    store = write(tmp_path, made.values())
    request = replace(REQUEST, control=True, mdl=True, layers=(1,))
    result = probe(tmp_path, request).squeeze()
    train, test = runs_of(store)
    target = find_target(store.storage, request, "corpus")
    for layer in (0, 1):
        own = result.sel(layer=layer)
        options = ClassifierOptions(c=own.c.item())
        drawn = {split: control_labels(target, [run], [train], 0) for split, run in (("train", train), ("test", test))}
        features, labels, position = word_rows(made["train"], layer)
        sample = made["train"].columns["words/sample"][position].astype(np.int64)
        usual = int(np.bincount(drawn["train"][position]).argmax())
        scaler = StandardScaler().fit(features)
        plain = LogisticRegression(C=own.c.item(), max_iter=1000)
        plain.fit(scaler.transform(features), drawn["train"][position])
        answers = predicted(plain, scaler, made["test"], layer, usual)
        assert own.control.sel(score="accuracy").item() == pytest.approx((answers == drawn["test"]).mean())
        for name, values in (("code_length", labels), ("control_code_length", drawn["train"][position])):
            code = online_code(Rows(features.copy(), values, sample), "logistic", options, 3, 0)
            # Which of seven was chosen takes log2(7) bits.
            assert own[name].item() == pytest.approx(code.bits.sum() + np.log2(len(C_GRID)))


@pytest.mark.slow
def test_a_control_chooses_as_the_task_does_where_its_fit_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, sources().values())
    request = replace(REQUEST, control=True, mdl=True, max_train_samples=30)
    known = probe(tmp_path, request)
    monkeypatch.setattr(fitting, "find_in", lambda *_: None)
    again = probe(tmp_path, request, force=True)
    for name in ("c", "control", "code_length", "control_code_length"):
        xr.testing.assert_equal(known[name], again[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["svc", "linear-svc"])
def test_the_other_machines_choose_too(tmp_path: Path, name: str) -> None:
    write(tmp_path, sources().values())
    result = probe(tmp_path, replace(REQUEST, probe=name, layers=(1,)))
    assert set(result.c.values.ravel()) <= set(C_GRID)
    fixed = [probe(tmp_path, replace(REQUEST, probe=name, layers=(1,), options=ClassifierOptions(c=c))) for c in C_GRID]
    for layer in (0, 1):
        place = C_GRID.index(result.c.sel(layer=layer).item())
        xr.testing.assert_equal(result.confusion.sel(layer=layer), fixed[place].confusion.sel(layer=layer))


@pytest.mark.slow
def test_pairs_choose_from_the_features_of_both_texts(tmp_path: Path) -> None:
    nli_store(tmp_path, strength=2.0)
    views, made = ("premise", "hypothesis"), []
    for number, view in enumerate(views):
        settings = {"label_names": ("contradiction", "entailment", "neutral"), "iob2": False, "lengths": LENGTHS}
        made.append(split_runs("validation", task="nli", view=view, planted=None, seed=10 * number, **settings))
    labels = made[0].columns["samples/label"]
    write(tmp_path, [made[0], relabelled(made[1], labels)])
    result = probe(tmp_path, ProbeRequest(task="nli", tune=True))
    assert set(result.c.values.ravel()) <= set(C_GRID)
    assert result.attrs["c_chosen_by"] == "accuracy"


def test_features_that_vary_by_rounding_alone_are_left_at_zero() -> None:
    rng = np.random.default_rng(0)
    dead = np.float32(-7.3) + np.spacing(np.float32(7.3)) * rng.integers(-2, 3, 4000).astype(np.float32)
    faint = (np.float32(0.5) + rng.normal(size=4000) * 1e-4).astype(np.float32)
    small = (rng.normal(size=4000) * 1e-9).astype(np.float32)
    live = rng.normal(size=4000).astype(np.float32)
    features = np.stack([dead, np.full(4000, 3.3, np.float32), np.zeros(4000, np.float32), faint, small, live], axis=1)
    assert 0 < dead.std(dtype=np.float64) < 1e-5
    rows = Rows(features.copy(), (live > 0).astype(np.int64), np.arange(4000))
    mean, scale = moments(rows)
    np.testing.assert_array_equal(np.isinf(scale), [True, True, True, False, False, False])
    plain = StandardScaler().fit(features.astype(np.float64))
    np.testing.assert_allclose(mean, plain.mean_)
    np.testing.assert_allclose(scale[3:], plain.scale_[3:], rtol=1e-5)
    scaled = fit_scaled(rows, "logistic", ClassifierOptions(), 2, 0)
    assert (rows.features[:, :3] == 0).all()
    np.testing.assert_allclose(rows.features[:, 3:].std(axis=0), 1, rtol=1e-3)
    # In test as well, whatever they are there.
    unseen = Rows(features[:5].copy() + np.float32(100), rows.labels[:5], np.arange(5))
    scaled.predict(unseen)
    assert (unseen.features[:, :3] == 0).all()


def test_numbers_are_chosen_for_by_r2() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(2, 3, (120, 40)).astype(np.float32)
    labels = 50 + 2 * features[:, 0] + rng.normal(0, 4, 120)
    fitted, held = (Rows(features[part], labels[part], np.arange(60)) for part in (slice(60), slice(60, 120)))
    scaler = StandardScaler().fit(fitted.features)
    centre, spread = fitted.labels.mean(), fitted.labels.std()
    scores = []
    for c in C_GRID:
        plain = Ridge(alpha=1 / c).fit(scaler.transform(fitted.features), (fitted.labels - centre) / spread)
        guess = plain.predict(scaler.transform(held.features)) * spread + centre
        scores.append(r2_score(held.labels, guess))
    best = int(np.argmax(scores))
    assert 0 < best < len(C_GRID) - 1
    seen: list[float] = []

    def score(found: NDArray[Any]) -> float:
        seen.append(float(r2_score(held.labels, found)))
        return seen[-1]

    copies = [Rows(rows.features.copy(), rows.labels, rows.sample) for rows in (fitted, held)]
    scaled, c = fit_tuned(*copies, score, "ridge", ClassifierOptions(), 0, 0)
    assert c == C_GRID[best]
    np.testing.assert_allclose(seen, scores, rtol=1e-4, atol=1e-6)
    own = scaled.predict(Rows(held.features.copy(), held.labels, held.sample))
    assert r2_score(held.labels, own) == pytest.approx(scores[best], rel=1e-4)


@pytest.mark.parametrize(("scores", "expected"), [([0.5] * 7, 0), ([np.nan, 0.1, 0.3, 0.3, 0, 0, 0], 2)])
def test_of_equal_scores_the_strongest_penalty_is_taken_and_nan_is_lowest(scores: list[float], expected: int) -> None:
    rng = np.random.default_rng(0)
    rows = [Rows(rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=20), np.arange(20)) for _ in range(2)]
    left = iter(scores)
    _, c = fit_tuned(*rows, lambda _: next(left), "ridge", ClassifierOptions(), 0, 0)
    assert c == C_GRID[expected]


def test_what_is_held_for_choosing_is_counted() -> None:
    shape = FitShape(train_rows=10_000, test_rows=2000, features=768, classes=6, block=8192 * 768)
    chosen = replace(shape, validation_rows=3000)
    for name in ("logistic", "svc"):
        added = fit_memory(chosen, REQUEST, name) - fit_memory(shape, REQUEST, name)
        assert added >= 4 * 3000 * 768, name
