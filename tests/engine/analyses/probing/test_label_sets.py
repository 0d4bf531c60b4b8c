"""Probes of label sets equal plain scikit-learn on features that are joined to the labels by hand, in pandas."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import ner_store, nli_store
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from biocache.engine import ClassifierOptions, ProbeRequest, compare_probes, probe
from biocache.engine.analysis import find
from biocache.engine.correlations import weighted_correlations
from biocache.store import Store
from biocache.store.errors import BiocacheError

SPLITS = ("train", "test")


def joined(store: Store, labels: dict[str, pd.DataFrame], layer: int, view: str = "sentence") -> dict[str, Any]:
    """Return features and labels of the words of each split that have both, joined in pandas by id and position."""
    found = {}
    for split in SPLITS:
        run = store.run(split=split, view=view)
        words = run.words(labels=())
        hidden = words.hidden.sel(layer=layer).to_numpy()
        frame = pd.DataFrame({"row": range(len(hidden)), "sample": words["sample"].to_numpy()})
        frame["sample_id"] = run.column("samples/sample_id")[frame["sample"]]
        frame["word"] = words.word.to_numpy() - run.column("samples/word_start")[frame["sample"]]
        both = frame.merge(labels[split], on=["sample_id", "word"]).dropna(subset="label").sort_values("row")
        found[split] = hidden[both["row"]], both["label"].to_numpy()
    return found


def fitted(plain: Any, data: dict[str, Any]) -> Any:
    scaler = StandardScaler().fit(data["train"][0])
    plain.fit(scaler.transform(data["train"][0]), data["train"][1])
    return plain.predict(scaler.transform(data["test"][0]))


def add(store: Store, name: str, make: Any, task: str = "ner") -> dict[str, pd.DataFrame]:
    """Add labels of some words of each split, and return them."""
    frames = {}
    for split in SPLITS:
        run = store.run(split=split)
        rng = np.random.default_rng(len(split))
        rows = [
            (sample_id, at, make(rng, word))
            for word, (sample_id, at) in enumerate(
                (run.column("samples/sample_id")[sample], at)
                for sample, count in enumerate(run.column("samples/word_count"))
                for at in range(count)
            )
        ]
        frame = pd.DataFrame(rows, columns=["sample_id", "word", "label"]).sample(frac=0.8, random_state=1)
        store.add_labels(name, frame, task=task, dataset="corpus", split=split)
        frames[split] = frame
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 1])
def test_classes_of_words(tmp_path: Path, layer: int) -> None:
    store = ner_store(tmp_path)
    labels = add(store, "kind", lambda rng, word: [None, "a", "b", "c"][rng.integers(0, 4)])
    result = probe(tmp_path, ProbeRequest(task="ner", labels="kind", layers=(layer,)))
    own = result.sel(layer=layer).squeeze()
    data = joined(store, labels, layer)
    answers = fitted(LogisticRegression(max_iter=1000), data)
    known = {split: labels[split].dropna(subset="label") for split in SPLITS}
    # Words without tokens are scored too, as the most frequent class of the words that were fitted on.
    usual = pd.Series(data["train"][1]).mode()[0]
    lost = len(known["test"]) - len(answers)
    assert lost > 0
    right = (answers == data["test"][1]).sum()
    seen = pd.Series(data["test"][1]).value_counts()
    missed = known["test"]["label"].value_counts()[usual] - seen[usual]
    assert own.accuracy.item() == pytest.approx((right + missed) / len(known["test"]))
    assert result.attrs["scored_rows"] == len(known["test"])
    assert result.attrs["unlabelled_rows"] == store.run(split="test").counts.words - len(known["test"])
    assert own.train_rows.item() == len(data["train"][1])
    assert result.attrs["title"] == "logistic probe of kind of ner on corpus"


PLAIN = {
    "ridge": Ridge(alpha=0.5),
    "svr": SVR(C=2.0),
    "mlp": MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, n_iter_no_change=5, random_state=0),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", PLAIN)
def test_numbers_of_words(tmp_path: Path, name: str) -> None:
    store = ner_store(tmp_path)
    labels = add(store, "score", lambda rng, word: float(rng.normal(100, 30)) if rng.random() < 0.9 else None)
    options = ClassifierOptions(c=2.0, hidden_size=8, epochs=5)
    request = ProbeRequest(task="ner", labels="score", layers=(1,), probe=name, options=options, resamples=50)
    own = probe(tmp_path, request).sel(layer=1).squeeze()
    data = joined(store, labels, 1)
    train, test = data["train"][1].astype(float), data["test"][1].astype(float)
    mean, scale = train.mean(), train.std()
    answers = fitted(PLAIN[name], {"train": (data["train"][0], (train - mean) / scale), "test": data["test"]})
    known = labels["test"].dropna(subset="label")
    at = known.merge(pd.DataFrame({"label": test, "answer": answers * scale + mean}), on="label", how="left")
    predicted, gold = at["answer"].fillna(mean).to_numpy(), at["label"].to_numpy(float)
    # Solvers stop within their tolerance, and features are scaled in single precision.
    within = 1e-5 if name == "ridge" else 2e-3
    assert own.r2.item() == pytest.approx(r2_score(gold, predicted), abs=within)
    assert own.pearson.item() == pytest.approx(pearsonr(gold, predicted)[0], abs=within)
    assert own.spearman.item() == pytest.approx(spearmanr(gold, predicted)[0], abs=max(within, 1e-4))
    every = labels["train"]["label"].astype(float).mean()
    assert own.majority.sel(score="r2").item() == pytest.approx(r2_score(gold, np.full(len(gold), every)))
    for score in ("r2", "pearson", "spearman"):
        assert own.ci_low.sel(score=score) <= own[score] <= own.ci_high.sel(score=score)


def test_scores_of_resamples_are_those_of_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    sample = np.repeat(np.arange(9), rng.integers(1, 6, 9))
    gold = rng.integers(0, 5, len(sample)).astype(float)
    predicted = gold + rng.normal(size=len(sample)).round(1)
    weights = rng.multinomial(9, np.full(9, 1 / 9), 20).astype(float)
    found = weighted_correlations(gold, predicted, weights, sample)
    for row, weight in zip(found, weights, strict=True):
        rows = np.repeat(np.arange(len(sample)), weight[sample].astype(int))
        truth, guess = gold[rows], predicted[rows]
        expected = [r2_score(truth, guess), pearsonr(truth, guess)[0], spearmanr(truth, guess)[0]]
        np.testing.assert_allclose(row, expected)
    equal = weighted_correlations(np.ones(3), np.arange(3.0), np.ones((1, 3)), np.arange(3))
    assert np.isnan(equal).all()


@pytest.mark.slow
def test_a_planted_number_is_read_and_its_control_is_not(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    for split in SPLITS:
        run = store.run(split=split)
        hidden = np.full(run.counts.words, np.nan)
        words = run.words(labels=())
        hidden[words.word.to_numpy()] = words.hidden.sel(layer=1).to_numpy()[:, 3]
        store.add_labels("planted", hidden, task="ner", dataset="corpus", split=split)
    request = ProbeRequest(task="ner", labels="planted", layers=(1,), control=True, seeds=2, max_train_samples=50)
    own = probe(tmp_path, request).sel(layer=1)
    assert (own.r2 > 0.99).all()
    assert (own.control.sel(score="r2") < 0.2).all()
    for name in ("r2", "pearson", "spearman"):
        np.testing.assert_allclose(own.selectivity.sel(score=name), own[name] - own.control.sel(score=name))
    assert "confusion" not in own


@pytest.mark.slow
def test_labels_of_samples_on_words_of_sentences_and_pairs(tmp_path: Path) -> None:
    store = ner_store(tmp_path / "ner")
    for split in SPLITS:
        ids = store.run(split=split).column("samples/sample_id")
        labels = {name: ["x", "y"][place % 2] for place, name in enumerate(ids)}
        store.add_labels("topic", labels, task="ner", dataset="corpus", split=split)
    result = probe(tmp_path / "ner", ProbeRequest(task="ner", labels="topic", layers=(0,), pooling="max"))
    assert (result.attrs["level"], result.attrs["views"]) == ("samples", "sentence")
    train, test = (store.run(split=split).samples("max").hidden.sel(layer=0).to_numpy() for split in SPLITS)
    kept = {name: ~np.isnan(values).any(axis=1) for name, values in (("train", train), ("test", test))}
    codes = {"train": np.arange(len(train)) % 2, "test": np.arange(len(test)) % 2}
    data = {"train": (train[kept["train"]], codes["train"][kept["train"]]), "test": (test[kept["test"]], None)}
    answers = fitted(LogisticRegression(max_iter=1000), data)
    if kept["test"].all():
        assert result.accuracy.item() == pytest.approx(accuracy_score(codes["test"], answers))
    pairs = nli_store(tmp_path / "nli", ("pair",))
    add(pairs, "tag", lambda rng, word: "ab"[word % 2], task="nli")
    result = probe(tmp_path / "nli", ProbeRequest(task="nli", labels="tag", layers=(0,)))
    assert (result.attrs["level"], result.attrs["views"]) == ("words", "pair")
    with pytest.raises(BiocacheError, match="the rows of labels 'tag' of nli are words; leave both out"):
        probe(tmp_path / "nli", ProbeRequest(task="nli", labels="tag", features="pair"))


@pytest.mark.slow
def test_two_annotations_of_one_text_have_two_results(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    for name in ("first", "second"):
        add(store, name, lambda rng, word, name=name: "ab"[(word + len(name)) % 2])
    results = [probe(tmp_path, ProbeRequest(task="ner", labels=name, layers=(0,))) for name in ("first", "second")]
    assert [result.attrs["labels"] for result in results] == ["first", "second"]
    assert len({result.path for result in Store.open(tmp_path).results("probe")}) == 2
    add_again = Store.open(tmp_path).labels(name="first", split="test")[0].labels
    flipped = {"a": "b", "b": "a"}
    values = [flipped[add_again.names[code]] if code >= 0 else None for code in add_again.values]
    store.add_labels("first", values, task="ner", dataset="corpus", split="test", overwrite=True)
    again = probe(tmp_path, ProbeRequest(task="ner", labels="first", layers=(0,)))
    assert len(Store.open(tmp_path).results("probe")) == 3
    assert again.accuracy.item() != results[0].accuracy.item()


@pytest.mark.slow
def test_what_the_splits_lack_is_said(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    words = {split: store.run(split=split).counts.words for split in SPLITS}
    where = {"task": "ner", "dataset": "corpus"}
    store.add_labels("pos", ["x"] * words["test"], **where, split="test")
    with pytest.raises(BiocacheError, match=r"has no label set 'pos' for ner corpus train \(it has gold\)"):
        probe(tmp_path, ProbeRequest(task="ner", labels="pos"))
    store.add_labels("pos", [1.5] * words["train"], **where, split="train")
    with pytest.raises(BiocacheError, match="labels words with numbers in the train split and words with classes in"):
        probe(tmp_path, ProbeRequest(task="ner", labels="pos"))
    store.add_labels("pos", ["x"] * words["train"], **where, split="train", overwrite=True)
    result = probe(tmp_path, ProbeRequest(task="ner", labels="pos", layers=(0,)))
    from biocache.engine import ANALYSES

    notes = list(ANALYSES["probe"].notes(result, ProbeRequest(task="ner", labels="pos")))
    assert any("one class only" in note for note in notes)


def test_the_validation_split_is_scored_on_request(tmp_path: Path) -> None:
    ner_store(tmp_path)
    with pytest.raises(BiocacheError, match="has no validation run; extract it with split='validation'"):
        probe(tmp_path, ProbeRequest(task="ner", score_on="validation"))


@pytest.mark.slow
def test_comparisons_of_numbers(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    add(store, "score", lambda rng, word: float(rng.normal()))
    pairs = compare_probes(tmp_path, ProbeRequest(task="ner", labels="score", resamples=20))
    assert pairs.attrs["score"] == "r2"
    assert pairs.difference.notnull().all()


@pytest.mark.slow
def test_a_process_that_knows_the_labels_of_before_reads_them_anew(tmp_path: Path) -> None:
    """As the workers of a cluster, which live longer than a command."""
    store = ner_store(tmp_path)
    words = {split: store.run(split=split).counts.words for split in SPLITS}
    request = ProbeRequest(task="ner", labels="kind", layers=(0,))

    def task(values: str) -> Any:
        for split, count in words.items():
            labels = [values[word % 2] for word in range(count)]
            store.add_labels("kind", labels, task="ner", dataset="corpus", split=split, overwrite=True)
        found = find("probe", Store.open(tmp_path), request)
        (only,) = found.analysis.tasks(found.store, request, found.runs)
        return only

    first = task("ab")
    before = first.call(*first.args)
    second = task("ba")
    after = second.call(*second.args)
    assert not before.predicted.equals(after.predicted)
    with pytest.raises(BiocacheError, match="label set 'kind' was replaced while this was computed from it"):
        first.call(*first.args)
