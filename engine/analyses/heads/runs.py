"""The runs that are described, and the tasks that describe them."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.alignment import align
from biocache.engine.analyses.attention.runs import classes_of
from biocache.engine.analyses.attention.sums import Resamples
from biocache.engine.analyses.attention.tasks import block_bytes, held_bytes, parts_of, refuse_many_classes
from biocache.engine.analyses.baseline import refuse_unlike_data
from biocache.engine.analyses.heads.describing import Described, DescribedPack, describe_packs
from biocache.engine.analyses.heads.metrics import find_metric
from biocache.engine.analyses.heads.request import HeadsRequest
from biocache.engine.analyses.heads.rollout import roll_packs
from biocache.engine.analyses.heads.targets import Rows, find_targets, labels_of_target
from biocache.engine.executor import Task
from biocache.engine.grouping import Groups, find_groups
from biocache.engine.selection import chosen_runs
from biocache.store import Run, Store
from biocache.store.errors import AmbiguousRunError, RunNotFoundError, SettingError
from biocache.store.labels import Labels

__all__ = ["DescribedRuns", "described_of", "find_runs", "head_tasks"]

_WHAT = "attention of "
_CORPUS = ("task", "dataset", "view", "split")
# Numbers of an entry that rolling out holds: the mean of heads, and this layer and the one before, in float64; and
# float32 to measure.
_ROLLED_BYTES = 3 * 8 + 2 * 4


@dataclass(frozen=True, eq=False)
class DescribedRuns:
    """The runs that are described, of the same samples.

    Attributes
    ----------
    runs
        The runs, in the order of their keys.
    groups
        Groups of the samples, which intervals are over.
    level
        ``token`` or ``word``.
    labels
        Classes of the samples, or of the words that attend, that means are split by; None where they are not split.
    targets
        Labels that name targets, by metric.
    """

    runs: tuple[Run, ...]
    groups: Groups
    level: str
    labels: Labels | None
    targets: dict[str, Labels]

    @cached_property
    def units(self) -> tuple[NDArray[np.int64], int]:
        """Number of the group of every sample, int64 (sample), and of how many."""
        return self.groups.numbered(np.arange(self.runs[0].counts.samples))

    @property
    def by_words(self) -> bool:
        """Whether means are split by the words that attend."""
        return self.labels is not None and self.labels.level == "words"


def find_runs(store: Store, request: HeadsRequest) -> DescribedRuns:
    """Find the runs of a request, and refuse what cannot be described together.

    Raises
    ------
    RunNotFoundError
        If no run keeps attention, or there is no such label set.
    AmbiguousRunError
        If the runs are of several corpora, views or splits; the message names the option.
    IncompleteRunError
        If packs are missing.
    SpecMismatchError
        If runs read other samples, or were cut at another length.
    SettingError
        If labels are neither classes of samples nor of words, or layers that are rolled out are not kept.
    """
    runs = _test_first(store, request)
    for name in _CORPUS:
        found = list(dict.fromkeys(getattr(run.key, name) for run in runs))
        if len(found) > 1:
            raise AmbiguousRunError(
                f"{store.storage} has attention of the {name}s {', '.join(found)}: name one with --{name}"
            )
    refuse_unlike_data(runs, _WHAT)
    for run in runs if request.rollout else ():
        layers = run.spec.attention_layers
        if layers != tuple(range(1, len(layers) + 1)):
            raise SettingError(
                f"--rollout multiplies the maps of all layers from 1 on, and run {run.key} keeps those of "
                f"{', '.join(map(str, layers))}; extract it again with all --layers, or leave --rollout out"
            )
    labels = None if request.by is None else classes_of(runs[0], request.by)
    targets = {metric: labels_of_target(metric, runs[0]) for metric in request.metrics}
    alike = len({run.spec.encoding_digest for run in runs}) == 1
    by_words = labels is not None and labels.level == "words"
    return DescribedRuns(
        runs=runs,
        groups=find_groups(runs[0]),
        level=request.level or ("token" if alike and not by_words else "word"),
        labels=labels,
        targets={metric: found for metric, found in targets.items() if found is not None},
    )


def _test_first(store: Store, request: HeadsRequest) -> tuple[Run, ...]:
    """Return the runs of the request; of several splits those of test, where no split is named."""
    if request.splits is None:
        try:
            return tuple(chosen_runs(store, replace(request, splits=("test",)), "attention"))
        except RunNotFoundError:
            pass
    return tuple(chosen_runs(store, request, "attention"))


def described_of(runs: DescribedRuns, request: HeadsRequest) -> Described:
    """Return what a request measures of every map."""
    return Described(
        found=tuple(map(find_metric, request.metrics)),
        labels=0 if runs.labels is None else len(runs.labels.names),
        by_words=runs.by_words,
        units=runs.units[1],
        resamples=request.resamples,
        seed=request.resampling_seed,
    )


def head_tasks(runs: DescribedRuns, request: HeadsRequest) -> list[Task]:
    """Return tasks for some packs of each layer of each run, or, of rolled-out maps, of all layers.

    The keys are positions of the run and the layer, -1 for all layers. Results of one key add.
    """
    what = described_of(runs, request)
    heads = [(1 if request.rollout else run.spec.head_count) * len(run.spec.attention_layers) for run in runs.runs]
    refuse_many_classes(request.by, runs.labels, _sum_bytes(what, sum(heads)))
    tasks = []
    for place, run in enumerate(runs.runs):
        parts = parts_of(_packs_of(run, runs, request))
        layers, memory = len(run.spec.attention_layers), _task_bytes(run, request, what)
        if request.rollout:
            tasks += [
                Task(key=(place, -1), call=roll_packs, args=(part, layers, what), memory=memory) for part in parts
            ]
            continue
        tasks += [
            Task(key=(place, layer), call=describe_packs, args=(part, layer, what), memory=memory)
            for layer in range(layers)
            for part in parts
        ]
    return tasks


def _packs_of(run: Run, runs: DescribedRuns, request: HeadsRequest) -> list[DescribedPack]:
    alignment = align(run, run, runs.level, exclude_special=request.exclude_special)
    alignment = replace(alignment, second=alignment.first)
    rows = Rows.of(run, alignment)
    targets = [find_targets(metric, run, rows) for metric in request.metrics]
    label = None if runs.labels is None else runs.labels.values
    if label is not None and runs.by_words:
        # The last word is that of special tokens.
        label = np.append(label, -1)[rows.word]
    found = []
    for pack in range(run.counts.packs):
        samples = run.plan.samples_of(pack)
        own = slice(samples.start, samples.stop)
        maps = np.searchsorted(alignment.sample, (samples.start, samples.stop))
        begin, end = np.append(alignment.start, len(rows.word))[maps].tolist()
        where = slice(begin, end)
        found.append(
            DescribedPack(
                chunks=run.chunks("attention"),
                pack=pack,
                samples=np.arange(own.start, own.stop),
                unit=runs.units[0][own].copy(),
                label=None if label is None else label[where if runs.by_words else own].copy(),
                alignment=alignment.of_samples(own),
                targets=tuple(each if each is None else each.part(where) for each in targets),
            )
        )
    return found


def _task_bytes(run: Run, request: HeadsRequest, what: Described) -> int:
    """Return the bytes that a task holds: blocks as they are read and prepared, and the sums of its layers."""
    memory = held_bytes(run, [block_bytes(run)])
    if request.rollout:
        rolled = _ROLLED_BYTES * run.plan.entries.chunk
        return memory + rolled + len(run.spec.attention_layers) * _sum_bytes(what, 1)
    return memory + _sum_bytes(what, run.spec.head_count)


def _sum_bytes(what: Described, heads: int) -> int:
    return Resamples.bytes_of(what.groups, what.units, what.resamples, len(what.found) * heads)
