"""How to compute a stored result again: its request as a command line and as lines of Python."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import xarray as xr

from biocache.engine.analysis import ANALYSES, find
from biocache.engine.commands import command_line, python_lines
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.plugins import is_given
from biocache.engine.report.figure import Recipe
from biocache.engine.report.inventory import Inventory
from biocache.engine.request import values_of
from biocache.store.catalog import Store
from biocache.store.errors import BiocacheError
from biocache.store.results import StoredResult

__all__ = ["analysis_recipe", "finetune_recipe"]

_CHANGED = (
    "The runs of the store have changed since: the same call would now compute another result, or say what is missing."
)
_GIVEN = "What ends in (...) was an object given in Python: give it again in its place."

_FINETUNE_SETTINGS = (
    *("label_scheme", "epochs", "max_steps", "learning_rate", "batch_size", "gradient_accumulation", "warmup"),
    *("weight_decay", "max_length", "limit", "patience", "compute_dtype"),
)


def analysis_recipe(store: Store, result: StoredResult, dataset: xr.Dataset) -> Recipe:
    """Return how to compute the result of an analysis, from the request in its attributes."""
    analysis = ANALYSES[result.kind]
    request = analysis.Request.from_json(dataset.attrs["request"])
    note = _CHANGED
    if any(is_given(value) for _, value in values_of(request)):
        note = _GIVEN
    else:
        with suppress(BiocacheError):
            note = "" if find(analysis, store, request).inputs == result.inputs else _CHANGED
    command, python = (write(analysis.name, store.storage, request) for write in (command_line, python_lines))
    return Recipe(command, python, note)


def finetune_recipe(store: Store, specs: Sequence[Mapping[str, Any]], inventory: Inventory) -> Recipe:
    """Return how to make checkpoints of the same settings, and how to read their scores.

    Parameters
    ----------
    store
        The store.
    specs
        Specs of the checkpoints, as `FinetuneSpec.to_json` writes them: all models and training sizes at all seeds.
    inventory
        The runs of the store, which name the sources of datasets and models.
    """
    first = specs[0]
    task, dataset = first["task"], first["dataset"]
    request = FinetuneRequest(
        task=task,
        dataset=inventory.source("dataset", task, dataset),
        models=tuple(inventory.source("model", task, spec["model"]) for spec in specs),
        training_sizes=tuple(sorted({spec["training_size"] for spec in specs})),
        seeds=tuple(sorted({spec["seed"] for spec in specs})),
        **{name: first[name] for name in _FINETUNE_SETTINGS if first.get(name) is not None},
    )
    lines = [
        "from biocache.store import Store",
        "",
        f"store = Store.open({str(store.storage)!r})",
        "scores = {",
        '    (spec["model"], spec["training_size"], spec["seed"]): result.load()',
        '    for result in store.results("finetune")',
        f"    if (spec := result.inputs['checkpoint'])['task'] == {task!r} and spec['dataset'] == {dataset!r}",
        "}",
    ]
    return Recipe(
        command=command_line("finetune", store.storage, request),
        python="\n".join(lines),
        note="Checkpoints go to --checkpoints, by default the folder checkpoints; existing ones are not made again. "
        "The lines of Python read the scores that the store keeps.",
    )
