"""How a stored result is made again: the request it came from, the command of it, and the lines of Python."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import xarray as xr

from biocache.engine.analysis import ANALYSES, find
from biocache.engine.commands import command_line, python_lines
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.report.figure import Recipe
from biocache.store.catalog import Store
from biocache.store.errors import BiocacheError
from biocache.store.results import StoredResult

__all__ = ["analysis_recipe", "finetune_recipe", "with_source"]

_CHANGED = (
    "The runs of the store have changed since: the same call would now compute another result, or say what is missing."
)

_FINETUNE_SETTINGS = (
    *("label_scheme", "epochs", "learning_rate", "batch_size", "gradient_accumulation", "warmup", "weight_decay"),
    *("max_length", "limit", "patience", "compute_dtype"),
)


def with_source(sources: Mapping[tuple[str, str, str], str], kind: str, task: str, name: str) -> str:
    """Name a data set or model with where it came from, as commands take it that read it: ``NAME=SOURCE``.

    Parameters
    ----------
    sources
        By kind, task and name.
    kind
        ``dataset`` or ``model``.
    task, name
        Which one.
    """
    source = sources.get((kind, task, name), name)
    return name if source == name else f"{name}={source}"


def analysis_recipe(store: Store, result: StoredResult, dataset: xr.Dataset) -> Recipe:
    """Return how the result of an analysis is made: by the request that it was made by."""
    analysis = ANALYSES[result.kind]
    request = analysis.Request.from_json(dataset.attrs["request"])
    return Recipe(
        command=command_line(analysis.name, store.path, request),
        python=python_lines(analysis.name, store.path, request),
        note=_note(lambda: find(analysis, store, request).inputs == result.inputs),
    )


def finetune_recipe(
    store: Store, specs: list[Mapping[str, Any]], sources: Mapping[tuple[str, str, str], str]
) -> Recipe:
    """Return how checkpoints of the same settings are made, and how their scores are read.

    Parameters
    ----------
    store
        The store.
    specs
        Specs of the checkpoints, as `FinetuneSpec.to_json` writes them.
    sources
        Where data sets and models came from, as far as the runs of the store say; as `with_source`.
    """
    first = specs[0]
    task, dataset = first["task"], first["dataset"]
    models = _each(with_source(sources, "model", task, spec["model"]) for spec in specs)
    request = FinetuneRequest(
        task=task,
        dataset=with_source(sources, "dataset", task, dataset),
        models=models,
        training_sizes=_each(sorted(spec["training_size"] for spec in specs)),
        seed=first["seed"],
        **{name: first[name] for name in _FINETUNE_SETTINGS},
    )
    lines = [
        "from biocache.store import Store",
        "",
        f"store = Store.open({str(store.path)!r})",
        "scores = {",
        '    (spec["model"], spec["training_size"], spec["seed"]): result.load()',
        '    for result in store.results("finetune")',
        f"    if (spec := result.inputs['checkpoint'])['task'] == {task!r} and spec['dataset'] == {dataset!r}",
        "}",
    ]
    return Recipe(
        command=command_line("finetune", store.path, request),
        python="\n".join(lines),
        note="Checkpoints go to --checkpoints, by default the folder checkpoints; those that are there are not made "
        "again. The lines of Python read the scores that the store keeps.",
    )


def _each(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


def _note(is_current: Callable[[], bool]) -> str:
    try:
        return "" if is_current() else _CHANGED
    except BiocacheError:
        return _CHANGED
