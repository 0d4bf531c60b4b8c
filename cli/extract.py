"""`biocache extract`: its options, and what it prints of the plan, of losses, and of what was done."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, request_options, scheduler_address_option, store_option
from biocache.cli.progress import Bars
from biocache.cli.render import echo, note, print_facts, print_fields, print_json, print_table, run_facts
from biocache.engine.corpora.standoff.tagging import NOTES
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.request import build
from biocache.engine.stages import stage
from biocache.store.text import counted, format_bytes

if TYPE_CHECKING:
    from biocache.engine.corpora.base import Corpus
    from biocache.engine.extraction.plans import ExtractionPlan, RunPlan
    from biocache.engine.extraction.running import RunReport
    from biocache.engine.extraction.sizes import Choice
    from biocache.store.storage import Storage

__all__ = ["corpus_notes", "extract", "phrase", "print_choices", "print_reports", "task_head_note"]

# Parts of a key that runs of one plan of a model share.
_OF_MODEL = ("model", "trained_on", "training_size", "seed")
_ENCODING_NOTES = ("samples_truncated", "samples_windowed", "words_lost")
_PHRASES = {
    "samples_truncated": "samples truncated",
    "samples_windowed": "samples cut into windows",
    "words_lost": "words lost",
    "repaired_tags": "tags repaired",
    "unlabelled": "samples without label",
    "empty_samples": "samples without a word skipped",
    "duplicates": "exact duplicates of earlier samples",
    "also_in_train": "samples that are in the train split too, word for word",
    "also_in_validation": "samples that are in the validation split too, word for word",
    "other_questions": "questions without a yes or no skipped",
    "comment_lines": "comment lines skipped",
    "multiword_tokens": "multiword tokens read as their words",
    "empty_nodes": "empty nodes skipped",
    **NOTES,
}

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache extract --task ner --dataset demo=corpus/ner --model models/bert --training-size 0,20
  biocache extract --task nli --dataset demo=corpus/nli --model models/gpt2 --view premise --layers 0,2-3 --dry-run"""


@click.command(epilog=_EXAMPLES, short_help="Run a dataset through models and keep every layer.")
@store_option
@request_options(ExtractionRequest)
@click.option("--dry-run", is_flag=True, help="Show runs, bytes and memory; load no weights, write nothing.")
@scheduler_address_option
@json_option
def extract(store: "Storage", *, dry_run: bool, scheduler_address: str | None, as_json: bool, **settings: Any) -> None:
    """Run a dataset through models and keep the hidden states and attention of every layer.

    What is in the store already is not computed again; an interrupted extraction resumes where it stopped. Lists have
    commas between their items, or repeat the option. Sizes are bytes, or numbers with K, M, G or T (or KiB, MiB, ...),
    which are powers of 1024; KB, MB, GB and TB are powers of 1000.
    """
    request = build(ExtractionRequest, settings)
    if not dry_run:
        store.require_writable()
    with Bars("tokens") as bars:
        with stage("starting"):
            from biocache.engine.extraction.extract import check_disk, run_plan
            from biocache.engine.extraction.planning import plan_extraction
        plan = plan_extraction(request)
        bars.notes((*_of_models(plan), *_losses(plan)))
        if not dry_run:
            from biocache.store.claims import sees_writers

            if request.overwrite and store.exists("zarr.json") and not sees_writers(store):
                bars.notes([f"{store} has no locks: whether another process is writing to these runs cannot be seen"])
            reports = run_plan(
                store,
                plan,
                scheduler_address=scheduler_address,
                on_progress=lambda progress: bars.update(progress.run, progress.tokens_done, progress.tokens_total),
            )
            bars.notes(remark for report in reports for remark in report.remarks)
    if dry_run:
        _print_plan(plan, as_json=as_json)
        check_disk(store, plan)
    else:
        print_reports(reports, partition=settings["partition"], as_json=as_json)


def _of_models(plan: "ExtractionPlan") -> Iterator[str]:
    for model in plan.models:
        source, head = model.source, model.shape.task_head
        if head and source.training_size == 0 and not source.random_weights:
            yield task_head_note(source.name, head, "its runs are filed at training size 0 as they are")
        yield from model.remarks


def task_head_note(name: str, head: str, what: str) -> str:
    """Write that a model that should be pre-trained was trained for a task."""
    return f"model {name} is not just pre-trained: its configuration names a task head ({head}); {what}"


def corpus_notes(corpus: "Corpus") -> Iterator[str]:
    """Yield what a user should know of the reading of a corpus: remarks, and counts by split."""
    yield from (f"{corpus.name}: {remark}" for remark in corpus.remarks)
    for split, notes in corpus.notes.items():
        # Of samples that were skipped, a remark names the places.
        if counted := phrase({name: count for name, count in notes.items() if name != "empty_samples"}):
            yield f"{corpus.name}, {split}: {counted}"


def _losses(plan: "ExtractionPlan") -> Iterator[str]:
    yield from corpus_notes(plan.corpus)
    for run in plan.runs:
        # Training sizes of a model share their encoding, and their notes are written once.
        if counted := phrase({name: run.notes.get(name, 0) for name in _ENCODING_NOTES}):
            where = f"{run.key.dataset}, {run.key.model}, {run.key.view}, {run.key.split}"
            stride = "" if run.spec.stride is None else f", stride {run.spec.stride}"
            yield f"{where}: {counted} (max length {run.spec.max_length} tokens{stride})"


def phrase(notes: Mapping[str, int]) -> str:
    """Write the counts of the reading and encoding of a corpus."""
    phrases = {name: _PHRASES.get(name, name.replace("_", " ")) for name in notes}
    return ", ".join(
        f"{count:,} {_singular(phrases[name]) if count == 1 else phrases[name]}"
        for name, count in notes.items()
        if count
    )


# Words of a phrase that differ where it is of one.
_VERBS = {
    **{" that are ": " that is ", " that cut ": " that cuts ", " that share ": " that shares "},
    **{" their names": " its name", " their ": " its "},
}


def _singular(phrase: str) -> str:
    """Write of one what a phrase such as ``samples that are cut`` says of several: its first noun decides."""
    one = re.sub(r"s\b", "", phrase, count=1)
    for several, single in _VERBS.items():
        one = one.replace(several, single)
    return one


def _print_plan(plan: "ExtractionPlan", *, as_json: bool) -> None:
    """Write the runs that an extraction would make, a row each, and their bytes and memory."""
    runs = [_planned(run) for run in plan.runs]
    if as_json:
        print_json(runs, totals=_totals(plan))
        return
    columns = {name: name for name in ("run", "keep", "samples", "tokens", "packs")} | {"bytes": "activation_bytes"}
    # Windows are counted where some are asked for.
    kinds = [name for name in _ENCODING_NOTES if name != "samples_windowed" or plan.request.stride is not None]
    print_facts(
        columns | {_PHRASES[name]: name for name in kinds},
        [dict.fromkeys(_ENCODING_NOTES, 0) | run["notes"] | run for run in runs],
    )
    echo()
    from biocache.engine.extraction.sizes import choices, compressed_bytes

    print_choices(choices(plan.runs))
    fields = [
        ("bytes, before compression", format_bytes(plan.activation_bytes)),
        ("bytes, about, after it", format_bytes(compressed_bytes(plan.runs))),
        ("peak memory", format_bytes(plan.peak_bytes)),
        ("device", plan.device),
    ]
    for model in plan.models:
        cut = f"{model.budget.batch_tokens:,} tokens a batch, {model.budget.window_tokens:,} a window"
        if model.budget.lanes > 1:
            cut += f", {model.budget.lanes} batches at once"
        key = model.runs[0].key
        seed = f", seed {key.seed}" if len(plan.request.seeds) > 1 else ""
        fields.append((f"{key.model} at {key.training}{seed}", cut))
    print_fields(fields)


def print_choices(sizes: "Sequence[Choice]") -> None:
    """Write the bytes of every way to store what a plan keeps: a row each level, a column each data type."""
    dtypes = list(dict.fromkeys(choice.dtype for choice in sizes))
    rows = {(choice.variable, choice.level): dict.fromkeys(dtypes, "") for choice in sizes}
    for choice in sizes:
        rows[choice.variable, choice.level][choice.dtype] = format_bytes(choice.compressed_bytes)
    print_table(
        ("stored, about", *dtypes),
        [(f"{variable}, of each {level}", *cells.values()) for (variable, level), cells in rows.items()],
    )
    echo()


def _planned(run: "RunPlan") -> dict[str, Any]:
    return {
        **run_facts(run.key),
        "keep": list(run.spec.keep),
        "samples": len(run.layout.tokens.count),
        "tokens": run.tokens,
        "packs": run.layout.pack_count,
        "activation_bytes": run.activation_bytes,
        "notes": run.notes,
    }


def _totals(plan: "ExtractionPlan") -> dict[str, Any]:
    from biocache.engine.extraction.sizes import choices, compressed_bytes

    budgets = [
        {name: getattr(model.runs[0].key, name) for name in _OF_MODEL} | asdict(model.budget) for model in plan.models
    ]
    return {
        "activation_bytes": plan.activation_bytes,
        "compressed_bytes": compressed_bytes(plan.runs),
        "choices": [asdict(choice) for choice in choices(plan.runs)],
        "peak_bytes": plan.peak_bytes,
        "device": plan.device,
        "models": budgets,
    }


def print_reports(reports: "Sequence[RunReport]", *, partition: str | None, as_json: bool) -> None:
    """Write what an extraction did, a row a run; note on stderr what is left for others."""
    unfinished = [report for report in reports if not report.complete]
    if unfinished:
        missing = sum(report.packs - report.packs_done for report in unfinished)
        whose = f"partition {partition} is done; " if partition else ""
        left = f"{counted(missing, 'pack')} of {counted(len(unfinished), 'run')}"
        note(
            f"{whose}{left} are left to other processes; the same command "
            f"{'with the other partitions' if partition else 'again'} finishes them"
        )
    facts = [_reported(report) for report in reports]
    if as_json:
        print_json(facts, totals={name: sum(fact[name] for fact in facts) for name in _SUMMED})
    else:
        print_facts(_REPORT, [fact | {"state": _state(report)} for fact, report in zip(facts, reports, strict=True)])


def _reported(report: "RunReport") -> dict[str, Any]:
    from biocache.store import RunKey

    facts = {**asdict(report), "padding_ratio": _padding(report), "complete": report.complete}
    return {**run_facts(RunKey.from_path(report.run)), **facts}


# Facts of a report of which the JSON has the sums.
_SUMMED = ("packs_written", "packs_done", "packs", "tokens_written", "written_bytes")


# Title of a column to the fact of a report that it shows.
_REPORT = {
    "run": "run",
    "packs written": "packs_written",
    "done": "packs_done",
    "total": "packs",
    "tokens": "tokens_written",
    "bytes": "written_bytes",
    "padded / real tokens": "padding_ratio",
    "state": "state",
}


def _padding(report: "RunReport") -> float | None:
    return report.tokens_padded / report.tokens_computed if report.tokens_computed else None


def _state(report: "RunReport") -> str:
    missing = report.packs - report.packs_done
    return f"incomplete: {counted(missing, 'pack')} missing" if missing else "complete"
