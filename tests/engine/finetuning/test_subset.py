"""The samples of a training size: nested, fair, the same for every model, and none of another split."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from finetunings import Toy, make

from biocache.engine import FinetuneRequest, finetune
from biocache.engine.corpora.base import TASKS, Corpus
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.corpora.task import Sample
from biocache.engine.finetuning.subset import draw_subset, refuse_duplicates, strata
from biocache.store.digests import digest_samples
from biocache.store.errors import DataError

REAL = Path(__file__).parents[4] / "shared" / "data"
SIZES = (10, 30, 50, 100)


def pair(number: int, *words: str, prefix: str = "p") -> Sample:
    return Sample(f"{prefix}{number}", (words or (f"w{number}",), ("h",)), label="ab"[number % 2])


def corpus(**splits: list[Sample]) -> Corpus:
    held = {name: tuple(samples) for name, samples in splits.items()}
    return Corpus("c", "/data/c", TASKS["nli"], held)


def assert_nested_and_fair(read: Corpus) -> None:
    train = read.splits["train"]
    totals = Counter(strata(train))
    before: set[str] = set()
    others = {sample.id for name, split in read.splits.items() if name != "train" for sample in split}
    for size in SIZES:
        subset = draw_subset(read, size, 42)
        drawn = Counter(strata_of(train, set(subset.sample_ids)))
        assert all(abs(drawn[name] - total * size / 100) < 1 for name, total in totals.items())
        assert before <= set(subset.sample_ids)
        assert not others & set(subset.sample_ids)
        assert subset.digest == digest_samples(sample.labelled_row for sample in subset.samples)
        before = set(subset.sample_ids)
    assert len(before) == len(train)


def strata_of(samples: tuple[Sample, ...], chosen: set[str]) -> list[str]:
    return [name for name, sample in zip(strata(samples), samples, strict=True) if sample.id in chosen]


@pytest.mark.parametrize("task", ["ner", "nli"])
def test_sizes_are_nested_and_fair_and_hold_nothing_of_other_splits(toy: Toy, task: str) -> None:
    assert_nested_and_fair(read_corpus(task, str(toy.corpus / task)))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real corpora are not here")
@pytest.mark.parametrize(("task", "name"), [("ner", "jnlpba"), ("nli", "nli")])
def test_the_same_holds_of_real_corpora(task: str, name: str) -> None:
    assert_nested_and_fair(read_corpus(task, str(REAL / name)))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real corpora are not here")
def test_duplicates_of_a_real_corpus_are_counted() -> None:
    read = read_corpus("ner", str(REAL / "jnlpba"))
    by_hand = {sample.texts for sample in read.splits["train"]}
    counted = draw_subset(read, 100, 42).duplicates
    assert counted["test"] == sum(sample.texts in by_hand for sample in read.splits["test"]) >= 103
    assert draw_subset(read, 10, 42).duplicates["test"] < counted["test"]


@pytest.mark.parametrize("prefix", ["p", "other-id-"])
def test_splits_that_share_more_than_a_share_are_refused(prefix: str) -> None:
    train = [pair(number) for number in range(100)]
    same = [pair(number, prefix=prefix) for number in range(40)]
    test = [*same, *(pair(number, f"unseen{number}", prefix="t") for number in range(60))]
    read = corpus(train=train, test=test)
    refuse_duplicates(read, 0.4)
    says = rf"/data/c: 40 of 100 samples of the test split are in the train split too, .*'{prefix}0', .* and 35 more"
    for share in (0.39, 0.1, 0.0):
        with pytest.raises(DataError, match=says):
            refuse_duplicates(read, share)
    refuse_duplicates(corpus(train=train, test=test[40:]), 0.0)
    # A pair is equal where both of its texts are.
    others = [Sample("t", (sample.texts[0], ("another",)), label="a") for sample in train]
    refuse_duplicates(corpus(train=train, test=others), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_a_test_split_that_is_the_train_split_is_not_learned(toy: Toy, tmp_path: Path, task: str) -> None:
    folder = tmp_path / "corpus" / task
    shutil.copytree(toy.corpus / task, folder)
    suffix = "conll" if task == "ner" else "jsonl"
    shutil.copy(folder / f"train.{suffix}", folder / f"test.{suffix}")
    request = replace(toy.request(tmp_path / "c", task, training_sizes=(10,), epochs=1), dataset=f"toy={folder}")
    with pytest.raises(DataError, match=r"240 of 240 samples of the test split are in the train split too"):
        finetune(tmp_path / "s", request)
    assert not (tmp_path / "s").exists()
    made = make(tmp_path / "s", replace(request, max_duplicates=1.0))
    assert made.told[0][0].origin.notes["duplicates_in_test"] == 24


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real corpora are not here")
@pytest.mark.parametrize(("task", "name"), [("ner", "jnlpba"), ("nli", "nli")])
def test_real_corpora_are_not_refused(task: str, name: str) -> None:
    corpus = read_corpus(task, str(REAL / name))
    known = {sample.texts for sample in corpus.splits["train"]}
    held_out = [split for name, split in corpus.splits.items() if name != "train"]
    shares = [sum(sample.texts in known for sample in split) / len(split) for split in held_out]
    allowed = FinetuneRequest(task=task).max_duplicates
    assert 0 <= max(shares) < allowed
    assert refuse_duplicates(corpus, max(shares)) is None  # type: ignore[func-returns-value]
    if max(shares):
        with pytest.raises(DataError, match="are in the train split too"):
            refuse_duplicates(corpus, max(shares) * 0.999)


def test_the_same_words_under_another_id_are_counted_and_the_same_id_of_other_words_is_not() -> None:
    train = [pair(number) for number in range(10)]
    test = [pair(2, "w2", prefix="t"), pair(5, "other"), pair(7, "w7", prefix="t"), pair(7, "w7", prefix="u")]
    assert draw_subset(corpus(train=train, test=test), 100, 42).duplicates == {"test": 3}
    assert draw_subset(corpus(train=train, test=[pair(50)]), 100, 42).duplicates == {}


@pytest.mark.slow
def test_every_model_is_fine_tuned_on_the_same_samples(toy: Toy, tmp_path: Path) -> None:
    models = tuple(f"{family}={toy.models[family]}" for family in ("bert", "gpt2", "biogpt"))
    request = toy.request(tmp_path / "c", "nli", models=models, training_sizes=(10,), epochs=1)
    made = make(tmp_path / "store", request)
    assert len({checkpoint.spec.subset_digest for checkpoint, _ in made.told}) == 1
    records = [json.loads((checkpoint.folder / "finetuning.json").read_text()) for checkpoint, _ in made.told]
    assert len(records) == 3
    assert records[0]["samples"] == records[1]["samples"] == records[2]["samples"]
    read = read_corpus("nli", str(toy.corpus / "nli"))
    assert records[0]["samples"] == draw_subset(read, 10, 42).sample_ids
