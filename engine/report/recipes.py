"""How a stored result is made again: the request it came from, the command of it, and the lines of Python."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from biocache.engine.attention.request import AttentionRequest
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
    "shell_command",
    "with_source",
]

_CHANGED = (
    "The runs of the store have changed since: the same call would now compute another result, or say what is missing."
)

_PROBE_OPTIONS = {
    "task": "--task",
    "dataset": "--dataset",
    "models": "--model",
    "training_sizes": "--training-size",
    "run_seeds": "--seed",
    "probe": "--probe",
    "layers": "--layers",
    "pooling": "--pooling",
    "features": "--features",
    "combine": "--combine",
    "seeds": "--seeds",
    "max_train_samples": "--max-train-samples",
    "control": "--control",
    "mdl": "--mdl",
    "resamples": "--resamples",
}
_CLASSIFIER_OPTIONS = {
    "c": "--C",
    "gamma": "--gamma",
    "hidden_size": "--hidden-size",
    "epochs": "--epochs",
    "learning_rate": "--learning-rate",
    "batch_size": "--batch-size",
    "max_iterations": "--max-iterations",
}
_ATTENTION_OPTIONS = {
    "task": "--task",
    "dataset": "--dataset",
    "model": "--model",
    "training_sizes": "--training-size",
    "seed": "--seed",
    "view": "--view",
    "split": "--split",
    "baseline": "--baseline",
    "against": "--against",
    "metrics": "--metric",
    "exclude_special": "--exclude-special",
    "match_heads": "--match-heads",
    "all_pairs": "--all-pairs",
    "per_sample": "--per-sample",
    "replicates": "--replicates",
    "resampling_seed": "--resampling-seed",
}
_FINETUNE_OPTIONS = (
    *("label_scheme", "epochs", "learning_rate", "batch_size", "gradient_accumulation", "warmup", "weight_decay"),
    *("max_length", "limit", "patience", "compute_dtype"),
)


def shell_command(command: str, store: Path, options: Iterable[tuple[str, Any]]) -> str:
    """Write a command for a shell: True is a flag, False and None are nothing, several values have commas."""
    words = ["biocache", command, "--store", str(store)]
    for name, value in options:
        if value is None or value is False:
            continue
        words.append(name)
        if value is not True:
            words.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return shlex.join(words)


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
    options = [*_options(request, _PROBE_OPTIONS), *_options(request.options, _CLASSIFIER_OPTIONS)]
    return Recipe(
        command=shell_command("probe", store.path, options),
        python=_call(store.path, "probe", request, "ClassifierOptions" if _changed(request.options) else None),
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
    options = _options(request, _ATTENTION_OPTIONS)
    return Recipe(
        command=shell_command("compare-attention", store.path, [*options, ("--by", _by(request))]),
        python=_call(store.path, "compare_attention", request, None),
        note=_note(lambda: comparison_inputs(store, request) == result.inputs),
    )


def _by(request: AttentionRequest) -> str | None:
    return "label" if request.by_label else None


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
    options: list[tuple[str, Any]] = [
        ("--task", task),
        ("--dataset", with_source(sources, "dataset", task, dataset)),
        # A folder may have a comma in its name: an option for each.
        *(("--model", model) for model in models),
        ("--training-size", _each(sorted(spec["training_size"] for spec in specs))),
        ("--seed", first["seed"]),
        *((f"--{name.replace('_', '-')}", first[name]) for name in _FINETUNE_OPTIONS),
    ]
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
        command=shell_command("finetune", store.path, options),
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


def _changed(request: Any) -> dict[str, Any]:
    """Return the fields of a request that are not what they are by default."""
    bare = ProbeRequest(task=request.task) if isinstance(request, ProbeRequest) else type(request)()
    pairs = {field.name: getattr(request, field.name) for field in fields(request)}
    return {name: value for name, value in pairs.items() if name == "task" or value != getattr(bare, name)}


def _options(request: Any, names: Mapping[str, str]) -> list[tuple[str, Any]]:
    changed = _changed(request)
    return [(option, changed[name]) for name, option in names.items() if name in changed]


def _call(store: Path, function: str, request: Any, also: str | None) -> str:
    kind = type(request).__name__
    names = ", ".join([*([also] if also else []), kind, function])
    parts = [f"    {name}={_literal(part)}," for name, part in _changed(request).items()]
    return "\n".join(
        [
            f"from biocache.engine import {names}",
            "",
            f"request = {kind}(",
            *parts,
            ")",
            f"result = {function}({str(store)!r}, request)",
        ]
    )


def _literal(value: Any) -> str:
    if not is_dataclass(value):
        return repr(value)
    inner = ", ".join(f"{name}={_literal(part)}" for name, part in _changed(value).items())
    return f"{type(value).__name__}({inner})"
