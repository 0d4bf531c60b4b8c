"""Checkpoints of other trainers on the command line: read, said in one line, checked and fine-tuned further."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from click.testing import Result

from biocache.store import Store

Command = Callable[..., Result]


def checkpoint_of_lightning(base: Path, file: Path) -> None:
    """Write what Lightning saves of a module that holds a token classifier as ``model``."""
    from transformers import AutoModelForTokenClassification

    head = AutoModelForTokenClassification.from_pretrained(base, num_labels=3)
    state = {f"model.{name}": value * 1.5 for name, value in head.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state, "hyper_parameters": {"folder": file.parent}}, file)


@pytest.mark.slow
def test_a_checkpoint_of_lightning_is_read_said_and_recomputed(
    command: Command, corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "epoch=1.ckpt"
    checkpoint_of_lightning(checkpoints["bert"], file)
    plain = ("--store", tmp_path / "s", "--task", "ner", "--dataset", f"demo={corpus_folder / 'ner'}", "--limit", 3)
    options = ("extract", *plain, "--split", "test", "--model", f"tiny={checkpoints['bert']}")
    told = command(*options, "--finetuned", f"{file}=30").stderr.splitlines()
    line = "model tiny: weights of epoch=1.ckpt: 'state_dict' read, prefix 'model.bert.' dropped, 2 tensors of a head"
    assert [one for one in told if "epoch=1.ckpt" in one] == [
        f"note: {line} left aside (classifier.bias, classifier.weight)"
    ]
    assert Store.open(tmp_path / "s").run(training_size=30).provenance.model_source == str(file)
    assert "no problems" in command("verify", "--store", tmp_path / "s", "--recompute", 2).stdout
    moved = shutil.move(file, tmp_path / "moved.ckpt")
    again = command("verify", "--store", tmp_path / "s", "--training-size", 30, "--recompute", 2, "--from", moved)
    assert "no problems" in again.stdout


@pytest.mark.slow
def test_a_file_of_weights_is_fine_tuned_from(
    command: Command, corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints["bert"], tmp_path / "m"))
    checkpoint_of_lightning(folder, folder / "last.ckpt")
    plain = (
        "--store",
        tmp_path / "s",
        "--task",
        "ner",
        "--dataset",
        f"demo={corpus_folder / 'ner'}",
        "--device",
        "cpu",
    )
    named = (*plain, "--model", f"own={folder / 'last.ckpt'}", "--checkpoints", tmp_path / "c")
    told = command("finetune", *named, "--training-size", 100, "--epochs", 1, "--max-duplicates", 1).stderr
    assert "model own: weights of last.ckpt: 'state_dict' read, prefix 'model.bert.' dropped" in told
    command("extract", *named, "--split", "test", "--training-size", "0,100")
    base, tuned = (Store.open(tmp_path / "s").run(model="own", training_size=size) for size in (0, 100))
    assert base.provenance.model_source == str(folder / "last.ckpt")
    assert base.spec.model_digest != tuned.spec.model_digest
    assert base.spec.tokenizer_digest == tuned.spec.tokenizer_digest
