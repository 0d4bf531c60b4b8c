"""Requests for small extractions, and what a store holds afterwards."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from biocache.engine.extraction.request import ExtractionRequest
from biocache.store import Run, Store, schema

# Threads cost tiny models more time than they save, and their number may move a sum's last bit.
torch.set_num_threads(1)

CAPACITY = "biocache.engine.extraction.planning.token_capacity"


def small_packs(monkeypatch: Any, tokens: int = 64) -> None:
    """Make packs so small that the tests' corpus fills many."""
    monkeypatch.setattr(CAPACITY, lambda *_: tokens)


def request(corpus: Path, checkpoint: Path, **settings: Any) -> ExtractionRequest:
    """Ask for the test split of a task on the CPU, attention of all views included."""
    task = settings.pop("task", "ner")
    views = {"ner": ("sentence",), "nli": ("premise", "hypothesis", "pair")}[task]
    defaults: dict[str, Any] = {
        "dataset": str(corpus / task),
        "models": (f"tiny={checkpoint}",),
        "splits": ("test",),
        "attention_views": views,
        "device": "cpu",
        "max_memory": 2**34,
    }
    return ExtractionRequest(task=task, **(defaults | settings))


def only_run(store: Path, **selection: Any) -> Run:
    """Open the one run of a store."""
    return Store.open(store).run(**selection)


def holdings(store: Path) -> dict[str, bytes]:
    """Return the bytes of every table column and of all valid activations, by run and variable."""
    held: dict[str, bytes] = {}
    for run in Store.open(store).select():
        for variable in schema.columns():
            values = run.column(variable.path)
            held[f"{run.key}/{variable.path}"] = repr(values.tolist()).encode()
        for name in run.spec.keep:
            values = run.activations(name).compute(scheduler="synchronous")
            held[f"{run.key}/{name}"] = np.ascontiguousarray(values).tobytes()
    return held


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Return inode and modification time of every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


def forget(run: Run, packs: list[int]) -> None:
    """Remove the commit records of some packs."""
    for pack in packs:
        (run.path / "packs/record/c" / str(pack)).unlink()
    assert not set(packs) & set(run.committed())
