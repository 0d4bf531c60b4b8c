"""`run_study`: every step of a grid, one after the other, each with its own fate."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from biocache.engine.request import Request
from biocache.engine.study.request import Cell, StudyRequest
from biocache.engine.study.steps import Step, check_study_disk, foreign_checkpoint, plan_study, steps
from biocache.store.errors import BiocacheError
from biocache.store.hierarchy import refuse_foreign
from biocache.store.paths import local_path

__all__ = ["Outcome", "run_study"]

OnProgress = Callable[[Step, str, int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step.

    Attributes
    ----------
    step
        The step, with the sizes that it was done for.
    state
        ``done``; ``found``, where nothing was left to do; ``failed``; ``left out``, where what it needs failed.
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
    store: str | os.PathLike[str],
    request: StudyRequest,
    *,
    on_step: Callable[[Step], None] | None = None,
    on_progress: OnProgress | None = None,
) -> list[Outcome]:
    """Fine-tune, extract, probe and compare attention over a grid of data sets, models and training sizes.

    Finished steps are found and not done again. A step that fails does not stop those that do not need it.

    Parameters
    ----------
    store
        Folder of the store; made where it is missing.
    request
        The grid.
    on_step
        Called before each step.
    on_progress
        Called with the step, what of it is being made, how much of that is done, and of how much.

    Returns
    -------
    list of Outcome
        One a step, in their order.

    Raises
    ------
    BiocacheError
        If the grid itself cannot be used, or would take more than `StudyRequest.max_disk`.
    """
    root = local_path(store, "store")
    refuse_foreign(root)
    todo = list(steps(request))
    if request.max_disk is not None:
        check_study_disk(plan_study(root, request), request.max_disk)
    runner = _Runner(root, request, on_progress or (lambda *_: None))
    outcomes = []
    for step in todo:
        if on_step is not None:
            on_step(step)
        outcomes.append(runner.run(step))
    return outcomes


class _Runner:
    """Does steps and remembers what is missing for later ones."""

    def __init__(self, store: Path, request: StudyRequest, on_progress: OnProgress) -> None:
        self._store = store
        self._request = request
        self._on_progress = on_progress
        self._missing: set[tuple[Cell, int]] = set()
        self._worked = False

    def run(self, step: Step) -> Outcome:
        """Do a step, for the sizes that earlier steps did not fail for."""
        sizes = tuple(size for size in step.sizes if (step.cell, size) not in self._missing)
        begun = time.perf_counter()
        baseline = (step.cell, self._request.sizes[0])
        if not sizes or (step.kind == "compare-attention" and baseline in self._missing):
            return Outcome(step, "left out", 0.0, "an earlier step failed for its training sizes")
        step = Step(step.kind, step.cell, sizes)
        self._worked = False
        try:
            {
                "finetune": self._finetune,
                "extract": self._extract,
                "probe": self._probe,
                "compare-attention": self._compare,
            }[step.kind](step)
        except Exception as error:
            # Whatever it is: hours of other steps do not depend on it.
            if step.kind in ("finetune", "extract"):
                self._missing.update((step.cell, size) for size in sizes)
            message = error.message if isinstance(error, BiocacheError) else f"{type(error).__name__}: {error}"
            return Outcome(step, "failed", time.perf_counter() - begun, " ".join(message.split()))
        return Outcome(step, "done" if self._worked else "found", time.perf_counter() - begun)

    def _tell(self, step: Step, what: str, done: int, total: int) -> None:
        self._worked = True
        self._on_progress(step, what, done, total)

    def _finetune(self, step: Step) -> None:
        from biocache.engine.finetuning.finetune import finetune

        if foreign_checkpoint(self._request, step.cell, step.sizes[0]) is not None:
            return  # Extraction takes it as it is.
        finetune(
            self._store,
            self._request.finetune_request(step.cell, step.sizes[0]),
            on_progress=lambda at: self._tell(step, at.checkpoint, at.steps_done, at.steps_total),
        )

    def _extract(self, step: Step) -> None:
        from biocache.engine.extraction.extract import extract

        extract(
            self._store,
            self._request.extraction_request(step.cell, step.sizes[0]),
            on_progress=lambda at: self._tell(step, at.run, at.tokens_done, at.tokens_total),
        )

    def _probe(self, step: Step) -> None:
        self._analyse(step, self._request.probe_request(step.cell, step.sizes))

    def _compare(self, step: Step) -> None:
        self._analyse(step, self._request.attention_request(step.cell, step.sizes))

    def _analyse(self, step: Step, request: Request) -> None:
        from biocache.engine.analysis import compute

        compute(
            step.kind, self._store, request, on_progress=lambda done, total: self._tell(step, str(step), done, total)
        )
