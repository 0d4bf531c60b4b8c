"""Options that several commands share, each spelled the same everywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from biocache.cli.values import BYTES, FOLDER, INTEGERS, LAYERS, NAMES, ListOf

__all__ = [
    "DTYPES",
    "KEEP",
    "LABEL_SCHEMES",
    "TASKS",
    "TRAINING_DTYPES",
    "VIEWS",
    "activation_options",
    "checkpoints_option",
    "corpus_options",
    "force_option",
    "json_option",
    "list_option",
    "models_option",
    "result_options",
    "run_selectors",
    "scheduler_address_option",
    "scheduler_options",
    "seed_option",
    "store_option",
    "training_options",
]

TASKS = ("ner", "nli")
VIEWS = ("sentence", "premise", "hypothesis", "pair")
SPLITS = ("train", "validation", "test")
LABEL_SCHEMES = ("type", "bio")
KEEP = ("hidden", "attention")
DTYPES = ("float16", "float32")
TRAINING_DTYPES = ("float32", "bfloat16")

_COUNT = click.IntRange(min=1)

_Command = TypeVar("_Command", bound=Callable[..., Any])

store_option = click.option(
    "--store",
    type=FOLDER,
    default=Path("biocache.zarr"),
    envvar="BIOCACHE_STORE",
    show_default=True,
    show_envvar=True,
    help="Folder of the store.",
)

seed_option = click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=42,
    show_default=True,
    help="Seed of fine-tuning or random weights.",
)

checkpoints_option = click.option(
    "--checkpoints",
    type=FOLDER,
    default=Path("checkpoints"),
    show_default=True,
    help="Folder of fine-tuned checkpoints.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout instead of a table.")

force_option = click.option("--force", is_flag=True, help="Compute again what the store has the result of.")


def _adding(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Return a decorator that adds options to a command, in this order of its help."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


training_options = _adding(
    click.option(
        "--label-scheme",
        type=click.Choice(LABEL_SCHEMES),
        default="bio",
        show_default=True,
        help="Labels of ner: IOB2 tags, or merged by entity type.",
    ),
    click.option(
        "--epochs", type=float, metavar="X", default=3, show_default=True, help="Times to go through the samples."
    ),
    click.option(
        "--learning-rate",
        type=float,
        metavar="X",
        default=2e-5,
        show_default=True,
        help="Largest learning rate of AdamW; it falls linearly to 0.",
    ),
    click.option(
        "--batch-size", type=_COUNT, metavar="N", default=16, show_default=True, help="Samples of a forward pass."
    ),
    click.option(
        "--gradient-accumulation",
        type=_COUNT,
        metavar="N",
        default=1,
        show_default=True,
        help="Forward passes of an optimiser step.",
    ),
    click.option(
        "--warmup",
        type=float,
        metavar="X",
        default=0.1,
        show_default=True,
        help="Share of the steps over which the learning rate rises.",
    ),
    click.option(
        "--weight-decay", type=float, metavar="X", default=0.01, show_default=True, help="Weight decay of AdamW."
    ),
    click.option(
        "--max-length",
        type=_COUNT,
        metavar="N",
        help="Tokens after which a sample is cut.  [default: 512 or the model's]",
    ),
    click.option("--limit", type=_COUNT, metavar="N", help="Leading samples of each split to read.  [default: all]"),
    click.option(
        "--max-duplicates",
        type=click.FloatRange(0, 1),
        metavar="X",
        default=0.1,
        show_default=True,
        help="Largest share of the validation or test split that may be in the train split, word for word.",
    ),
    click.option(
        "--patience",
        type=_COUNT,
        metavar="N",
        help="Stop after N epochs without a lower validation loss, and keep the lowest.  [default: all epochs]",
    ),
    click.option(
        "--compute-dtype",
        type=click.Choice(TRAINING_DTYPES),
        default="float32",
        show_default=True,
        help="Data type of products.",
    ),
    click.option("--device", help="Device of torch: cpu or cuda.  [default: cuda where there is one]"),
    click.option(
        "--save-steps",
        type=_COUNT,
        metavar="N",
        default=500,
        show_default=True,
        help="Steps after which to save what --resume needs; with --patience each epoch.",
    ),
    click.option(
        "--resume/--restart",
        "resume",
        default=True,
        show_default=True,
        help="Go on from the last saved step of an interrupted fine-tuning, or begin anew.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace what was made with other settings."),
)

result_options = _adding(
    click.option("--output", type=FOLDER, metavar="FILE", help="Also write the result: .csv .json .nc .zarr."),
    click.option("--plot", type=FOLDER, metavar="FILE", help="Draw the result: .png .svg .pdf."),
    json_option,
)

scheduler_address_option = click.option(
    "--scheduler-address", metavar="ADDRESS", help="Compute on the workers of this Dask scheduler."
)

scheduler_options = _adding(
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Compute in this many processes.  [default: threads of this one]",
    ),
    scheduler_address_option,
)


def list_option(
    *names: str, items: ListOf, text: str, default: tuple[Any, ...] | None = None
) -> Callable[[_Command], _Command]:
    """Return an option whose items have commas between them, or are given by repeating it.

    Parameters
    ----------
    *names
        As for `click.option`.
    items
        How one value is read.
    text
        Help text.
    default
        Items where the option is not given.
    """

    def joined(_ctx: click.Context, _param: click.Parameter, value: tuple[tuple[Any, ...], ...]) -> Any:
        items = tuple(dict.fromkeys(item for part in value for item in part))
        return items or default

    shown = f"  [default: {','.join(map(str, default))}]" if default else ""
    return click.option(*names, type=items, multiple=True, callback=joined, help=text + shown)


run_selectors = _adding(
    list_option("--task", "task", items=ListOf(click.Choice(TASKS)), text="Runs of these tasks."),
    list_option("--dataset", items=NAMES, text="Runs of these data sets."),
    list_option("--model", items=NAMES, text="Runs of these models."),
    list_option("--training-size", items=INTEGERS, text="Runs of these percents of the train split."),
    list_option("--seed", items=INTEGERS, text="Runs of these seeds."),
    list_option("--view", items=ListOf(click.Choice(VIEWS)), text="Runs of these views."),
    list_option("--split", items=ListOf(click.Choice(SPLITS)), text="Runs of these splits."),
)

activation_options = _adding(
    list_option(
        "--split", "splits", items=ListOf(click.Choice(SPLITS)), default=("train", "test"), text="Splits to extract."
    ),
    list_option("--keep", items=ListOf(click.Choice(KEEP)), default=KEEP, text="What to keep."),
    list_option(
        "--layers",
        items=LAYERS,
        text="Layers to keep, such as 0,6,12 or 0-12; 0 is the embedding output.  [default: all]",
    ),
    list_option(
        "--attention-split",
        "attention_splits",
        items=ListOf(click.Choice(SPLITS)),
        default=("test",),
        text="Splits whose attention is kept.",
    ),
    click.option("--dtype", type=click.Choice(DTYPES), default="float16", show_default=True, help="Data type on disk."),
    click.option(
        "--max-memory", type=BYTES, help="Memory to use, such as 8G or 500M.  [default: a quarter of the machine's]"
    ),
)

corpus_options = _adding(
    click.option("--task", type=click.Choice(TASKS), required=True, help="How text is read."),
    click.option(
        "--dataset",
        metavar="NAME|FOLDER|HUB_ID",
        help="Corpus; NAME=FOLDER names it.  [default: tner/bionlp2004 for ner]",
    ),
)

models_option = list_option(
    "--model",
    "models",
    items=NAMES,
    default=("bert",),
    text="Models: bert, biobert, gpt2, biogpt, hub ids or NAME=FOLDER.",
)
