"""Extraction on a cluster: windows as tasks, each worker loading a model once."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from biocache.engine.executor import Executor, Task
from biocache.engine.extraction.batches import plan_windows
from biocache.engine.extraction.memory import Budget
from biocache.engine.extraction.running import Progress, RunReport, fill_run
from biocache.engine.models.loading import LoadedModel, load_model
from biocache.engine.models.sources import ModelSource
from biocache.store.errors import SpecMismatchError
from biocache.store.keys import RunKey
from biocache.store.paths import resolved
from biocache.store.reading import Run

__all__ = ["digest_on_cluster", "fill_runs_on_cluster"]

# A worker's threads share its model, and would take each other's memory and cores if they ran it together.
_FORWARD = threading.Lock()


@lru_cache(maxsize=1)
def _model(source: ModelSource, device: str, compute_dtype: str) -> LoadedModel:
    return load_model(source, device, compute_dtype)


def _digest(source: ModelSource, device: str, compute_dtype: str) -> str:
    with _FORWARD:
        return _model(source, device, compute_dtype).digest


def digest_on_cluster(executor: Executor, source: ModelSource, device: str, compute_dtype: str) -> str:
    """Return the digest of a model's weights, loading it into one of the workers.

    Raises
    ------
    ModelError
        If it cannot be loaded there.
    ResourceError
        If the worker dies over it.
    """
    return str(executor.run([Task("digest", _digest, (source, device, compute_dtype))])["digest"])


def _fill_window(
    root: str, key: RunKey, source: ModelSource, device: str, compute_dtype: str, budget: Budget, window: int
) -> RunReport:
    run = Run.open(Path(root), key)
    with _FORWARD:
        loaded = _model(source, device, compute_dtype)
        if loaded.digest != run.spec.model_digest:
            raise SpecMismatchError(
                f"a Dask worker loads other weights from {source.weights!r} than run {key} was begun with; give all "
                "workers the same files"
            )
        return fill_run(run, loaded, budget, windows=[window])


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
        What runs them. Its workers see the store and the model under the same paths.
    runs
        The runs, created.
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
        If workers die under their work.
    """
    tasks: list[Task] = []
    todo: dict[RunKey, int] = {}
    for run in runs:
        left = sorted(set(range(run.counts.packs)) - set(run.committed()))
        todo[run.key] = int(run.plan.tokens.pack_sizes[left].sum())
        root = str(resolved(run.path.parents[len(RunKey.names()) - 1]))
        for window, packs in enumerate(plan_windows(run.plan, budget.window_tokens)):
            if not set(left).isdisjoint(packs):
                arguments = (root, run.key, source, device, compute_dtype, budget, window)
                tasks.append(Task(run.key, _fill_window, arguments))
    written = dict.fromkeys(todo, 0)

    def progress(key: Any, report: RunReport) -> None:
        written[key] += report.tokens_written
        if on_progress is not None:
            on_progress(Progress(str(key), written[key], todo[key]))

    made = executor.run(tasks, on_part=progress)
    reports = [made.get(run.key, RunReport(str(run.key), run.counts.packs)) for run in runs]
    return [replace(report, packs_done=len(run.committed())) for report, run in zip(reports, runs, strict=True)]
