"""`biocache study`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import (
    TASKS,
    activation_options,
    checkpoints_option,
    json_option,
    list_option,
    models_option,
    seed_option,
    store_option,
    training_options,
)
from biocache.cli.values import BYTES, INTEGERS, NAMES, ListOf

if TYPE_CHECKING:
    from biocache.engine.study.request import StudyRequest
    from biocache.engine.study.steps import PlannedStep, Step
    from biocache.engine.study.study import Outcome

__all__ = ["STEPS", "study"]

STEPS = ("finetune", "extract", "probe", "compare-attention")
PROBES = ("svc", "logistic", "linear-svc", "mlp", "bilstm-crf")
_UNITS = {"finetune": "steps", "extract": "tokens", "probe": "fits", "compare-attention": "blocks"}
_EXTRACTION = ("splits", "keep", "layers", "attention_splits", "dtype", "max_memory")

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache study --task ner,nli --dataset demo=corpus/ner,demo=corpus/nli --model models/bert --dry-run
  biocache study --task ner --dataset demo=corpus/ner --model models/gpt2 --training-size 20 --steps finetune,extract"""


@click.command(epilog=_EXAMPLES, short_help="Do all of it for a grid of models and training sizes.")
@store_option
@list_option("--task", "tasks", items=ListOf(click.Choice(TASKS)), default=("ner",), text="Tasks.")
@list_option(
    "--dataset",
    "datasets",
    items=NAMES,
    text="A corpus for each task, in their order; NAME=FOLDER names it.  [default: those of the tasks]",
)
@models_option
@list_option(
    "--training-size",
    "training_sizes",
    items=INTEGERS,
    default=(0, 10, 30, 50, 100),
    text="Percents of the train split; 0 is pre-trained.",
)
@seed_option
@checkpoints_option
@list_option("--steps", items=ListOf(click.Choice(STEPS)), default=STEPS, text="Steps to do.")
@training_options
@activation_options
@click.option(
    "--probe",
    type=click.Choice(PROBES),
    help="Classifier of the probes.  [default: bilstm-crf for ner, svc for nli]",
)
@click.option(
    "--max-train-samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="Samples of the train split that a probe is fitted on.  [default: all]",
)
@list_option(
    "--metric", "metrics", items=NAMES, default=("cosine", "js"), text="Metrics of the comparison of attention."
)
@click.option("--max-disk", type=BYTES, help="Refuse to write more than this, such as 200G.")
@click.option("--dry-run", is_flag=True, help="Show the steps and their bytes; load no weights, write nothing.")
@json_option
def study(store: Path, *, dry_run: bool, as_json: bool, **settings: Any) -> None:
    """Fine-tune, extract, probe and compare attention for every task, model and training size.

    Each step is one call of the command of its name, with the same settings. What is finished is found and skipped,
    what was interrupted goes on, and a step that fails is reported at the end and stops only what needs it. --limit and
    --max-length hold for fine-tuning and extraction.
    """
    request = _request(settings)
    from biocache.cli.render import Bars, note
    from biocache.engine.study.steps import check_study_disk, plan_study
    from biocache.engine.study.study import run_study

    if dry_run:
        planned = plan_study(store, request)
        _print_plan(planned, as_json=as_json)
        check_study_disk(planned, request.max_disk)
        return
    with Bars("steps") as bars:
        outcomes = run_study(
            store,
            request,
            on_progress=lambda step, what, done, total: bars.update(what, done, total, _UNITS[step.kind]),
        )
    _print_outcomes(outcomes, as_json=as_json)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        note(f"{outcome.step} failed: {outcome.message}")
    if failed:
        raise click.exceptions.Exit(1)


def _request(settings: dict[str, Any]) -> "StudyRequest":
    from biocache.engine.extraction.request import ExtractionRequest
    from biocache.engine.finetuning.request import FinetuneRequest
    from biocache.engine.study.request import StudyRequest

    tasks, datasets = settings.pop("tasks"), settings.pop("datasets") or ()
    if datasets and len(datasets) != len(tasks):
        raise click.UsageError(
            f"--dataset names {len(datasets)} and --task {len(tasks)}; give a corpus for each task, in their order"
        )
    of_grid = ("models", "training_sizes", "seed", "checkpoints", "steps", "probe", "max_train_samples", "metrics")
    grid = {name: settings.pop(name) for name in (*of_grid, "max_disk")}
    kept = {name: settings.pop(name) for name in _EXTRACTION}
    both = {name: settings[name] for name in ("max_length", "limit", "device", "overwrite")}
    return StudyRequest(
        corpora=tuple(zip(tasks, datasets or (None,) * len(tasks), strict=True)),
        finetuning=FinetuneRequest(task=tasks[0], restart=not settings.pop("resume"), **settings),
        extraction=ExtractionRequest(task=tasks[0], **kept, **both),
        **grid,
    )


def _print_plan(planned: "Sequence[PlannedStep]", *, as_json: bool) -> None:
    """Write the steps and the bytes that each would still write."""
    from biocache.cli.render import echo, print_fields, print_json, print_table
    from biocache.store.text import format_bytes

    total = sum(entry.bytes_left or 0 for entry in planned)
    if as_json:
        steps = [{**_facts(entry.step), "bytes_left": entry.bytes_left} for entry in planned]
        print_json({"steps": steps, "totals": {"bytes_left": total}})
        return
    sizes = ["-" if entry.bytes_left is None else format_bytes(entry.bytes_left) for entry in planned]
    rows = [(*_cells(entry.step), size) for entry, size in zip(planned, sizes, strict=True)]
    print_table((*_COLUMNS, "bytes to write"), rows)
    echo()
    print_fields([("bytes to write, before compression", format_bytes(total))])


def _print_outcomes(outcomes: "Sequence[Outcome]", *, as_json: bool) -> None:
    """Write what became of each step, a row each."""
    from biocache.cli.render import print_json, print_table

    if as_json:
        print_json(
            [
                {**_facts(end.step), "state": end.state, "seconds": end.seconds, "message": end.message}
                for end in outcomes
            ]
        )
        return
    rows = [(*_cells(end.step), f"{end.seconds:.1f}", end.state) for end in outcomes]
    print_table((*_COLUMNS, "seconds", "state"), rows)


_COLUMNS = ("step", "task", "dataset", "model", "training size")


def _cells(step: "Step") -> tuple[str, ...]:
    return (step.kind, step.cell.task, step.cell.dataset_name, step.cell.model_name, ",".join(map(str, step.sizes)))


def _facts(step: "Step") -> dict[str, Any]:
    return {
        "step": step.kind,
        "task": step.cell.task,
        "dataset": step.cell.dataset_name,
        "model": step.cell.model_name,
        "training_sizes": list(step.sizes),
    }
