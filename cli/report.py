"""`biocache report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import TASKS, list_option, store_option
from biocache.cli.values import BYTES, FOLDER, INTEGERS, NAMES, ListOf

if TYPE_CHECKING:
    from biocache.engine.report.request import Report, ReportRequest

__all__ = ["report"]

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache report --output report.html
  biocache report --task nli --model gpt2,biogpt --samples 12 --max-bytes 5M"""


@click.command(epilog=_EXAMPLES, short_help="Write a store and its results as one HTML page.")
@store_option
@click.option(
    "--output",
    type=FOLDER,
    metavar="FILE",
    default=Path("report.html"),
    show_default=True,
    help="The page, ending in .html; replaced where it is there.",
)
@list_option("--task", "tasks", items=ListOf(click.Choice(TASKS)), text="Tasks.  [default: all in the store]")
@list_option("--dataset", "datasets", items=NAMES, text="Data sets.  [default: all in the store]")
@list_option("--model", "models", items=NAMES, text="Models.  [default: all in the store]")
@list_option(
    "--training-size",
    "training_sizes",
    items=INTEGERS,
    text="Percents of the train split that the models were fine-tuned on.  [default: all]",
)
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    metavar="N",
    default=6,
    show_default=True,
    help="Samples whose attention maps the page shows, of each model and view; 0 for none.",
)
@click.option(
    "--max-bytes",
    type=BYTES,
    default="20M",
    show_default=True,
    help="Most that the page takes; it shows fewer samples, so as to fit.",
)
def report(store: Path, *, output: Path, **settings: Any) -> None:
    """Write what a store holds, and what was computed from it, as one page that needs no network.

    It has the catalog with provenance and sizes, the probes over layers, heat maps of compared attention, the attention
    maps of single samples, base beside fine-tuned, and the scores of fine-tuning; with each figure its numbers as CSV,
    and the command and the lines of Python that make it. Nothing is computed for it: where the store has no result
    yet, the page says which command makes one.
    """
    from biocache.cli.render import echo, note
    from biocache.engine.report.report import check_report, write_report

    check_report(output)
    made = write_report(store, output, _request(store, settings))
    for text in made.notes:
        note(text)
    echo(_summary(made), err=True)
    echo(str(made.path))


def _request(store: Path, settings: dict[str, Any]) -> "ReportRequest":
    from biocache.cli.selection import selection
    from biocache.engine.report.request import ReportRequest

    # A model or data set may be named as it was extracted, by its folder or hub id.
    (names,) = selection((), store, {"dataset": settings.pop("datasets"), "model": settings.pop("models")})
    named: dict[str, Any] = {
        f"{part}s": (names[part],) if isinstance(names[part], str) else tuple(names[part]) for part in names
    }
    return ReportRequest(**named, **settings)


def _summary(made: "Report") -> str:
    from biocache.cli.render import counted
    from biocache.store.text import format_bytes

    parts = (counted(made.runs, "run"), counted(made.figures, "figure"), counted(made.samples, "sample"))
    return f"{', '.join(parts)}, {format_bytes(made.bytes)}"
