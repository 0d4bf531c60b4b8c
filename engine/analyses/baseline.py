"""The selection that comparisons share: the baseline, and the runs that are compared with it, by size and seed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

from biocache.engine.corpora.base import SPLITS, TASKS, VIEWS
from biocache.engine.finetuning.updates import training_steps
from biocache.engine.request import Request, option
from biocache.engine.selection import refuse_unlike, seed_selector, select_keys, selector, size_selector
from biocache.engine.sources import named
from biocache.store.errors import AmbiguousRunError, RunNotFoundError, SettingError
from biocache.store.keys import RunKey, trained_elsewhere

if TYPE_CHECKING:
    from biocache.store.catalog import Store
    from biocache.store.reading import Run

__all__ = [
    "BaselineRequest",
    "BaselineRuns",
    "SizeRuns",
    "attributes_of",
    "extract_command",
    "find_baseline",
    "refuse_unlike_data",
]

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
    """A baseline and the runs to compare with it: the base of requests of comparisons.

    Parts of a run's key may be None where only one run matches the others; of several splits, test is taken.

    Attributes
    ----------
    task, dataset, model, view, split
        Parts of the keys of the runs.
    seeds
        Seeds of the fine-tuning, over which numbers are means; None for all in the store. The pre-trained model is the
        same for all; a baseline of another training size is paired by seed.
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
    seeds: tuple[int, ...] | None = seed_selector(help="Seeds of the fine-tuning.", unset="all in the store")
    view: str | None = selector(choices=VIEWS, help="View of the runs.")
    split: str | None = selector(choices=SPLITS, help="Split of the runs.", unset="test where the store has it")
    baseline: int = option(0, low=0, high=100, decides=False, help="Training size of the baseline run.")
    against: str | None = selector(metavar="NAME", help="Model of the baseline run.", unset="the same model")


@dataclass(frozen=True, eq=False)
class SizeRuns:
    """The runs of a training size, one a seed, each with the baseline run that it is compared with.

    Attributes
    ----------
    training_size
        The size.
    seeds
        Seeds of the fine-tuning, ascending.
    baselines, runs
        The runs of each seed; the same for all where pre-trained.
    """

    training_size: int
    seeds: tuple[int, ...]
    baselines: "tuple[Run, ...]"
    runs: "tuple[Run, ...]"

    @property
    def pairs(self) -> "list[tuple[Run, Run]]":
        """What is compared: the baseline run and the run of each seed."""
        return list(zip(self.baselines, self.runs, strict=True))

    @property
    def seed_pairs(self) -> "list[tuple[Run, Run]]":
        """Every two runs that differ in nothing but the seed."""
        return list(combinations({run.key: run for run in self.runs}.values(), 2))


@dataclass(frozen=True, eq=False)
class BaselineRuns:
    """All runs of a comparison; the base of those of its analyses.

    Attributes
    ----------
    sizes
        The runs of each training size.
    """

    sizes: tuple[SizeRuns, ...]

    @property
    def baseline(self) -> "Run":
        """The first baseline run; others differ in the seed alone."""
        return self.baselines[0]

    @cached_property
    def baselines(self) -> "tuple[Run, ...]":
        """The baseline runs, each once."""
        return _distinct(run for size in self.sizes for run in size.baselines)

    @cached_property
    def others(self) -> "tuple[Run, ...]":
        """The runs that are compared with them, each once."""
        return _distinct(run for size in self.sizes for run in size.runs)

    @property
    def several_seeds(self) -> list[int]:
        """The seeds of all training sizes, ascending; none where no size has several."""
        seeds = {seed for size in self.sizes for seed in size.seeds}
        return sorted(seeds) if any(len(size.seeds) > 1 for size in self.sizes) else []

    @property
    def coordinates(self) -> dict[str, Any]:
        """The coordinates of training sizes and, where a size has several seeds, of these and of their number."""
        found: dict[str, Any] = {
            "training_size": (
                "training_size",
                [size.training_size for size in self.sizes],
                {"long_name": "percent of the train split that the model was fine-tuned on"},
            ),
            "training_steps": (
                "training_size",
                [training_steps(*size.runs) for size in self.sizes],
                {"long_name": "optimiser steps of the fine-tuning; 0 of a pre-trained model, NaN where not known"},
            ),
        }
        if not self.several_seeds:
            return found
        counts = [len(size.seeds) for size in self.sizes]
        return found | {
            "seed": ("seed", self.several_seeds, {"long_name": "seed of the fine-tuning"}),
            "seed_count": ("training_size", counts, {"long_name": "seeds that the numbers are means over"}),
        }

    @property
    def identities(self) -> dict[str, Any]:
        """The identities of all runs, as JSON."""
        return {
            "baselines": [run.identity for run in self.baselines],
            "runs": [[run.identity for run in size.runs] for size in self.sizes],
        }


def _distinct(runs: "Iterable[Run]") -> "tuple[Run, ...]":
    return tuple({run.key: run for run in runs}.values())


def find_baseline(store: "Store", request: BaselineRequest, keep: str) -> tuple[SizeRuns, ...]:
    """Find the baseline of a request, and the runs that are compared with it, by training size.

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
        If a run is missing or does not keep it, or a size and the baseline share no seed; the message says what to
        extract.
    AmbiguousRunError
        If several runs match that differ in more than the seed; the message lists them.
    IncompleteRunError
        If packs are missing.
    SettingError
        If `against` comes without a model.
    """
    if request.against is not None and request.model is None:
        raise SettingError(f"--against={request.against} is compared with a model: name it with --model")
    selection = {name: getattr(request, name) for name in ("task", "view", "split")}
    selection |= {"dataset": _named("dataset", request.dataset), "seed": request.seeds}
    model, against = _named("model", request.model), _named("model", request.against)
    trained = {"trained_on": "", "training_size": request.baseline}
    baselines = _by_seed(store, {**selection, "model": against or model, **trained}, keep)
    first = next(iter(baselines.values()))
    key = first.key
    selection |= {"task": key.task, "dataset": key.dataset, "view": key.view, "split": key.split}
    selection["model"] = model or key.model
    selection["trained_on"] = _trained_on(store, request, selection, first)
    sizes = _sizes(store, request, selection, first)
    found = {size: _by_seed(store, {**selection, "training_size": size}, keep) for size in sizes}
    return tuple(_paired(store, size, baselines, runs) for size, runs in found.items())


def _paired(store: "Store", size: int, baselines: "dict[int, Run]", runs: "dict[int, Run]") -> SizeRuns:
    """Pair the runs of a size and those of the baseline, both by seed."""
    first, other = next(iter(baselines.values())), next(iter(runs.values()))
    if _is_seedless(first) or len(runs) == len(baselines) == 1:
        baselines = dict.fromkeys(runs, first)
    elif _is_seedless(other):
        runs = dict.fromkeys(baselines, other)
    seeds = tuple(sorted({*runs} & {*baselines}))
    if not seeds:
        has = [", ".join(map(str, sorted(own))) for own in (runs, baselines)]
        command = extract_command({**dict(first.key.items()), "seed": min(runs)})
        raise RunNotFoundError(
            f"{store.storage} has no seed of both {other.key} ({has[0]}) and its baseline {first.key} ({has[1]}): they "
            f"are paired by seed; extract one with `{command}`"
        )
    return SizeRuns(size, seeds, *(tuple(own[seed] for seed in seeds) for own in (baselines, runs)))


def _is_seedless(run: "Run") -> bool:
    """Return whether a run's model is the same for every seed."""
    return run.key.training_size == 0 and not run.provenance.random_weights


def refuse_unlike_data(runs: "Sequence[Run]", what: str, further: Mapping[str, str] | None = None) -> None:
    """Refuse runs that read other samples or were cut at another length, or differ further; see `refuse_unlike`."""
    refuse_unlike(runs, {**_DATA, **(further or {})}, "compared", what)


def attributes_of(what: str, runs: BaselineRuns) -> dict[str, Any]:
    """Return the attributes of a result that say what was compared with which baseline."""
    key, other = runs.baseline.key, runs.others[0].key
    elsewhere = f", trained on {other.trained_on}," if other.trained_on else ""
    return {
        "title": f"{what} of {other.model}{elsewhere} against {key.model} at training size {key.training_size}",
        "task": key.task,
        "dataset": key.dataset,
        "view": key.view,
        "split": key.split,
        "model": other.model,
        **({"trained_on": other.trained_on} if other.trained_on else {}),
        "seeds": ", ".join(map(str, sorted({seed for size in runs.sizes for seed in size.seeds}))),
        "baseline_model": key.model,
        "baseline_training_size": key.training_size,
        "baseline_run": ", ".join(str(run.key) for run in runs.baselines),
        "runs": ", ".join(str(run.key) for run in runs.others),
    }


def _trained_on(store: "Store", request: BaselineRequest, selection: Mapping[str, Any], baseline: "Run") -> str:
    """Return the dataset that what is compared was fine-tuned on; empty for the one that it reads."""
    if request.trained_on is not None:
        name = _named("trained_on", request.trained_on)
        return trained_elsewhere(str(name), baseline.key.task, baseline.key.dataset)
    sizes = None if request.training_sizes is None else list(request.training_sizes)
    keys = select_keys(store, {**selection, "training_size": sizes})
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
    sizes = {key.training_size for key in select_keys(store, selection)}
    if (selection["model"], selection["trained_on"]) == (baseline.key.model, ""):
        sizes.discard(request.baseline)
    if not sizes:
        raise RunNotFoundError(
            f"{store.storage} has no run to compare with {baseline.key}; extract fine-tuned models with "
            f"`{extract_command({**selection, 'training_size': '10,30,50,100'})}`, or name another model with --against"
        )
    return tuple(sorted(sizes))


def _by_seed(store: "Store", selection: Mapping[str, Any], keep: str) -> "dict[int, Run]":
    """Open the runs that keep an activation and match a selection, one a seed; one alone of the pre-trained model."""
    found = [run for run in _opened(store, selection) if keep in run.spec.keep]
    if not found:
        found = list(_opened(store, selection))
        if not found:
            raise _missing(store, selection)
        found[0].require_kept(keep)
    if selection["split"] is None and any(run.key.split == "test" for run in found):
        found = [run for run in found if run.key.split == "test"]
    first = found[0]
    if _is_seedless(first):
        found = [
            first,
            *(run for run in found[1:] if replace(run.spec, key=_of_seed(run.key, first.key.seed)) != first.spec),
        ]
    if len({_of_seed(run.key, 0) for run in found}) > 1 or (_is_seedless(first) and len(found) > 1):
        names = ", ".join(str(run.key) for run in found[:_LISTED])
        raise AmbiguousRunError(
            f"{len(found)} runs with {keep} match {_asked(selection)}: {names}; add what tells them apart"
        )
    missing = () if _is_seedless(first) else set(selection["seed"] or ()) - {run.key.seed for run in found}
    if missing:
        raise _missing(store, {**selection, "seed": tuple(sorted(missing))})
    for run in found:
        run.require_complete()
    return {run.key.seed: run for run in found}


def _of_seed(key: RunKey, seed: int) -> RunKey:
    return replace(key, seed=seed)


def _opened(store: "Store", selection: Mapping[str, Any]) -> "Iterator[Run]":
    from biocache.store.reading import Run

    for key in select_keys(store, selection):
        with suppress(RunNotFoundError):  # Another process has removed it meanwhile.
            yield Run.open(store.storage, key)


def _missing(store: "Store", selection: Mapping[str, Any]) -> RunNotFoundError:
    return RunNotFoundError(
        f"{store.storage} has no run of {_asked(selection)}; extract it with `{extract_command(selection)}`"
    )


def _asked(selection: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_text(value)!r}" for name, value in selection.items() if value not in (None, ""))


def _text(value: Any) -> Any:
    """Return a value as a command names it: several with commas, one as it is."""
    if not isinstance(value, tuple):
        return value
    return value[0] if len(value) == 1 else ",".join(map(str, value))


def extract_command(selection: Mapping[str, Any]) -> str:
    """Return the command that extracts what a selection names."""
    names = ("task", "dataset", "model", "trained_on", "training_size", "seed", "view", "split")
    given = {name: _text(selection[name]) for name in names if selection[name] not in (None, "")}
    options = [f"--{name.replace('_', '-')} {value}" for name, value in given.items()]
    return " ".join(["biocache extract", *options])


def _named(part: str, text: str | None) -> Any:
    names = named(part, None if text is None else [text])
    return names if names is None or len(names) > 1 else names[0]
