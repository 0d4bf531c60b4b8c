"""What is known of a synthetic store is what a probe finds there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import SPLITS, ceiling, ner_store, nli_store, relabelled, split_runs, write
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, probe

QUICK = ClassifierOptions(epochs=30, hidden_size=16, learning_rate=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("planted", [0, 1, 2])
@pytest.mark.parametrize("classifier", ["svc", "logistic", "linear-svc", "mlp", "bilstm-crf"])
def test_labels_written_into_a_layer_are_found_there_and_nowhere_else(
    tmp_path: Path, planted: int, classifier: str
) -> None:
    store = ner_store(tmp_path, planted=planted)
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", probe=classifier, options=QUICK))
    accuracy = result.accuracy.squeeze()
    assert accuracy.sel(layer=planted) == pytest.approx(ceiling(store))
    assert (accuracy.drop_sel(layer=planted) < 0.55).all()
    assert (result.ci_high.sel(score="accuracy").squeeze().drop_sel(layer=planted) < 0.7).all()


@pytest.mark.slow
@pytest.mark.parametrize("features", ["separate", "pair"])
def test_labels_of_pairs_are_found_in_their_layer(tmp_path: Path, features: str) -> None:
    views = ("pair",) if features == "pair" else ("premise", "hypothesis")
    nli_store(tmp_path, views, planted=2)
    result = probe(tmp_path, ProbeRequest(task="nli", features=features))
    assert result.accuracy.sel(layer=2) > 0.97
    assert (result.accuracy.sel(layer=[0, 1]) < 0.65).all()


@pytest.mark.slow
def test_labels_of_one_text_are_found_through_it_alone(tmp_path: Path) -> None:
    def only_hypothesis(source: Synthetic) -> Synthetic:
        if source.spec.key.view == "hypothesis":
            return source
        return replace(source, hidden=[np.zeros_like(states) for states in source.hidden])

    nli_store(tmp_path, change=only_hypothesis)
    assert probe(tmp_path, ProbeRequest(task="nli")).accuracy.sel(layer=1) > 0.97


def shuffled(source: Synthetic) -> Synthetic:
    rng = np.random.default_rng(5)
    # Three in four words have the first label: the majority is well above chance.
    labels = rng.permutation(np.arange(len(source.columns["words/label"])) % 4 % 3)
    skewed = np.where(rng.random(len(labels)) < 0.5, 0, labels)
    return relabelled(source, skewed)


@pytest.mark.slow
def test_shuffled_labels_score_at_the_majority(tmp_path: Path) -> None:
    longer = {"train": 6 * SPLITS["train"], "test": 6 * SPLITS["test"]}
    write(tmp_path, [shuffled(split_runs(split, lengths=lengths)) for split, lengths in longer.items()])
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"))
    majority = result.majority.sel(score="accuracy").item()
    assert majority > 0.5
    np.testing.assert_allclose(result.accuracy, majority, atol=0.02)
    assert (result.ci_low.sel(score="accuracy") <= majority).all()


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [12, 33, 1000])
def test_labels_follow_their_samples_through_any_packing(tmp_path: Path, capacity: int) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    ner_store(first, strength=1.5)
    ner_store(second, strength=1.5, capacity=capacity)
    request = ProbeRequest(task="ner", label_scheme="bio")
    one, other = probe(first, request), probe(second, request)
    assert 0.6 < one.accuracy.sel(layer=1).item() < 0.99
    np.testing.assert_array_equal(one.confusion, other.confusion)
    np.testing.assert_array_equal(one.ci_low, other.ci_low)


@pytest.mark.slow
def test_a_probe_of_sentences_sees_the_words_around(tmp_path: Path) -> None:
    def copied(source: Synthetic) -> Synthetic:
        """Give all words of a sentence its first word's label; only that word's states have it."""
        starts, counts = source.columns["samples/word_start"], source.columns["samples/word_count"]
        labels = source.columns["words/label"].copy()
        hidden = [states.copy() for states in source.hidden]
        for sample, (start, count) in enumerate(zip(starts, counts, strict=True)):
            labels[start : start + count] = labels[start]
            # Token 0 is special, token 1 begins the first word.
            hidden[sample][1, 1, labels[start]] += 20
        return replace(relabelled(source, labels), hidden=hidden)

    ner_store(tmp_path, planted=None, change={"train": copied, "test": copied})
    accuracy: dict[str, Any] = {
        name: probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", probe=name, options=QUICK))
        .accuracy.sel(layer=1)
        .item()
        for name in ("logistic", "bilstm-crf")
    }
    assert accuracy["bilstm-crf"] > 0.85
    assert accuracy["logistic"] < 0.7
