"""Checkpoints that other tools made: found where those of biocache are, with the scores that a Trainer left."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biocache.engine.finetuning.checkpoint import is_foreign
from biocache.store.metadata import MetadataError, read_json

__all__ = ["ForeignCheckpoint", "foreign_checkpoints"]


@dataclass(frozen=True)
class ForeignCheckpoint:
    """A checkpoint that another tool made.

    Attributes
    ----------
    folder
        Its folder.
    path
        Its place below the folder of all: ``TASK/DATASET/MODEL/size-SSS/seed-N``.
    scores
        What transformers' Trainer measured last, such as ``eval_f1``: from ``eval_results.json``, else from
        ``trainer_state.json``; empty where it left neither.
    """

    folder: Path
    path: str
    scores: Mapping[str, float]

    @property
    def parts(self) -> dict[str, Any]:
        """Its task, dataset, model, training_size and seed."""
        task, dataset, model, size, seed = self.path.split("/")
        numbers = {"training_size": _number(size), "seed": _number(seed)}
        return {"task": task, "dataset": dataset, "model": model, **numbers}


@dataclass(frozen=True)
class _TrainerState:
    """What the Trainer says of its steps."""

    log_history: tuple[dict[str, Any], ...] = ()


def foreign_checkpoints(checkpoints: Path) -> list[ForeignCheckpoint]:
    """Return the checkpoints below a folder that another tool made, by their places."""
    found = sorted(config.parent for config in checkpoints.glob("*/*/*/size-*/seed-*/config.json"))
    return [
        ForeignCheckpoint(folder, folder.relative_to(checkpoints).as_posix(), _trainer_scores(folder))
        for folder in found
        if is_foreign(folder)
    ]


def _trainer_scores(folder: Path) -> dict[str, float]:
    with suppress(OSError, MetadataError):
        return _numbers(read_json(folder / "eval_results.json", dict[str, Any]))
    with suppress(OSError, MetadataError):
        steps = read_json(folder / "trainer_state.json", _TrainerState).log_history
        evaluated = [step for step in steps if any(name.startswith("eval_") for name in step)]
        return _numbers(evaluated[-1] if evaluated else {})
    return {}


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in values.items() if name.startswith("eval_")}
    return {name: float(value) for name, value in numbers.items() if isinstance(value, int | float)}


def _number(part: str) -> int:
    """Return the number of ``size-030`` or ``seed-42``; -1 where there is none."""
    digits = part.partition("-")[2]
    return int(digits) if digits.isdecimal() else -1
