"""`finetune` as a whole: what it makes, finds, refuses and says, and that extraction takes it up by itself."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from finetunings import Made, Toy, make
from safetensors.torch import load_file, save_file

from biocache.engine import ExtractionRequest, FinetuneRequest, extract, finetune
from biocache.engine.corpora.base import TASKS
from biocache.engine.corpora.encoding import encode
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.corpora.task import Sample
from biocache.engine.corpora.tokenizers import load_tokenizer, tokenizer_digest
from biocache.engine.finetuning.checkpoint import Checkpoint, checkpoint_folders
from biocache.engine.finetuning.scores import Predicted, score_splits
from biocache.engine.finetuning.targets import Targets
from biocache.engine.metrics import as_iob2, score_classes, score_entities
from biocache.engine.models.loading import load_model
from biocache.engine.models.sources import ModelSource
from biocache.store import Store
from biocache.store.errors import (
    DataError,
    IntegrityError,
    ModelError,
    SettingError,
    SpecMismatchError,
    StoreFormatError,
)
from biocache.store.schema import entity_type

FAMILIES = ("bert", "gpt2", "biogpt")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_scores_have_their_dimensions_and_the_loss_falls(made: Made) -> None:
    scores = made.scores
    assert dict(scores.sizes) | {"step": 0} == {
        "model": 1,
        "training_size": 2,
        "seed": 1,
        "split": 2,
        "label": 5,
        "predicted_label": 5,
        "step": 0,
    }
    assert scores.split.values.tolist() == ["validation", "test"]
    assert scores.label.values.tolist() == ["O", "B-DNA", "B-protein", "I-DNA", "I-protein"]
    assert scores.train_samples.values.tolist() == [[[72], [240]]]
    # Two epochs of batches of 8.
    assert scores.steps.values.tolist() == [[[18], [60]]]
    assert scores.confusion.dims == ("model", "training_size", "seed", "split", "label", "predicted_label")
    assert scores.confusion.sum(["label", "predicted_label"]).equals(scores["items"])
    loss = scores.loss.sel(training_size=100).dropna("step").values.ravel()
    assert loss[-1] < loss[0]
    # A learning rate that rises to its largest and falls to nothing.
    rate = scores.learning_rate.sel(training_size=100).dropna("step").values.ravel()
    assert rate.max() <= 4e-3
    assert rate[-1] < 0.1 * rate.max()
    assert (scores.samples_per_second > 0).all()


def test_everything_is_beside_the_weights_and_in_the_store(made: Made, toy: Toy) -> None:
    assert [found for _, found in made.told] == [False, False]
    results = Store.open(made.store).results("finetune")
    assert len(results) == 2
    for checkpoint, _ in made.told:
        place = checkpoint.spec.path.as_posix()
        assert place == f"ner/toy/bert/size-{checkpoint.spec.training_size:03d}/seed-42"
        assert checkpoint.folder == made.checkpoints / place
        names = {path.name for path in checkpoint.folder.iterdir()}
        assert names >= {"model.safetensors", "config.json", "tokenizer.json", "finetuning.json", "scores.json"}
        assert not list(checkpoint.folder.parent.glob(".*"))
        (stored,) = [result for result in results if result.inputs["checkpoint"] == checkpoint.spec.to_json()]
        xr.testing.assert_allclose(stored.load(), checkpoint.scores())
        size = checkpoint.spec.training_size
        selected = made.scores.sel(model="bert", training_size=size).entity_f1
        np.testing.assert_allclose(selected, checkpoint.scores().entity_f1)
        record = json.loads((checkpoint.folder / "finetuning.json").read_text())
        assert len(record["samples"]) == checkpoint.spec.train_samples == len(checkpoint.sample_ids)
        assert record["origin"]["base_source"] == str(toy.models["bert"])
        assert set(record["origin"]["versions"]) >= {"torch", "transformers", "accelerate"}
    assert checkpoint_folders(made.checkpoints) == [checkpoint.folder for checkpoint, _ in made.told]


@pytest.mark.slow
def test_a_second_call_finds_everything_and_trains_nothing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biocache.engine.finetuning import training

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it trains")

    monkeypatch.setattr(training.Training, "run", fail)
    before = files(made.checkpoints)
    again = make(made.store, made.request)
    assert [found for _, found in again.told] == [True, True]
    xr.testing.assert_identical(again.scores, made.scores)
    assert files(made.checkpoints) == before
    # Another store gets the scores of checkpoints that are there.
    elsewhere = make(tmp_path / "other", made.request)
    xr.testing.assert_allclose(elsewhere.scores, made.scores)
    assert len(Store.open(tmp_path / "other").results("finetune")) == 2


CHANGES: dict[str, Any] = {
    "epochs": 3.0,
    "max_steps": 7,
    "learning_rate": 1e-3,
    "batch_size": 4,
    "gradient_accumulation": 2,
    "warmup": 0.2,
    "weight_decay": 0.0,
    "max_length": 32,
    "limit": 200,
    "patience": 1,
    "compute_dtype": "bfloat16",
    "label_scheme": "type",
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_setting_under_the_same_name_is_refused_with_what_differs(made: Made, name: str) -> None:
    before = files(made.checkpoints)
    asked = replace(made.request, **{name: CHANGES[name]})
    with pytest.raises(SpecMismatchError, match=rf"was made with other settings \(.*{name}: stored .*overwrite"):
        finetune(made.store, asked)
    assert files(made.checkpoints) == before


def test_another_base_or_corpus_is_refused_too(made: Made, toy: Toy, tmp_path: Path) -> None:
    other = Path(shutil.copytree(toy.corpus / "ner", tmp_path / "ner"))
    text = (other / "train.conll").read_text()
    (other / "train.conll").write_text(text.replace("the\tO", "that\tO", 1))
    with pytest.raises(SpecMismatchError, match="subset_digest"):
        finetune(made.store, replace(made.request, dataset=f"toy={other}", training_sizes=(100,)))
    with pytest.raises(SpecMismatchError, match="base_digest"):
        finetune(made.store, replace(made.request, models=(f"bert={made.told[0][0].folder}",)))


@pytest.mark.parametrize(
    ("name", "value"), [("device", None), ("save_steps", 7), ("restart", True), ("overwrite", True)]
)
def test_what_does_not_decide_the_weights_is_no_other_setting(made: Made, name: str, value: Any) -> None:
    again = make(made.store, replace(made.request, **{name: value}))
    assert [found for _, found in again.told] == [True, True]


@pytest.mark.slow
def test_overwrite_replaces_one_of_other_settings(made: Made, tmp_path: Path) -> None:
    checkpoints = Path(shutil.copytree(made.checkpoints, tmp_path / "checkpoints"))
    asked = replace(made.request, checkpoints=checkpoints, training_sizes=(30,), epochs=1.0, overwrite=True)
    again = make(tmp_path / "store", asked)
    assert again.told[0][0].spec.epochs == 1
    assert [Checkpoint.read(folder).spec.epochs for folder in checkpoint_folders(checkpoints)] == [1, 2]
    assert not list((checkpoints / "ner/toy/bert/size-030").glob(".*"))


def test_a_checkpoint_of_another_tool_is_left_alone(toy: Toy, tmp_path: Path) -> None:
    folder = tmp_path / "c/ner/toy/bert/size-100/seed-42"
    shutil.copytree(toy.models["bert"], folder)
    before = files(folder)
    with pytest.raises(SpecMismatchError, match=r"was not made by `finetune\(\)`.*takes it as it is"):
        finetune(tmp_path / "store", toy.request(tmp_path / "c"))
    assert files(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_extraction_finds_the_checkpoint_and_reads_it_as_transformers_does(
    toy: Toy, tmp_path: Path, family: str
) -> None:
    request = toy.request(tmp_path / "c", "nli", family, training_sizes=(10,), epochs=1)
    made = make(tmp_path / "store", request)
    asked = ExtractionRequest(
        task="nli",
        dataset=request.dataset,
        models=request.models,
        training_sizes=(0, 10),
        checkpoints=request.checkpoints,
        splits=("test",),
        views=("pair",),
        device="cpu",
    )
    extract(tmp_path / "store", asked)
    base, tuned = (Store.open(tmp_path / "store").run(task="nli", training_size=size, view="pair") for size in (0, 10))
    spec = made.told[0][0].spec
    assert base.spec.model_digest == spec.base_digest
    loaded = load_model(ModelSource("x", str(made.told[0][0].folder), 0, 1), "cpu", "float32")
    assert tuned.spec.model_digest == loaded.digest != base.spec.model_digest
    # Sizes of one model have the same tokens: they compare position by position.
    assert tuned.spec.tokenizer_digest == base.spec.tokenizer_digest == spec.tokenizer_digest
    assert tuned.spec.encoding_digest == base.spec.encoding_digest
    change = abs(tuned.samples().hidden - base.samples().hidden).max(["sample", "feature"]).compute()
    assert (change > 0).all()
    # What was trained on is what extraction reads: one encoding.
    samples = read_corpus("nli", request.dataset).splits["test"]
    encoding = encode(load_tokenizer(toy.models[family]), samples, TASKS["nli"], "pair", spec.max_length)
    assert encoding.digest() == tuned.spec.encoding_digest
    assert tokenizer_digest(load_tokenizer(made.told[0][0].folder)) == spec.tokenizer_digest


@pytest.mark.slow
def test_a_state_dict_of_the_fine_tuned_model_serves_as_well(toy: Toy, made: Made, tmp_path: Path) -> None:
    """Other tools write ``model_bert_30.bin``; extraction reads the same encoder out of it."""
    (tmp_path / "c").mkdir()
    torch.save(load_file(made.told[0][0].folder / "model.safetensors"), tmp_path / "c/model_bert_30.bin")
    digests = []
    for checkpoints, store in ((made.checkpoints, "a"), (tmp_path / "c", "b")):
        asked = ExtractionRequest(
            task="ner",
            dataset=made.request.dataset,
            models=made.request.models,
            training_sizes=(30,),
            checkpoints=checkpoints,
            splits=("test",),
            device="cpu",
        )
        extract(tmp_path / store, asked)
        digests.append(Store.open(tmp_path / store).run().spec.model_digest)
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_size_0_needs_nothing(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="size 0 is the pre-trained model"):
        finetune(tmp_path / "s", toy.request(tmp_path / "c", training_sizes=(0,)))
    made = make(tmp_path / "s", toy.request(tmp_path / "c", training_sizes=(0, 10, 10), epochs=1))
    assert made.scores.training_size.values.tolist() == [10]
    assert len(checkpoint_folders(tmp_path / "c")) == 1


def without(corpus: Path, folder: Path, *splits: str) -> str:
    shutil.copytree(corpus, folder)
    for split in splits:
        (folder / f"{split}.conll").unlink()
    return f"toy={folder}"


@pytest.mark.slow
def test_missing_splits(toy: Toy, tmp_path: Path) -> None:
    corpus = toy.corpus / "ner"
    for splits, message, settings in (
        (("train",), "no split 'train' to fine-tune on", {}),
        (("validation",), "no split 'validation' for patience", {"patience": 1}),
        (("validation", "test"), "no validation or test split to score", {}),
    ):
        dataset = without(corpus, tmp_path / "-".join(splits), *splits)
        with pytest.raises(DataError, match=message):
            finetune(tmp_path / "s", toy.request(tmp_path / "c", dataset=dataset, **settings))
    dataset = without(corpus, tmp_path / "fine", "validation")
    made = make(tmp_path / "s", toy.request(tmp_path / "c", dataset=dataset, training_sizes=(10,), epochs=1))
    assert made.scores.split.values.tolist() == ["test"]


def test_models_that_cannot_be_told_apart_or_found(toy: Toy, tmp_path: Path) -> None:
    twice = toy.request(tmp_path / "c", models=(str(toy.models["bert"]), f"bert={toy.models['gpt2']}"))
    with pytest.raises(SettingError, match="model 'bert' is asked for twice"):
        finetune(tmp_path / "s", twice)
    with pytest.raises(ModelError, match="nobody/nothing"):
        finetune(tmp_path / "s", toy.request(tmp_path / "c", models=("nobody/nothing",)))
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_everything_that_can_be_refused_is_refused_before_anything_is_trained(toy: Toy, tmp_path: Path) -> None:
    """What a look could tell must not be told after hours."""

    def fail(_: object) -> None:
        raise AssertionError("it trains")

    bert, gpt2 = (f"{family}={toy.models[family]}" for family in ("bert", "gpt2"))
    make(tmp_path / "s", toy.request(tmp_path / "c", training_sizes=(100,), epochs=1))
    (tmp_path / "file").touch()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/thesis.tex").touch()
    for store, checkpoints, settings, error in (
        ("s", "d", {"models": (bert, gpt2, f"gpt2={toy.models['bert']}")}, SettingError),
        ("s", "d", {"models": (bert, "nobody/nothing")}, ModelError),
        ("s", "c", {"training_sizes": (30, 100)}, SpecMismatchError),
        ("file", "d", {}, StoreFormatError),
        ("thesis", "d", {}, StoreFormatError),
    ):
        with pytest.raises(error):
            finetune(tmp_path / store, toy.request(tmp_path / checkpoints, **settings), on_progress=fail)
    assert not (tmp_path / "d").exists()


@pytest.mark.slow
def test_scores_that_are_not_those_of_the_checkpoint_are_refused_and_the_store_keeps_its_own(
    made: Made, tmp_path: Path
) -> None:
    checkpoints = Path(shutil.copytree(made.checkpoints, tmp_path / "checkpoints"))
    request = replace(made.request, checkpoints=checkpoints, training_sizes=(30,))
    store = Path(shutil.copytree(made.store, tmp_path / "store"))
    file = checkpoints / "ner/toy/bert/size-030/seed-42/scores.json"
    scores = json.loads(file.read_text())
    scores["data_vars"]["accuracy"]["data"] = [0.25, 0.125]
    file.write_text(json.dumps(scores))
    before = [result.load() for result in Store.open(store).results("finetune")]
    with pytest.raises(IntegrityError, match=r"scores\.json"):
        make(store, request)
    after = [result.load() for result in Store.open(store).results("finetune")]
    assert len(after) == len(before) == 2
    assert all(one.identical(other) for one, other in zip(before, after, strict=True))


@pytest.mark.slow
def test_another_pooler_is_another_base_where_the_head_reads_it(toy: Toy, tmp_path: Path) -> None:
    other = Path(shutil.copytree(toy.models["bert"], tmp_path / "bert"))
    weights = load_file(other / "model.safetensors")
    save_file(weights | {"pooler.dense.weight": weights["pooler.dense.weight"] + 1}, other / "model.safetensors")
    for task in ("nli", "ner"):
        request = toy.request(tmp_path / "c", task, training_sizes=(10,), epochs=1)
        make(tmp_path / "s", request)
        asked = replace(request, models=(f"bert={other}",))
        if task == "nli":
            with pytest.raises(SpecMismatchError, match="pooler_digest"):
                finetune(tmp_path / "s", asked)
        else:
            assert make(tmp_path / "s", asked).told[0][1]


def test_a_number_or_path_is_the_same_however_it_is_written(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(made.checkpoints.parent))
    asked = replace(made.request, epochs=2, weight_decay=0.01, checkpoints="~/checkpoints")  # type: ignore[arg-type]
    assert asked == made.request
    assert [found for _, found in make(made.store, asked).told] == [True, True]
    assert len(Store.open(made.store).results("finetune")) == 2


def test_a_device_that_cannot_be_named(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="device 'cpu:0' cannot be named for fine-tuning"):
        finetune(tmp_path / "s", toy.request(tmp_path / "c", device="cpu:0"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "pos"}, "task 'pos' is not one of ner, tokens, nli, text"),
        ({"label_scheme": "iob"}, "label_scheme 'iob'"),
        ({"compute_dtype": "float16"}, "compute_dtype 'float16'"),
        ({"models": ()}, "models is empty"),
        ({"training_sizes": ()}, "training_sizes is empty"),
        ({"training_sizes": (101,)}, "training_sizes 101"),
        ({"seeds": (-1,)}, "seeds -1"),
        ({"seeds": ()}, "seeds is empty"),
        ({"epochs": 0.0}, "epochs 0.0"),
        ({"epochs": float("inf")}, "epochs inf"),
        ({"learning_rate": float("nan")}, "learning_rate nan"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"patience": 0}, "patience 0"),
        ({"warmup": 1.0}, "warmup 1.0 is not a number from 0 and below 1"),
        ({"weight_decay": -0.1}, "weight_decay -0.1"),
    ],
)
def test_values_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        FinetuneRequest(**({"task": "ner"} | settings))


@pytest.mark.parametrize("scheme", ["type", "bio"])
def test_scores_are_those_of_the_shared_functions(toy: Toy, scheme: str) -> None:
    corpus = read_corpus("ner", str(toy.corpus / "ner"))
    targets = Targets.of(corpus, scheme)
    samples, names = corpus.splits["test"], targets.names
    own = [tag if scheme == "bio" else entity_type(tag or "") for sample in samples for tag in sample.tags or ()]
    gold = np.array([names.index(label or "") for label in own])
    rng = np.random.default_rng(0)
    guessed = np.where(rng.random(len(gold)) < 0.7, gold, rng.integers(0, len(names), len(gold)))
    scores = score_splits({"test": Predicted(samples, guessed)}, targets).sel(split="test")
    expected = score_classes(gold, guessed, names)
    assert scores.accuracy.item() == expected.accuracy
    assert scores.macro_f1.item() == expected.macro_f1
    assert scores.micro_f1.item() == expected.micro_f1
    np.testing.assert_array_equal(scores.confusion, expected.confusion)
    np.testing.assert_array_equal(scores.f1, expected.f1)
    rows, place = [], 0
    for sample in samples:
        count = len(sample.texts[0])
        rows.append([names[code] for code in guessed[place : place + count]])
        place += count
    # The entities of the truth are those of the corpus, whatever the classes of the head.
    if scheme == "type":
        rows = [as_iob2(types) for types in rows]
    entities = score_entities([[str(tag) for tag in sample.tags or ()] for sample in samples], rows)
    assert 0 < scores.entity_f1.item() == entities.f1 < 1
    assert scores.entities.item() == entities.support


def test_touching_entities_of_one_type_are_two_for_a_head_of_types_too() -> None:
    sample = Sample("s", (("a", "b", "c"),), tags=("B-X", "B-X", "O"))
    targets = Targets(by_word=True, names=("O", "X"), scheme="type", iob2=True)
    scores = score_splits({"test": Predicted([sample], np.array([1, 1, 0]))}, targets).sel(split="test")
    assert scores.accuracy.item() == 1
    assert (scores.entities.item(), scores.entity_f1.item()) == (2, 0)


def test_a_checkpoint_reads_back_what_it_was_made_from(made: Made) -> None:
    for checkpoint, _ in made.told:
        assert Checkpoint.read(checkpoint.folder) == checkpoint
