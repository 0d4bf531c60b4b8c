"""Control tasks: labels that say nothing, the same everywhere a word type stands."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import ner_store, nli_store, relabelled, runs_of, split_runs, word_rows, write
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from store_factory import Synthetic

from biocache.engine import ProbeRequest, probe
from biocache.engine.analyses.probing.controls import control_labels, permuted_labels, word_type_labels
from biocache.engine.analyses.probing.target import find_target

SHARE = np.array([0.7, 0.2, 0.1])
POOL = np.repeat(np.arange(3), (SHARE * 10).round().astype(int))


def test_each_word_type_has_one_label() -> None:
    words = np.array(["IL-2", "the", "IL-2", "β", "the"], dtype=object)
    labels = word_type_labels(words, POOL, seed=3)
    assert labels[0] == labels[2]
    assert labels[1] == labels[4]
    np.testing.assert_array_equal(word_type_labels(words[[3, 0]], POOL, seed=3), labels[[3, 0]])


def test_types_are_labelled_as_often_as_the_corpus_is() -> None:
    words = np.array([f"word-{number}" for number in range(20_000)], dtype=object)
    first, second = (word_type_labels(words, POOL, seed) for seed in (0, 1))
    np.testing.assert_allclose(np.bincount(first) / len(words), SHARE, atol=0.01)
    # Two seeds agree as often as two independent draws.
    assert (first == second).mean() == pytest.approx((SHARE**2).sum(), abs=0.01)


def test_a_class_without_words_is_never_drawn() -> None:
    words = np.array([f"word-{number}" for number in range(500)], dtype=object)
    assert set(word_type_labels(words, np.array([0, 2]), 0)) == {0, 2}


def test_permuted_labels_are_the_same_labels_in_another_order() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    permuted = permuted_labels(labels, 4)
    assert np.bincount(permuted).tolist() == [50, 30, 20]
    assert (permuted != labels).any()
    np.testing.assert_array_equal(permuted, permuted_labels(labels, 4))


@pytest.mark.slow
def test_splits_of_pairs_are_permuted_apart(tmp_path: Path) -> None:
    store = nli_store(tmp_path)
    train, test = runs_of(store, view="premise")
    target = find_target(store.storage, ProbeRequest(task="nli"), "corpus")
    for run in (train, test):
        labels = control_labels(target, run, train, 0)
        assert sorted(labels) == sorted(run.labels().values)
    shared = test.counts.samples
    order = permuted_labels(np.arange(shared), [0, 0]), permuted_labels(np.arange(shared), [0, 1])
    assert (order[0] != order[1]).any()


def with_vocabulary(source: Synthetic) -> Synthetic:
    """Give the words texts that come again, in both splits."""
    texts = source.columns["words/word_text"]
    words = np.array([f"type-{number % 40}" for number in range(len(texts))], dtype=object)
    # Read from the word itself: with one-hot states of the type the control can be learnt.
    return replace(source, columns={**source.columns, "words/word_text": words})


@pytest.mark.slow
def test_selectivity_is_accuracy_less_that_on_the_control(tmp_path: Path) -> None:
    sources = {split: with_vocabulary(split_runs(split)) for split in ("train", "test")}
    store = write(tmp_path, sources.values())
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", control=True, seeds=2))
    train, test = runs_of(store)
    target = find_target(store.storage, ProbeRequest(task="ner", label_scheme="bio"), "corpus")
    for seed in range(2):
        made = {
            split: relabelled(source, control_labels(target, run, train, seed))
            for (split, source), run in zip(sources.items(), (train, test), strict=True)
        }
        for layer in range(3):
            features, labels, _ = word_rows(made["train"], layer)
            scaler = StandardScaler().fit(features)
            plain = LogisticRegression(max_iter=1000).fit(scaler.transform(features), labels)
            unseen, _, position = word_rows(made["test"], layer)
            answers = np.full(test.counts.words, np.bincount(labels).argmax())
            answers[position] = plain.predict(scaler.transform(unseen))
            expected = (answers == made["test"].columns["words/label"]).mean()
            place = {"layer": layer, "probe_seed": seed}
            assert result.control_accuracy.sel(place).item() == pytest.approx(expected)
            assert result.selectivity.sel(place).item() == pytest.approx(result.accuracy.sel(place).item() - expected)
    assert result.attrs["control"] == "random label of each word type"
    assert result.selectivity.mean("probe_seed").squeeze().argmax("layer") == 1


@pytest.mark.slow
def test_the_control_of_pairs_is_named_as_what_it_is(tmp_path: Path) -> None:
    nli_store(tmp_path)
    result = probe(tmp_path, ProbeRequest(task="nli", control=True))
    assert result.attrs["control"] == "permuted labels, at chance in test by construction"
    assert result.selectivity.sel(layer=1).item() > 0.4


@pytest.mark.slow
def test_without_a_control_there_is_no_selectivity(tmp_path: Path) -> None:
    ner_store(tmp_path)
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"))
    assert "selectivity" not in result
    assert "control" not in result.attrs
