"""`biocache copy`."""

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, run_selectors, storage_options
from biocache.cli.progress import Bars
from biocache.cli.render import echo, note, print_json, print_table, run_facts
from biocache.cli.selection import chosen_keys, selection
from biocache.cli.values import LAYERS, STORAGE_OPTIONS, STORE, ListOf
from biocache.store.schema import ACTIVATIONS, ROW_DIMS
from biocache.store.text import counted, format_bytes

if TYPE_CHECKING:
    from biocache.store.storage import Storage

__all__ = ["copy"]

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache copy biocache.zarr thin.zarr --model bert --layers 1-3 --keep hidden
  biocache copy biocache.zarr words.zarr --level word --task ner --split test"""


@click.command(epilog=_EXAMPLES, short_help="Copy runs to another store, or less of them.")
@click.argument("source", metavar="SOURCE", type=STORE)
@click.argument("target", metavar="TARGET", type=STORE)
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@storage_options
@run_selectors
@click.option("--layers", type=LAYERS, metavar="LIST", help="Layers to copy, such as 0,4-8.  [default: all]")
@click.option(
    "--keep",
    type=ListOf(click.Choice(list(ACTIVATIONS))),
    help="What to copy: hidden, attention, norms.  [default: what a run keeps]",
)
@click.option(
    "--level",
    type=click.Choice(list(ROW_DIMS)),
    help="What the copy keeps hidden states of: word or sample, of runs of tokens in float16 or float32.  [default: as "
    "they are]",
)
@click.option(
    "--results", "with_results", is_flag=True, help="Also copy the results whose runs are all in TARGET then."
)
@json_option
def copy(
    source: "Storage",
    target: "Storage",
    runs: tuple[str, ...],
    *,
    layers: tuple[int, ...] | None,
    keep: tuple[str, ...] | None,
    level: str | None,
    with_results: bool,
    as_json: bool,
    **selectors: Any,
) -> None:
    """Copy runs of the store SOURCE to the store TARGET, which is made where it is missing; folders or URLs.

    RUN is a path as `biocache ls` prints it; selectors do as well; by default all are copied. What is copied is
    compared with its checksums. An interrupted copy goes on where it stopped; packs that TARGET has stay as they are,
    so that runs which are there in parts become one.

    hf://datasets/OWNER/NAME is a dataset repository on the Hugging Face hub, made private where it is missing. Each run
    appears there in one commit, with a card that lists what is there.
    """
    from biocache.store import Store
    from biocache.store.copying import copy_results, copy_run, thinned
    from biocache.store.reading import Run

    _refuse_options_of_folders(source, target)
    wanted = selection(runs, source, selectors)
    opened = Store.open(source)
    chosen = [Run.open(source, key) for key in chosen_keys(opened, wanted)]
    for run in chosen:
        # Before the first of them is copied.
        thinned(run.spec, layers, keep, level)
    with Bars("packs") as bars:
        reports = [
            copy_run(run, target, layers=layers, keep=keep, level=level, on_pack=partial(bars.update, str(run.key)))
            for run in chosen
        ]
    results, left = copy_results(opened, target) if with_results else (0, 0)
    if left:
        whose = "its" if left == 1 else "their"
        note(f"{counted(left, 'result')} left out: not all of {whose} runs are in {target} as they are in {source}")
    copied = sum(report.copied_bytes for report in reports)
    if as_json:
        totals = {"runs": len(reports), "copied_bytes": copied, "results": results, "results_left_out": left}
        print_json(
            [run_facts(run.key) | asdict(report) for run, report in zip(chosen, reports, strict=True)], totals=totals
        )
        return
    rows = [(r.run, f"{r.packs_done}/{r.packs}", r.packs_copied, r.copied_bytes) for r in reports]
    print_table(("run", "packs", "copied", "bytes"), rows)
    echo(
        f"{counted(len(reports), 'run')}, {format_bytes(copied)} copied"
        + f", {counted(results, 'result')}" * with_results,
        err=True,
    )


def _refuse_options_of_folders(*places: "Storage") -> None:
    from biocache.store.errors import SettingError
    from biocache.store.folders import Folder

    if click.get_current_context().meta.get(STORAGE_OPTIONS) and all(isinstance(place, Folder) for place in places):
        raise SettingError("--storage-option is for object stores and the hub, not for folders; leave it out")
