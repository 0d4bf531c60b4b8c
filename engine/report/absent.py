"""What would fill a section that is empty: the command, for the runs that are there."""

from collections.abc import Sequence
from typing import Any

from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.commands import command_line
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.report.inventory import Inventory
from biocache.engine.report.recipes import with_source
from biocache.store.catalog import Store
from biocache.store.keys import RunKey

__all__ = ["missing_commands"]


def missing_commands(store: Store, inventory: Inventory) -> dict[str, str]:
    """Return a command for each section of results.

    Parameters
    ----------
    store
        The store.
    inventory
        Its runs.

    Returns
    -------
    dict of str to str
        By the name of the section, in the order of the page.
    """
    complete = [run.key for run in inventory.runs if run.state == "complete"]
    mapped = [
        run.key
        for run in inventory.runs
        if run.state == "complete" and "attention" in str(run.facts["keep"]) and run.key.split == "test"
    ]
    return {
        "probes": command_line("probe", store.path, _probe(complete)),
        "attention": _attention(store, inventory, mapped),
        "fine-tuning": command_line("finetune", store.path, FinetuneRequest(**_corpus(inventory))),
    }


def _probe(keys: Sequence[RunKey]) -> ProbeRequest:
    for key in keys:
        views = {other.view for other in keys if (other.task, other.dataset) == (key.task, key.dataset)}
        return ProbeRequest(task=key.task, dataset=key.dataset, features="pair" if views == {"pair"} else "separate")
    return ProbeRequest(task="ner")


def _attention(store: Store, inventory: Inventory, keys: Sequence[RunKey]) -> str:
    """Compare fine-tuned with pre-trained runs; where there are none, two models; else extract what is to compare."""
    for first in keys:
        same = [key for key in keys if (key.task, key.dataset, key.view) == (first.task, first.dataset, first.view)]
        named: dict[str, Any] = {"task": first.task, "dataset": first.dataset, "model": first.model, "view": first.view}
        if first.training_size == 0 and any(key.model == first.model and key.training_size for key in same):
            return command_line("compare-attention", store.path, AttentionRequest(**named))
        # The catalog is in the order of models, so that a pair of models is met where no sizes of the first are.
        others = [key for key in same if key.model != first.model and key.training_size == first.training_size == 0]
        if others and not any(key.training_size for key in keys):
            pair = AttentionRequest(**named, against=others[0].model, all_pairs=True)
            return command_line("compare-attention", store.path, pair)
    return command_line("extract", store.path, ExtractionRequest(**_corpus(inventory), training_sizes=(0, 10, 100)))


def _corpus(inventory: Inventory) -> dict[str, Any]:
    """Name the corpus and the model of the first run as commands take them that read both."""
    if not inventory.runs:
        return {"task": "ner"}
    key = inventory.runs[0].key
    named = {kind: with_source(inventory.sources, kind, key.task, getattr(key, kind)) for kind in ("dataset", "model")}
    return {"task": key.task, "dataset": named["dataset"], "models": (named["model"],)}
