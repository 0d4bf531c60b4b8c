"""The selection of runs for an analysis: by the parts of their keys, complete, and equal in what must agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from biocache.engine.corpora.base import SPLITS, TASKS, VIEWS
from biocache.engine.request import Request, option
from biocache.engine.sources import RANDOM_WEIGHTS, named
from biocache.store.errors import RunNotFoundError, SpecMismatchError
from biocache.store.keys import MAX_SEED
from biocache.store.text import shortened

if TYPE_CHECKING:
    from biocache.store.catalog import Store
    from biocache.store.keys import RunKey
    from biocache.store.reading import Run

__all__ = [
    "RunsRequest",
    "chosen_runs",
    "refuse_unlike",
    "seed_selector",
    "select_keys",
    "selector",
    "size_selector",
    "trained_on_selector",
]

#: An option that selects runs. It does not decide the numbers of a result: the identities of the runs do.
selector = partial(option, None, decides=False)
#: `selector` for training sizes.
size_selector = partial(selector, flag="--training-size", low=0, high=100)
#: `selector` for the datasets that models were fine-tuned on.
trained_on_selector = partial(
    selector,
    flag="--trained-on",
    metavar="DATASET,...",
    help="Runs of models that were fine-tuned on these datasets.",
)
#: `selector` for seeds of runs.
seed_selector = partial(selector, flag="--seed", low=0, high=MAX_SEED)


@dataclass(frozen=True, kw_only=True)
class RunsRequest(Request):
    """Runs of a store by the parts of their keys: the base of requests of analyses that take any runs.

    Attributes
    ----------
    tasks, datasets, models, trained_on, training_sizes, run_seeds, views, splits
        Parts of the keys of the runs; None for all.
    """

    tasks: tuple[str, ...] | None = selector(
        flag="--task", choices=tuple(TASKS), help="Runs of these tasks.", unset="all"
    )
    datasets: tuple[str, ...] | None = selector(flag="--dataset", help="Runs of these datasets.", unset="all")
    models: tuple[str, ...] | None = selector(flag="--model", help="Runs of these models.", unset="all")
    trained_on: tuple[str, ...] | None = trained_on_selector(unset="all")
    training_sizes: tuple[int, ...] | None = size_selector(
        help="Runs of these percents of the train split.", unset="all"
    )
    run_seeds: tuple[int, ...] | None = seed_selector(help="Runs of these seeds.", unset="all")
    views: tuple[str, ...] | None = selector(flag="--view", choices=VIEWS, help="Runs of these views.", unset="all")
    splits: tuple[str, ...] | None = selector(flag="--split", choices=SPLITS, help="Runs of these splits.", unset="all")


def select_keys(store: "Store", parts: Mapping[str, Any]) -> "list[RunKey]":
    """Return the keys that match parts, in the order of their paths, pre-trained models whatever seed they have.

    The pre-trained model is the same for every seed: where seeds are named, and it has runs of others alone, those of
    the lowest are taken.

    Parameters
    ----------
    store
        The store.
    parts
        Parts of the key to one value or several; None for all. See `Store.keys`.
    """
    if parts.get("seed") is None:
        return store.keys(**parts)
    seeds = parts["seed"] if isinstance(parts["seed"], Sequence) else (parts["seed"],)
    found = store.keys(**{**parts, "seed": None})
    own = [key for key in found if key.seed in seeds]
    there = {_model(key) for key in own if key.training_size == 0}
    # Random weights are drawn from the seed.
    spare = [
        key for key in found if not (key.training_size or _model(key) in there or key.model.endswith(RANDOM_WEIGHTS))
    ]
    lowest = {_model(key): key.seed for key in sorted(spare, key=lambda key: -key.seed)}
    return sorted([*own, *(key for key in spare if key.seed == lowest[_model(key)])])


def _model(key: "RunKey") -> tuple[str, str, str]:
    return key.task, key.dataset, key.model


def chosen_runs(store: "Store", request: RunsRequest, keep: str) -> "list[Run]":
    """Return the complete runs of a request that keep an activation, in the order of their keys.

    Parameters
    ----------
    store
        The store.
    request
        Which runs.
    keep
        Name of the activation, ``hidden`` or ``attention``.

    Raises
    ------
    RunNotFoundError
        If there is no such run.
    IncompleteRunError
        If a run has packs without a record.
    """
    parts = {
        "task": request.tasks,
        "dataset": named("dataset", request.datasets),
        "model": named("model", request.models),
        "trained_on": named("trained_on", request.trained_on),
        "training_size": request.training_sizes,
        "seed": request.run_seeds,
        "view": request.views,
        "split": request.splits,
    }
    runs = [run for run in store.select(**parts) if keep in run.spec.keep]
    if not runs:
        asked = ", ".join(f"{name} {' or '.join(map(str, each))}" for name, each in parts.items() if each)
        raise RunNotFoundError(
            f"{store.storage} has no run with {keep}{f' of {asked}' if asked else ''}; `biocache ls` lists what "
            "there is, `biocache extract` adds to it"
        )
    for run in runs:
        run.require_complete()
    return runs


def refuse_unlike(runs: "Sequence[Run]", remedies: Mapping[str, str], verb: str, what: str) -> None:
    """Refuse runs that differ in what must agree.

    Parameters
    ----------
    runs
        The runs; each is compared with the first.
    remedies
        Names of parts of the spec, to the remedy that the message names.
    verb
        What cannot be done with the runs, such as ``probed``.
    what
        What of the runs is meant, such as ``attention of ``.

    Raises
    ------
    SpecMismatchError
        If two differ; the message names the part and both values.
    """
    first = runs[0]
    for run in runs[1:]:
        for name, remedy in remedies.items():
            own, other = getattr(first.spec, name), getattr(run.spec, name)
            if own != other:
                raise SpecMismatchError(
                    f"{what}{first.key} and {run.key} cannot be {verb}: their {name.replace('_', ' ')} differ "
                    f"({_written(own)} and {_written(other)}); {remedy}"
                )


def _written(value: Any) -> str:
    return shortened(", ".join(map(str, value)) if isinstance(value, tuple) else value)
