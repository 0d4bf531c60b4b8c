"""Requests for small fine-tunings, and what they make."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from biocache.engine import FinetuneRequest, finetune
from biocache.engine.finetuning.checkpoint import Checkpoint

torch.set_num_threads(1)


@dataclass(frozen=True, eq=False)
class Toy:
    """Where the toy corpus and its models are, and how they are fine-tuned."""

    corpus: Path
    models: Mapping[str, Path]

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
