"""`biocache study`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.extract import corpus_notes, print_choices
from biocache.cli.options import json_option, request_options, store_option
from biocache.cli.progress import Bars
from biocache.cli.render import echo, note, print_facts, print_fields, print_json
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.request import build, settings_of
from biocache.engine.study.request import StudyRequest
from biocache.store.text import format_bytes

if TYPE_CHECKING:
    from biocache.engine.study.steps import PlannedStep, Step
    from biocache.engine.study.study import Outcome
    from biocache.store.storage import Storage

__all__ = ["study"]

_UNITS = {"finetune": "steps", "extract": "tokens", "probe": "fits", "compare-attention": "blocks"}
# Settings of the extraction alone; the others are those of the grid, or shared with the fine-tuning.
_EXTRACTION = (
    *("splits", "keep", "layers", "attention_splits", "stride", "dtype", "attention_dtype"),
    "max_memory",
)
_BOTH = ("max_length", "limit", "device", "overwrite")
_GRID = tuple(setting.name for setting in settings_of(StudyRequest))

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache study --task ner,nli --dataset demo=corpus/ner,demo=corpus/nli --model models/bert --dry-run
  biocache study --task ner --dataset demo=corpus/ner --model models/gpt2 --training-size 20 --steps finetune,extract"""


@click.command(epilog=_EXAMPLES, short_help="Do all of it for a grid of models and training sizes.")
@store_option
@request_options(StudyRequest)
@request_options(FinetuneRequest, without=("task", "dataset", *_GRID))
@request_options(ExtractionRequest, only=_EXTRACTION)
@click.option("--dry-run", is_flag=True, help="Show the steps and their bytes; load no weights, write nothing.")
@json_option
def study(store: "Storage", *, dry_run: bool, as_json: bool, **settings: Any) -> None:
    """Fine-tune, extract, probe and compare attention for every task, model, training size and seed.

    Each step is one call of the command of its name, with the same settings. What is finished is found and skipped,
    what was interrupted goes on, and a step that fails is reported at the end and stops only what needs it. --limit and
    --max-length hold for fine-tuning and extraction.
    """
    request = _request(settings)
    from biocache.engine.study.steps import check_study_disk, plan_study
    from biocache.engine.study.study import run_study

    if dry_run:
        planned = plan_study(store, request)
        for line in _updates_note(request):
            note(line)
        _print_plan(planned, as_json=as_json)
        check_study_disk(planned, request.max_disk)
        return
    with Bars("steps") as bars:
        outcomes = run_study(
            store,
            request,
            # Before the first step: what cannot be done was refused by then.
            on_step=lambda _: bars.notes(_updates_note(request)),
            on_progress=lambda step, what, done, total: bars.update(what, done, total, _UNITS[step.kind]),
            on_corpus=lambda corpus: bars.notes(corpus_notes(corpus)),
        )
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        note(f"{outcome.step} failed: {outcome.message}")
    _print_outcomes(outcomes, as_json=as_json)
    if failed:
        raise click.exceptions.Exit(1)


def _updates_note(request: StudyRequest) -> Iterator[str]:
    """Yield that training sizes will differ in updates, where they will."""
    sizes = [size for size in request.sizes if size]
    if "finetune" in request.steps and len(sizes) > 1 and not request.updates_are_equal:
        yield (
            "the training sizes will differ in optimiser steps as they do in data, and steps alone change a model; "
            "--equal-updates trains all of them equally long"
        )


def _request(settings: dict[str, Any]) -> StudyRequest:
    grid = {name: settings.pop(name) for name in _GRID}
    kept = {name: settings.pop(name) for name in _EXTRACTION} | {name: settings[name] for name in _BOTH}
    task = grid["tasks"][0]
    steps = {
        "finetuning": build(FinetuneRequest, {"task": task, **settings}),
        "extraction": build(ExtractionRequest, {"task": task, **kept}),
    }
    return build(StudyRequest, grid | steps)


def _print_plan(planned: "Sequence[PlannedStep]", *, as_json: bool) -> None:
    """Write the steps and the bytes that each would still write."""
    steps = [{**_facts(entry.step), "left_bytes": entry.bytes_left} for entry in planned]
    total = sum(entry.bytes_left or 0 for entry in planned)
    runs = [run for entry in planned for run in entry.runs]
    from biocache.engine.extraction.sizes import choices, compressed_bytes

    sizes = choices(runs)
    totals = {
        "left_bytes": total,
        "activation_bytes": sum(run.activation_bytes for run in runs),
        "compressed_bytes": compressed_bytes(runs),
    }
    if as_json:
        print_json(steps, totals=totals | {"choices": [asdict(choice) for choice in sizes]})
        return
    print_facts({**_COLUMNS, "bytes to write": "left_bytes"}, steps)
    echo()
    if sizes:
        print_choices(sizes)
    print_fields(
        [
            ("bytes to write, before compression", format_bytes(total)),
            ("activations of all steps", format_bytes(totals["activation_bytes"])),
            ("these, about, compressed", format_bytes(totals["compressed_bytes"])),
        ]
    )


def _print_outcomes(outcomes: "Sequence[Outcome]", *, as_json: bool) -> None:
    """Write the outcome of each step, a row each."""
    ends = [
        {**_facts(end.step), "state": end.state, "seconds": end.seconds, "message": end.message} for end in outcomes
    ]
    if as_json:
        print_json(ends)
        return
    rounded = [{**end, "seconds": f"{end['seconds']:.1f}"} for end in ends]
    print_facts({**_COLUMNS, "seconds": "seconds", "state": "state"}, rounded)


# Title of a column to the fact that it shows.
_COLUMNS = {name: name for name in ("step", "task", "dataset", "model")} | {
    "training size": "training_sizes",
    "seed": "seeds",
}


def _facts(step: "Step") -> dict[str, Any]:
    return {
        "step": step.kind,
        "task": step.cell.task,
        "dataset": step.cell.dataset_name,
        "model": step.cell.model_name,
        "training_sizes": list(step.sizes),
        "seeds": list(step.seeds),
    }
