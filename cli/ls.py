"""`biocache ls`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, run_selectors, store_option
from biocache.cli.render import echo, note, print_facts, print_json, run_facts
from biocache.cli.selection import selection
from biocache.cli.values import FOLDER
from biocache.store.text import counted, format_bytes

if TYPE_CHECKING:
    from biocache.store import RunKey
    from biocache.store.storage import Storage

__all__ = ["ls"]

# Title of a column to the fact of `Store.listing` that it shows.
_COLUMNS = {
    "run": "run",
    "samples": "samples",
    "tokens": "tokens",
    "words": "words",
    "packs": "done",
    "keep": "keep",
    "layers": "layers",
    "level": "level",
    "dtype": "dtype",
    "bytes": "stored_bytes",
}

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache ls --task ner --model bert,biobert --training-size 0,100 --json
  biocache ls --checkpoints checkpoints --task nli"""


@click.command(epilog=_EXAMPLES, short_help="List the runs or label sets of a store, or checkpoints.")
@store_option
@click.option("--labels", is_flag=True, help="List the label sets of the store instead.")
@click.option(
    "--checkpoints",
    type=FOLDER,
    metavar="FOLDER",
    help="List the fine-tuned checkpoints of this folder instead.",
)
@run_selectors
@click.option("--incomplete", is_flag=True, help="List only runs of which packs are missing or damaged.")
@json_option
def ls(
    store: "Storage", *, labels: bool, checkpoints: Path | None, incomplete: bool, as_json: bool, **selectors: Any
) -> None:
    """List the runs of a store: their sizes, and how much of each is there.

    Selectors narrow the list; their items have commas between them. What stands under `run` names a run for the
    other commands. With --labels it lists label sets, with --checkpoints what `biocache finetune` made with its scores.
    """
    if labels and checkpoints is not None:
        raise click.UsageError("--labels lists label sets, and --checkpoints checkpoints; give one of them")
    if incomplete and (labels or checkpoints is not None):
        raise click.UsageError("--incomplete lists runs; leave it out")
    if labels:
        _list_labels(store, selectors, as_json=as_json)
        return
    if checkpoints is not None:
        _list_checkpoints(checkpoints, selectors, as_json=as_json)
        return
    _list_runs(store, selectors, incomplete=incomplete, as_json=as_json)


def _list_runs(store: "Storage", selectors: dict[str, Any], *, incomplete: bool, as_json: bool) -> None:
    from biocache.store import Store
    from biocache.store.results import result_files
    from biocache.store.runs import successors

    found = Store.open(store).listing(**selection((), store, selectors)[0])
    rows = [row for row in found if not (incomplete and row["complete"])]
    if not rows:
        note(_why_none(f"{store}", bool(found), selectors))
    for row in rows:
        if row["problem"]:
            note(row["problem"])
    if not any(selectors.values()):
        _tell_of_others(len(result_files(store)), list(successors(store)))
    totals = {name: sum(row[name] or 0 for row in rows) for name in ("samples", "tokens", "stored_bytes")}
    if as_json:
        print_json(map(_record, rows), totals={"runs": len(rows), **totals})
    elif rows:
        print_facts(_COLUMNS, map(_with_cells, rows))
        size = format_bytes(totals["stored_bytes"])
        echo(f"{counted(len(rows), 'run')}, {totals['tokens']:,} tokens, {size}", err=True)


def _why_none(store: str, others: bool, selectors: dict[str, Any]) -> str:
    if others:
        return "all of these runs are complete"
    return f"{store} has no such run" if any(selectors.values()) else f"{store} holds no runs"


def _tell_of_others(results: int, unfinished: "list[RunKey]") -> None:
    """Say what a store holds beside runs."""
    if results:
        note(f"the store also has {counted(results, 'result')}")
    for key in unfinished:
        note(f"a replacement of run {key} is unfinished; repeat the `biocache extract --overwrite` that began it")


def _list_labels(store: "Storage", selectors: dict[str, Any], *, as_json: bool) -> None:
    from biocache.cli.label import label_facts, print_labels
    from biocache.cli.selection import label_selection
    from biocache.store import Store
    from biocache.store.errors import BiocacheError

    problems: list[BiocacheError] = []
    found = Store.open(store).labels(problems=problems, **label_selection(selectors))
    for problem in problems:
        note(problem.message)
    facts = [label_facts(each.place, each.labels) | {"created": each.created} for each in found]
    if as_json:
        print_json(facts)
    elif facts:
        print_labels(facts)
    else:
        note(f"{store} has no such label set" if any(selectors.values()) else f"{store} holds no label sets")


def _list_checkpoints(folder: Path, selectors: dict[str, Any], *, as_json: bool) -> None:
    from biocache.cli.finetune import print_checkpoints
    from biocache.engine.finetuning.foreign import foreign_checkpoints

    of_runs = [name for name in ("trained_on", "view", "split") if selectors.pop(name)]
    if of_runs:
        raise click.UsageError(f"checkpoints have no --{of_runs[0].replace('_', '-')}; leave it out")
    wanted = {name: values for name, values in selectors.items() if values}
    found = list(_own_checkpoints(folder, wanted))
    others = [
        other
        for other in foreign_checkpoints(folder)
        if all(other.parts[name] in values for name, values in wanted.items())
    ]
    if as_json:
        foreign = [
            {"checkpoint": one.path, "folder": one.folder, **one.parts, "trainer_scores": one.scores} for one in others
        ]
        print_json([*found, *foreign])
        return
    for other in others:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in other.scores.items())
        note(f"{other.path}: made by another tool" + (f", which left {scores}" if scores else ""))
    if found:
        print_checkpoints(found)
    elif not others:
        note(f"no{' such' if wanted else ''} checkpoint below {folder}")


def _own_checkpoints(folder: Path, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the facts of the checkpoints that `biocache finetune` made; note those that are damaged."""
    from biocache.cli.finetune import checkpoint_facts
    from biocache.engine.finetuning.checkpoint import Checkpoint, checkpoint_folders
    from biocache.store.errors import IntegrityError, NewerFormatError

    for place in checkpoint_folders(folder):
        try:
            checkpoint = Checkpoint.read_sound(place, read=False)
        except (IntegrityError, NewerFormatError) as error:
            note(f"{'newer' if isinstance(error, NewerFormatError) else 'damaged'}: {error.message}")
            continue
        if all(getattr(checkpoint.spec, name) in values for name, values in wanted.items()):
            yield checkpoint_facts(checkpoint)


def _record(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a listing with the path of its run, and what it keeps as a list."""
    from biocache.store import RunKey

    keep = None if row["keep"] is None else row["keep"].split(",")
    return {**run_facts(RunKey(**{name: row[name] for name in RunKey.names()})), **row, "keep": keep}


def _with_cells(row: dict[str, Any]) -> dict[str, Any]:
    """Add the path of a run, and how many of its packs are there."""
    done = row["state"] if row["problem"] else f"{row['packs_done']:,}/{row['packs']:,}"
    return {**_record(row), "done": done}
