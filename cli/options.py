"""Options that several commands share, each spelled the same everywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from biocache.cli.values import INTEGERS, NAMES, ListOf

__all__ = [
    "TASKS",
    "VIEWS",
    "force_option",
    "json_option",
    "list_option",
    "result_options",
    "run_selectors",
    "scheduler_address_option",
    "scheduler_options",
    "store_option",
]

TASKS = ("ner", "nli")
VIEWS = ("sentence", "premise", "hypothesis", "pair")
SPLITS = ("train", "validation", "test")

_Command = TypeVar("_Command", bound=Callable[..., Any])

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("biocache.zarr"),
    envvar="BIOCACHE_STORE",
    show_default=True,
    show_envvar=True,
    help="Folder of the store.",
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


result_options = _adding(
    click.option(
        "--output", type=click.Path(path_type=Path), metavar="FILE", help="Also write the result: .csv .json .nc .zarr."
    ),
    click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the result: .png .svg .pdf."),
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
