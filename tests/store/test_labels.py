"""Label sets: joined to the words and samples that they are of, and to no others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from by_hand import words_by_hand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_factory import Synthetic, synthetic

from biocache.store import Run, Store
from biocache.store.copying import copy_run
from biocache.store.digests import sample_rows
from biocache.store.errors import (
    BiocacheError,
    DataError,
    IntegrityError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
)
from biocache.store.label_sets import LabelPlace, find_labels, keep_labels, label_files
from biocache.store.labelling import split_text
from biocache.store.labels import LabelSet

WHERE = {"task": "ner", "dataset": "corpus", "split": "test"}
PLACE = LabelPlace("ner", "corpus", "test", "pos")
SAMPLES = [("a", [["The", "gene"]]), ("b", [["IL-2"]]), ("c", [["of", "T", "cells"]])]


def made(labels: list[Any], level: str = "words", samples: Any = SAMPLES, **options: Any) -> LabelSet:
    return LabelSet.make("pos", level, labels, samples, **options)


def words_of(source: Synthetic) -> int:
    return len(source.columns["words/word_text"])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic().write_all(tmp_path / "s.zarr")


def store_of(run: Run) -> Store:
    return Store(run.group.storage)


# What labels are


def test_texts_are_classes_and_numbers_numbers() -> None:
    classes = made(["DET", "NOUN", None, "ADP", "NOUN", "NOUN"])
    assert (classes.kind, classes.names) == ("class", ("ADP", "DET", "NOUN"))
    assert classes.values.tolist() == [1, 2, -1, 0, 2, 2]
    numbers = made([1, 2.5, None, -1, 0, 3])
    assert (numbers.kind, numbers.names) == ("number", ())
    np.testing.assert_array_equal(numbers.values, [1, 2.5, np.nan, -1, 0, 3])
    assert made(["O", "B-x", "I-x", "O", "O", "B-x"], iob2=True).kind == "iob2"
    assert made(["O", "b", "a"], "samples").names == ("O", "a", "b")


@pytest.mark.parametrize(
    ("labels", "says"), [(["a", 1.0, None, "b", "c", "d"], "holds text"), ([1.0] * 5 + [float("inf")], "not finite")]
)
def test_labels_that_are_neither_are_refused(labels: list[Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        made(labels)


@pytest.mark.parametrize("name", ["label", "sample", "word", "../x", "a b", ""])
def test_names_that_cannot_be_used_are_refused(name: str) -> None:
    with pytest.raises(SettingError):
        LabelPlace("ner", "corpus", "test", name)


# Joining


@pytest.mark.slow
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    capacity=st.integers(1, 40),
    seed=st.integers(0, 999),
    numeric=st.booleans(),
)
def test_labels_follow_their_words(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], capacity: int, seed: int, numeric: bool
) -> None:
    """Through packing, pooling, levels, stacking and copying; in any order of the samples, and some without."""
    root = tmp_path_factory.mktemp("stores")
    source = synthetic(lengths, capacity)
    runs = [replace_size(source, size).write_all(root / "s.zarr") for size in (0, 30)]
    rng = np.random.default_rng(seed)
    rows = list(sample_rows(runs[0]))
    # The label of a word says which it is: its sample and its position.
    labels: dict[tuple[str, int], Any] = {
        (name, at): None if rng.random() < 0.2 else (100.0 * place + at if numeric else f"{name}.{at}")
        for place, (name, (words,)) in enumerate(rows)
        for at in range(len(words))
    }
    kept = [rows[place] for place in rng.permutation(len(rows))[: rng.integers(1, len(rows) + 1)]]
    flat = [labels[name, at] for name, (words,) in kept for at in range(len(words))]
    made_set = LabelSet.make("mine", "words", flat, kept)
    keep_labels(root / "s.zarr", LabelPlace("ner", "corpus", "test", "mine"), made_set)
    there = {name for name, _ in kept}
    copy_run(runs[1], root / "t.zarr")
    views = [run.words(pooling, labels="mine") for run in runs for pooling in ("mean", "first")]
    views += [runs[0].words(labels=["mine"]).rename(mine="label")]
    views += [Store.open(root / "s.zarr").stack("words", labels="mine", training_size=[0, 30])]
    views += [Store.open(root / "t.zarr").run().words(labels="mine")]
    begins = runs[0].column("samples/word_start")
    for view in views:
        for word, sample, label in zip(view.word.values, view["sample"].values, view.label.values, strict=True):
            name, at = rows[sample][0], int(word - begins[sample])
            expected = labels[name, at] if name in there else None
            if expected is None:
                assert np.isnan(label) if isinstance(label, float) else label == "", (name, at)
            else:
                assert label == expected
    tokens = runs[0].tokens(labels="mine") if made_set.kind == "class" else None
    if tokens is not None:
        for word, label in zip(tokens.word.values, tokens.label.values, strict=True):
            place = int(runs[0].column("words/sample")[word]) if word >= 0 else -1
            own = labels[rows[place][0], int(word - begins[place])] if word >= 0 and rows[place][0] in there else None
            assert label == (own or "")


def replace_size(source: Synthetic, size: int) -> Synthetic:
    return replace(source, spec=replace(source.spec, key=replace(source.spec.key, training_size=size)))


def test_labels_of_samples_are_those_of_their_words_too(run: Run) -> None:
    ids = run.column("samples/sample_id")
    store_of(run).add_labels("topic", {name: f"t{place % 2}" for place, name in enumerate(ids)}, **WHERE)
    samples = run.samples(labels="topic").label.values.tolist()
    assert samples == [f"t{place % 2}" for place in range(len(ids))]
    words = run.words(labels=["topic"])
    assert words.topic.values.tolist() == [samples[place] for place in words["sample"].values]
    tokens = run.tokens(labels="topic")
    assert tokens.label.values.tolist() == [samples[place] for place in tokens["sample"].values]
    assert run.attention(labels="topic").label.values.tolist() == samples


def test_a_view_has_the_labels_that_are_asked_for(run: Run) -> None:
    synthetic().keep_labels(run.path.parents[6])
    store = store_of(run)
    store.add_labels("length", [float(len(word)) for word in run.column("words/word_text")], **WHERE)
    assert "label" in run.words().coords
    assert "label" not in run.samples().coords
    assert set(run.words(labels=()).coords) == set(run.words().coords) - {"label"}
    both = run.words(labels=["gold", "length"])
    assert both.length.dtype == np.float64
    assert set(both.gold.values) <= {"O", "protein"}
    assert set(run.words(labels=["gold"], label_scheme="bio").gold.values) <= {"O", "B-protein", "I-protein"}
    with pytest.raises(SettingError, match="labels words, and a row of this view is a sample"):
        run.samples(labels="length")
    with pytest.raises(RunNotFoundError, match=r"has no label set 'pos' .* \(it has gold, length\); add it with"):
        run.words(labels="pos")
    with pytest.raises(SettingError, match="label scheme 'iob' is not one of type, bio"):
        run.words(label_scheme="iob")


def test_labels_of_another_text_are_refused(run: Run) -> None:
    rows = [(name, [[f"other-{word}" for word in words]]) for name, (words,) in sample_rows(run)]
    labels: list[Any] = ["x"] * sum(len(words) for _, (words,) in rows)
    keep_labels(run.group.storage, PLACE, LabelSet.make("pos", "words", labels, rows))
    with pytest.raises(DataError, match=r"label set 'pos' of ner corpus test is of another text .* 's0' differs"):
        Run.open(run.group.storage, run.key).words(labels="pos")


@pytest.mark.slow
def test_views_of_one_text_take_their_part_of_the_labels_of_pairs(tmp_path: Path) -> None:
    """The factory's words of a premise are those of its hypothesis, so that the labels tell them apart."""
    runs = {view: synthetic(task="nli", view=view).write_all(tmp_path) for view in ("premise", "hypothesis")}
    text = split_text(runs["premise"].group.storage, "nli", "corpus", "test")
    places = [(place, len(words)) for _, texts in text.samples for place, words in enumerate(texts)]
    labels = [f"{place}{at}" for place, count in places for at in range(count)]
    Store.open(tmp_path).add_labels("place", labels, task="nli", dataset="corpus", split="test")
    for place, run in enumerate(runs.values()):
        found = run.labels("place").texts.tolist()
        assert found == [f"{place}{at}" for _, (words,) in sample_rows(run) for at in range(len(words))]


# Keeping


def test_samples_that_are_new_are_added_and_others_must_agree(tmp_path: Path) -> None:
    keep_labels(tmp_path, PLACE, made(["DET", "NOUN", "NOUN"], samples=SAMPLES[:2]))
    longer = made(["DET", "NOUN", "NOUN", "ADP", None, "NOUN"])
    both = keep_labels(tmp_path, PLACE, longer)
    assert both.sample_ids.tolist() == ["a", "b", "c"]
    found = find_labels(tmp_path, PLACE).labels
    assert found.values.tolist() == [1, 2, 2, 0, -1, 2]
    # A part of it changes nothing.
    keep_labels(tmp_path, PLACE, made(["NOUN"], samples=SAMPLES[1:2]))
    assert find_labels(tmp_path, PLACE).labels.sample_ids.tolist() == ["a", "b", "c"]
    for other in (
        made(["VERB"], samples=SAMPLES[1:2]),
        made(["NOUN"], samples=[("b", [["IL-4"]])]),
        made([1.0], samples=SAMPLES[1:2]),
        made(["x"], "samples", samples=SAMPLES[1:2]),
    ):
        with pytest.raises(SpecMismatchError, match=r"has a label set ner/corpus/test/pos .* in another way"):
            keep_labels(tmp_path, PLACE, other)
    keep_labels(tmp_path, PLACE, made(["VERB"], samples=SAMPLES[1:2]), overwrite=True)
    assert find_labels(tmp_path, PLACE).labels.names == ("VERB",)


@pytest.mark.slow
def test_every_damaged_byte_is_seen(tmp_path: Path) -> None:
    keep_labels(tmp_path, PLACE, made(["DET", "NOUN", None, "ADP", "NOUN", "NOUN"]))
    file = tmp_path / PLACE.file
    whole = file.read_bytes()
    for position in range(0, len(whole), 37):
        file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        problems = Store.open(tmp_path).verify()
        if problems:
            assert [problem.place for problem in problems] == [PLACE.file]
            with pytest.raises(IntegrityError, match=r"label set .* cannot be read"):
                find_labels(tmp_path, PLACE)
        else:  # A byte of the archive that nothing reads.
            assert find_labels(tmp_path, PLACE).labels.values.tolist() == [1, 2, -1, 0, 2, 2]
    file.write_bytes(whole)
    assert Store.open(tmp_path).verify() == []


def test_sets_are_listed_and_removed_by_name(run: Run) -> None:
    store = store_of(run)
    for name in ("a", "b"):
        store.add_labels(name, ["x"] * run.counts.words, **WHERE)
    assert [str(each.place) for each in store.labels()] == ["ner/corpus/test/a", "ner/corpus/test/b"]
    assert [each.place.name for each in store.labels(name="b", task="ner")] == ["b"]
    with pytest.raises(SettingError, match="model is no part of a label set's place"):
        store.labels(model="x")
    assert store.remove_labels(each.place for each in store.labels(name="a")) > 0
    assert label_files(store.storage) == ["labels/ner/corpus/test/b.zip"]
    assert len(store.keys()) == 1


# Adding in Python


@pytest.mark.slow
def test_forms_of_labels(run: Run) -> None:
    """By sample, by sample and word, and in the order of the corpus."""
    store = store_of(run)
    rows = list(sample_rows(run))
    flat = [f"{name}{at % 3}" for name, (words,) in rows for at in range(len(words))]
    nested = [[f"{name}{at % 3}" for at in range(len(words))] for name, (words,) in rows]
    by_id = dict(zip([name for name, _ in rows], nested, strict=True))
    frame = pd.DataFrame(
        [(name, at, label) for name, own in by_id.items() for at, label in enumerate(own)],
        columns=["sample_id", "word", "label"],
    ).sample(frac=1, random_state=0)
    forms = {"flat": flat, "array": np.array(flat), "series": pd.Series(flat), "nested": nested, "ids": by_id}
    forms["frame"] = frame
    for name, labels in forms.items():
        store.add_labels(name, labels, **WHERE)
        assert run.labels(name).texts.tolist() == flat, name
    samples = {name: place * 1.5 for place, (name, _) in enumerate(rows) if place != 2}
    store.add_labels("size", samples, **WHERE)
    np.testing.assert_array_equal(run.labels("size").values, [samples.get(name, np.nan) for name, _ in rows])
    table = pd.DataFrame({"sample_id": list(samples), "label": list(samples.values())})
    store.add_labels("table", table, **WHERE)
    np.testing.assert_array_equal(run.labels("table").values, run.labels("size").values)
    words = words_by_hand(synthetic(), "mean")
    assert run.words(labels="flat").label.values.tolist() == [flat[word] for word in sorted(words)]


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        (["x"], {}, "1 labels are neither one for each of the 6 samples of ner corpus test nor for each of its"),
        ({"s0": "x", "s9": "y"}, {}, r"has no sample 's9' \(its ids are 's0', 's1', 's2', ...\); correct the id"),
        ({"s0": ["x"] * 99}, {}, "sample 's0' of ner corpus test has . words? and 99 labels; give one a word"),
        ({"s0": "x", "s1": ["y"]}, {}, "some samples have one label and others a label a word"),
        ({"s0": "x"}, {"level": "words"}, "the labels are of samples, and level says words"),
        ({"s0": None}, {}, "labels no sample of ner corpus test"),
        ({"s0": {1}}, {}, "is neither text nor a number"),
        ({"s0": "x"}, {"level": "tokens"}, "level 'tokens' of labels is not one of words, samples"),
        (pd.DataFrame({"id": ["s0"], "label": ["x"]}), {}, "has no column 'sample_id'"),
        (pd.DataFrame({"sample_id": ["s0"], "word": [7], "label": ["x"]}), {}, "has no word 7; its words are 0 to"),
        (pd.DataFrame({"sample_id": ["s0", "s0"], "label": ["x", "y"]}), {}, "a label for this sample came before"),
        ({"s0": "x"}, {"split": "train"}, "has no run that holds all text of ner corpus train"),
    ],
)
def test_labels_of_nothing_are_refused(run: Run, labels: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(BiocacheError, match=says):
        store_of(run).add_labels("pos", labels, **{**WHERE, **options})
    assert label_files(run.group.storage) == []
