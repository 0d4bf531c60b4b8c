"""The catalog of a store, as the page shows it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from biocache.engine.corpora.base import TASKS
from biocache.engine.report.request import ReportRequest
from biocache.store import Run, Store
from biocache.store.certificate import described_errors
from biocache.store.errors import BiocacheError
from biocache.store.keys import RunKey
from biocache.store.text import format_bytes

__all__ = ["Inventory", "ListedRun", "take_inventory"]


@dataclass(frozen=True)
class ListedRun:
    """A run of the catalog.

    Attributes
    ----------
    key
        Its name.
    facts
        Its row of `Store.catalog`; None for unknown values.
    state
        ``complete``, ``incomplete``, ``damaged`` or ``newer``, as in the catalog.
    provenance
        Names and texts of its provenance.
    """

    key: RunKey
    facts: Mapping[str, Any]
    state: str
    provenance: Sequence[tuple[str, str]]

    @property
    def size(self) -> str:
        """Its bytes on disk, with a unit."""
        stored = self.facts["stored_bytes"]
        return "-" if stored is None else format_bytes(stored)


@dataclass(frozen=True)
class Inventory:
    """The runs of a store.

    Attributes
    ----------
    runs
        The runs, in the order of their paths.
    sources
        Sources of datasets and models, by kind, task and name: corpora of two tasks may share a name.
    versions
        All versions of each library that the runs were made with.
    task_heads
        Models at training size 0 whose configuration names a trained task head, with that head.
    """

    runs: Sequence[ListedRun]
    sources: Mapping[tuple[str, str, str], str]
    versions: Mapping[str, Sequence[str]]
    task_heads: Mapping[str, str]

    def total(self, name: str) -> int:
        """Return the sum over all runs of a column of numbers."""
        return sum(run.facts[name] or 0 for run in self.runs)

    @property
    def complete(self) -> list[RunKey]:
        """Keys of the complete runs."""
        return [run.key for run in self.runs if run.state == "complete"]

    @property
    def with_attention(self) -> list[RunKey]:
        """Keys of the complete runs that keep attention."""
        return [run.key for run in self.runs if run.state == "complete" and "attention" in str(run.facts["keep"])]

    def source(self, kind: str, task: str, name: str) -> str:
        """Name a dataset or a model with its source, as ``--dataset`` and ``--model`` take it: ``NAME=SOURCE``.

        Parameters
        ----------
        kind
            ``dataset`` or ``model``.
        task, name
            Which one.
        """
        source = self.sources.get((kind, task, name), name)
        return name if source == name else f"{name}={source}"

    @property
    def corpus(self) -> dict[str, Any]:
        """The corpus and the model of the first run, as fields of the requests that read both."""
        if not self.runs:
            return {"task": next(iter(TASKS))}
        key = self.runs[0].key
        model = self.source("model", key.task, key.model)
        return {"task": key.task, "dataset": self.source("dataset", key.task, key.dataset), "models": (model,)}

    @property
    def notes(self) -> list[str]:
        """What is incomplete, damaged or of a newer release, and which models were trained for a task before."""
        notes = [
            f"model {model} at training size 0 was trained for a task: its configuration names the head {head}"
            for model, head in self.task_heads.items()
        ]
        for run in self.runs:
            if run.state == "incomplete":
                done, packs = run.facts["packs_done"], run.facts["packs"]
                notes.append(f"{run.key} is incomplete: {done:,} of {packs:,} packs are there")
            elif run.state != "complete":
                notes.append(f"{run.state}: {run.facts['problem']}")
        return notes


def take_inventory(store: Store, request: ReportRequest) -> Inventory:
    """List the runs of a store that are asked for, including damaged ones."""
    listed = []
    sources: dict[tuple[str, str, str], str] = {}
    versions: dict[str, dict[str, None]] = {}
    task_heads: dict[str, str] = {}
    for row in store.catalog(**request.selection).to_dict("records"):
        facts: dict[str, Any] = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        key = RunKey(**{name: facts[name] for name in RunKey.names()})
        try:
            run = Run.open(store.storage, key)
            provenance = [*run.facts(), *_rounding(run)]
        except BiocacheError:
            provenance = []
        else:
            sources["dataset", key.task, key.dataset] = run.provenance.dataset_source
            if key.training_size == 0 and not run.provenance.random_weights:
                sources["model", key.task, key.model] = run.provenance.model_source
                if run.provenance.task_head:
                    task_heads[key.model] = run.provenance.task_head
            for library, version in run.provenance.versions.items():
                versions.setdefault(library, {})[version] = None
        listed.append(ListedRun(key, facts, facts["state"], provenance))
    return Inventory(listed, sources, {library: list(found) for library, found in versions.items()}, task_heads)


def _rounding(run: Run) -> list[tuple[str, str]]:
    """Describe what the data types of a run cost; nothing where it is not known."""
    with suppress(BiocacheError):
        return [(f"rounding of {name}", described_errors(name, one)) for name, one in run.certificate().items()]
    return []
