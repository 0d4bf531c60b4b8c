"""A run's name stands for one set of inputs and settings; others are refused under it until it is replaced."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from extractions import files, holdings, only_run, request
from transformers import AutoTokenizer

from biocache.engine import extract
from biocache.engine.demo.checkpoints import write_checkpoint
from biocache.engine.extraction import extract as extracting
from biocache.store import Store
from biocache.store.errors import BusyError, ResourceError, SettingError, SpecMismatchError, StoreFormatError
from biocache.store.writing import RunWriter

LIMIT = 6


@pytest.fixture(scope="module")
def variants(checkpoints, corpus_folder, tmp_path_factory):
    """Inputs that differ from the first extraction's in one thing each."""
    folder = tmp_path_factory.mktemp("variants")
    texts = [["IL-2", "binds", "T", "cells"]]
    made = {name: folder / name for name in ("weights", "tokenizer", "vocabulary", "word", "label")}
    for name in ("weights", "tokenizer", "vocabulary"):
        shutil.copytree(checkpoints["bert"], made[name])
    other = write_checkpoint("bert", folder / "other", texts, seed=7, vocab_size=600)
    weights = write_checkpoint("bert", folder / "again", vocabulary_texts(corpus_folder), seed=7)
    shutil.copy(weights / "model.safetensors", made["weights"] / "model.safetensors")
    for file in other.iterdir():
        if file.name.startswith(("tokenizer", "vocab")):
            shutil.copy(file, made["vocabulary"] / file.name)
    # A token more, in no sample.
    tokenizer = AutoTokenizer.from_pretrained(checkpoints["bert"])
    tokenizer.add_tokens(["XYZZYXYZZY"])
    tokenizer.save_pretrained(made["tokenizer"])
    for name, old, new in (("word", "\tO\n", "-like\tO\n"), ("label", "\tB-protein\n", "\tB-DNA\n")):
        shutil.copytree(corpus_folder / "ner", made[name] / "ner")
        file = made[name] / "ner" / "test.conll"
        file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    return made


def vocabulary_texts(corpus_folder: Path) -> list[list[str]]:
    blocks = (corpus_folder / "ner" / "train.conll").read_text(encoding="utf-8").split("\n\n")
    return [[line.split("\t")[0] for line in block.splitlines()] for block in blocks]


@pytest.fixture
def first(corpus_folder, checkpoints):
    return request(corpus_folder, checkpoints["bert"], limit=LIMIT)


# What differs -> settings, fields that the refusal names.
SETTINGS = {
    "max_length": ({"max_length": 20}, {"max_length", "encoding_digest"}),
    "max_length without effect": ({"max_length": 127}, {"max_length"}),
    "dtype": ({"dtype": "float32"}, {"dtype"}),
    "compute_dtype": ({"compute_dtype": "bfloat16"}, {"compute_dtype"}),
    "limit": ({"limit": LIMIT + 1}, {"limit", "dataset_digest", "encoding_digest"}),
    "no limit": ({"limit": None}, {"limit", "dataset_digest", "encoding_digest"}),
    "keep": ({"keep": ("hidden",)}, {"keep"}),
    "attention split": ({"attention_splits": ("train",)}, {"keep"}),
    "layers": ({"layers": (0, 2)}, {"layers"}),
}
INPUTS = {
    "weights": {"model_digest"},
    "tokenizer": {"tokenizer_digest"},
    "vocabulary": {"tokenizer_digest", "encoding_digest"},
    "word": {"dataset_digest", "encoding_digest"},
}


def other(name: str, first_inputs: tuple[Path, Path], variants: dict[str, Path], **more):
    corpus, checkpoint = first_inputs
    if name in INPUTS:
        corpus = variants[name] if name in {"word", "label"} else corpus
        checkpoint = variants[name] if name in {"weights", "tokenizer", "vocabulary"} else checkpoint
        return request(corpus, checkpoint, limit=LIMIT, **more), INPUTS[name]
    settings, fields = SETTINGS[name]
    return request(corpus, checkpoint, **({"limit": LIMIT} | settings | more)), fields


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SETTINGS, *INPUTS])
def test_another_spec_is_refused_by_name_and_replaced_on_request(
    tmp_path, corpus_folder, checkpoints, variants, first, name
):
    inputs = (corpus_folder, checkpoints["bert"])
    extract(tmp_path / "s", first)
    before = files(tmp_path / "s")
    asked, fields = other(name, inputs, variants)
    with pytest.raises(SpecMismatchError, match="pass overwrite") as caught:
        extract(tmp_path / "s", asked)
    named = str(caught.value).partition("(")[2].partition(");")[0]
    assert {part.partition(":")[0] for part in named.split("; ")} == fields
    assert "\n" not in str(caught.value)
    assert files(tmp_path / "s") == before

    replacing, _ = other(name, inputs, variants, overwrite=True)
    (report,) = extract(tmp_path / "s", replacing)
    assert report.packs_written == report.packs
    extract(tmp_path / "fresh", asked)
    assert holdings(tmp_path / "s") == holdings(tmp_path / "fresh")
    assert only_run(tmp_path / "s").spec == only_run(tmp_path / "fresh").spec


@pytest.mark.slow
def test_device_batches_and_windows_do_not_tell_runs_apart(tmp_path, corpus_folder, checkpoints, first):
    extract(tmp_path / "s", first)
    before = files(tmp_path / "s")
    for settings in ({"batch_tokens": 64}, {"window_tokens": 100}, {"device": "cpu:0"}, {"overwrite": True}):
        (report,) = extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], limit=LIMIT, **settings))
        assert report.complete
        assert report.packs_written == 0
    assert files(tmp_path / "s") == before


@pytest.mark.slow
def test_one_refused_run_keeps_all_from_being_made(tmp_path, corpus_folder, checkpoints, first):
    extract(tmp_path / "s", first)
    before = files(tmp_path / "s")
    asked = request(corpus_folder, checkpoints["bert"], limit=LIMIT, dtype="float32", splits=("train", "test"))
    with pytest.raises(SpecMismatchError, match="sentence/test exists"):
        extract(tmp_path / "s", asked)
    assert files(tmp_path / "s") == before


@pytest.mark.slow
def test_only_what_differs_is_replaced(tmp_path, corpus_folder, checkpoints, first):
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], limit=LIMIT, splits=("train", "test")))
    asked = request(
        corpus_folder, checkpoints["bert"], limit=LIMIT, splits=("train", "test"), attention_splits=(), overwrite=True
    )
    before = files(only_run(tmp_path / "s", split="train").path)
    reports = extract(tmp_path / "s", asked)
    assert [report.packs_written > 0 for report in reports] == ["test" in report.run for report in reports]
    assert files(only_run(tmp_path / "s", split="train").path) == before
    assert only_run(tmp_path / "s", split="test").spec.keep == ("hidden",)


@pytest.mark.slow
def test_an_incomplete_run_is_replaced_too(tmp_path, corpus_folder, checkpoints, first):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path / "s", first, on_progress=stop)
    assert not only_run(tmp_path / "s").complete
    with pytest.raises(SpecMismatchError):
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], limit=LIMIT, dtype="float32"))
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], limit=LIMIT, dtype="float32", overwrite=True))
    assert only_run(tmp_path / "s").spec.dtype == "float32"
    assert only_run(tmp_path / "s").complete


@pytest.mark.slow
def test_a_run_that_is_being_written_is_not_replaced(tmp_path, corpus_folder, checkpoints, first):
    extract(tmp_path / "s", first)
    before = files(tmp_path / "s")
    writer = RunWriter(only_run(tmp_path / "s"))
    asked = request(corpus_folder, checkpoints["bert"], limit=LIMIT, dtype="float32", overwrite=True)
    with writer.claim([0], wait=False) as claimed:
        assert claimed
        with pytest.raises(BusyError, match="being written by another process"):
            extract(tmp_path / "s", asked)
    writer.close()
    assert files(tmp_path / "s") == before
    extract(tmp_path / "s", asked)
    assert only_run(tmp_path / "s").spec.dtype == "float32"


@pytest.mark.slow
def test_a_damaged_run_is_replaced_where_that_is_asked_for(tmp_path, corpus_folder, checkpoints, first):
    extract(tmp_path / "s", first)
    (only_run(tmp_path / "s").path / "zarr.json").write_text("{")
    with pytest.raises(StoreFormatError, match=r"is damaged: .* extract it with overwrite"):
        extract(tmp_path / "s", first)
    extract(tmp_path / "s", replace(first, overwrite=True))
    assert only_run(tmp_path / "s").complete


@pytest.mark.slow
def test_who_said_overwrite_is_not_told_to_say_it(tmp_path, corpus_folder, checkpoints, first, monkeypatch):
    extract(tmp_path / "s", first)
    # As it looks before another process makes its run.
    monkeypatch.setattr(extracting, "resume_run", lambda *_: None)
    settings = {"limit": LIMIT, "dtype": "float32"}
    with pytest.raises(SpecMismatchError):
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], **settings))
    assert Store.open(tmp_path / "s").run().spec.dtype == "float16"
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], **settings, overwrite=True))
    assert Store.open(tmp_path / "s").run().spec.dtype == "float32"


@pytest.mark.slow
def test_a_successor_that_another_process_writes_is_not_removed(tmp_path, corpus_folder, checkpoints, first):
    extract(tmp_path / "s", first)

    def other(dtype, layers):
        settings = {"dtype": dtype, "layers": layers, "keep": ("hidden",), "overwrite": True}
        return request(corpus_folder, checkpoints["bert"], limit=LIMIT, **settings)

    begun = []

    def interrupt(progress):
        with pytest.raises(BusyError, match="is being written by another process") as raised:
            extract(tmp_path / "s", other("float32", (0,)))
        assert "overwrite" not in str(raised.value)
        begun.append(Store.open(tmp_path / "s").run().spec.dtype)

    # While the successor is being made, the run is the one that was there.
    extract(tmp_path / "s", other("float32", (1, 2)), on_progress=interrupt)
    assert set(begun) == {"float16"}
    assert Store.open(tmp_path / "s").run().spec.layers == (1, 2)


@pytest.mark.slow
def test_a_run_that_would_be_replaced_counts_as_bytes_to_write(tmp_path, corpus_folder, checkpoints, first):
    extract(tmp_path / "s", first)
    run = only_run(tmp_path / "s")
    tokens, pairs = run.counts.tokens, run.counts.entries
    # Three layers of 32 features, two layers of two heads; in single precision.
    needed = 4 * (tokens * 3 * 32 + pairs * 2 * 2)
    before = files(tmp_path / "s")

    def replacing(max_disk):
        return request(
            corpus_folder, checkpoints["bert"], limit=LIMIT, dtype="float32", overwrite=True, max_disk=max_disk
        )

    with pytest.raises(ResourceError, match="max_disk is"):
        extract(tmp_path / "s", replacing(needed - 1))
    assert files(tmp_path / "s") == before
    (report,) = extract(tmp_path / "s", replacing(needed))
    assert report.complete
    assert only_run(tmp_path / "s").spec.dtype == "float32"
    # Now it is there, and nothing is left to write.
    (report,) = extract(tmp_path / "s", replacing(1))
    assert report.packs_written == 0


def test_a_folder_of_something_else_is_not_written_to(tmp_path, first):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(StoreFormatError, match="not a biocache store and not empty"):
        extract(tmp_path / "s", first)
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["thesis.txt"]


def test_two_models_of_one_name_are_refused(tmp_path, corpus_folder, checkpoints):
    models = (f"tiny={checkpoints['bert']}", f"tiny={checkpoints['gpt2']}")
    with pytest.raises(SettingError, match="is asked for twice"):
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], models=models))
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_models_and_views_share_a_store(tmp_path, corpus_folder, checkpoints):
    models = tuple(f"{family}={folder}" for family, folder in checkpoints.items())
    reports = extract(
        tmp_path / "s", request(corpus_folder, checkpoints["bert"], task="nli", models=models, limit=LIMIT)
    )
    extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], models=models, limit=LIMIT))
    assert [report.run for report in reports] == [
        f"nli/nli/{family}/size-000/seed-42/{view}/test"
        for family in ("bert", "gpt2", "biogpt")
        for view in ("premise", "hypothesis", "pair")
    ]
    catalog = Store.open(tmp_path / "s").catalog()
    assert len(catalog) == 12
    assert catalog["complete"].all()
    assert set(catalog["samples"]) == {LIMIT}
