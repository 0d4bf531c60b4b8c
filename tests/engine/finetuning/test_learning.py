"""Fine-tuning learns what a plain loop learns, and the same thing every time."""

import json
import shutil
from pathlib import Path

import numpy as np
import plain_training
import pytest
import torch
from finetunings import Made, Toy, make
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from biocache.engine import ExtractionRequest, extract
from biocache.store import Store
from biocache.store.errors import SettingError

FAMILIES = ("bert", "gpt2", "biogpt")
EPOCHS, RATE, SIZE = 8, 4e-3, 8


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_it_reaches_what_a_plain_loop_reaches(toy: Toy, tmp_path: Path, family: str, task: str) -> None:
    made = make(tmp_path / "store", toy.request(tmp_path / "checkpoints", task, family, epochs=EPOCHS))
    classes = made.scores.label.values.tolist()
    reached = made.scores.accuracy.sel(split="test").item()
    plain = plain_training.train(toy.models[family], toy.corpus, task, classes, epochs=EPOCHS, rate=RATE, size=SIZE)
    majority = (made.scores.support.sel(split="test").max() / made.scores["items"].sel(split="test")).item()
    assert plain > majority + 0.2
    assert reached > plain - 0.05
    assert made.scores.loss.isel(step=-1).item() < 0.5 * made.scores.loss.isel(step=0).item()

    # The scores are those of the checkpoint as transformers loads it, sample by sample and without padding.
    folder = made.told[0][0].folder
    kind = AutoModelForTokenClassification if task == "ner" else AutoModelForSequenceClassification
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = plain_training.items(tokenizer, toy.corpus, task, "test", classes)
    types = "token_type_ids" in tokenizer.model_input_names
    model = kind.from_pretrained(folder)
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert plain_training.accuracy(model, rows, tokenizer.pad_token_id, task, types) == pytest.approx(reached)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "ner/toy/bert/size-030/seed-42/model.safetensors")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_does_not(toy: Toy, tmp_path: Path) -> None:
    states = []
    for name, seed in (("a", 42), ("b", 42), ("c", 7)):
        torch.manual_seed(len(name) + seed)  # What the caller drew before is of no matter.
        request = toy.request(tmp_path / name, training_sizes=(30,), epochs=1, seeds=(seed,))
        make(tmp_path / "store", request)
        place = tmp_path / name / f"ner/toy/bert/size-030/seed-{seed}/model.safetensors"
        states.append(load_file(place))
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["classifier.weight"], states[2]["classifier.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_several_seeds_are_those_of_a_call_each(toy: Toy, tmp_path: Path, task: str) -> None:
    settings = {"task": task, "training_sizes": (10, 30), "max_steps": 3}
    together = make(tmp_path / "store", toy.request(tmp_path / "together", seeds=(7, 42), **settings))
    assert [(made.spec.training_size, made.spec.seed) for made, _ in together.told] == [
        (10, 7),
        (10, 42),
        (30, 7),
        (30, 42),
    ]
    assert together.scores.accuracy.dims == ("model", "training_size", "seed", "split")
    for seed in (7, 42):
        alone = make(tmp_path / f"store-{seed}", toy.request(tmp_path / "alone", seeds=(seed,), **settings))
        numbers = ["accuracy", "loss", "learning_rate", "confusion"]
        assert alone.scores[numbers].equals(together.scores[numbers].sel(seed=[seed]))
        for size in (10, 30):
            place = f"{task}/toy/bert/size-{size:03d}/seed-{seed}"
            specs = [
                json.loads((tmp_path / at / place / "finetuning.json").read_text()) for at in ("together", "alone")
            ]
            assert specs[0]["spec"] == specs[1]["spec"]
            states = [load_file(tmp_path / at / place / "model.safetensors") for at in ("together", "alone")]
            assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    (digests,) = {tuple(made.spec.subset_digest for made, _ in together.told)}
    assert len(set(digests)) == 4


@pytest.mark.slow
def test_the_callers_random_numbers_are_left_as_they_were(toy: Toy, tmp_path: Path) -> None:
    def draw() -> list[float]:
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        if calls.pop():
            make(tmp_path / "store", toy.request(tmp_path / "checkpoints", training_sizes=(10,), epochs=1))
        return [float(torch.rand(1)), float(np.random.rand())]  # noqa: NPY002

    calls = [True, False]
    assert draw() == draw()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_an_accumulated_step_is_that_of_the_whole_batch(toy: Toy, tmp_path: Path, family: str, task: str) -> None:
    base = Path(shutil.copytree(toy.models[family], tmp_path / family))
    config = json.loads((base / "config.json").read_text())
    # Passes of other sizes draw other units to drop out.
    without = {name: 0.0 for name, value in config.items() if "drop" in name and isinstance(value, float)}
    (base / "config.json").write_text(json.dumps(config | without | {"classifier_dropout": 0.0}))
    losses = []
    for name, size, passes in (("whole", 8, 1), ("parts", 2, 4)):
        made = make(
            tmp_path / "store",
            toy.request(
                tmp_path / name,
                task,
                models=(f"{family}={base}",),
                epochs=0.1,
                learning_rate=1e-3,
                warmup=0.0,
                batch_size=size,
                gradient_accumulation=passes,
            ),
        )
        assert made.scores.step.values.tolist() == [1, 2, 3]
        losses.append(made.scores.loss.values.ravel())
    assert len(set(losses[0])) == 3
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


@pytest.mark.slow
def test_early_stopping_keeps_the_lowest_validation_loss(toy: Toy, tmp_path: Path) -> None:
    request = toy.request(tmp_path / "c", training_sizes=(10,), epochs=40, learning_rate=2e-2, patience=2)
    made = make(tmp_path / "store", request)
    losses = made.scores.validation_loss.values.ravel()
    assert len(losses) < 40
    assert len(losses) - 1 - int(np.argmin(losses)) == 2
    assert made.told[0][0].spec.validation_digest is not None
    steps_per_epoch = 3
    assert made.scores.steps.item() == steps_per_epoch * (1 + int(np.argmin(losses))) == made.told[0][0].steps()
    # The checkpoint is that of the lowest loss and not the last one.
    folder = made.told[0][0].folder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    rows = plain_training.items(tokenizer, toy.corpus, "ner", "validation", made.scores.label.values.tolist())
    sums = [0.0, 0]
    with torch.no_grad():
        for row in rows:
            fed = plain_training.batch([row], tokenizer.pad_token_id, "ner", token_types=True)
            labels = fed.pop("labels")
            logits = model(**fed).logits
            sums[0] += float(torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="sum"))
            sums[1] += int((labels != -100).sum())
    # A `Trainer` averages over batches, which differ in their number of words.
    assert sums[0] / sums[1] == pytest.approx(losses.min(), rel=0.1)


@pytest.mark.slow
def test_bfloat16_is_for_products_and_not_for_weights(toy: Toy, tmp_path: Path) -> None:
    request = toy.request(tmp_path / "c", training_sizes=(10,), epochs=1, compute_dtype="bfloat16")
    folder = make(tmp_path / "store", request).told[0][0].folder
    assert {value.dtype for value in load_file(folder / "model.safetensors").values()} == {torch.float32}
    plain = make(tmp_path / "store", toy.request(tmp_path / "p", training_sizes=(10,), epochs=1)).told[0][0].folder
    name = "classifier.weight"
    assert not torch.equal(load_file(folder / "model.safetensors")[name], load_file(plain / "model.safetensors")[name])


@pytest.mark.slow
def test_sizes_differ_in_data_and_not_in_updates(toy: Toy, tmp_path: Path) -> None:
    settings = {"training_sizes": (30, 100), "epochs": 0.5}
    equal = make(tmp_path / "store", toy.request(tmp_path / "equal", steps_of=100, **settings))
    # Half an epoch of 240 samples in batches of 8.
    assert equal.scores.steps.values.tolist() == [[[15], [15]]]
    assert equal.scores.train_samples.values.tolist() == [[[72], [240]]]
    assert [(made.spec.epochs, made.spec.max_steps, made.steps()) for made, _ in equal.told] == [(None, 15, 15)] * 2
    # At the size that is counted, it is the training by epochs; and steps may be said outright.
    epochs = make(tmp_path / "store", toy.request(tmp_path / "epochs", **settings))
    assert epochs.scores.steps.values.tolist() == [[[5], [15]]]
    steps = make(tmp_path / "store", toy.request(tmp_path / "steps", max_steps=15, training_sizes=(30,)))
    for one, other in ((equal.told[1], epochs.told[1]), (equal.told[0], steps.told[0])):
        weights, others = (load_file(made.folder / "model.safetensors") for made, _ in (one, other))
        assert weights.keys() == others.keys()
        assert all(torch.equal(weights[name], others[name]) for name in weights)
    # The same length, said in another way, is the same checkpoint.
    again = make(tmp_path / "store", toy.request(tmp_path / "equal", max_steps=15, training_sizes=(30,)))
    assert [found for _, found in again.told] == [True]


def test_the_length_of_a_training_is_said_once(toy: Toy, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^max_steps and steps_of both say how long to train; give one of them$"):
        toy.request(tmp_path, max_steps=3, steps_of=100)


@pytest.mark.slow
def test_a_run_says_for_how_many_steps_its_model_was_fine_tuned(made: Made, toy: Toy, tmp_path: Path) -> None:
    request = ExtractionRequest(
        task="ner",
        dataset=made.request.dataset,
        models=made.request.models,
        training_sizes=(0, 30, 100),
        splits=("test",),
        limit=3,
        checkpoints=made.checkpoints,
        device="cpu",
    )
    extract(tmp_path / "store", request)
    store = Store.open(tmp_path / "store")
    assert store.catalog()["training_steps"].fillna(-1).tolist() == [-1, 18, 60]
    assert "fine-tuned for 60 optimiser steps" in repr(store.run(training_size=100))
    assert "optimiser steps" not in repr(store.run(training_size=0))
