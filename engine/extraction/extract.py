"""`extract`: a corpus and a model in, runs of a store out."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from biocache.engine.corpora.base import Corpus
from biocache.engine.executor import Executor
from biocache.engine.extraction.cluster import fill_runs_on_cluster, try_on_cluster
from biocache.engine.extraction.planning import plan_again, plan_extraction
from biocache.engine.extraction.plans import ExtractionPlan, ModelPlan, RunPlan
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.extraction.running import Progress, RunReport, fill_run
from biocache.engine.finetuning.checkpoint import own_checkpoint, require_sound
from biocache.engine.machine import origin, share_heap
from biocache.engine.models.loading import load_model
from biocache.engine.models.sources import ModelSource
from biocache.engine.models.trial import try_model
from biocache.engine.request import in_words_of
from biocache.engine.stages import stage
from biocache.store.creating import create_run, create_successor, install_successor, resume_run
from biocache.store.errors import (
    NewerFormatError,
    ResourceError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
    StoreFormatError,
)
from biocache.store.hierarchy import refuse_foreign
from biocache.store.keys import RunKey
from biocache.store.label_sets import LabelPlace, keep_labels
from biocache.store.reading import Run
from biocache.store.spec import Provenance
from biocache.store.storage import Storage, StorePlace, open_storage
from biocache.store.sweeping import sweep
from biocache.store.text import format_bytes

# Parts of a spec that are unknown until the weights are loaded and tried.
_MEASURED = {"model_digest", "without_maps", "causal", "sink", "padded", "feature_size", "head_count", "layers", "keep"}

__all__ = ["bytes_left", "check_disk", "extract", "run_plan"]


@in_words_of(ExtractionRequest)
def extract(
    store: StorePlace,
    request: ExtractionRequest,
    *,
    scheduler_address: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_corpus: Callable[[Corpus], None] | None = None,
) -> list[RunReport]:
    """Run a corpus through models and keep the activations of every layer.

    Packs that are in the store are not computed again: a complete run stays as it is, an interrupted one is
    completed.

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
    on_corpus
        Called with the corpus once it is read, before anything is computed.

    Returns
    -------
    list of RunReport
        What was done, one for each run.

    Raises
    ------
    BiocacheError
        If the input is malformed, a model or checkpoint is missing, a run exists with another spec, or memory or
        disk does not suffice. What is committed stays, and the same call finishes the rest.
    """
    open_storage(store).require_writable()
    plan = plan_extraction(request)
    if on_corpus is not None:
        on_corpus(plan.corpus)
    return run_plan(store, plan, scheduler_address=scheduler_address, on_progress=on_progress)


def run_plan(
    store: StorePlace,
    plan: ExtractionPlan,
    *,
    scheduler_address: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[RunReport]:
    """Execute a plan; see `extract`."""
    root = open_storage(store)
    refuse_foreign(root)
    check_disk(root, plan)
    sweep(root)
    if scheduler_address is not None and plan.request.partition is not None:
        raise SettingError(
            "--partition and --scheduler-address exclude each other: a cluster shares the windows by itself"
        )
    share_heap()
    reports: list[RunReport] = []
    with Executor(scheduler_address=scheduler_address) as executor:
        for model in plan.models:
            reports += _fill(root, plan, model, executor, on_progress)
    return reports


def _fill(
    root: Storage,
    plan: ExtractionPlan,
    model: ModelPlan,
    executor: Executor,
    on_progress: Callable[[Progress], None] | None,
) -> list[RunReport]:
    """Compute all runs of a model. Its weights are freed on return, before those of the next are loaded."""
    if model.source.checkpoint is not None:
        require_sound(model.source.checkpoint)
    settings = (model.source, plan.device, plan.request.compute_dtype)
    if executor.is_remote:
        samples = model.trial_samples()
        tried = try_on_cluster(executor, *settings, samples, attention=model.needs_maps, norms=model.keeps_norms)
        digest, traits, remarks = tried
        model = plan_again(plan, model, traits)
        runs = _create_runs(root, plan, model, digest)
        reports = fill_runs_on_cluster(executor, runs, *settings, model.budget, on_progress)
        for run in runs:
            _install(root, plan, run)
        return [replace(report, remarks=(*model.remarks, *remarks)) for report in reports]
    with stage(f"loading {model.source.name}"):
        loaded = load_model(*settings)
    with stage(f"trying {model.source.name} on a few samples"):
        traits = try_model(
            loaded.model,
            model.trial_samples(),
            name=model.source.name,
            compute_dtype=plan.request.compute_dtype,
            attention=model.needs_maps,
            norms=model.keeps_norms,
        )
    model = plan_again(plan, model, traits)
    reports = []
    for run in _create_runs(root, plan, model, loaded.digest):
        report = fill_run(run, loaded, model.budget, windows=plan.request.partition, on_progress=on_progress)
        reports.append(replace(report, remarks=(*model.remarks, *loaded.remarks)))
        # Not before: what it replaces stays readable until it is complete.
        _install(root, plan, run)
    return reports


def _create_runs(root: Storage, plan: ExtractionPlan, model: ModelPlan, digest: str) -> list[Run]:
    """Create or resume all runs of a model, after checking that none of them is refused."""
    runs = [replace(run, spec=replace(run.spec, model_digest=digest)) for run in model.runs]
    refuse_foreign(root)
    replaced: set[RunKey] = set()
    for run in runs:
        try:
            resume_run(root, run.spec)
        except NewerFormatError:
            raise
        except (SpecMismatchError, StoreFormatError):
            if not plan.request.overwrite:
                raise
            replaced.add(run.key)
    # The labels of a run that is replaced stay with it until its successor is in its place.
    _keep_labels(root, plan, [run.key for run in runs if run.key not in replaced])
    return [_create_run(root, plan, model, run, replace_it=run.key in replaced) for run in runs]


def _keep_labels(root: Storage, plan: ExtractionPlan, keys: Iterable[RunKey]) -> None:
    """Keep the labels and groups of the corpus beside the runs of some keys."""
    for split in dict.fromkeys(key.split for key in keys):
        for name, labels in plan.labels(split).items():
            place = LabelPlace(plan.request.task, plan.corpus.name, split, name)
            keep_labels(root, place, labels, overwrite=plan.request.overwrite)


def _install(root: Storage, plan: ExtractionPlan, run: Run) -> None:
    """Put a run in its place if it is a successor, with the labels of the corpus."""
    is_successor = run.group.folder != run.key.path
    install_successor(run)
    if is_successor:
        _keep_labels(root, plan, [run.key])


def _create_run(root: Storage, plan: ExtractionPlan, model: ModelPlan, run: RunPlan, *, replace_it: bool) -> Run:
    arguments = (root, run.spec, _provenance(plan, model, run), run.layout, run.columns(model.source))
    if not replace_it:
        try:
            return create_run(*arguments)
        except SpecMismatchError:  # Another process has made one since.
            if not plan.request.overwrite:
                raise
    return create_successor(*arguments)


def _provenance(plan: ExtractionPlan, model: ModelPlan, run: RunPlan) -> Provenance:
    return Provenance(
        model_source=model.source.weights,
        tokenizer_source=model.source.tokenizer,
        random_weights=model.source.random_weights,
        dataset_source=plan.corpus.source,
        notes=run.notes,
        task_head=model.shape.task_head,
        part=model.source.part,
        adapter=model.source.adapter,
        own_code=model.shape.own_code,
        head_token="" if model.shape.traits is None else model.shape.traits.head_token,
        **_training(model.source, run.key),
        **origin(plan.device),
    )


def _training(source: ModelSource, key: RunKey) -> dict[str, Any]:
    """Return the fields of a provenance that say how weights were fine-tuned."""
    if not key.training_size:
        return {}
    own = None if source.checkpoint is None else own_checkpoint(source.checkpoint)
    if own is not None:
        return {"trained_on_source": own.origin.dataset_source, "training_steps": own.steps()}
    trained_on = key.trained_on or key.dataset
    return {"trained_on_source": trained_on if "/" in trained_on else f"{key.task}/{trained_on}"}


def check_disk(store: StorePlace, plan: ExtractionPlan) -> None:
    """Refuse a plan that would write more than its request allows.

    Counts the bytes that are not in the store yet, before compression.

    Raises
    ------
    ResourceError
        If it is more than `ExtractionRequest.max_disk`.
    """
    allowed = plan.request.max_disk
    pending = sum(bytes_left(store, run) for run in plan.runs)
    if allowed is not None and pending > allowed:
        raise ResourceError(
            f"the extraction would write {format_bytes(pending)} and --max-disk is {format_bytes(allowed)}; keep fewer "
            "--layers, drop attention from --keep, or raise --max-disk"
        )


def bytes_left(store: StorePlace, run: RunPlan) -> int:
    """Return the bytes of a run's activations that are not in a store yet, before compression."""
    done = _packs_that_stay(open_storage(store), run)
    return run.activation_bytes - run.spec.activation_bytes(run.layout, done)


def _packs_that_stay(root: Storage, run: RunPlan) -> list[int]:
    """Return the committed packs of a run, or of the successor that will replace it."""
    for successor in (False, True):
        with suppress(RunNotFoundError, StoreFormatError):
            stored = Run.open(root, run.key, successor=successor)
            if not set(run.spec.difference(stored.spec)) - _MEASURED:
                return stored.committed()
    return []
