"""`run_study`: every step of a grid in order; a failure stops only the steps that need it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from biocache.engine.corpora.base import Corpus
from biocache.engine.study.request import Cell, StudyRequest
from biocache.engine.study.steps import Step, check_study_disk, has_foreign_checkpoint, plan_study, steps
from biocache.store.errors import BiocacheError
from biocache.store.hierarchy import refuse_foreign
from biocache.store.storage import Storage, StorePlace, open_storage

__all__ = ["Outcome", "run_study"]

OnProgress = Callable[[Step, str, int, int], None]
OnCorpus = Callable[[Corpus], None] | None
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a step.

    Attributes
    ----------
    step
        The step, with the sizes and seeds that it was run for.
    state
        ``done``; ``found``, if nothing was left to do; ``failed``; ``left out``, if a step that it needs failed.
    seconds
        Wall time.
    message
        Why it failed or was left out; else empty.
    """

    step: Step
    state: str
    seconds: float
    message: str = ""


def run_study(
    store: StorePlace,
    request: StudyRequest,
    *,
    on_step: Callable[[Step], None] | None = None,
    on_progress: OnProgress | None = None,
    on_corpus: OnCorpus = None,
) -> list[Outcome]:
    """Fine-tune, extract, probe and compare attention over a grid of datasets, models, training sizes and seeds.

    Finished steps are found and not run again. A failed step stops only the steps that need it.

    Parameters
    ----------
    store
        Folder of the store; made where it is missing.
    request
        The grid.
    on_step
        Called before each step.
    on_progress
        Called with the step, the name of the part that is being made, how much of it is done, and its total.
    on_corpus
        Called with the corpus of a step once it is read.

    Returns
    -------
    list of Outcome
        One a step, in their order.

    Raises
    ------
    BiocacheError
        If the grid itself is invalid, or would write more than `StudyRequest.max_disk`.
    """
    root = open_storage(store)
    refuse_foreign(root)
    todo = list(steps(request))
    if request.max_disk is not None:
        check_study_disk(plan_study(root, request), request.max_disk)
    missing: set[tuple[Cell, int, int]] = set()
    outcomes = []
    for step in todo:
        if on_step is not None:
            on_step(step)
        tell = on_progress or (lambda *_: None)
        outcomes.append(_outcome(root, request, step, missing, tell, on_corpus))
    return outcomes


def _outcome(
    store: Storage,
    request: StudyRequest,
    step: Step,
    missing: set[tuple[Cell, int, int]],
    on_progress: OnProgress,
    on_corpus: OnCorpus,
) -> Outcome:
    """Run a step for what earlier steps did not fail for; add the sizes and seeds that it fails for to `missing`."""
    left = _left(request, step, missing)
    if left is None:
        return Outcome(step, "left out", 0.0, "an earlier step failed for its training sizes")
    step = left
    begun = time.perf_counter()
    worked = False

    def tell(what: str, done: int, total: int) -> None:
        nonlocal worked
        worked = True
        on_progress(step, what, done, total)

    try:
        _CALLS[step.kind](store, request, step, tell, on_corpus)
    except Exception as error:
        # Any exception: hours of other steps do not depend on this one.
        if step.kind in ("finetune", "extract"):
            missing.update((step.cell, size, seed) for size in step.sizes for seed in step.seeds)
        message = error.message if isinstance(error, BiocacheError) else f"{type(error).__name__}: {error}"
        return Outcome(step, "failed", time.perf_counter() - begun, " ".join(message.split()))
    return Outcome(step, "done" if worked else "found", time.perf_counter() - begun)


def _left(request: StudyRequest, step: Step, missing: set[tuple[Cell, int, int]]) -> Step | None:
    """Return a step without the sizes that no seed is there of, then without the seeds that a size lacks."""
    compared = step.kind == "compare-attention"
    # A comparison needs its baseline too.
    needed = (request.sizes[0], *step.sizes) if compared else step.sizes
    lacking = {
        size: {seed for seed in step.seeds if (step.cell, size, seed if size else request.seeds[0]) in missing}
        for size in needed
    }
    kept = [size for size in needed if len(lacking[size]) < len(step.seeds)]
    seeds = tuple(seed for seed in step.seeds if not any(seed in lacking[size] for size in kept))
    sizes = tuple(size for size in step.sizes if size in kept)
    if not sizes or not seeds or (compared and needed[0] not in kept):
        return None
    return replace(step, sizes=sizes, seeds=seeds)


def _finetune(store: Storage, request: StudyRequest, step: Step, tell: Tell, on_corpus: OnCorpus) -> None:
    from biocache.engine.finetuning.finetune import finetune

    place = (step.cell, step.sizes[0], step.seeds[0])
    if not has_foreign_checkpoint(request, *place):
        made = request.finetune_request(*place)
        finetune(
            store,
            made,
            on_progress=lambda at: tell(at.checkpoint, at.steps_done, at.steps_total),
            on_corpus=on_corpus,
        )


def _extract(store: Storage, request: StudyRequest, step: Step, tell: Tell, on_corpus: OnCorpus) -> None:
    from biocache.engine.extraction.extract import extract

    made = request.extraction_request(step.cell, step.sizes[0], step.seeds[0])
    extract(store, made, on_progress=lambda at: tell(at.run, at.tokens_done, at.tokens_total), on_corpus=on_corpus)


def _analyse(store: Storage, request: StudyRequest, step: Step, tell: Tell, _on_corpus: OnCorpus) -> None:
    from biocache.engine.analysis import compute

    made = request.probe_request if step.kind == "probe" else request.attention_request
    compute(step.kind, store, made(step.cell, step.sizes, step.seeds), on_progress=partial(tell, str(step)))


_CALLS = {"finetune": _finetune, "extract": _extract, "probe": _analyse, "compare-attention": _analyse}
