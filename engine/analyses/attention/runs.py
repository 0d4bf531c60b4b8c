"""The runs of a comparison: selected, and checked to be comparable."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from biocache.engine.analyses.attention.request import NORM_METRICS, AttentionRequest
from biocache.engine.selection import refuse_unlike
from biocache.engine.sources import named
from biocache.store import Run, Store
from biocache.store.errors import AmbiguousRunError, RunNotFoundError, SettingError
from biocache.store.keys import RunKey, trained_elsewhere
from biocache.store.labels import Labels
from biocache.store.schema import ACTIVATIONS, ATTENTION, NORMS

__all__ = ["ComparedRuns", "find_runs"]

_LISTED = 10
# What of the data must agree, to the remedy.
_DATA = {
    "limit": "extract both with the same --limit",
    "dataset_digest": "extract both from the same data",
    "max_length": "extract both with the same --max-length",
    "stride": "extract both with the same --stride, or both without",
}
_SHAPE = ("attention_layers", "head_count")


@dataclass(frozen=True, eq=False)
class ComparedRuns:
    """The baseline run and those that are compared with it, one a training size.

    Attributes
    ----------
    baseline, others
        The runs.
    labels
        Classes of the samples, or of the words that attend, that means are split by; None where they are not split.
    """

    baseline: Run
    others: tuple[Run, ...]
    labels: Labels | None = None

    @property
    def by_words(self) -> bool:
        """Whether means are split by the words that attend."""
        return self.labels is not None and self.labels.level == "words"

    @property
    def level(self) -> str:
        """Level of the alignment: ``word`` where tokens differ, or means are split by words; else ``token``."""
        if self.by_words:
            return "word"
        digests = {run.spec.encoding_digest for run in (self.baseline, *self.others)}
        return "token" if len(digests) == 1 else "word"


def find_runs(store: Store, request: AttentionRequest) -> ComparedRuns:
    """Find the runs of a request, and refuse what cannot be compared.

    Parameters
    ----------
    store
        The store.
    request
        The request.

    Raises
    ------
    RunNotFoundError
        If a run is missing, or keeps no attention, or no norms for a metric of them; the message says what to extract.
    AmbiguousRunError
        If several runs match; the message lists them.
    IncompleteRunError
        If packs are missing.
    SpecMismatchError
        If runs read other samples, or were cut at another length, or have other layers or heads.
    SettingError
        If labels are neither classes of samples nor of words, or `against` comes without a model.
    """
    if request.against is not None and request.model is None:
        raise SettingError(f"--against={request.against} is compared with a model: name it with --model")
    selection = {name: getattr(request, name) for name in ("task", "view", "split", "seed")}
    selection["dataset"] = _named("dataset", request.dataset)
    model, against = _named("model", request.model), _named("model", request.against)
    trained = {"trained_on": "", "training_size": request.baseline}
    baseline = _one(store, {**selection, "model": against or model, **trained})
    key = baseline.key
    selection |= {"task": key.task, "dataset": key.dataset, "view": key.view, "split": key.split}
    selection["model"] = model or key.model
    selection["trained_on"] = _trained_on(store, request, selection, baseline)
    others = tuple(
        _one(store, {**selection, "training_size": size}) for size in _sizes(store, request, selection, baseline)
    )
    _require_norms(request, [baseline, *others])
    facts = _DATA if request.all_pairs else _DATA | dict.fromkeys(_SHAPE, "compare all of them with --all-pairs")
    refuse_unlike([baseline, *others], facts, "compared", "attention of ")
    refuse_unlike(others, dict.fromkeys(_SHAPE, "compare them one by one"), "compared", "attention of ")
    return ComparedRuns(baseline, others, None if request.by is None else _classes(baseline, request.by))


def _require_norms(request: AttentionRequest, runs: Iterable[Run]) -> None:
    """Refuse runs without the norms that a metric needs."""
    metric = next((name for name in request.metrics if name in NORM_METRICS), None)
    lacking = None if metric is None else next((run for run in runs if NORMS.name not in run.spec.keep), None)
    if lacking is not None:
        keep = ",".join(name for name in ACTIVATIONS if name in {*lacking.spec.keep, ATTENTION.name, NORMS.name})
        raise RunNotFoundError(
            f"run {lacking.key} keeps no value norms, which --metric={metric} needs; extract it again with "
            f"`{_command(dict(lacking.key.items()))} --keep {keep} --overwrite`"
        )


def _classes(run: Run, name: str) -> Labels:
    """Return the classes of a run's words, or of its samples; samples without label are the last class."""
    labels = run.labels(name)
    if labels.level not in ("words", "samples") or labels.kind == "number":
        what = f"{labels.level} with numbers" if labels.kind == "number" else labels.level
        raise SettingError(
            f"label set {name!r} labels {what}, and means of maps are split by classes of samples or words; name such "
            "a set with --by"
        )
    if labels.level == "words":
        return labels.merged()
    if labels.known.all():
        return labels
    unknown = len(labels.names)
    return replace(labels, names=(*labels.names, ""), values=np.where(labels.known, labels.values, unknown))


def _trained_on(store: Store, request: AttentionRequest, selection: Mapping[str, Any], baseline: Run) -> str:
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


def _sizes(store: Store, request: AttentionRequest, selection: Mapping[str, Any], baseline: Run) -> tuple[int, ...]:
    if request.training_sizes is not None:
        return request.training_sizes
    sizes = {key.training_size for key in store.keys(**selection)}
    if (selection["model"], selection["trained_on"]) == (baseline.key.model, ""):
        sizes.discard(request.baseline)
    if not sizes:
        raise RunNotFoundError(
            f"{store.storage} has no run to compare with {baseline.key}; extract fine-tuned models with "
            f"`{_command({**selection, 'training_size': '10,30,50,100'})}`, or name another model with --against"
        )
    return tuple(sorted(sizes))


def _one(store: Store, selection: Mapping[str, Any]) -> Run:
    """Open the one run with attention that matches a selection."""
    found = store.select(**selection)
    if not found and selection["training_size"] == 0:
        # The pre-trained model is the same for every seed.
        found = store.select(**{**selection, "seed": None})
    runs = [run for run in found if "attention" in run.spec.keep]
    asked = ", ".join(f"{name}={value!r}" for name, value in selection.items() if value not in (None, ""))
    if not found:
        raise RunNotFoundError(f"{store.storage} has no run of {asked}; extract it with `{_command(selection)}`")
    if not runs:
        found[0].require_kept("attention")
    if len(runs) > 1:
        names = ", ".join(str(run.key) for run in runs[:_LISTED])
        raise AmbiguousRunError(f"{len(runs)} runs with attention match {asked}: {names}; add what tells them apart")
    runs[0].require_complete()
    return runs[0]


def _command(selection: Mapping[str, Any]) -> str:
    names = ("task", "dataset", "model", "trained_on", "training_size", "seed", "view", "split")
    options = [f"--{name.replace('_', '-')} {selection[name]}" for name in names if selection[name] not in (None, "")]
    return " ".join(["biocache extract", *options])


def _named(part: str, text: str | None) -> Any:
    names = named(part, None if text is None else [text])
    return names if names is None or len(names) > 1 else names[0]
