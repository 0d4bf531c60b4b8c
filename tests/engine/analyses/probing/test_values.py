"""Scores are those of plain scikit-learn on features computed by hand with Hugging Face."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extractions import request as extraction_request
from numpy.typing import NDArray
from reference import Reference, Row, read_rows
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from biocache.engine import ClassifierOptions, ProbeRequest, extract, probe
from biocache.engine.analyses.probing import classifiers
from biocache.store import Store

FAMILIES = ("bert", "gpt2", "biogpt")
LIMIT = 40
PLAIN = {
    "svc": SVC(C=2.0, gamma="scale"),
    "logistic": LogisticRegression(C=2.0, max_iter=1000),
    "linear-svc": LinearSVC(C=2.0, max_iter=1000, random_state=0),
    "mlp": MLPClassifier((32,), max_iter=10, n_iter_no_change=10, random_state=0),
}
OPTIONS = ClassifierOptions(c=2.0, hidden_size=32)

Features = Mapping[str, tuple[NDArray[Any], NDArray[Any]]]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path, checkpoints: Mapping[str, Path]) -> Path:
    """Return a store of both tasks through every family, in single precision."""
    store = tmp_path_factory.mktemp("values") / "biocache.zarr"
    for task in ("ner", "nli"):
        models = tuple(f"{family}={checkpoints[family]}" for family in FAMILIES)
        settings: dict[str, Any] = {"dtype": "float32", "limit": LIMIT, "splits": ("train", "test")}
        extract(store, extraction_request(corpus_folder, Path(), task=task, models=models, **settings))
    return store


@pytest.fixture(scope="module")
def by_hand(corpus_folder: Path, checkpoints: Mapping[str, Path]) -> Any:
    """Return a function from task, family and layer to the features and labels of each split."""
    references = {family: Reference(checkpoints[family]) for family in FAMILIES}

    def features(task: str, family: str, layer: int, view: str = "separate") -> Features:
        make = words if task == "ner" else pairs
        found = {}
        for split in ("train", "test"):
            rows = read_rows(corpus_folder, task, split)[:LIMIT]
            found[split] = make(references[family], rows, layer, view)
        return found

    return features


def special(reference: Reference, ids: list[int]) -> list[bool]:
    return [token in reference.tokenizer.all_special_ids for token in ids]


def owners(reference: Reference, words: tuple[str, ...]) -> list[list[int]]:
    """Return the positions of every word's tokens, by tokenizing one more word at a time."""
    ends = [len(reference.encode((words[: count + 1],), None)["input_ids"]) for count in range(len(words))]
    ids = reference.encode((words,), None)["input_ids"]
    flags = special(reference, ids)
    first = flags.index(False)
    tail = len(ids) - len(flags) + list(reversed(flags)).index(False)
    return [list(range(begin, end)) for begin, end in pairwise([first, *(end - tail for end in ends)])]


def words(reference: Reference, rows: list[Row], layer: int, _view: str) -> tuple[NDArray[Any], NDArray[Any]]:
    features, labels = [], []
    for row in rows:
        hidden = reference(row.texts).hidden[layer]
        features += [hidden[tokens].mean(axis=0) for tokens in owners(reference, row.texts[0])]
        labels += row.labels
    return np.array(features, np.float32), np.array(labels)


def pairs(reference: Reference, rows: list[Row], layer: int, view: str) -> tuple[NDArray[Any], NDArray[Any]]:
    features = []
    for row in rows:
        parts = []
        for name in ("pair",) if view == "pair" else ("premise", "hypothesis"):
            plain = reference(row.view(name))
            kept = [not flag for flag in special(reference, plain.ids)]
            parts.append(plain.hidden[layer][kept].mean(axis=0))
        if view == "full":
            u, v = parts
            parts = [u, v, abs(u - v), u * v]
        features.append(np.concatenate(parts))
    return np.array(features, np.float32), np.array([row.labels[0] for row in rows])


def predicted(plain: Any, features: Features) -> NDArray[Any]:
    """Fit on the train split and predict the test split, as anybody would."""
    scaler = StandardScaler().fit(features["train"][0])
    # As numbers, O first: pairs of classes vote in a kernel machine, and the first of those with most votes wins.
    names = sorted(set(features["train"][1]), key=lambda name: (name != "O", name))
    plain.fit(scaler.transform(features["train"][0]), [names.index(label) for label in features["train"][1]])
    return np.array(names)[plain.predict(scaler.transform(features["test"][0]))]


def assert_scores(result: Any, gold: NDArray[Any], answers: NDArray[Any], *, within: float = 0.0) -> None:
    labels = result.label.values.tolist()
    decided = [label for label in labels if label != "O"]
    expected = {
        "accuracy": accuracy_score(gold, answers),
        "macro_f1": f1_score(gold, answers, average="macro", zero_division=0),
        "micro_f1": f1_score(gold, answers, labels=decided, average="micro", zero_division=0),
    }
    for name, value in expected.items():
        assert result[name].item() == pytest.approx(value, abs=max(within, 1e-12)), name
    if not within:
        np.testing.assert_array_equal(result.confusion.squeeze(), confusion_matrix(gold, answers, labels=labels))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["logistic", "linear-svc"])
def test_words(stores: Path, by_hand: Any, family: str, name: str) -> None:
    request = ProbeRequest(task="ner", models=(family,), probe=name, options=OPTIONS)
    result = probe(stores, request)
    assert result.layer.values.tolist() == [0, 1, 2]
    for layer in range(3):
        features = by_hand("ner", family, layer)
        assert_scores(result.sel(layer=layer), features["test"][1], predicted(PLAIN[name], features))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("view", ["separate", "full", "pair"])
def test_pairs(stores: Path, by_hand: Any, family: str, view: str) -> None:
    kind = {"full": {"combine": "full"}, "pair": {"features": "pair"}}.get(view, {})
    result = probe(stores, ProbeRequest(task="nli", models=(family,), options=OPTIONS, **kind))
    for layer in range(3):
        features = by_hand("nli", family, layer, view)
        assert_scores(result.sel(layer=layer), features["test"][1], predicted(PLAIN["logistic"], features))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_networks(stores: Path, by_hand: Any) -> None:
    result = probe(stores, ProbeRequest(task="nli", models=("bert",), probe="mlp", options=OPTIONS))
    assert result.attrs["backend"] == "scikit-learn"
    features = by_hand("nli", "bert", 1)
    assert_scores(result.sel(layer=1), features["test"][1], predicted(PLAIN["mlp"], features))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_the_kernel_machine_of_scikit_learn(
    stores: Path, by_hand: Any, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifiers, "fast_svc", lambda: False)
    result = probe(stores, ProbeRequest(task=task, models=("bert",), probe="svc", options=OPTIONS))
    assert result.attrs["backend"] == "scikit-learn"
    features = by_hand(task, "bert", 1)
    assert_scores(result.sel(layer=1), features["test"][1], predicted(PLAIN["svc"], features))


@pytest.mark.slow
def test_the_fast_kernel_machine(stores: Path, by_hand: Any) -> None:
    pytest.importorskip("sklearnex")
    result = probe(stores, ProbeRequest(task="ner", models=("bert",), probe="svc", options=OPTIONS))
    assert result.attrs["backend"] == "scikit-learn-intelex"
    features = by_hand("ner", "bert", 1)
    assert_scores(result.sel(layer=1), features["test"][1], predicted(PLAIN["svc"], features), within=0.005)


@pytest.mark.slow
def test_a_given_kernel_width(stores: Path, by_hand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "fast_svc", lambda: False)
    options = ClassifierOptions(gamma=0.3)
    result = probe(stores, ProbeRequest(task="nli", models=("bert",), probe="svc", options=options))
    features = by_hand("nli", "bert", 2)
    assert_scores(result.sel(layer=2), features["test"][1], predicted(SVC(gamma=0.3), features))


@pytest.mark.slow
def test_halves_in_the_store_cost_no_more_than_their_rounding(
    tmp_path: Path, stores: Path, corpus_folder: Path, checkpoints: Mapping[str, Path]
) -> None:
    models = (f"bert={checkpoints['bert']}",)
    extract(
        tmp_path,
        extraction_request(corpus_folder, Path(), task="nli", models=models, limit=LIMIT, splits=("train", "test")),
    )
    request = ProbeRequest(task="nli", models=("bert",))
    half, single = probe(tmp_path, request), probe(stores, request)
    assert Store.open(tmp_path).run(model="bert", view="pair", split="test").spec.dtype == "float16"
    np.testing.assert_allclose(half.accuracy, single.accuracy, atol=1.5 / LIMIT)
