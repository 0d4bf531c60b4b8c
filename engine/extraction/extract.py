"""`extract`: a corpus and a model in, runs of a store out."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from biocache.engine.executor import Executor
from biocache.engine.extraction.cluster import digest_on_cluster, fill_runs_on_cluster
from biocache.engine.extraction.planning import ExtractionPlan, ModelPlan, RunPlan, plan_extraction
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.extraction.running import Progress, RunReport, fill_run
from biocache.engine.machine import origin
from biocache.engine.models.loading import load_model
from biocache.engine.request import in_words_of
from biocache.store.errors import (
    BusyError,
    NewerFormatError,
    ResourceError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
    StoreFormatError,
)
from biocache.store.hierarchy import refuse_foreign
from biocache.store.paths import local_path
from biocache.store.reading import Run
from biocache.store.spec import Provenance
from biocache.store.sweeping import sweep
from biocache.store.text import format_bytes
from biocache.store.writing import create_run, discard_run, resume_run

__all__ = ["bytes_left", "check_disk", "extract", "run_plan"]


@in_words_of(ExtractionRequest)
def extract(
    store: str | os.PathLike[str],
    request: ExtractionRequest,
    *,
    scheduler_address: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[RunReport]:
    """Run a corpus through models and keep the activations of every layer.

    What is in the store already is not computed again: a finished run is left alone, an interrupted one is
    finished.

    Parameters
    ----------
    store
        Folder of the store; made where it is missing.
    request
        Which runs, and how.
    scheduler_address
        Address of a Dask scheduler whose workers compute; None to compute here.
    on_progress
        Called as tokens are computed.

    Returns
    -------
    list of RunReport
        What was done, one a run.

    Raises
    ------
    BiocacheError
        If the input is malformed, a model or checkpoint is missing, a run exists with another spec, or memory or
        disk does not suffice. What is committed stays, and the same call finishes the rest.
    """
    return run_plan(store, plan_extraction(request), scheduler_address=scheduler_address, on_progress=on_progress)


def run_plan(
    store: str | os.PathLike[str],
    plan: ExtractionPlan,
    *,
    scheduler_address: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[RunReport]:
    """Do what a plan says; see `extract`."""
    root = local_path(store, "store")
    refuse_foreign(root)
    check_disk(root, plan)
    sweep(root)
    if scheduler_address is not None and plan.request.partition is not None:
        raise SettingError(
            "--partition and --scheduler-address exclude each other: a cluster shares the windows by itself"
        )
    reports: list[RunReport] = []
    with Executor(scheduler_address=scheduler_address) as executor:
        for model in plan.models:
            reports += _fill(root, plan, model, executor, on_progress)
    return reports


def _fill(
    root: Path,
    plan: ExtractionPlan,
    model: ModelPlan,
    executor: Executor,
    on_progress: Callable[[Progress], None] | None,
) -> list[RunReport]:
    """Compute all runs of a model. Its weights are freed on return, before those of the next are loaded."""
    settings = (model.source, plan.device, plan.request.compute_dtype)
    if executor.is_remote:
        runs = _create_runs(root, plan, model, digest_on_cluster(executor, *settings))
        return fill_runs_on_cluster(executor, runs, *settings, model.budget, on_progress)
    loaded = load_model(*settings)
    runs = _create_runs(root, plan, model, loaded.digest)
    return [
        fill_run(run, loaded, model.budget, windows=plan.request.partition, on_progress=on_progress) for run in runs
    ]


def _create_runs(root: Path, plan: ExtractionPlan, model: ModelPlan, digest: str) -> list[Run]:
    """Create or resume all runs of a model, after looking that none of them is refused."""
    runs = [replace(run, spec=replace(run.spec, model_digest=digest)) for run in model.runs]
    refuse_foreign(root)
    doomed = []
    for run in runs:
        try:
            resume_run(root, run.spec)
        except NewerFormatError:
            raise
        except (SpecMismatchError, StoreFormatError):
            if not plan.request.overwrite:
                raise
            doomed.append(run.key)
    for old in doomed:
        discard_run(root, old)
    try:
        return [create_run(root, run.spec, _provenance(plan, model, run), run.layout, run.columns) for run in runs]
    except SpecMismatchError as error:
        if not plan.request.overwrite:
            raise
        raise BusyError(
            f"another process has made a run of {model.source.name} with other settings while this one was replacing "
            "it; stop one of them, and run the same command again"
        ) from error


def _provenance(plan: ExtractionPlan, model: ModelPlan, run: RunPlan) -> Provenance:
    return Provenance(
        model_source=model.source.weights,
        tokenizer_source=model.source.tokenizer,
        random_weights=model.source.random_weights,
        dataset_source=plan.corpus.source,
        notes=run.notes,
        task_head=model.shape.task_head,
        **origin(plan.device),
    )


def check_disk(store: str | os.PathLike[str], plan: ExtractionPlan) -> None:
    """Refuse a plan that would write more than its request allows.

    What counts is what is not in the store yet, before compression.

    Raises
    ------
    ResourceError
        If it is more than `ExtractionRequest.max_disk`.
    """
    allowed = plan.request.max_disk
    pending = sum(bytes_left(local_path(store, "store"), run) for run in plan.runs)
    if allowed is not None and pending > allowed:
        raise ResourceError(
            f"the extraction would write {format_bytes(pending)} and --max-disk is {format_bytes(allowed)}; keep fewer "
            "--layers, drop attention from --keep, or raise --max-disk"
        )


def bytes_left(root: Path, run: RunPlan) -> int:
    """Return the bytes of a run's activations that are not in a store yet, before compression."""
    done = _packs_that_stay(root, run)
    tokens, entries = (int(axis.pack_sizes[done].sum()) for axis in (run.layout.tokens, run.layout.entries))
    return run.activation_bytes - run.sizes.total(tokens, entries)


def _packs_that_stay(root: Path, run: RunPlan) -> list[int]:
    """Return the committed packs of a run, none of one that will be replaced."""
    try:
        stored = Run.open(root, run.key)
    except (RunNotFoundError, StoreFormatError):
        return []
    # The digest of the weights is not known before they are loaded.
    return [] if set(run.spec.difference(stored.spec)) - {"model_digest"} else stored.committed()
