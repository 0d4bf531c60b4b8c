"""`biocache compare-attention`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import (
    SPLITS,
    TASKS,
    VIEWS,
    force_option,
    list_option,
    result_options,
    scheduler_options,
    store_option,
)
from biocache.cli.values import INTEGERS, ListOf

if TYPE_CHECKING:
    import xarray as xr

    from biocache.engine.attention.request import AttentionRequest

__all__ = ["METRICS", "compare_attention"]

METRICS = ("cosine", "row-cosine", "js", "hellinger", "tv", "entropy", "distance", "special-mass")

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache compare-attention --task ner --model biobert --training-size 10,30,50,100 --plot heads.png
  biocache compare-attention --task nli --model bert --against gpt2 --metric js,entropy --by label"""


@click.command(epilog=_EXAMPLES, short_help="Compare attention maps of runs, head by head.")
@store_option
@click.option("--task", type=click.Choice(TASKS), help="Task of the runs.")
@click.option("--dataset", metavar="NAME", help="Data set of the runs.")
@click.option("--model", metavar="NAME", help="Model that is compared.")
@list_option(
    "--training-size",
    "training_sizes",
    items=INTEGERS,
    text="Training sizes that are compared.  [default: all in the store but the baseline]",
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Seed of the runs.")
@click.option("--view", type=click.Choice(VIEWS), help="View of the runs.")
@click.option("--split", type=click.Choice(SPLITS), help="Split of the runs.")
@click.option(
    "--baseline",
    type=click.IntRange(0, 100),
    metavar="N",
    default=0,
    show_default=True,
    help="Training size that they are compared with.",
)
@click.option("--against", metavar="NAME", help="Model that they are compared with.  [default: the same model]")
@list_option(
    "--metric", "metrics", items=ListOf(click.Choice(METRICS)), default=("cosine", "js"), text="What is measured."
)
@click.option(
    "--exclude-special", is_flag=True, help="Leave out special tokens and the first position of causal models."
)
@click.option("--by", type=click.Choice(["label"]), help="Also split means by the samples' label.")
@click.option("--match-heads", is_flag=True, help="Also match the heads of each layer one to one.")
@click.option("--all-pairs", is_flag=True, help="Compare every head of every layer with every other.")
@click.option("--per-sample", is_flag=True, help="Also keep the values of every sample.")
@click.option(
    "--replicates",
    type=click.IntRange(min=1),
    metavar="N",
    default=1000,
    show_default=True,
    help="Replicates of the bootstrap.",
)
@click.option(
    "--resampling-seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of the bootstrap and of the pairing of mismatched heads.",
)
@scheduler_options
@force_option
@result_options
def compare_attention(
    store: Path,
    *,
    by: str | None,
    workers: int | None,
    scheduler_address: str | None,
    force: bool,
    output: Path | None,
    plot: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Compare the attention maps of runs with those of a baseline run, head by head, without loading a model.

    Selectors name the runs; what they leave open is that of the one baseline run that has attention. Runs of other
    tokenizers are compared by word. The result is kept in the store, and found there by the same command.
    """
    from biocache.engine.attention.request import AttentionRequest
    from biocache.engine.exporting import export_dataset
    from biocache.engine.figures import check_places

    request = AttentionRequest(by_label=by is not None, **settings)
    check_places(output, plot)
    if plot is not None:
        check_places(output, plot, _second(plot))
    result = _compared(store, request, workers, scheduler_address, force)
    _print(result, as_json=as_json)
    if output is not None:
        export_dataset(result, output)
    if plot is not None:
        _draw(result, plot)


def _compared(
    store: Path, request: "AttentionRequest", workers: int | None, scheduler_address: str | None, force: bool
) -> "xr.Dataset":
    from biocache.cli.render import Bars
    from biocache.engine.attention.comparison import compare_attention as compare

    with Bars("blocks") as bars:
        return compare(
            store,
            request,
            workers=workers,
            scheduler_address=scheduler_address,
            force=force,
            on_progress=lambda done, total: bars.update("compare-attention", done, total),
        )


def _draw(result: "xr.Dataset", plot: Path) -> None:
    from biocache.engine.attention.figures import above_chance_figure, mean_figure
    from biocache.engine.figures import save_figure

    save_figure(mean_figure(result), plot)
    second = above_chance_figure(result)
    if second is not None:
        save_figure(second, _second(plot))


def _second(plot: Path) -> Path:
    """Return where means above chance are drawn, beside the means."""
    return plot.with_name(f"{plot.stem}-above-chance{plot.suffix}")


def _print(result: "xr.Dataset", *, as_json: bool) -> None:
    from biocache.cli.attention_report import as_plain, print_heads, print_pairs
    from biocache.cli.render import print_json

    if as_json:
        print_json(as_plain(result))
    elif "pair_mean" in result:
        print_pairs(result)
    else:
        print_heads(result)
