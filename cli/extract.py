"""`biocache extract`."""

from pathlib import Path
from typing import Any

import click

from biocache.cli.options import json_option, request_options, scheduler_address_option, store_option
from biocache.cli.render import Bars
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.request import build

__all__ = ["extract"]

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache extract --task ner --dataset demo=corpus/ner --model models/bert --training-size 0,20
  biocache extract --task nli --dataset demo=corpus/nli --model models/gpt2 --view premise --layers 0,2-3 --dry-run"""


@click.command(epilog=_EXAMPLES, short_help="Run a corpus through models and keep every layer.")
@store_option
@request_options(ExtractionRequest)
@click.option("--dry-run", is_flag=True, help="Show runs, bytes and memory; load no weights, write nothing.")
@scheduler_address_option
@json_option
def extract(store: Path, *, dry_run: bool, scheduler_address: str | None, as_json: bool, **settings: Any) -> None:
    """Run a corpus through models and keep the hidden states and attention of every layer.

    What is in the store already is not computed again; an interrupted extraction resumes where it stopped. Lists have
    commas between their items, or repeat the option. Sizes are bytes, or numbers with K, M, G or T (or KiB, MiB, ...),
    which are powers of 1024; KB, MB, GB and TB are powers of 1000.
    """
    request = build(ExtractionRequest, settings)
    from biocache.cli.extraction_report import print_plan, print_reports, warn_of_losses
    from biocache.engine.extraction.extract import check_disk, run_plan
    from biocache.engine.extraction.planning import plan_extraction

    plan = plan_extraction(request)
    warn_of_losses(plan)
    if dry_run:
        print_plan(plan, as_json=as_json)
        check_disk(store, plan)
        return
    with Bars("tokens") as bars:
        reports = run_plan(
            store,
            plan,
            scheduler_address=scheduler_address,
            on_progress=lambda progress: bars.update(progress.run, progress.tokens_done, progress.tokens_total),
        )
    print_reports(reports, partition=settings["partition"], as_json=as_json)
