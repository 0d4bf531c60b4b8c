"""`biocache extract`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import (
    LABEL_SCHEMES,
    VIEWS,
    activation_options,
    checkpoints_option,
    corpus_options,
    json_option,
    list_option,
    models_option,
    scheduler_address_option,
    seed_option,
    store_option,
)
from biocache.cli.values import BYTES, INTEGERS, ListOf

if TYPE_CHECKING:
    from biocache.engine.extraction.request import ExtractionRequest

__all__ = ["extract"]

COMPUTE_DTYPES = ("float32", "bfloat16", "float16")
_COUNT = click.IntRange(min=1)

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache extract --task ner --dataset demo=corpus/ner --model models/bert --training-size 0,20
  biocache extract --task nli --dataset demo=corpus/nli --model models/gpt2 --view premise --layers 0,2-3 --dry-run"""


@click.command(epilog=_EXAMPLES, short_help="Run a corpus through models and keep every layer.")
@store_option
@corpus_options
@models_option
@list_option(
    "--training-size",
    "training_sizes",
    items=INTEGERS,
    default=(0,),
    text="Percents of the train split that the models were fine-tuned on; 0 is pre-trained.",
)
@seed_option
@list_option(
    "--view", "views", items=ListOf(click.Choice(VIEWS)), text="Views to encode.  [default: all of the task's]"
)
@checkpoints_option
@activation_options
@list_option(
    "--attention-view",
    "attention_views",
    items=ListOf(click.Choice(VIEWS)),
    text="Views whose attention is kept.  [default: sentence for ner, pair for nli]",
)
@click.option(
    "--compute-dtype",
    type=click.Choice(COMPUTE_DTYPES),
    default="float32",
    show_default=True,
    help="Data type the model computes in.",
)
@click.option("--device", help="Device of torch, such as cpu or cuda:1.  [default: cuda where there is one]")
@click.option(
    "--max-length", type=_COUNT, metavar="N", help="Tokens after which a sample is cut.  [default: 512 or the model's]"
)
@click.option("--limit", type=_COUNT, metavar="N", help="Leading samples of each split to extract.  [default: all]")
@click.option(
    "--label-scheme",
    type=click.Choice(LABEL_SCHEMES),
    default="type",
    show_default=True,
    help="Labels of ner: merged by entity type, or IOB2 tags.",
)
@click.option(
    "--batch-tokens", type=_COUNT, metavar="N", help="Tokens of a forward pass, padding included.  [default: by device]"
)
@click.option(
    "--window-tokens",
    type=_COUNT,
    metavar="N",
    help="Tokens sorted by length together.  [default: by device and memory]",
)
@click.option("--max-disk", type=BYTES, help="Refuse to write more than this, such as 200G.")
@click.option(
    "--partition", metavar="I/N", help="Compute every N-th window from the I-th: a share for one of N processes."
)
@click.option("--dry-run", is_flag=True, help="Show runs, bytes and memory; load no weights, write nothing.")
@click.option("--overwrite", is_flag=True, help="Replace runs that were made with other settings or inputs.")
@click.option("--random-weights", is_flag=True, help="Extract randomly initialised twins of the models.")
@scheduler_address_option
@json_option
def extract(
    store: Path, *, partition: str | None, dry_run: bool, scheduler_address: str | None, as_json: bool, **settings: Any
) -> None:
    """Run a corpus through models and keep the hidden states and attention of every layer.

    What is in the store already is not computed again; an interrupted extraction resumes where it stopped. Lists have
    commas between their items, or repeat the option. Sizes are bytes, or numbers with K, M, G or T (or KiB, MiB, ...),
    which are powers of 1024; KB, MB, GB and TB are powers of 1000.
    """
    request = _request(partition, settings)
    from biocache.cli.extraction_report import print_plan, print_reports, warn_of_losses
    from biocache.cli.render import Bars
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
    print_reports(reports, partition=partition, as_json=as_json)


def _request(partition: str | None, settings: dict[str, Any]) -> "ExtractionRequest":
    from biocache.engine.extraction.request import ExtractionRequest, Partition

    return ExtractionRequest(partition=None if partition is None else Partition.parse(partition), **settings)
