"""A run says which of its samples its model was fine-tuned on: those of the checkpoint, by their texts."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from finetunings import PLACE, Made, Toy

from biocache.engine import ClassifierOptions, ExtractionRequest, ProbeRequest, extract, probe
from biocache.engine.corpora.duplicates import are_among, text_digests_of, text_keys
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.corpora.task import Sample
from biocache.engine.finetuning.checkpoint import RECORD, Checkpoint
from biocache.engine.finetuning.subset import draw_subset
from biocache.store import Store
from biocache.store.copying import copy_run
from biocache.store.digests import sample_rows
from biocache.store.sealing import digest_of


def extracted(store: Path, toy: Toy, checkpoints: Path, dataset: str = "", **settings: object) -> Store:
    defaults: dict[str, object] = {
        "dataset": dataset or f"toy={toy.corpus / 'ner'}",
        "models": (f"bert={toy.models['bert']}",),
        "training_sizes": (0, 30, 100),
        "checkpoints": checkpoints,
        "splits": ("train", "test"),
        "keep": ("hidden",),
        "device": "cpu",
    }
    extract(store, ExtractionRequest(task="ner", **(defaults | settings)))  # type: ignore[arg-type]
    return Store.open(store)


def texts(samples: Sequence[Sample]) -> set[tuple[tuple[str, ...], ...]]:
    return {sample.texts for sample in samples}


@pytest.mark.slow
def test_runs_know_the_subset_of_their_model(made: Made, toy: Toy, tmp_path: Path) -> None:
    store = extracted(tmp_path / "store", toy, made.checkpoints)
    corpus = read_corpus("ner", str(toy.corpus / "ner"))
    for size in (0, 30, 100):
        subset = texts(draw_subset(corpus, size, 42).samples) if size else set()
        for split in ("train", "test"):
            run = store.run(training_size=size, split=split)
            expected = [sample.texts in subset for sample in corpus.splits[split]]
            assert run.column("samples/seen").tolist() == expected
    sizes = {size: int(store.run(training_size=size, split="train").column("samples/seen").sum()) for size in (30, 100)}
    assert sizes == {30: 72, 100: 240}
    # It goes along with a copy.
    run = store.run(training_size=30, split="train")
    copy_run(run, tmp_path / "copy")
    copied = Store.open(tmp_path / "copy").run(training_size=30, split="train")
    assert copied.column("samples/seen").tolist() == run.column("samples/seen").tolist()

    def asked(*sizes: int, train_on: str = "unseen") -> ProbeRequest:
        options = ClassifierOptions(c=1.0)
        return ProbeRequest(task="ner", training_sizes=sizes, train_on=train_on, layers=(0,), options=options)

    unseen = {name for name, seen in zip(*columns(store, 30), strict=True) if not seen}
    words = sum(len(row[0]) for name, row in sample_rows(run) if name in unseen)
    result = probe(tmp_path / "store", asked(0, 30))
    assert (result.train_rows == words).all()
    assert result.seen_share.squeeze().to_numpy().tolist() == [0.0, 0.0]
    assert (probe(tmp_path / "store", asked(30, train_on="seen")).train_rows == run.counts.words - words).all()
    with pytest.raises(
        Exception, match=r"no train sample is unseen by all models; bert at training size 100 has seen 240"
    ):
        probe(tmp_path / "store", asked(0, 30, 100))


def columns(store: Store, size: int) -> tuple[list[str], list[int]]:
    run = store.run(training_size=size, split="train")
    return run.column("samples/sample_id").tolist(), run.column("samples/seen").tolist()


@pytest.mark.slow
def test_texts_count_and_not_ids_or_datasets(made: Made, toy: Toy, tmp_path: Path) -> None:
    # Another corpus, whose test split has sentences that the model was fine-tuned on.
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(toy.corpus / "ner/train.conll", other / "test.conll")
    settings = {"splits": ("test",), "training_sizes": (30,), "trained_on": "toy"}
    store = extracted(tmp_path / "store", toy, made.checkpoints, f"other={other}", **settings)
    run = store.run(split="test")
    assert run.column("samples/sample_id")[0].startswith("test")
    corpus = read_corpus("ner", str(toy.corpus / "ner"))
    subset = texts(draw_subset(corpus, 30, 42).samples)
    assert run.column("samples/seen").tolist() == [sample.texts in subset for sample in corpus.splits["train"]]


@pytest.mark.slow
def test_what_no_checkpoint_says_is_not_known(made: Made, toy: Toy, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(made.checkpoints / PLACE, checkpoints / PLACE)
    record = json.loads((checkpoints / PLACE / RECORD).read_text())
    corpus = read_corpus("ner", str(toy.corpus / "ner"))
    assert record["texts"] == text_keys(text_digests_of(draw_subset(corpus, 30, 42).samples))
    # As an earlier release wrote it.
    del record["texts"], record["digest"]
    record["digest"] = digest_of(record)
    (checkpoints / PLACE / RECORD).write_text(json.dumps(record))
    assert Checkpoint.read(checkpoints / PLACE).texts == ()
    settings = {"splits": ("test",), "training_sizes": (30,)}
    store = extracted(tmp_path / "earlier", toy, checkpoints, **settings)
    assert set(store.run().column("samples/seen").tolist()) == {-1}
    # As another tool does.
    (checkpoints / PLACE / RECORD).unlink()
    store = extracted(tmp_path / "foreign", toy, checkpoints, **settings)
    assert set(store.run().column("samples/seen").tolist()) == {-1}


def test_samples_are_equal_where_all_their_texts_are() -> None:
    pairs = [(("a", "b"), ("c",)), (("a",), ("b", "c")), (("a", "b"), ("d",)), (("a b",), ("c",))]
    samples = [Sample(str(number), own) for number, own in enumerate(pairs)]
    keys = text_keys(text_digests_of(samples))
    assert [len(key) for key in keys] == [32] * 4
    assert keys[0] not in keys[1:3]
    again = text_keys(text_digests_of([Sample("other", pairs[0])]))
    assert are_among(keys, again).tolist()[:3] == [True, False, False]
    assert are_among([sample.texts for sample in samples], {pairs[2]}).tolist() == [False, False, True, False]
    assert text_keys(text_digests_of([])) == []
    assert np.array_equal(are_among([], keys), np.empty(0, bool))
