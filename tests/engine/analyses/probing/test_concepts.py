"""Probes after an erasure, end to end: what was erased is not read, and the rest is what plain NumPy leaves."""

from collections import Counter
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from plain_erasure import plain_eraser
from planted import ner_store, nli_store, runs_of, split_runs, word_rows
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, compare_probes, probe
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.comparison import ProbeComparison
from biocache.engine.analyses.probing.concepts import _concepts
from biocache.engine.analyses.probing.grid import find_cells
from biocache.store import Store
from biocache.store.errors import DataError, SettingError

FIXED = ClassifierOptions(c=1.0)
BIO: dict[str, Any] = {"task": "ner", "label_scheme": "bio", "options": FIXED}


def worded(source: Synthetic) -> Synthetic:
    """Let words come again: the synthetic ones are all different."""
    rng = np.random.default_rng(4)
    texts = np.array([f"t{number}" for number in rng.geometric(0.2, len(source.columns["words/word_text"]))], object)
    return replace(source, columns={**source.columns, "words/word_text": texts})


def by_hand(source: Synthetic, name: str) -> NDArray[Any]:
    """Return a concept of each word, in loops."""
    texts = source.columns["words/word_text"].tolist()
    samples = source.columns["words/sample"].tolist()
    if name == "length":
        return np.array(source.columns["words/token_count"], np.float64)
    if name == "frequency":
        return np.array([log(Counter(texts)[text]) for text in texts])
    if name == "position":
        return np.array([place - samples.index(sample) for place, sample in enumerate(samples)], np.float64)
    return np.eye(3)[source.columns["words/label"]]


@pytest.mark.slow
@pytest.mark.parametrize("names", [("length",), ("position",), ("frequency",), ("gold",), ("frequency", "gold")])
def test_scores_are_those_of_scikit_learn_after_the_plain_formula(tmp_path: Path, names: tuple[str, ...]) -> None:
    ner_store(tmp_path, change={"train": worded, "test": worded})
    result = probe(tmp_path, ProbeRequest(erase=names, **BIO))
    train, test = (worded(split_runs(split)) for split in ("train", "test"))
    for layer in range(3):
        features, labels, position = word_rows(train, layer)
        concept = np.concatenate([by_hand(train, name).reshape(len(by_hand(train, name)), -1) for name in names], 1)
        erase = plain_eraser(features, concept[position])
        scaler = StandardScaler().fit(erase(features))
        fitted = LogisticRegression(C=1.0, max_iter=1000).fit(scaler.transform(erase(features)), labels)
        unseen, _, place = word_rows(test, layer)
        gold = test.columns["words/label"]
        answers = np.full(len(gold), np.bincount(labels).argmax())
        answers[place] = fitted.predict(scaler.transform(erase(unseen)))
        assert result.accuracy.sel(layer=layer).item() == pytest.approx(
            accuracy_score(gold, answers), abs=2 / len(gold)
        )
        if "gold" in names:
            assert result.accuracy.sel(layer=layer).item() == result.majority.sel(score="accuracy").item()


@pytest.mark.slow
@pytest.mark.parametrize("layers", [(1,), ("0+1",), ("mix",)])
@pytest.mark.parametrize("classifier", ["logistic", "linear-svc"])
def test_erased_labels_leave_the_majority_however_layers_are_seen(
    tmp_path: Path, layers: tuple[int | str, ...], classifier: str
) -> None:
    if layers == ("mix",) and classifier != "logistic":
        pytest.skip("linear-svc learns no mean of layers")
    ner_store(tmp_path)
    request = ProbeRequest(probe=classifier, layers=layers, **BIO)
    assert probe(tmp_path, request).accuracy.max() > 0.8
    result = probe(tmp_path, replace(request, erase=("gold",)))
    np.testing.assert_allclose(
        result.accuracy.to_numpy(), result.majority.sel(score="accuracy").item(), atol=0.02 * (layers == ("mix",))
    )


@pytest.mark.slow
def test_erased_numbers_cannot_be_regressed(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    for run in runs_of(store):
        values = run.labels("gold").values * 2.5
        ids = run.column("samples/sample_id")[run.column("words/sample")]
        place = np.arange(run.counts.words) - run.column("samples/word_start")[run.column("words/sample")]
        rows = [
            {"sample_id": sample, "word": int(at), "label": float(value)}
            for sample, at, value in zip(ids, place, values, strict=True)
        ]
        store.add_labels("score", pd.DataFrame(rows), task="ner", dataset="corpus", split=run.key.split)
    request = ProbeRequest(task="ner", labels="score", layers=(1,), options=ClassifierOptions(c=1e4))
    assert probe(tmp_path, request).r2.sel(layer=1).item() > 0.5
    left = probe(tmp_path, replace(request, erase=("score",)))
    np.testing.assert_allclose(left.r2.to_numpy(), left.majority.sel(score="r2").item(), atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("features", ["separate", "pair"])
def test_the_length_of_pairs_is_that_of_each_text(tmp_path: Path, features: str) -> None:
    views = ("pair",) if features == "pair" else ("premise", "hypothesis")
    store = nli_store(tmp_path, views)
    request = ProbeRequest(task="nli", features=features, erase=("length",), options=FIXED)
    (cell,) = find_cells(store, request)
    found = _concepts(request, cell.target, cell.train).numbers
    expected = []
    for run in cell.train:
        words = list(zip(run.column("words/sample").tolist(), run.column("words/segment").tolist(), strict=True))
        expected += [[words.count((sample, text)) for sample in range(run.counts.samples)] for text in (0, 1)]
    np.testing.assert_array_equal(found, np.transpose(expected))
    assert probe(tmp_path, request).accuracy.sel(layer=1).item() > 0.9
    gone = probe(tmp_path, replace(request, erase=("gold",)))
    np.testing.assert_allclose(gone.accuracy.to_numpy(), gone.majority.sel(score="accuracy").item())


@pytest.mark.slow
def test_concepts_of_mentions(tmp_path: Path) -> None:
    store = ner_store(tmp_path, change={"train": worded, "test": worded})
    request = ProbeRequest(task="ner", level="span", erase=("length", "position", "frequency"), options=FIXED)
    (cell,) = find_cells(store, request)
    found = _concepts(request, cell.target, cell.train).numbers
    spans = store.run(split="train").spans()
    run = cell.train[0]
    texts = spans.text.to_numpy().tolist()
    places = cell.target.aligned(run).places
    assert places is not None
    words = run.column("words/word_text").tolist()
    mentions = [" ".join(words[first:end]) for first, end in places[:, 0].tolist()]
    begin = run.column("samples/word_start")[cell.target.samples(run)]
    expected = [
        [end - first, first - start, log(mentions.count(text))]
        for (first, end), start, text in zip(places[:, 0].tolist(), begin.tolist(), mentions, strict=True)
    ]
    np.testing.assert_allclose(found, expected)
    assert set(texts) <= set(mentions)
    result = probe(tmp_path, request)
    assert result.accuracy.notnull().all()


@pytest.mark.slow
def test_labels_of_samples_are_erased_from_their_words(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    run = store.run(split="train")
    topics = {sample: "ab"[number % 2] for number, sample in enumerate(run.column("samples/sample_id").tolist())}
    rows = [{"sample_id": sample, "label": topic} for sample, topic in topics.items()]
    store.add_labels("topic", pd.DataFrame(rows), task="ner", dataset="corpus", split="train")
    request = ProbeRequest(erase=("topic",), **BIO)
    (cell,) = find_cells(store, request)
    ((codes, count),) = _concepts(request, cell.target, cell.train).codes
    assert count == 2
    assert codes.tolist() == [int(number % 2) for number in run.column("words/sample").tolist()]
    assert probe(tmp_path, request).accuracy.sel(layer=1).item() > 0.8


@pytest.mark.slow
def test_the_result_says_what_was_erased(tmp_path: Path) -> None:
    ner_store(tmp_path)
    request, analysis = ProbeRequest(erase=("length", "gold"), **BIO), Probing()
    result = probe(tmp_path, request)
    assert list(result.attrs["erased"]) == ["length", "gold"]
    assert result.attrs["title"].endswith(", length, gold erased")
    (note,) = (note for note in analysis.notes(result, request) if "LEACE" in note)
    assert "length (tokens of the word), label set gold; no linear probe reads it" in note
    pairs = compare_probes(tmp_path, replace(request, score="accuracy"))
    assert any("LEACE" in note for note in ProbeComparison().notes(pairs, request))
    # Nothing is left to differ.
    assert pairs.difference.max() == pairs.difference.min() == 0
    plain = probe(tmp_path, ProbeRequest(**BIO))
    assert "erased" not in plain.attrs
    assert plain.accuracy.sel(layer=1).item() > 0.8


@pytest.mark.slow
def test_a_set_that_is_replaced_is_erased_anew(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    run = store.run(split="train")
    ids = run.column("samples/sample_id").tolist()

    def keep(label: Any) -> None:
        rows = [{"sample_id": sample, "label": label(number)} for number, sample in enumerate(ids)]
        store.add_labels("topic", pd.DataFrame(rows), task="ner", dataset="corpus", split="train", overwrite=True)

    request = ProbeRequest(erase=("topic",), layers=(0,), **BIO)
    keep(lambda number: "ab"[number % 2])
    probe(tmp_path, request)
    keep(lambda number: "abc"[number % 3])
    probe(tmp_path, request)
    assert len(Store.open(tmp_path).results("probe")) == 2
    probe(tmp_path, request)
    assert len(Store.open(tmp_path).results("probe")) == 2


@pytest.mark.slow
def test_what_cannot_be_erased_is_one_line(tmp_path: Path) -> None:
    ner_store(tmp_path / "ner")
    nli_store(tmp_path / "nli")
    with pytest.raises(
        SettingError, match="erase 'position' is for words, spans or relations, and the rows are samples"
    ):
        probe(tmp_path / "nli", ProbeRequest(task="nli", erase=("position",)))
    with pytest.raises(
        SettingError, match="erase 'lenght' is none of length, position, frequency, and the train split"
    ):
        probe(tmp_path / "ner", ProbeRequest(erase=("lenght",), **BIO))
    store = Store.open(tmp_path / "ner")
    run = store.run(split="train")
    sample = run.column("samples/sample_id")[0]
    store.add_labels(
        "links",
        pd.DataFrame([{"sample_id": sample, "start": 0, "end": 1, "label": "a"}]),
        task="ner",
        dataset="corpus",
        split="train",
        level="spans",
    )
    with pytest.raises(
        SettingError, match="erase 'links' labels spans, and the rows are the words of label set 'gold'"
    ):
        probe(tmp_path / "ner", ProbeRequest(erase=("links",), **BIO))
    with pytest.raises(SettingError, match="labels other spans, and the rows are the spans"):
        probe(tmp_path / "ner", ProbeRequest(task="ner", level="span", erase=("links",)))
    # A set of a sample whose words have no label of the task: no row is left.
    rows = pd.DataFrame([{"sample_id": sample, "word": 0, "label": "a"}])
    store.add_labels("one", rows, task="ner", dataset="corpus", split="train")
    for split in ("train", "test"):
        own = store.run(split=split).column("samples/sample_id")
        rows = pd.DataFrame([{"sample_id": own[1], "word": 0, "label": "a"}])
        store.add_labels("other", rows, task="ner", dataset="corpus", split=split)
    with pytest.raises(DataError, match="has a label of all that erase one names"):
        probe(tmp_path / "ner", ProbeRequest(task="ner", labels="other", erase=("one",)))
