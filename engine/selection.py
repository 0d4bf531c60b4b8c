"""Which runs of a store an analysis is of: found by name, complete, and alike in what must agree."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from biocache.engine.corpora.base import SPLITS, TASKS, VIEWS
from biocache.engine.request import Request, option
from biocache.engine.sources import named
from biocache.store.catalog import Store
from biocache.store.errors import AmbiguousRunError, RunNotFoundError, SpecMismatchError
from biocache.store.keys import MAX_SEED
from biocache.store.reading import Run
from biocache.store.text import shortened

__all__ = ["RunsRequest", "chosen_runs", "one_dataset", "opened", "refuse_unlike"]


@dataclass(frozen=True, kw_only=True)
class RunsRequest(Request):
    """Runs of a store by the parts of their keys; for the requests of analyses that take any runs.

    Attributes
    ----------
    tasks, datasets, models, training_sizes, run_seeds, views, splits
        Parts of the keys of the runs; None for all.
    """

    tasks: tuple[str, ...] | None = option(
        None, flag="--task", choices=tuple(TASKS), decides=False, help="Runs of these tasks.", unset="all"
    )
    datasets: tuple[str, ...] | None = option(
        None, flag="--dataset", decides=False, help="Runs of these datasets.", unset="all"
    )
    models: tuple[str, ...] | None = option(
        None, flag="--model", decides=False, help="Runs of these models.", unset="all"
    )
    training_sizes: tuple[int, ...] | None = option(
        None,
        flag="--training-size",
        low=0,
        high=100,
        decides=False,
        help="Runs of these percents of the train split.",
        unset="all",
    )
    run_seeds: tuple[int, ...] | None = option(
        None, flag="--seed", low=0, high=MAX_SEED, decides=False, help="Runs of these seeds.", unset="all"
    )
    views: tuple[str, ...] | None = option(
        None, flag="--view", choices=VIEWS, decides=False, help="Runs of these views.", unset="all"
    )
    splits: tuple[str, ...] | None = option(
        None, flag="--split", choices=SPLITS, decides=False, help="Runs of these splits.", unset="all"
    )


def chosen_runs(store: Store, request: RunsRequest, keep: str) -> list[Run]:
    """Return the runs of a request that keep an activation, complete, in the order of their keys.

    Parameters
    ----------
    store
        The store.
    request
        Which runs.
    keep
        ``hidden`` or ``attention``.

    Raises
    ------
    RunNotFoundError
        If there is none.
    IncompleteRunError
        If one still has packs without a record.
    """
    parts = {
        "task": request.tasks,
        "dataset": named("dataset", request.datasets),
        "model": named("model", request.models),
        "training_size": request.training_sizes,
        "seed": request.run_seeds,
        "view": request.views,
        "split": request.splits,
    }
    runs = [run for run in store.select(**parts) if keep in run.spec.keep]
    if not runs:
        asked = ", ".join(f"{name} {' or '.join(map(str, each))}" for name, each in parts.items() if each)
        raise RunNotFoundError(
            f"{store.path} has no run with {keep}{f' of {asked}' if asked else ''}; `biocache ls` lists what there is, "
            "`biocache extract` adds to it"
        )
    for run in runs:
        run.require_complete()
    return runs


def opened(store: Store, key: Any, keep: str) -> Run:
    """Open a run, and refuse one that is incomplete or does not keep an activation."""
    run = Run.open(store.path, key)
    run.require_complete()
    run.require_kept(keep)
    return run


def one_dataset(store: Store, datasets: Iterable[str], task: str) -> None:
    """Refuse runs of more than one data set."""
    known = sorted(set(datasets))
    if len(known) > 1:
        raise AmbiguousRunError(f"{store.path} holds {task} runs of {', '.join(known)}; name one with --dataset")


def refuse_unlike(runs: Sequence[Run], facts: Mapping[str, str] | Iterable[str], verb: str, what: str = "") -> None:
    """Refuse runs that differ in what must agree.

    Parameters
    ----------
    runs
        The runs; each is compared with the first.
    facts
        Names of parts of the spec; where a mapping, to what is to be done about it.
    verb
        What cannot be done with them together, such as ``probed``.
    what
        What of the runs, such as ``attention of ``.

    Raises
    ------
    SpecMismatchError
        If two differ; the message names in what.
    """
    remedies = facts if isinstance(facts, Mapping) else dict.fromkeys(facts, "extract both with the same settings")
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
