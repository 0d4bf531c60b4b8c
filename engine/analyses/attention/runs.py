"""The runs of a comparison: selected, and checked to be comparable."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.request import NORM_METRICS, AttentionRequest
from biocache.engine.analyses.baseline import BaselineRuns, extract_command, find_baseline, refuse_unlike_data
from biocache.engine.grouping import Groups, find_groups
from biocache.engine.selection import refuse_unlike
from biocache.store import Run, Store
from biocache.store.errors import RunNotFoundError, SettingError
from biocache.store.keys import RunKey
from biocache.store.labels import Labels
from biocache.store.schema import ACTIVATIONS, ATTENTION, NORMS

__all__ = ["Against", "ComparedRuns", "classes_of", "find_runs", "special_positions"]

_SHAPE = ("attention_layers", "head_count")
_WHAT = "attention of "


@dataclass(frozen=True, eq=False)
class Against:
    """A run, and those that are compared with it: every chunk of it is read once for all of them.

    Attributes
    ----------
    first, others
        The runs.
    between_seeds
        Whether they differ in nothing but the seed; else `first` is a baseline.
    """

    first: Run
    others: tuple[Run, ...]
    between_seeds: bool


@dataclass(frozen=True, eq=False)
class ComparedRuns(BaselineRuns):
    """The baseline and the runs that are compared with it.

    Attributes
    ----------
    sizes
        As of `BaselineRuns`.
    groups
        Groups of the samples, which intervals are over.
    labels
        Classes of the samples, or of the words that attend, that means are split by; None where they are not split.
    """

    groups: Groups
    labels: Labels | None = None

    def against(self, *, between_seeds: bool) -> tuple[Against, ...]:
        """Return all that is compared: runs with their baselines, and those of each two seeds of a training size."""
        by_kind = {False: [size.pairs for size in self.sizes], True: [size.seed_pairs for size in self.sizes]}
        found = []
        for kind, pairs in by_kind.items():
            others: dict[RunKey, list[Run]] = {}
            runs = {run.key: run for own in pairs for pair in own for run in pair}
            for first, other in (pair for own in pairs for pair in own):
                others.setdefault(first.key, []).append(other)
            if between_seeds or not kind:
                found += [Against(runs[key], tuple(own), kind) for key, own in others.items()]
        return tuple(found)

    @cached_property
    def units(self) -> tuple[NDArray[np.int64], int]:
        """Number of the group of every sample, int64 (sample), and of how many."""
        return self.groups.numbered(np.arange(self.baseline.counts.samples))

    @property
    def by_words(self) -> bool:
        """Whether means are split by the words that attend."""
        return self.labels is not None and self.labels.level == "words"

    @property
    def level(self) -> str:
        """Level of the alignment: ``word`` where tokens differ, or means are split by words; else ``token``."""
        if self.by_words:
            return "word"
        digests = {run.spec.encoding_digest for run in (*self.baselines, *self.others)}
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
        If several runs match that differ in more than the seed; the message lists them.
    IncompleteRunError
        If packs are missing.
    SpecMismatchError
        If runs read other samples, or were cut at another length, or have other layers or heads.
    SettingError
        If labels are neither classes of samples nor of words, or `against` comes without a model.
    """
    sizes = find_baseline(store, request, "attention")
    found = BaselineRuns(sizes)
    _require_norms(request, [*found.baselines, *found.others])
    shape = {} if request.all_pairs else dict.fromkeys(_SHAPE, "compare all of them with --all-pairs")
    refuse_unlike_data([*found.baselines, *found.others], _WHAT, shape)
    for alike in (found.baselines, found.others):
        refuse_unlike(alike, dict.fromkeys(_SHAPE, "compare them one by one"), "compared", _WHAT)
    classes = None if request.by is None else classes_of(found.baseline, request.by)
    return ComparedRuns(sizes, find_groups(found.baseline), classes)


def _require_norms(request: AttentionRequest, runs: Iterable[Run]) -> None:
    """Refuse runs without the norms that a metric needs."""
    metric = next((name for name in request.metrics if name in NORM_METRICS), None)
    lacking = None if metric is None else next((run for run in runs if NORMS.name not in run.spec.keep), None)
    if lacking is not None:
        keep = ",".join(name for name in ACTIVATIONS if name in {*lacking.spec.keep, ATTENTION.name, NORMS.name})
        raise RunNotFoundError(
            f"run {lacking.key} keeps no value norms, which --metric={metric} needs; extract it again with "
            f"`{extract_command(dict(lacking.key.items()))} --keep {keep} --overwrite`"
        )


def classes_of(run: Run, name: str) -> Labels:
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


def special_positions(runs: Iterable[Run], level: str, *, excluded: bool) -> str:
    """Say which special positions the maps of runs hold: by word, special tokens are of no word."""
    if excluded:
        return "excluded"
    if level == "token":
        return "included"
    causal = any(run.spec.causal for run in runs)
    return "special tokens excluded, first words of causal models included" if causal else "excluded"
