"""Which train samples probes are fitted on, by what models were fine-tuned on: sets by hand, fits of scikit-learn."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planted import split_runs, word_rows, write
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, compare_probes, probe
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analyses.probing.planning import fit_shape
from biocache.engine.analysis import find
from biocache.engine.statistics import drawn_samples
from biocache.store.errors import DataError, SettingError

SAMPLES = 60
#: Nested subsets, as fine-tuning draws them.
SEEN = {0: set(), 10: {3, 8, 20, 41, 55, 59}, 30: {1, 3, 8, 11, 19, 20, 27, 33, 38, 41, 42, 46, 50, 52, 53, 55, 58, 59}}


def asked(**settings: Any) -> ProbeRequest:
    options = ClassifierOptions(c=1.0)
    return ProbeRequest(**{"task": "ner", "label_scheme": "bio", "layers": (0,), "options": options, **settings})


def seeing(source: Synthetic, seen: Iterable[int] | None) -> Synthetic:
    """Say which samples the model of a run has seen; None for what is not known."""
    count = len(source.columns["samples/sample_id"])
    column = np.full(count, -1, np.int8)
    if seen is not None:
        column = np.isin(np.arange(count), list(seen)).astype(np.int8)
    return replace(source, columns=source.columns | {"samples/seen": column})


def made(root: Path, seen: Mapping[int, Iterable[int] | None] = SEEN) -> dict[tuple[int, str], Synthetic]:
    """Write runs of some training sizes; layer 0 knows a little."""
    runs = {}
    for size, own in seen.items():
        for split in ("train", "test"):
            run = split_runs(split, training_size=size, planted=0, strength=1.5, seed=size)
            runs[size, split] = seeing(run, own if split == "train" else ())
    write(root, runs.values())
    return runs


def by_hand(
    runs: Mapping[tuple[int, str], Synthetic], size: int, samples: Iterable[int]
) -> tuple[float, int, NDArray[Any]]:
    """Return accuracy and rows of a fit on the words of some samples, and the classes that it predicts."""
    train, test = runs[size, "train"], runs[size, "test"]
    features, labels, position = word_rows(train, 0)
    own = np.isin(train.columns["words/sample"][position], list(samples))
    scaler = StandardScaler().fit(features[own])
    plain = LogisticRegression(C=1.0, max_iter=1000).fit(scaler.transform(features[own]), labels[own])
    unseen, _, place = word_rows(test, 0)
    gold = test.columns["words/label"]
    predicted = np.full(len(gold), np.bincount(labels[own]).argmax())
    predicted[place] = plain.predict(scaler.transform(unseen))
    return float((predicted == gold).mean()), int(own.sum()), predicted


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["all", "unseen", "seen"])
def test_all_models_are_fitted_on_the_same_samples(tmp_path: Path, choice: str) -> None:
    runs = made(tmp_path)
    everything = set(range(SAMPLES))
    samples = {"all": everything, "unseen": everything - SEEN[30], "seen": SEEN[10] & SEEN[30]}[choice]
    request = asked(train_on=choice)
    result = probe(tmp_path, request)
    for size in SEEN:
        own = result.sel(training_size=size).squeeze()
        accuracy, rows, predicted = by_hand(runs, size, samples)
        assert own.accuracy.item() == pytest.approx(accuracy)
        assert own.train_rows.item() == rows
        assert own.confusion.sum("label").to_numpy().tolist() == np.bincount(predicted, minlength=3).tolist()
        # The share of rows, not of samples: sentences differ in words.
        of_words = np.array(runs[size, "train"].columns["words/sample"])
        inside = np.isin(of_words, list(samples))
        share = np.isin(of_words, list(SEEN[size]))[inside].mean()
        assert own.seen_share.item() == pytest.approx(share)
    frame = Probing().frame(result, request)
    assert frame["seen_share"].tolist() == pytest.approx(result.seen_share.to_numpy().ravel().tolist())
    assert result.attrs["train_on"] == choice
    notes = [note for note in Probing().notes(result, request) if "fine-tuned on train rows" in note]
    if choice == "all":
        (note,) = notes
        shares = [f"{size} %: {100 * result.seen_share.sel(training_size=size).item():.0f} %" for size in (10, 30)]
        assert f"(training size and share of the rows: {', '.join(shares)})" in note
    else:
        assert notes == []


@pytest.mark.slow
def test_unseen_rows_depend_on_what_is_compared(tmp_path: Path) -> None:
    runs = made(tmp_path)
    small = probe(tmp_path, asked(train_on="unseen", training_sizes=(0, 10))).squeeze()
    both = probe(tmp_path, asked(train_on="unseen")).squeeze()
    _, rows, _ = by_hand(runs, 10, set(range(SAMPLES)) - SEEN[10])
    assert small.train_rows.sel(training_size=0).item() == small.train_rows.sel(training_size=10).item() == rows
    assert both.train_rows.sel(training_size=10).item() < rows
    # Nothing was fine-tuned: all samples are unseen.
    pretrained = probe(tmp_path, asked(train_on="unseen", training_sizes=(0,))).squeeze()
    everything = probe(tmp_path, asked(training_sizes=(0,))).squeeze()
    assert pretrained.accuracy.item() == everything.accuracy.item()
    with pytest.raises(SettingError, match="no model of these was fine-tuned"):
        probe(tmp_path, asked(train_on="seen", training_sizes=(0,)))


@pytest.mark.slow
def test_a_limit_and_a_code_are_of_the_chosen_samples(tmp_path: Path) -> None:
    runs = made(tmp_path)
    request = asked(train_on="unseen", max_train_samples=12, mdl=True, seeds=2)
    result = probe(tmp_path, request).squeeze()
    unseen = np.array(sorted(set(range(SAMPLES)) - SEEN[30]))
    for seed in range(2):
        drawn = unseen[drawn_samples(len(unseen), 12, seed)]
        assert not set(drawn.tolist()) & SEEN[30]
        accuracy, rows, _ = by_hand(runs, 30, drawn)
        own = result.sel(training_size=30, probe_seed=seed)
        assert (own.accuracy.item(), own.train_rows.item()) == (pytest.approx(accuracy), rows)
        assert own.uniform_code_length.item() == pytest.approx(rows * np.log2(3))
    cell = next(iter(find("probe", tmp_path, request).runs))
    counts = cell.train[0].column("samples/word_count")
    largest = max(int(counts[unseen[drawn_samples(len(unseen), 12, seed)]].sum()) for seed in range(2))
    assert fit_shape(cell, request).train_rows == largest


@pytest.mark.slow
def test_pairs_are_compared_on_the_same_samples(tmp_path: Path) -> None:
    runs = made(tmp_path)
    pairs = compare_probes(tmp_path, asked(train_on="unseen", score="accuracy", training_sizes=(10, 30)))
    unseen = set(range(SAMPLES)) - SEEN[30]
    difference = by_hand(runs, 30, unseen)[0] - by_hand(runs, 10, unseen)[0]
    assert pairs.difference.item() == pytest.approx(difference)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seen", "choice", "says"),
    [
        (
            {0: (), 100: range(SAMPLES)},
            "unseen",
            r"no train sample is unseen by all models; tiny at training size 100 has seen 60 of 60: leave it out with "
            r"training_sizes, or leave train_on out$",
        ),
        ({10: (1, 2), 30: (3, 4, 5)}, "seen", r"no train sample is seen by all models; tiny at training size 10 has"),
        ({0: (), 30: None}, "unseen", r"it is not known what the model of run ner/corpus/tiny/size-030/"),
        ({30: None}, "seen", r"it is not known what the model of run .* was fine-tuned on, since another tool"),
    ],
)
def test_where_no_row_is_left_one_line_says_so(tmp_path: Path, seen: Any, choice: str, says: str) -> None:
    made(tmp_path, seen)
    with pytest.raises(DataError, match=says) as caught:
        probe(tmp_path, asked(train_on=choice))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    other, tmp_path = tmp_path / "other", tmp_path / "store"
    made(tmp_path, {0: (), 10: SEEN[10], 30: None})
    request = asked()
    result = probe(tmp_path, request)
    shares = result.seen_share.squeeze()
    assert shares.sel(training_size=0).item() == 0
    assert shares.sel(training_size=30).isnull()
    notes = list(Probing().notes(result, request))
    assert sum("of 1 of 2 fine-tuned models it is not known which samples" in note for note in notes) == 1
    # What a model has seen is part of what a result is found by, though it is not of the identity of its run.
    assert find("probe", tmp_path, request).result() is not None
    made(other, SEEN)
    inputs = [find("probe", root, request).inputs["cells"][2] for root in (tmp_path, other)]
    assert inputs[0]["train"] == inputs[1]["train"]
    assert inputs[0]["seen"] != inputs[1]["seen"]
