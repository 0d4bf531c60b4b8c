"""The selection that comparisons share: one baseline run, and the runs that are compared with it, one a size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biocache.engine.corpora.base import SPLITS, TASKS, VIEWS
from biocache.engine.request import Request, option
from biocache.engine.selection import refuse_unlike, seed_selector, selector, size_selector
from biocache.engine.sources import named
from biocache.store.errors import AmbiguousRunError, RunNotFoundError, SettingError
from biocache.store.keys import RunKey, trained_elsewhere

if TYPE_CHECKING:
    from biocache.store.catalog import Store
    from biocache.store.reading import Run

__all__ = ["BaselineRequest", "attributes_of", "extract_command", "find_baseline", "refuse_unlike_data"]

_LISTED = 10
# What of the data must agree, to the remedy.
_DATA = {
    "limit": "extract both with the same --limit",
    "dataset_digest": "extract both from the same data",
    "max_length": "extract both with the same --max-length",
    "stride": "extract both with the same --stride, or both without",
}


@dataclass(frozen=True, kw_only=True)
class BaselineRequest(Request):
    """A baseline run and the runs to compare with it: the base of requests of comparisons.

    Parts of a run's key may be None where only one run matches the others; of several splits, test is taken.

    Attributes
    ----------
    task, dataset, model, seed, view, split
        Parts of the keys of the runs.
    trained_on
        Dataset that the models to compare were fine-tuned on, where it is not the one that they read; None for that, or
        for the one other in the store. The baseline is trained on no other.
    training_sizes
        Training sizes to compare with the baseline; None for all others in the store.
    baseline
        Training size of the baseline run.
    against
        Model of the baseline run; None for the same model.
    """

    task: str | None = selector(choices=tuple(TASKS), help="Task of the runs.")
    dataset: str | None = selector(metavar="NAME", help="Dataset of the runs.")
    model: str | None = selector(metavar="NAME", help="Model to compare.")
    trained_on: str | None = selector(
        flag="--trained-on",
        metavar="DATASET",
        help="Dataset that the models to compare were fine-tuned on.",
        unset="the one that they read, else the one other in the store",
    )
    training_sizes: tuple[int, ...] | None = size_selector(
        help="Training sizes to compare.", unset="all in the store but the baseline"
    )
    seed: int | None = seed_selector(help="Seed of the runs.")
    view: str | None = selector(choices=VIEWS, help="View of the runs.")
    split: str | None = selector(choices=SPLITS, help="Split of the runs.", unset="test where the store has it")
    baseline: int = option(0, low=0, high=100, decides=False, help="Training size of the baseline run.")
    against: str | None = selector(metavar="NAME", help="Model of the baseline run.", unset="the same model")


def find_baseline(store: "Store", request: BaselineRequest, keep: str) -> "tuple[Run, tuple[Run, ...]]":
    """Find the baseline run of a request, and those that are compared with it.

    Parameters
    ----------
    store
        The store.
    request
        The request.
    keep
        What the runs must keep, ``hidden`` or ``attention``.

    Raises
    ------
    RunNotFoundError
        If a run is missing or does not keep it; the message says what to extract.
    AmbiguousRunError
        If several runs match; the message lists them.
    IncompleteRunError
        If packs are missing.
    SettingError
        If `against` comes without a model.
    """
    if request.against is not None and request.model is None:
        raise SettingError(f"--against={request.against} is compared with a model: name it with --model")
    selection = {name: getattr(request, name) for name in ("task", "view", "split", "seed")}
    selection["dataset"] = _named("dataset", request.dataset)
    model, against = _named("model", request.model), _named("model", request.against)
    trained = {"trained_on": "", "training_size": request.baseline}
    baseline = _one(store, {**selection, "model": against or model, **trained}, keep)
    key = baseline.key
    selection |= {"task": key.task, "dataset": key.dataset, "view": key.view, "split": key.split}
    selection["model"] = model or key.model
    selection["trained_on"] = _trained_on(store, request, selection, baseline)
    sizes = _sizes(store, request, selection, baseline)
    return baseline, tuple(_one(store, {**selection, "training_size": size}, keep) for size in sizes)


def refuse_unlike_data(runs: "Sequence[Run]", what: str, further: Mapping[str, str] | None = None) -> None:
    """Refuse runs that read other samples or were cut at another length, or differ further; see `refuse_unlike`."""
    refuse_unlike(runs, {**_DATA, **(further or {})}, "compared", what)


def attributes_of(what: str, baseline: "Run", others: "Sequence[Run]") -> dict[str, Any]:
    """Return the attributes of a result that say what was compared with which baseline run."""
    key, other = baseline.key, others[0].key
    elsewhere = f", trained on {other.trained_on}," if other.trained_on else ""
    return {
        "title": f"{what} of {other.model}{elsewhere} against {key.model} at training size {key.training_size}",
        "task": key.task,
        "dataset": key.dataset,
        "view": key.view,
        "split": key.split,
        "model": other.model,
        **({"trained_on": other.trained_on} if other.trained_on else {}),
        "baseline_model": key.model,
        "baseline_training_size": key.training_size,
        "baseline_run": str(key),
        "runs": ", ".join(str(run.key) for run in others),
    }


def _trained_on(store: "Store", request: BaselineRequest, selection: Mapping[str, Any], baseline: "Run") -> str:
    """Return the dataset that what is compared was fine-tuned on; empty for the one that it reads."""
    if request.trained_on is not None:
        name = _named("trained_on", request.trained_on)
        return trained_elsewhere(str(name), baseline.key.task, baseline.key.dataset)
    sizes = None if request.training_sizes is None else list(request.training_sizes)
    keys = store.keys(**selection, training_size=sizes)
    found = sorted({key.trained_on for key in keys if _model_of(key) != _model_of(baseline.key)})
    if "" in found or not found:
        return ""
    if len(found) > 1:
        raise AmbiguousRunError(
            f"{store.storage} has runs of {selection['model']} trained on {', '.join(found)}; name one with "
            "--trained-on"
        )
    return found[0]


def _model_of(key: RunKey) -> tuple[str, str, int]:
    return key.model, key.trained_on, key.training_size


def _sizes(store: "Store", request: BaselineRequest, selection: Mapping[str, Any], baseline: "Run") -> tuple[int, ...]:
    if request.training_sizes is not None:
        return request.training_sizes
    sizes = {key.training_size for key in store.keys(**selection)}
    if (selection["model"], selection["trained_on"]) == (baseline.key.model, ""):
        sizes.discard(request.baseline)
    if not sizes:
        raise RunNotFoundError(
            f"{store.storage} has no run to compare with {baseline.key}; extract fine-tuned models with "
            f"`{extract_command({**selection, 'training_size': '10,30,50,100'})}`, or name another model with --against"
        )
    return tuple(sorted(sizes))


def _one(store: "Store", selection: Mapping[str, Any], keep: str) -> "Run":
    """Open the one run that keeps an activation and matches a selection."""
    found = store.select(**selection)
    if not found and selection["training_size"] == 0:
        # The pre-trained model is the same for every seed.
        found = store.select(**{**selection, "seed": None})
    runs = [run for run in found if keep in run.spec.keep]
    asked = ", ".join(f"{name}={value!r}" for name, value in selection.items() if value not in (None, ""))
    if not found:
        raise RunNotFoundError(f"{store.storage} has no run of {asked}; extract it with `{extract_command(selection)}`")
    if not runs:
        found[0].require_kept(keep)
    if selection["split"] is None and any(run.key.split == "test" for run in runs):
        runs = [run for run in runs if run.key.split == "test"]
    if len(runs) > 1:
        names = ", ".join(str(run.key) for run in runs[:_LISTED])
        raise AmbiguousRunError(f"{len(runs)} runs with {keep} match {asked}: {names}; add what tells them apart")
    runs[0].require_complete()
    return runs[0]


def extract_command(selection: Mapping[str, Any]) -> str:
    """Return the command that extracts what a selection names."""
    names = ("task", "dataset", "model", "trained_on", "training_size", "seed", "view", "split")
    options = [f"--{name.replace('_', '-')} {selection[name]}" for name in names if selection[name] not in (None, "")]
    return " ".join(["biocache extract", *options])


def _named(part: str, text: str | None) -> Any:
    names = named(part, None if text is None else [text])
    return names if names is None or len(names) > 1 else names[0]
