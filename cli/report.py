"""`biocache report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, request_options, results_option, store_option
from biocache.cli.render import echo, note, print_json
from biocache.cli.values import FOLDER
from biocache.engine.report.request import Report, ReportRequest
from biocache.engine.request import build
from biocache.store.text import counted, format_bytes

if TYPE_CHECKING:
    from biocache.store.storage import Storage

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
@results_option
@request_options(ReportRequest)
@json_option
def report(store: "Storage", *, output: Path, results: "Storage | None", as_json: bool, **settings: Any) -> None:
    """Write what a store holds, and what was computed from it, as one page that needs no network.

    It has the catalog with provenance and sizes, the probes over layers, heat maps of compared attention, the attention
    maps of single samples, base beside fine-tuned, and the scores of fine-tuning; with each figure its numbers as CSV,
    and the command and the lines of Python that make it. Nothing is computed for it: where the store has no result
    yet, the page says which command makes one.
    """
    from biocache.engine.report.report import check_report, write_report
    from biocache.store import Store

    check_report(output)
    made = write_report(Store.open(store, results=results), output, build(ReportRequest, settings))
    for text in made.notes:
        note(text)
    if as_json:
        counts = {"runs": made.runs, "figures": made.figures, "samples": made.samples}
        print_json([{"page": made.path, **counts, "page_bytes": made.bytes}])
        return
    echo(_summary(made), err=True)
    echo(str(made.path))


def _summary(made: Report) -> str:
    parts = (counted(made.runs, "run"), counted(made.figures, "figure"), counted(made.samples, "sample"))
    return f"{', '.join(parts)}, {format_bytes(made.bytes)}"
