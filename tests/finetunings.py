"""Requests for small fine-tunings, and what they make."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

from biocache.engine import FinetuneRequest, finetune
from biocache.engine.finetuning.checkpoint import Checkpoint
from biocache.engine.finetuning.finetune import FinetuneProgress

torch.set_num_threads(1)


@dataclass(frozen=True, eq=False)
class Toy:
    """The toy corpus and its models, how they are fine-tuned, and what was made of them once for all tests."""

    corpus: Path
    models: Mapping[str, Path]
    kept: Path

    def request(self, checkpoints: Path, task: str = "ner", family: str = "bert", **settings: Any) -> FinetuneRequest:
        defaults: dict[str, Any] = {
            "dataset": f"toy={self.corpus / task}",
            "models": (f"{family}={self.models[family]}",),
            "training_sizes": (100,),
            "epochs": 2,
            "learning_rate": 4e-3,
            "batch_size": 8,
            "device": "cpu",
        }
        return FinetuneRequest(task=task, checkpoints=checkpoints, **(defaults | settings))


@dataclass(frozen=True, eq=False)
class Made:
    """What one call of `finetune` made."""

    checkpoints: Path
    store: Path
    request: FinetuneRequest
    scores: xr.Dataset
    told: list[tuple[Checkpoint, bool]]


def make(store: Path, request: FinetuneRequest) -> Made:
    told: list[tuple[Checkpoint, bool]] = []
    scores = finetune(store, request, on_checkpoint=lambda checkpoint, found: told.append((checkpoint, found)))
    return Made(request.checkpoints, store, request, scores, told)


PLACE = "ner/toy/bert/size-030/seed-42"
PARTIAL = "ner/toy/bert/size-030/.seed-42.partial"


class StoppedError(Exception):
    """What a test throws in the middle of a training."""


def stop_at(step: int):
    def on_progress(progress: FinetuneProgress) -> None:
        assert progress.checkpoint == PLACE
        if progress.steps_done == step:
            raise StoppedError

    return on_progress


def small(toy: Toy, checkpoints: Path, **settings) -> FinetuneRequest:
    return toy.request(checkpoints, **({"training_sizes": (30,), "save_steps": 5} | settings))


def state(checkpoints: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints / PLACE / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def finish(toy: Toy, folder: Path) -> FinetuneRequest:
    """Return the request of a training of one epoch that has ended in a folder."""
    request = small(toy, folder / "checkpoints", epochs=1)

    def train(made: Path) -> None:
        make(made / "store", small(toy, made / "checkpoints", epochs=1))

    _copy(toy.kept / "finished", folder, train)
    return request


def interrupt(toy: Toy, folder: Path, step: int = 13, **settings) -> FinetuneRequest:
    """Return the request of a training that was stopped in a folder at a step."""

    def train(made: Path) -> None:
        with pytest.raises(StoppedError):
            finetune(made / "store", small(toy, made / "checkpoints", **settings), on_progress=stop_at(step))
        assert not (made / "checkpoints" / PLACE).exists()

    _copy(toy.kept / f"interrupted-{step}-{settings}", folder, train)
    return small(toy, folder / "checkpoints", **settings)


def _copy(kept: Path, folder: Path, train: Callable[[Path], None]) -> None:
    """Copy what a training left, which runs once for all tests."""
    if not kept.exists():
        train(kept)
    shutil.copytree(kept, folder, dirs_exist_ok=True)
