"""Extraction on a cluster: a window is a task, and each worker loads a model once."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any

from biocache.engine.executor import Executor, Task
from biocache.engine.extraction.batches import plan_windows
from biocache.engine.extraction.memory import Budget
from biocache.engine.extraction.running import Progress, RunReport, fill_run
from biocache.engine.models.loading import LoadedModel, load_model
from biocache.engine.models.sources import ModelSource
from biocache.engine.models.traits import Traits
from biocache.engine.models.trial import TrialSample, try_model
from biocache.store.errors import RunNotFoundError, SpecMismatchError, StoreFormatError
from biocache.store.keys import RunKey
from biocache.store.reading import Run
from biocache.store.storage import Storage

__all__ = ["fill_runs_on_cluster", "try_on_cluster"]

# Threads of a worker share its model and run it one at a time: they would compete for memory and cores.
_FORWARD = threading.Lock()


@lru_cache(maxsize=1)
def _model(source: ModelSource, device: str, compute_dtype: str) -> LoadedModel:
    return load_model(source, device, compute_dtype)


def _tried(
    source: ModelSource, device: str, compute_dtype: str, samples: Sequence[TrialSample], attention: bool, norms: bool
) -> tuple[str, Traits, tuple[str, ...]]:
    with _FORWARD:
        loaded = _model(source, device, compute_dtype)
        asked = {"attention": attention, "norms": norms}
        traits = try_model(loaded.model, samples, name=source.name, compute_dtype=compute_dtype, **asked)
        return loaded.digest, traits, loaded.remarks


def try_on_cluster(
    executor: Executor,
    source: ModelSource,
    device: str,
    compute_dtype: str,
    samples: Sequence[TrialSample],
    *,
    attention: bool,
    norms: bool,
) -> tuple[str, Traits, tuple[str, ...]]:
    """Return the digest of a model's weights, what it does, and what was done to the names of its tensors.

    It is loaded into one of the workers; see `try_model`.

    Raises
    ------
    ModelError
        If it cannot be loaded there, or cannot be cached.
    ResourceError
        If the worker dies.
    """
    task = Task("trial", _tried, (source, device, compute_dtype, samples, attention, norms))
    digest, traits, remarks = executor.run([task])["trial"]
    return digest, traits, remarks


def _fill_window(
    store: Storage,
    key: RunKey,
    digest: str,
    source: ModelSource,
    device: str,
    compute_dtype: str,
    budget: Budget,
    window: int,
) -> RunReport:
    run = _opened(store, key, digest)
    with _FORWARD:
        loaded = _model(source, device, compute_dtype)
        if loaded.digest != run.spec.model_digest:
            raise SpecMismatchError(
                f"a Dask worker loads other weights from {source.weights!r} than run {key} was begun with; give all "
                "workers the same files"
            )
        return fill_run(run, loaded, budget, windows=[window])


def _opened(store: Storage, key: RunKey, digest: str) -> Run:
    """Open the run of a key, or the successor that is to replace it, by its digest."""
    for successor in (False, True):
        with suppress(RunNotFoundError, StoreFormatError):
            run = Run.open(store, key, successor=successor)
            if run.group.digest == digest:
                return run
    raise RunNotFoundError(
        f"run {key} was removed or replaced while it was being extracted; run the same command again"
    )


def fill_runs_on_cluster(
    executor: Executor,
    runs: Sequence[Run],
    source: ModelSource,
    device: str,
    compute_dtype: str,
    budget: Budget,
    on_progress: Callable[[Progress], None] | None,
) -> list[RunReport]:
    """Compute the windows of some runs of one model on a cluster.

    Parameters
    ----------
    executor
        Runs the tasks. Its workers see the store and the model under the same paths.
    runs
        The runs; they exist in the store.
    source, device, compute_dtype
        The model, as every worker loads it.
    budget
        Batch and window sizes.
    on_progress
        Called after every window.

    Returns
    -------
    list of RunReport
        One a run.

    Raises
    ------
    ResourceError
        If workers die.
    """
    tasks: list[Task] = []
    todo: dict[RunKey, int] = {}
    for run in runs:
        left = sorted(set(range(run.counts.packs)) - set(run.committed()))
        todo[run.key] = int(run.plan.tokens.pack_sizes[left].sum())
        store = run.group.storage.absolute()
        for window, packs in enumerate(plan_windows(run.plan, budget.window_tokens)):
            if not set(left).isdisjoint(packs):
                arguments = (store, run.key, run.group.digest, source, device, compute_dtype, budget, window)
                tasks.append(Task(run.key, _fill_window, arguments))
    written = dict.fromkeys(todo, 0)

    def progress(key: Any, report: RunReport) -> None:
        written[key] += report.tokens_written
        if on_progress is not None:
            on_progress(Progress(str(key), written[key], todo[key]))

    made = executor.run(tasks, on_part=progress)
    reports = [made.get(run.key, RunReport(str(run.key), run.counts.packs)) for run in runs]
    return [replace(report, packs_done=len(run.committed())) for report, run in zip(reports, runs, strict=True)]
