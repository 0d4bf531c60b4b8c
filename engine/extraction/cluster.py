"""Extraction on a Dask cluster: windows as tasks, each worker loading a model once."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from biocache.engine.extraction.batches import plan_windows
from biocache.engine.extraction.memory import Budget
from biocache.engine.extraction.running import Progress, RunReport, fill_run
from biocache.engine.models.loading import LoadedModel, load_model
from biocache.engine.models.sources import ModelSource
from biocache.store.errors import ResourceError, SpecMismatchError
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


def digest_on_cluster(client: Any, source: ModelSource, device: str, compute_dtype: str) -> str:
    """Return the digest of a model's weights, loading it into one of the workers.

    Raises
    ------
    ModelError
        If it cannot be loaded there.
    ResourceError
        If the worker dies over it.
    """
    with _deaths_explained(source):
        return str(client.submit(_digest, source, device, compute_dtype, pure=False).result())


@contextmanager
def _deaths_explained(source: ModelSource) -> Iterator[None]:
    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise ResourceError(
            f"Dask workers died while computing model {source.name!r}, most likely for want of memory; committed "
            "packs are safe: give workers more memory, or pass a smaller --max-memory, and run the same command again"
        ) from error


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
    client: Any,
    runs: Sequence[Run],
    source: ModelSource,
    device: str,
    compute_dtype: str,
    budget: Budget,
    on_progress: Callable[[Progress], None] | None,
) -> list[RunReport]:
    """Compute the windows of some runs of one model as Dask tasks.

    Parameters
    ----------
    client
        Connection to the cluster. Its workers see the store and the model under the same paths.
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
    from distributed import as_completed

    todo = {run.key: int(run.plan.tokens.pack_sizes[sorted(_pending(run))].sum()) for run in runs}
    tasks: dict[Any, Run] = {}
    for run in runs:
        done = set(run.committed())
        for window in plan_windows(run.plan, budget.window_tokens):
            if not done.issuperset(window.packs):
                root = str(resolved(run.path.parents[len(RunKey.names()) - 1]))
                arguments = (root, run.key, source, device, compute_dtype, budget, window.index)
                tasks[client.submit(_fill_window, *arguments, pure=False)] = run
    parts: dict[RunKey, list[RunReport]] = {run.key: [] for run in runs}
    try:
        with _deaths_explained(source):
            for future, report in as_completed(tasks, loop=client.loop, with_results=True):
                run = tasks[future]
                parts[run.key].append(report)
                if on_progress is not None:
                    written = sum(part.tokens_written for part in parts[run.key])
                    on_progress(Progress(str(run.key), written, todo[run.key]))
    finally:
        client.cancel(list(tasks))
    return [_merge(run, parts[run.key]) for run in runs]


def _pending(run: Run) -> set[int]:
    return set(range(run.counts.packs)) - set(run.committed())


def _merge(run: Run, parts: list[RunReport]) -> RunReport:
    return RunReport(
        run=str(run.key),
        packs=run.counts.packs,
        packs_written=sum(part.packs_written for part in parts),
        packs_done=run.counts.packs - len(_pending(run)),
        tokens_written=sum(part.tokens_written for part in parts),
        tokens_computed=sum(part.tokens_computed for part in parts),
        tokens_padded=sum(part.tokens_padded for part in parts),
        bytes_written=sum(part.bytes_written for part in parts),
    )
