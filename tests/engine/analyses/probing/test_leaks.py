"""Scored samples whose texts or groups the train split has, or the fine-tuning had, counted by hand."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grouped import keep_groups
from planted import ner_store, nli_store, split_runs, write
from store_factory import Synthetic

from biocache.engine import ClassifierOptions, ProbeRequest, probe
from biocache.engine.analyses.probing.analysis import Probing
from biocache.store import Store


def asked(**settings: Any) -> ProbeRequest:
    options = ClassifierOptions(c=1.0)
    return ProbeRequest(**{"task": "ner", "label_scheme": "bio", "layers": (0,), "options": options, **settings})


def texts(run: Synthetic) -> list[tuple[str, ...]]:
    """Return the words of each sample."""
    words, owner = run.columns["words/word_text"], run.columns["words/sample"]
    return [tuple(words[owner == sample]) for sample in range(len(run.columns["samples/sample_id"]))]


def reworded(run: Synthetic, prefix: str, kept: Sequence[int] = ()) -> Synthetic:
    """Give the samples of a run other words, but for some."""
    owner, words = run.columns["words/sample"], run.columns["words/word_text"]
    new = np.array([word if at in kept else f"{prefix}{word}" for at, word in zip(owner, words, strict=True)], object)
    return replace(run, columns=run.columns | {"words/word_text": new})


def both(root: Path, kept: Sequence[int], seen: Sequence[int] = ()) -> tuple[Synthetic, Synthetic]:
    """Write train and test runs of equal lengths: test has the texts of some train samples, and ids of its own."""
    lengths = tuple(int(size) for size in np.random.default_rng(4).integers(4, 12, 30))
    train = split_runs("train", lengths=lengths)
    test = reworded(split_runs("test", lengths=lengths, seed=3), "other-", kept)
    ids = np.array([f"test-{number}" for number in range(30)], object)
    column = np.isin(np.arange(30), list(seen)).astype(np.int8)
    test = replace(test, columns=test.columns | {"samples/sample_id": ids, "samples/seen": column})
    write(root, [train, test])
    return train, test


@pytest.mark.slow
def test_equal_texts_are_counted_whatever_their_ids(tmp_path: Path) -> None:
    train, test = both(tmp_path, kept=(2, 3, 17), seen=(3,))
    expected = sum(own in set(texts(train)) for own in texts(test))
    assert expected >= 3
    assert not set(train.columns["samples/sample_id"]) & set(test.columns["samples/sample_id"])
    request = asked()
    result = probe(tmp_path, request)
    assert (result.attrs["texts_in_train"], result.attrs["scored_samples"]) == (expected, 30)
    assert result.texts_in_tuning.item() == 1
    notes = list(Probing().notes(result, request))
    said = [
        f"{expected} of 30 scored samples of the test split have the texts of a train sample, word for word: scores "
        "are too high; remove them from one of the splits",
        "up to 1 of 30 scored samples have texts that a model was fine-tuned on (texts_in_tuning in the result)",
    ]
    assert [note for note in notes if "scored samples" in note] == said


@pytest.mark.slow
def test_where_nothing_is_shared_nothing_is_said(tmp_path: Path) -> None:
    both(tmp_path, kept=())
    request = asked()
    result = probe(tmp_path, request)
    assert result.attrs["texts_in_train"] == result.texts_in_tuning.item() == 0
    assert "groups_in_train" not in result.attrs
    assert not any("scored samples" in note for note in Probing().notes(result, request))


@pytest.mark.slow
def test_samples_without_a_label_are_not_counted(tmp_path: Path) -> None:
    train, test = both(tmp_path, kept=range(30))
    store = Store.open(tmp_path)
    owner = test.columns["words/sample"]
    where = {"task": "ner", "dataset": "corpus"}
    for split, run in (("train", train), ("test", test)):
        of = run.columns["words/sample"]
        labels = [
            ("even" if word % 2 else "odd") if split == "train" or of[word] < 20 else None for word in range(len(of))
        ]
        store.add_labels("parity", labels, level="words", split=split, **where)
    result = probe(tmp_path, asked(labels="parity"))
    assert result.attrs["scored_samples"] == result.attrs["texts_in_train"] == len(set(owner[owner < 20])) == 20


@pytest.mark.slow
@pytest.mark.parametrize("views", [("premise", "hypothesis"), ("pair",)])
def test_both_texts_of_a_pair_must_be_equal(tmp_path: Path, views: tuple[str, ...]) -> None:
    store = nli_store(tmp_path, views)
    found = {}
    for split in ("train", "test"):
        runs = [store.run(split=split, view=view) for view in views]
        rows: list[Any] = []
        for sample in range(runs[0].counts.samples):
            own = []
            for run in runs:
                mine = run.column("words/sample") == sample
                words, segment = run.column("words/word_text")[mine], run.column("words/segment")[mine]
                own += [tuple(words[segment == text]) for text in ((0, 1) if views == ("pair",) else (0,))]
            rows.append(tuple(own))
        found[split] = rows
    expected = sum(row in set(found["train"]) for row in found["test"])
    request = asked(task="nli", features="pair" if views == ("pair",) else None)
    assert probe(tmp_path, request).attrs["texts_in_train"] == expected


@pytest.mark.slow
def test_groups_that_both_splits_have_are_counted(tmp_path: Path) -> None:
    train, test = both(tmp_path, kept=())
    keep_groups(tmp_path, train, [None, *(f"document {number // 3}" for number in range(29))])
    # Documents 7 to 11; two of them, of three samples each but for the last, are of the train split.
    keep_groups(tmp_path, test, [*(f"document {8 + number // 6}" for number in range(29)), None])
    request = asked()
    result = probe(tmp_path, request)
    known = {f"document {number // 3}" for number in range(29)}
    groups = [f"document {8 + number // 6}" for number in range(29)]
    shared = [name for name in groups if name in known]
    facts = result.attrs
    assert (facts["groups_in_train"], facts["samples_of_groups_in_train"]) == (len(set(shared)), len(shared)) == (2, 12)
    (note,) = (note for note in Probing().notes(result, request) if "groups that the train split" in note)
    assert note.startswith("12 of 30 scored samples are of 2 groups that the train split has too (label set group)")


@pytest.mark.slow
def test_unknown_tuning_is_not_a_number(tmp_path: Path) -> None:
    ner_store(tmp_path)
    result = probe(tmp_path, asked())
    assert result.texts_in_tuning.isnull().all()
