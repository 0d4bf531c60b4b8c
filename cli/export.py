"""`biocache export`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, run_selectors, store_option
from biocache.cli.progress import Bars
from biocache.cli.render import echo, print_json, run_facts
from biocache.cli.selection import selection
from biocache.cli.values import FOLDER, LAYERS, NAMES
from biocache.store.schema import LEVELS
from biocache.store.text import counted

if TYPE_CHECKING:
    from biocache.store.storage import Storage

__all__ = ["export"]

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache export words.parquet --model bert --training-size 0 --task ner --split test
  biocache export pairs.npz --model gpt2 --training-size 100 --task nli --split test --level sample --layers 3"""


@click.command(epilog=_EXAMPLES, short_help="Write hidden states of one run for other tools.")
@click.argument("output", metavar="FILE", type=FOLDER)
@store_option
@click.option("--run", metavar="RUN", help="Path of the run, as `biocache ls` prints it; selectors do as well.")
@run_selectors
@click.option(
    "--level",
    type=click.Choice([level.removesuffix("s") for level in LEVELS]),
    default="word",
    show_default=True,
    help="What a row is.",
)
@click.option(
    "--pooling",
    type=click.Choice(["mean", "first", "last", "max"]),
    help="How the tokens of a row become one; max is for samples.  [default: mean]",
)
@click.option("--layers", type=LAYERS, metavar="LIST", help="Layers to write, such as 0,4-8.  [default: all]")
@click.option(
    "--labels",
    type=NAMES,
    metavar="NAME,...",
    help="Label sets to write, each a column of its name.  [default: gold, as the column label]",
)
@json_option
def export(
    output: Path,
    store: "Storage",
    *,
    run: str | None,
    level: str,
    pooling: str | None,
    layers: tuple[int, ...] | None,
    labels: tuple[str, ...] | None,
    as_json: bool,
    **selectors: Any,
) -> None:
    """Write the hidden states of one run to FILE, with labels, texts and places beside: a row a token, word or sample.

    The suffix says the format: .parquet; .hf, a folder for `datasets.load_from_disk`; .safetensors; .npz of NumPy. A
    pack is in memory at a time.
    """
    from biocache.engine.activations import export_activations
    from biocache.store import Store

    (wanted,) = selection((run,) if run else (), store, selectors)
    opened = Store.open(store).run(**wanted)
    with Bars("rows") as bars:
        made = export_activations(
            opened,
            output,
            level=f"{level}s",
            pooling=pooling,
            layers=layers,
            labels=labels,
            on_block=partial(bars.update, str(opened.key)),
        )
    if as_json:
        counts = {"level": level, "rows": made.rows, "layers": made.layers, "features": made.features}
        print_json([{**run_facts(opened.key), "file": made.path, **counts}])
        return
    sizes = {level: made.rows, "layer": len(made.layers), "feature": made.features}
    echo(", ".join(counted(count, what) for what, count in sizes.items()), err=True)
    echo(str(made.path))
