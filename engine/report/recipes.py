"""How a stored result is made again: the request it came from, the command of it, and the lines of Python."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from biocache.engine.attention.request import AttentionRequest
from biocache.engine.commands import command_line, python_lines
from biocache.engine.probing.request import ClassifierOptions, ProbeRequest
from biocache.engine.report.figure import Recipe
from biocache.store.catalog import Store
from biocache.store.errors import BiocacheError
from biocache.store.keys import RunKey
from biocache.store.results import StoredResult

__all__ = [
    "attention_recipe",
    "attention_request",
    "finetune_recipe",
    "probe_recipe",
    "probe_request",
    "with_source",
]

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


def probe_request(inputs: Mapping[str, Any]) -> ProbeRequest:
    """Return the request that a stored result of a probe answers."""
    keys = [RunKey.from_path(run["run"]) for cell in inputs["cells"] for run in (*cell["train"], *cell["test"])]
    views = {key.view for key in keys}
    return ProbeRequest(
        task=keys[0].task,
        dataset=keys[0].dataset,
        models=_each(key.model for key in keys),
        training_sizes=_each(sorted(key.training_size for key in keys)),
        run_seeds=_each(sorted(key.seed for key in keys)),
        layers=_each(sorted(layer for cell in inputs["cells"] for layer in cell["layers"])),
        features="pair" if views == {"pair"} else "separate",
        probe=inputs["probe"],
        options=ClassifierOptions(**inputs["options"]),
        **{
            name: inputs[name]
            for name in ("pooling", "combine", "seeds", "max_train_samples", "control", "mdl", "resamples")
        },
    )


def probe_recipe(store: Store, result: StoredResult) -> Recipe:
    """Return how the result of a probe is made."""
    from biocache.engine.probing.probe import probe_inputs

    exact = probe_request(result.inputs)
    # As people write it: layers are named only where they are not all that are stored.
    for request in (replace(exact, layers=None), exact):
        note = _note(lambda asked=request: probe_inputs(store, asked) == result.inputs)  # type: ignore[misc]
        if not note:
            break
    return Recipe(
        command=command_line("probe", store.path, request),
        python=python_lines("probe", store.path, request),
        note=note,
    )


def attention_request(inputs: Mapping[str, Any]) -> AttentionRequest:
    """Return the request that a stored comparison answers."""
    baseline = RunKey.from_path(inputs["baseline"]["run"])
    others = [RunKey.from_path(run["run"]) for run in inputs["runs"]]
    settings = ("exclude_special", "by_label", "match_heads", "all_pairs", "per_sample", "replicates")
    return AttentionRequest(
        task=baseline.task,
        dataset=baseline.dataset,
        model=others[0].model,
        seed=others[0].seed,
        view=baseline.view,
        split=baseline.split,
        training_sizes=tuple(key.training_size for key in others),
        baseline=baseline.training_size,
        against=None if baseline.model == others[0].model else baseline.model,
        metrics=tuple(inputs["metrics"]),
        resampling_seed=inputs["resampling_seed"],
        **{name: inputs[name] for name in settings},
    )


def attention_recipe(store: Store, result: StoredResult) -> Recipe:
    """Return how a comparison of attention is made."""
    from biocache.engine.attention.comparison import comparison_inputs

    request = attention_request(result.inputs)
    return Recipe(
        command=command_line("compare-attention", store.path, request),
        python=python_lines("compare_attention", store.path, request),
        note=_note(lambda: comparison_inputs(store, request) == result.inputs),
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
    settings = {
        "task": task,
        "dataset": with_source(sources, "dataset", task, dataset),
        "models": models,
        "training_sizes": _each(sorted(spec["training_size"] for spec in specs)),
        "seed": first["seed"],
        **{name: first[name] for name in _FINETUNE_SETTINGS},
    }
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
        command=command_line("finetune", store.path, settings),
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
