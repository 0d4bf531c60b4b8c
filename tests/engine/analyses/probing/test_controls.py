"""Control tasks: labels that say nothing, the same everywhere a word type stands."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planted import ner_store, nli_store, relabelled, runs_of, split_runs, word_rows, write
from seqeval.metrics import f1_score as entity_f1
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from store_factory import Synthetic

from biocache.engine import ProbeRequest, probe
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.controls import control_labels, seen_types, word_type_labels
from biocache.engine.analyses.probing.fitting import FIT_KIND
from biocache.engine.analyses.probing.target import find_target
from biocache.engine.metrics import sample_counts, scores_of_counts
from biocache.engine.statistics import jackknife_interval
from biocache.store import Run
from biocache.store.results import list_results

NAMES = ("O", "B-protein", "I-protein")
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


def in_loops(run: Run) -> list[str]:
    """Return the last word of each sample, without punctuation and capitals."""
    samples, texts = run.column("words/sample").tolist(), run.column("words/word_text").tolist()
    found = []
    for sample in range(run.counts.samples):
        words = [text for owner, text in zip(samples, texts, strict=True) if owner == sample]
        letters = ["".join(letter for letter in word if letter.isalnum()).lower() for word in words]
        found.append(next((word for word in reversed(letters) if word), ""))
    return found


def with_ends(source: Synthetic) -> Synthetic:
    """Let samples end with one of four words, two of which are alike, and a full stop or none."""
    texts, sample = source.columns["words/word_text"].copy(), source.columns["words/sample"]
    for number in np.unique(sample):
        own = np.flatnonzero(sample == number)
        texts[own[-1]] = ("Pain", "pain.", "fever", "cough")[number % 4]
        if number % 4 == 0 and len(own) > 1:
            texts[own[-2:]] = "Pain", "."
    if source.spec.key.split == "test":
        texts[np.flatnonzero(sample == 2)[-1]] = "sepsis"
    return replace(source, columns={**source.columns, "words/word_text": texts})


@pytest.mark.slow
def test_pairs_have_the_label_of_the_last_word_of_the_second_text(tmp_path: Path) -> None:
    store = nli_store(tmp_path, change=with_ends)
    target = find_target(store.storage, ProbeRequest(task="nli"), "corpus")
    train, test = ([store.run(split=split, view=view) for view in target.views] for split in ("train", "test"))
    assert target.views == ("premise", "hypothesis")
    pool = np.sort(train[0].labels().values)
    for runs in (train, test):
        words = np.array(in_loops(runs[1]), dtype=object)
        assert {"pain", "fever", "cough"} <= set(words)
        expected = word_type_labels(words, pool, 3)
        np.testing.assert_array_equal(control_labels(target, runs, train, 3), expected)
    known = set(in_loops(train[1]))
    share = np.mean([word in known for word in in_loops(test[1])])
    assert 0.9 < share < 1
    assert seen_types(target, test, train) == share
    result = probe(tmp_path, ProbeRequest(task="nli", control=True))
    assert result.attrs["control"] == "random label of each last word of a sample"
    assert result.attrs["control_seen"] == share


@pytest.mark.slow
def test_the_control_of_pairs_can_be_learnt_in_test_where_the_states_show_the_last_word(tmp_path: Path) -> None:
    def shown(source: Synthetic) -> Synthetic:
        """Write the number of the last word into the states of layer 2."""
        source = with_ends(source)
        ends = (0, 0, 1, 2)
        hidden = [states.copy() for states in source.hidden]
        for number, states in enumerate(hidden):
            states[2, :, 3 + ends[number % 4]] += 8
        return replace(source, hidden=hidden)

    nli_store(tmp_path, change=shown)
    # A seed that gives the three words different labels.
    pool = np.repeat(np.arange(3), 20)
    words = np.array(["pain", "fever", "cough"], dtype=object)
    seed = next(seed for seed in range(100) if len(set(word_type_labels(words, pool, seed))) == 3)
    result = probe(tmp_path, ProbeRequest(task="nli", control=True, seeds=seed + 1, resamples=20))
    own = result.control.sel(score="accuracy", layer=2, probe_seed=seed).item()
    assert own > 0.9
    assert own > result.control_majority.sel(score="accuracy", probe_seed=seed).item() + 0.3


def tags(source: Synthetic, codes: Any) -> list[list[str]]:
    names, sample = np.array(NAMES, dtype=object)[codes], source.columns["words/sample"]
    return [names[sample == number].tolist() for number in np.unique(sample)]


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
    request = ProbeRequest(task="ner", label_scheme="bio", control=True, seeds=2, resamples=100)
    result = probe(tmp_path, request)
    train, test = runs_of(store)
    target = find_target(store.storage, ProbeRequest(task="ner", label_scheme="bio"), "corpus")
    controls: dict[int, list[Any]] = {layer: [] for layer in range(3)}

    def left_out(gold: NDArray[Any], answers: NDArray[Any]) -> NDArray[Any]:
        """Score all samples, then all but each in turn (set, score)."""
        counts = sample_counts(gold, answers, test.column("words/sample"), NAMES, "bio")
        whole = counts.sum(axis=0)
        return scores_of_counts(np.stack([whole, *(whole - counts)]), NAMES, result.score.values.tolist())

    for seed in range(2):
        made = {
            split: relabelled(source, control_labels(target, [run], [train], seed))
            for (split, source), run in zip(sources.items(), (train, test), strict=True)
        }
        for layer in range(3):
            features, labels, _ = word_rows(made["train"], layer)
            scaler = StandardScaler().fit(features)
            plain = LogisticRegression(max_iter=1000).fit(scaler.transform(features), labels)
            unseen, _, position = word_rows(made["test"], layer)
            answers = np.full(test.counts.words, np.bincount(labels).argmax())
            answers[position] = plain.predict(scaler.transform(unseen))
            place = {"layer": layer, "probe_seed": seed}
            gold = made["test"].columns["words/label"]
            expected = {
                "accuracy": (answers == gold).mean(),
                "macro_f1": f1_score(gold, answers, average="macro", zero_division=0),
                "entity_f1": entity_f1(tags(made["test"], gold), tags(made["test"], answers), zero_division=0),
            }
            for name, value in expected.items():
                at = result.sel(score=name, **place)
                assert at.control.item() == pytest.approx(value)
                assert at.selectivity.item() == pytest.approx(result[name].sel(place).item() - value)
            usual = np.bincount(made["train"].columns["words/label"]).argmax()
            majority = result.control_majority.sel(score="accuracy", probe_seed=seed).item()
            assert majority == pytest.approx((gold == usual).mean())
            controls[layer].append(left_out(gold, answers))
    fits = {f.inputs["layer"]: f.load() for f in list_results(tmp_path, FIT_KIND) if f.inputs["goal"] == "task"}
    gold = test.labels().values
    for layer in range(3):
        difference = left_out(gold, fits[layer].predicted.to_numpy()) - np.mean(controls[layer], axis=0)
        size = np.bincount(test.column("words/sample")).astype(float)
        bounds = [result[f"selectivity_ci_{end}"].sel(layer=layer).squeeze() for end in ("low", "high")]
        # The first row is of all samples.
        np.testing.assert_allclose(bounds, jackknife_interval(difference[0], difference[1:].T, size))
    assert result.attrs["control"] == "random label of each word type"
    assert (result.selectivity.mean("probe_seed").squeeze().argmax("layer") == 1).all()


@pytest.mark.slow
def test_what_a_control_can_show_is_said(tmp_path: Path) -> None:
    """States that show no word type: a control that is not above its majority is no measure of what was memorised."""
    write(tmp_path, [with_vocabulary(split_runs(split)) for split in ("train", "test")])
    request = ProbeRequest(task="ner", label_scheme="bio", control=True, layers=(0,), resamples=20)
    result = probe(tmp_path, request)
    notes = list(Probing().notes(result, request))
    assert (
        "control: random label of each word type; 100 % of the test rows have a type that the train split has, and the "
        "labels of the others cannot be known" in notes
    )
    below = "the control's entity F1 is not above that of its most frequent label in 1 of 1 places"
    own = result.sel(score="entity_f1")
    assert any(note.startswith(below) for note in notes) == (own.control <= own.control_majority).item()
    faint = result.assign(control=result.control * 0)
    assert any(note.startswith(below) for note in Probing().notes(faint, request))
    strong = result.assign(control=result.control * 0 + 1)
    assert not any(note.startswith("the control's") for note in Probing().notes(strong, request))


@pytest.mark.slow
def test_without_a_control_there_is_no_selectivity(tmp_path: Path) -> None:
    ner_store(tmp_path)
    result = probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"))
    assert "selectivity" not in result
    assert "control" not in result.attrs
