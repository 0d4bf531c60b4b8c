"""Estimators of one's own are fitted and scored as anybody would, by the protocol of the other probes."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from planted import ner_store, nli_store, runs_of, split_runs, word_rows
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import confusion_matrix, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from biocache.engine import ProbeRequest, probe
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.own import find_own
from biocache.engine.analyses.probing.planning import OWN_COPIES, FitShape, fit_memory
from biocache.engine.analyses.probing.request import ClassifierOptions
from biocache.engine.analysis import find
from biocache.engine.commands import command_line, python_lines
from biocache.engine.report.recipes import analysis_recipe
from biocache.store import Store
from biocache.store.errors import BiocacheError, DataError, SettingError
from biocache.store.results import list_results

MODULE = """
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

TREE = DecisionTreeClassifier(max_depth=4)

def forest(trees=7):
    print("a line that a function prints")
    return RandomForestClassifier(n_estimators=trees)

class Nearest(ClassifierMixin, BaseEstimator):
    def __init__(self, power=2):
        self.power = power

    def fit(self, rows, labels):
        print("a line that an estimator prints")
        self.classes_ = sorted(set(labels.tolist()))
        self.centres = [rows[labels == label].mean(axis=0) for label in self.classes_]

    def predict(self, rows):
        far = [(abs(rows - centre) ** self.power).sum(axis=1) for centre in self.centres]
        return [self.classes_[min(range(len(far)), key=lambda i: far[i][row])] for row in range(len(rows))]
"""


def request(own: Any, **settings: Any) -> ProbeRequest:
    return ProbeRequest(**{"task": "ner", "label_scheme": "bio", "layers": (1,), "probe": own, **settings})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a working directory with a module, which this process has not imported, and a store."""
    (tmp_path / "myprobes.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    ner_store(tmp_path / "store", strength=1.5)
    yield tmp_path
    sys.modules.pop("myprobes", None)


def by_hand(layer: int) -> dict[str, tuple[NDArray[np.float32], NDArray[np.int64], list[int]]]:
    return {split: word_rows(split_runs(split, strength=1.5), layer) for split in ("train", "test")}


def predicted(plain: Any, store: Path, layer: int, labels: NDArray[Any] | None = None) -> NDArray[Any]:
    """Fit on the train split and predict every word of the test split, those without tokens as the usual label."""
    rows = by_hand(layer)
    features, own, position = rows["train"]
    own = own if labels is None else labels[position]
    scaler = StandardScaler().fit(features)
    fitted = plain.fit(scaler.transform(features), own)
    _, test = runs_of(Store.open(store))
    usual = np.bincount(own).argmax() if labels is None else own.mean()
    found = np.full(test.counts.words, usual, own.dtype)
    features, _, position = rows["test"]
    found[position] = fitted.predict(scaler.transform(features))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "plain",
    [
        KNeighborsClassifier(3),
        make_pipeline(PCA(4, random_state=0), SVC(C=3.0)),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=3),
        RandomForestClassifier(n_estimators=9),
    ],
    ids=lambda plain: type(plain).__name__,
)
def test_scores_are_those_of_plain_scikit_learn(tmp_path: Path, plain: Any) -> None:
    store = ner_store(tmp_path, strength=1.5)
    result = probe(tmp_path, request(plain, layers=None, seeds=2))
    gold = store.run(split="test").labels().values
    for layer in range(3):
        for seed in range(2):
            seeded = clone(plain)
            seeds = {name: seed for name in seeded.get_params() if name.endswith("random_state")}
            answers = predicted(seeded.set_params(**seeds), tmp_path, layer)
            where = {"layer": layer, "probe_seed": seed}
            assert result.accuracy.sel(where).item() == (answers == gold).mean()
            expected = confusion_matrix(gold, answers, labels=range(3))
            np.testing.assert_array_equal(result.confusion.sel(where).squeeze(), expected)
    assert result.attrs["backend"] == "scikit-learn"
    assert (result.converged == 1).all()
    assert bool(result.attrs["random"]) == any("random_state" in name for name in plain.get_params())
    assert not hasattr(plain, "classes_")


@pytest.mark.slow
def test_numbers_are_those_of_plain_scikit_learn(tmp_path: Path) -> None:
    store = ner_store(tmp_path, strength=1.5)
    sizes = {}
    for split, run in zip(("train", "test"), runs_of(store), strict=True):
        sizes[split] = np.random.default_rng(len(split)).normal(50, 9, run.counts.words)
        where = {"task": "ner", "dataset": run.key.dataset, "split": split}
        store.add_labels("size", sizes[split], level="words", **where)
    forest = RandomForestRegressor(n_estimators=5)
    result = probe(tmp_path, request(forest, labels="size"))
    mean, scale = (getattr(by_hand_labels(sizes["train"]), name)() for name in ("mean", "std"))
    answers = predicted(
        RandomForestRegressor(n_estimators=5, random_state=0), tmp_path, 1, (sizes["train"] - mean) / scale
    )
    expected = r2_score(sizes["test"], answers * scale + mean)
    assert result.r2.sel(layer=1).item() == pytest.approx(expected)
    again = probe(tmp_path, request("sklearn.linear_model:Ridge(alpha=1.0)", labels="size"))
    plain = probe(tmp_path, request("ridge", labels="size"))
    xr.testing.assert_allclose(again.r2, plain.r2)


def by_hand_labels(sizes: NDArray[Any]) -> NDArray[Any]:
    """Return the labels of the train words that have tokens."""
    return sizes[by_hand(1)["train"][2]]


@pytest.mark.slow
def test_the_probes_of_biocache_are_estimators_too(tmp_path: Path) -> None:
    nli_store(tmp_path)
    settings: dict[str, Any] = {"task": "nli", "control": True, "mdl": True, "max_train_samples": 40, "seeds": 2}
    own = probe(tmp_path, ProbeRequest(probe=LogisticRegression(max_iter=1000), **settings))
    known = probe(tmp_path, ProbeRequest(probe="logistic", **settings))
    changed = ["fit_seconds", *(f"{goal}converged" for goal in ("", "control_", "code_", "control_code_"))]
    xr.testing.assert_allclose(own.drop_vars(changed), known.drop_vars([*changed, "c"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "plain"),
    [
        ("myprobes:forest", RandomForestClassifier(n_estimators=7, random_state=0)),
        ("myprobes:forest(trees=3)", RandomForestClassifier(n_estimators=3, random_state=0)),
        ("myprobes:TREE", DecisionTreeClassifier(max_depth=4, random_state=0)),
        ("sklearn.neighbors:KNeighborsClassifier", KNeighborsClassifier()),
    ],
)
def test_text_names_a_function_a_class_or_an_instance(here: Path, code: str, plain: Any) -> None:
    result = probe(here / "store", request(code))
    answers = predicted(plain, here / "store", 1)
    gold = Store.open(here / "store").run(split="test").labels().values
    assert result.accuracy.sel(layer=1).item() == (answers == gold).mean()
    assert result.attrs["probe"] == code


def test_workers_and_a_cluster_make_the_estimator_anew(here: Path, cluster: Any) -> None:
    # Each has a store of its own, in which it finds nothing.
    for name in ("workers", "cluster", "given"):
        ner_store(here / name, strength=1.5)
    wanted = probe(here / "store", request("myprobes:Nearest")).drop_vars("fit_seconds")
    for name, machines in (("workers", {"workers": 2}), ("cluster", {"scheduler_address": cluster.scheduler_address})):
        found = probe(here / name, request("myprobes:Nearest"), **machines)
        xr.testing.assert_identical(found.drop_vars("fit_seconds"), wanted)
    nested = make_pipeline(StandardScaler(), KNeighborsClassifier(2))
    found = probe(here / "given", request(nested), workers=1)
    same = probe(here / "store", request(nested))
    xr.testing.assert_identical(found.drop_vars("fit_seconds"), same.drop_vars("fit_seconds"))


@pytest.mark.slow
def test_a_worker_that_has_another_source_is_refused(here: Path) -> None:
    own = find_own("myprobes:TREE", numeric=False, mdl=False)
    other = replace(own, identity=own.identity.replace("max_depth", "min_depth"))
    with pytest.raises(SettingError, match="is not the same in this process as where the fits were planned"):
        other.estimator(0)
    assert own.estimator(5).random_state == 5


@pytest.mark.slow
def test_the_key_of_a_fit_has_parameters_and_source_and_nothing_is_pickled(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biocache.engine.analyses.probing import fitting

    seen: list[str] = []
    original = fitting.run_fit
    monkeypatch.setattr(fitting, "run_fit", lambda root, fit: seen.append(fit.target.probe) or original(root, fit))

    def fits(own: Any) -> int:
        seen.clear()
        probe(here / "store", request(own, layers=(0,)))
        return len(seen)

    assert fits("myprobes:forest") == 1
    assert fits("myprobes:forest") == 0
    assert fits("myprobes:forest(trees=8)") == 1
    assert fits(KNeighborsClassifier(3)) == 1
    assert fits(KNeighborsClassifier(3)) == 0
    assert fits("sklearn.neighbors._classification:KNeighborsClassifier(n_neighbors=3)") == 0
    assert fits(KNeighborsClassifier(4)) == 1
    assert fits(make_pipeline(KNeighborsClassifier(4))) == 1
    assert fits(make_pipeline(KNeighborsClassifier(4))) == 0
    assert fits(make_pipeline(KNeighborsClassifier(5))) == 1
    # Seeds are the probe's: what an estimator had is overwritten.
    assert fits(DecisionTreeClassifier(random_state=7)) == 1
    (here / "myprobes.py").write_text(MODULE + "# edited\n")
    with pytest.raises(SettingError, match="has changed since Python imported myprobes"):
        fits("myprobes:forest(trees=9)")
    del sys.modules["myprobes"]
    assert fits("myprobes:forest(trees=8)") == 1
    stored = b"".join(path.read_bytes() for path in (here / "store" / "results").rglob("*") if path.is_file())
    assert b"sklearn.neighbors" in stored
    assert b"cloudpickle" not in stored
    assert b"\x80\x05\x95" not in stored


class Fails(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fits, and predicts what it is told to."""

    def __init__(self, fit: str = "", predict: str = "", chances: str = "") -> None:
        self.fit_ = fit
        self.fit = lambda rows, labels: self._done(fit, rows, labels)
        self.predict = lambda rows: self._done(predict, rows, None)
        self.predict_proba = lambda rows: self._done(chances, rows, None)
        self.told = (fit, predict, chances)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return dict(zip(("fit", "predict", "chances"), self.told, strict=True))

    def _done(self, what: str, rows: Any, labels: Any) -> Any:
        return eval(what or "0", {"rows": rows, "labels": labels, "n": len(rows), "np": np, "sys": sys})


class NoNumbers(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, rows: Any, labels: Any) -> None:
        assert len(rows) == len(labels)

    def predict(self, rows: Any) -> Any:
        return np.full(len(rows), np.nan)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"fit": "1 / 0"}, "failed in fit (ZeroDivisionError: division by zero)"),
        ({"fit": "sys.exit(2)"}, "failed in fit (SystemExit: 2)"),
        ({"predict": "rows.nothing"}, "failed in predict (AttributeError: "),
        ({"predict": "None"}, "returned from predict NoneType instead of numbers of shape (103,)"),
        ({"predict": "np.zeros(3)"}, "returned from predict float64 of shape (3,) instead of numbers of shape (103,)"),
        ({"predict": "np.zeros((n, 1))"}, "returned from predict float64 of shape (103, 1) instead"),
        ({"predict": "[[1], [2, 3]]"}, "returned from predict list instead"),
        ({"predict": "['O'] * n"}, "returned from predict <U1 of shape (103,) instead"),
        ({"predict": "np.full(n, 7)"}, "predicted 7, none of the labels it was fitted to"),
        ({"predict": "np.full(n, 0.5)"}, "predicted 0.5, none of the labels it was fitted to"),
        ({"predict": "np.full(n, np.nan)"}, "predicted nan, none of the labels it was fitted to"),
        ({"chances": "np.full((n, 2), 0.5)"}, "returned from predict_proba float64 of shape "),
        ({"chances": "np.full((n, len(set(range(3)))), -1)"}, "returned from predict_proba"),
    ],
)
def test_an_estimator_that_fails_is_one_line(tmp_path: Path, told: dict[str, str], said: str) -> None:
    ner_store(tmp_path)
    with pytest.raises(DataError) as caught:
        probe(tmp_path, request(Fails(**{"predict": "np.zeros(n, int)", **told}), layers=(0,), mdl="chances" in told))
    text = str(caught.value)
    assert "\n" not in text
    assert said in text
    assert ", fitted to layer 0 of run ner/" in text


@pytest.mark.parametrize(
    ("own", "settings", "said"),
    [
        ("math:sqrt", {}, "could not be made (TypeError: "),
        ("math:pi", {}, "gives a float without get_params, set_params, fit, predict"),
        ("builtins:dict", {}, "gives a dict without get_params"),
        (object(), {}, "gives a object without get_params"),
        (lambda: KNeighborsClassifier, {}, "gives a KNeighborsClassifier without get_params"),
        (lambda: None, {}, "gives a NoneType without"),
        (PCA, {}, "gives a PCA without predict"),
        (KMeans(3), {}, "is neither a classifier nor a regressor to scikit-learn, and the labels are classes"),
        (Ridge(), {}, "predicts numbers, and the labels are classes; name another"),
        (SVC(), {"mdl": True}, "has no predict_proba; give it one, or leave mdl out"),
        (GridSearchCV, {}, "could not be made (TypeError: "),
        (KNeighborsClassifier(weights=lambda far: 1 / far), {}, ""),
        (RandomForestClassifier(random_state=np.random.RandomState(3)), {}, ""),
        (make_pipeline(Fails(), "passthrough"), {}, "without predict"),
        ("myprobes:TREE(max_depth=2)", {}, "is an estimator already; leave the parentheses out"),
        ("myprobes:forest(branches=2)", {}, "could not be made (TypeError: "),
        ("myprobes:absent", {}, "cannot be imported (AttributeError: "),
    ],
)
def test_what_is_no_probe_is_one_line(here: Path, own: Any, settings: dict[str, Any], said: str) -> None:
    asked = request(own, **settings)
    if not said:
        assert find("probe", here / "store", asked).inputs["own"]
        return
    with pytest.raises(BiocacheError) as caught:
        find("probe", here / "store", asked)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_regression_that_predicts_no_numbers_is_one_line(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    for split, run in zip(("train", "test"), runs_of(store), strict=True):
        where = {"task": "ner", "dataset": run.key.dataset, "split": split}
        store.add_labels("size", np.arange(run.counts.words) * 1.0, level="words", **where)
    with pytest.raises(DataError, match=r"predicted nan, no number, fitted to layer 0 of run ner/.*; correct it"):
        probe(tmp_path, request(NoNumbers(), labels="size", layers=(0,)))
    with pytest.raises(SettingError, match="predicts classes, and the labels are numbers"):
        probe(tmp_path, request(SVC(), labels="size"))


@pytest.mark.slow
def test_the_memory_that_is_assumed_is_arithmetic_and_said(here: Path) -> None:
    shape = FitShape(train_rows=10_000, test_rows=200, features=768, classes=6, block=8192 * 768)
    own = find_own("myprobes:TREE", numeric=False, mdl=False)
    asked = ProbeRequest(task="ner")
    wider = FitShape(train_rows=20_000, test_rows=200, features=768, classes=6, block=8192 * 768)
    more = fit_memory(wider, asked, own) - fit_memory(shape, asked, own)
    assert more >= (4 + 8 * OWN_COPIES) * 10_000 * 768
    result = probe(here / "store", request(own.code, options=ClassifierOptions(c=3.0)))
    assert any("three copies of its rows in float64" in note for note in Probing().notes(result, request(own.code)))
    assert "c" not in find("probe", here / "store", request(own.code)).inputs["settings"]


@pytest.mark.slow
def test_lines_that_repeat_a_result_name_the_probe(here: Path) -> None:
    store = Store.open(here / "store")
    simple, nested = request(KNeighborsClassifier(3)), request(make_pipeline(KNeighborsClassifier(3)))
    for asked in (simple, nested):
        probe(store.storage, asked)
    recipes = {
        json.loads(result.load().attrs["request"])["probe"]: analysis_recipe(store, result, result.load())
        for result in list_results(here / "store", "probe")
    }
    name = "sklearn.neighbors._classification:KNeighborsClassifier(n_neighbors=3)"
    assert recipes[name].note == ""
    assert f"--probe '{name}'" in recipes[name].command
    assert f"probe='{name}'" in recipes[name].python.replace('"', "'")
    assert recipes["sklearn.pipeline:Pipeline(...)"].note.startswith("What ends in (...) was an object given in Python")
    assert command_line("probe", "s", simple) == recipes[name].command.replace(str(store.storage), "s")
    assert "Pipeline(...)" in python_lines("probe", "s", nested)
