"""The steps of a study: their order, which are finished, and the bytes they will write."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from biocache.engine.corpora.readers import locate
from biocache.engine.extraction.extract import bytes_left
from biocache.engine.extraction.planning import plan_extraction
from biocache.engine.extraction.plans import ModelPlan, RunPlan
from biocache.engine.finetuning.checkpoint import is_foreign
from biocache.engine.models.sources import find_source, parse_model
from biocache.engine.study.request import Cell, StudyRequest
from biocache.store.errors import ModelError, ResourceError, SettingError
from biocache.store.storage import StorePlace
from biocache.store.text import format_bytes

__all__ = ["PlannedStep", "Step", "cells", "check_study_disk", "plan_study", "steps"]


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the function that `kind` names.

    Attributes
    ----------
    kind
        ``finetune``, ``extract``, ``probe`` or ``compare-attention``.
    cell
        The model and the dataset.
    sizes, seeds
        Training sizes of the call, and their seeds.
    """

    kind: str
    cell: Cell
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]

    def __str__(self) -> str:
        where = f"{self.cell.task}/{self.cell.dataset_name}/{self.cell.model_name}"
        sizes, seeds = (",".join(map(str, numbers)) for numbers in (self.sizes, self.seeds))
        return f"{self.kind} {where} {sizes} seed {seeds}"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step, and the bytes that it would write.

    Attributes
    ----------
    step
        The step.
    bytes_left
        Bytes that it would still write, before compression: weights or activations; None for analyses, whose results
        are small.
    runs
        What it extracts.
    """

    step: Step
    bytes_left: int | None
    runs: tuple[RunPlan, ...] = ()


def cells(request: StudyRequest) -> list[Cell]:
    """Return every model on every dataset.

    Raises
    ------
    SettingError
        If two datasets or two models would have one name.
    DataError
        If a task has no default dataset.
    """
    found: dict[tuple[str, str, str], Cell] = {}
    for task, dataset in request.corpora:
        for model in request.models:
            cell = Cell(task, dataset, locate(task, dataset).name, model, parse_model(model)[0])
            name = (task, cell.dataset_name, cell.model_name)
            if name in found:
                raise SettingError(f"{'/'.join(name)} is asked for twice; give one of them another name: NAME=...")
            found[name] = cell
    return list(found.values())


def steps(request: StudyRequest) -> Iterator[Step]:
    """Yield the steps of a study, each after those that it needs."""
    for cell in cells(request):
        for size in request.sizes:
            for seed in request.seeds_of(size):
                if "finetune" in request.steps and size > 0:
                    yield Step("finetune", cell, (size,), (seed,))
                if "extract" in request.steps:
                    yield Step("extract", cell, (size,), (seed,))
        if "probe" in request.steps:
            yield Step("probe", cell, request.sizes, request.seeds)
        if "compare-attention" in request.steps and len(request.sizes) > 1:
            yield Step("compare-attention", cell, request.sizes[1:], request.seeds)


def plan_study(store: StorePlace, request: StudyRequest) -> list[PlannedStep]:
    """Return the steps with the bytes that each would still write; no weights are loaded.

    An existing checkpoint counts as finished, whatever its settings. The optimiser states saved during training, three
    times the bytes of the checkpoint, are deleted when it is complete and do not count.

    Parameters
    ----------
    store
        Folder of the store; it need not exist.
    request
        The grid.

    Raises
    ------
    BiocacheError
        If a corpus is malformed, a model is missing or a setting does not fit it.
    """
    plans: dict[Cell, ModelPlan] = {}
    planned = []
    for step in steps(request):
        cell = step.cell
        if step.kind in ("finetune", "extract") and cell not in plans:
            # All sizes and seeds of a model share the layout of the pre-trained one.
            plans[cell] = plan_extraction(request.extraction_request(cell, 0, request.seeds[0])).models[0]
        size, seed = step.sizes[0], step.seeds[0]
        left: int | None = None
        runs: tuple[RunPlan, ...] = ()
        if step.kind == "finetune":
            left = 0 if _checkpoint(request, cell, size, seed) is not None else 4 * plans[cell].shape.parameters
        elif step.kind == "extract":
            runs = tuple(_at(run, size, seed) for run in plans[cell].runs)
            left = sum(bytes_left(store, run) for run in runs)
        planned.append(PlannedStep(step, left, runs))
    return planned


def _at(run: RunPlan, size: int, seed: int) -> RunPlan:
    return replace(run, spec=replace(run.spec, key=replace(run.spec.key, training_size=size, seed=seed)))


def has_foreign_checkpoint(request: StudyRequest, cell: Cell, size: int, seed: int) -> bool:
    """Return whether a cell at a size and seed has a checkpoint that another tool made; extraction takes it as it is.

    Parameters
    ----------
    request
        The grid.
    cell
        The model and the dataset.
    size, seed
        The training size, and its seed.
    """
    found = _checkpoint(request, cell, size, seed)
    return found is not None and (found.is_file() or is_foreign(found))


def _checkpoint(request: StudyRequest, cell: Cell, size: int, seed: int) -> Path | None:
    """Return the checkpoint that extraction would read for a cell at a size and seed; None if there is none."""
    try:
        return find_source(
            cell.model_name,
            cell.model,
            task=cell.task,
            dataset=cell.dataset_name,
            training_size=size,
            seed=seed,
            checkpoints=request.checkpoints,
        ).checkpoint
    except ModelError:
        return None


def check_study_disk(planned: list[PlannedStep], allowed: int | None) -> None:
    """Refuse a study that would write more than is allowed.

    Raises
    ------
    ResourceError
        If it would.
    """
    pending = sum(step.bytes_left or 0 for step in planned)
    if allowed is not None and pending > allowed:
        raise ResourceError(
            f"the study would write {format_bytes(pending)} and --max-disk is {format_bytes(allowed)}; keep fewer "
            "--layers or sizes, drop attention from --keep, or raise --max-disk"
        )
