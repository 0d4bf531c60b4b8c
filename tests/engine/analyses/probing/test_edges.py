"""Corners of the data: each has an answer that is written down, or one clear line."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from planted import Change, ner_store, nli_store, relabelled, runs_of, split_runs, write
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, probe
from biocache.engine.analyses.probing.request import PROBES
from biocache.engine.statistics import drawn_samples
from biocache.store.errors import DataError, SettingError

OPTIONS = ClassifierOptions(epochs=15, hidden_size=8, learning_rate=0.02)


def labels_mapped(mapping: dict[int, int]) -> Change:
    def change(source: Synthetic) -> Synthetic:
        column = "words/label" if source.spec.key.task == "ner" else "samples/label"
        labels = source.columns[column]
        return relabelled(source, np.array([mapping.get(label, label) for label in labels.tolist()]))

    return change


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
def test_a_class_that_is_absent_from_the_train_split_is_never_predicted(tmp_path: Path, name: str) -> None:
    ner_store(tmp_path, change={"train": labels_mapped({2: 1})})
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", probe=name, options=OPTIONS))
    assert result.class_recall.sel(label="I-protein").max() == 0
    assert result.confusion.sel(predicted_label="I-protein").max() == 0
    assert result.support.sel(label="I-protein") > 0
    assert result.accuracy.notnull().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
def test_a_class_that_is_absent_from_the_test_split_has_no_support(tmp_path: Path, name: str) -> None:
    ner_store(tmp_path, change={"test": labels_mapped({2: 1})})
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", probe=name, options=OPTIONS))
    assert result.support.sel(label="I-protein") == 0
    assert result.class_recall.sel(label="I-protein").max() == 0
    assert result.ci_low.notnull().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
def test_a_train_split_of_one_class_predicts_that_class(tmp_path: Path, name: str) -> None:
    store = ner_store(tmp_path, change={"train": labels_mapped({0: 1, 2: 1})})
    result = probe(
        tmp_path,
        ProbeRequest(task="ner", label_scheme="bio", probe=name, options=OPTIONS, mdl=name in ("logistic", "mlp")),
    )
    labels = store.run(split="test").labels().values
    assert (result.accuracy == (labels == 1).mean()).all()
    assert (result.accuracy == result.majority.sel(score="accuracy")).all()
    if "code_length" in result:
        # All but the first portion are told for almost nothing.
        assert (result.compression > 3).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBES)
def test_a_constant_feature_says_nothing_and_breaks_nothing(tmp_path: Path, name: str) -> None:
    def constant(source: Synthetic) -> Synthetic:
        hidden = [states.copy() for states in source.hidden]
        for states in hidden:
            states[..., 5] = 7 if source.spec.key.split == "train" else 9
        return replace(source, hidden=hidden)

    ner_store(tmp_path, planted=1, change={"train": constant, "test": constant})
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", probe=name, options=OPTIONS))
    assert result.accuracy.sel(layer=1).item() > 0.85


@pytest.mark.slow
def test_words_without_tokens_are_predicted_as_the_most_frequent_class(tmp_path: Path) -> None:
    store = ner_store(tmp_path)
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"))
    train, test = runs_of(store)
    lost = test.column("words/token_count") == 0
    usual = np.bincount(train.labels().values[train.column("words/token_count") > 0]).argmax()
    labels = test.labels().values
    assert lost.sum() > 5
    assert result.support.sum() == test.counts.words == len(labels)
    # Layer 1 knows every word but those.
    wrong = lost & (labels != usual)
    assert result.accuracy.sel(layer=1).item() == pytest.approx(1 - wrong.mean())
    assert result.train_rows.max() == (train.column("words/token_count") > 0).sum()


@pytest.mark.slow
def test_a_pair_without_tokens_is_predicted_as_the_most_frequent_class(tmp_path: Path) -> None:
    def emptied(source: Synthetic) -> Synthetic:
        """Leave one sample of the hypothesis nothing but special tokens."""
        if source.spec.key.view != "hypothesis":
            return source
        special = source.columns["tokens/special"].copy()
        start, count = source.plan.tokens.start[3], source.plan.tokens.count[3]
        special[start : start + count] = True
        return replace(source, columns={**source.columns, "tokens/special": special})

    store = nli_store(tmp_path, change=emptied)
    result = probe(tmp_path, ProbeRequest(task="nli"))
    train, test = runs_of(store, view="premise")
    assert (result.train_rows == train.counts.samples - 1).all()
    assert result.support.sum() == test.counts.samples
    usual = np.bincount(np.delete(train.labels().values, 3)).argmax()
    right = test.labels().values[3] == usual
    assert result.accuracy.sel(layer=1).item() == pytest.approx(1 if right else 1 - 1 / test.counts.samples)


@pytest.mark.slow
def test_a_train_split_without_any_token_is_refused(tmp_path: Path) -> None:
    def emptied(source: Synthetic) -> Synthetic:
        gone = np.full_like(source.columns["tokens/word"], -1)
        return replace(source, columns={**source.columns, "tokens/word": gone})

    ner_store(tmp_path, change={"train": emptied})
    with pytest.raises(
        DataError, match=r"no row of the train run .*/train has tokens and a label of gold; extract it with a larger"
    ):
        probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"))


@pytest.mark.slow
def test_one_sample_to_fit_on(tmp_path: Path) -> None:
    write(tmp_path, [split_runs("train", lengths=(9,)), split_runs("test")])
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", mdl=True))
    assert result.accuracy.notnull().all()
    # There is but one portion, which goes uncoded.
    assert (result.compression == 1).all()


@pytest.mark.slow
def test_fewer_iterations_than_it_takes_are_reported(tmp_path: Path) -> None:
    ner_store(tmp_path)
    few = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", options=ClassifierOptions(max_iterations=2)))
    enough = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"))
    assert (few.converged == 0).all()
    assert (enough.converged == 1).all()


@pytest.mark.slow
def test_draws_of_samples_are_nested_and_whole(tmp_path: Path) -> None:
    draws = [set(drawn_samples(100, most, seed=3)) for most in (10, 40, 99, 100, 500)]
    assert [len(draw) for draw in draws] == [10, 40, 99, 100, 100]
    assert all(small <= large for small, large in pairwise(draws))
    assert draws[0] != set(drawn_samples(100, 10, seed=4))
    store = ner_store(tmp_path)
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", max_train_samples=9, seeds=2))
    run = store.run(split="train")
    for seed in range(2):
        chosen = np.isin(run.column("words/sample"), drawn_samples(run.counts.samples, 9, seed))
        expected = (chosen & (run.column("words/token_count") > 0)).sum()
        assert (result.train_rows.sel(probe_seed=seed) == expected).all()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_options_are_positive_numbers(value: float) -> None:
    with pytest.raises(SettingError, match=r"is not a number above 0"):
        ClassifierOptions(c=value)
