"""Options of commands: those that several commands share, and those of a request's fields."""

from collections.abc import Callable, Container
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click

from biocache.cli.values import (
    BYTES,
    FOLDER,
    INTEGERS,
    LAYER_SETS,
    LAYERS,
    NAMES,
    STORAGE_OPTIONS,
    STORE,
    ListOf,
    OwnChoice,
)
from biocache.engine.corpora.base import SPLITS, TASKS, VIEWS
from biocache.engine.request import Request, Setting, settings_of

__all__ = [
    "adding",
    "force_option",
    "json_option",
    "output_option",
    "request_options",
    "results_option",
    "run_selectors",
    "scheduler_address_option",
    "storage_options",
    "store_option",
    "workers_option",
]


def _keep_storage_options(ctx: click.Context, _: click.Parameter, values: tuple[str, ...]) -> None:
    pairs = [text.partition("=") for text in values]
    for name, equals, _value in pairs:
        if not name or not equals:
            raise click.BadParameter(f"{name!r} is not KEY=VALUE")
    ctx.meta[STORAGE_OPTIONS] = {name: value for name, _, value in pairs}


storage_options = click.option(
    "--storage-option",
    metavar="KEY=VALUE",
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_keep_storage_options,
    help="Endpoint, region, credentials of an object store or the hub, beside those of the environment.",
)


def store_option(command: Any) -> Any:
    """Add ``--store``, whose value is a storage, and ``--storage-option``."""
    place = click.option(
        "--store",
        type=STORE,
        default="biocache.zarr",
        envvar="BIOCACHE_STORE",
        show_default=True,
        show_envvar=True,
        metavar="PATH|URL",
        help="Folder of the store, or s3://BUCKET/NAME, gs://, az://, hf://datasets/OWNER/NAME.",
    )
    return place(storage_options(command))


results_option = click.option(
    "--results",
    type=STORE,
    metavar="PATH|URL",
    help="Keep results in this store instead, such as for a store that is read-only.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout instead of a table.")

force_option = click.option("--force", is_flag=True, help="Compute even if the store has the result.")

output_option = click.option(
    "--output",
    type=FOLDER,
    metavar="FILE",
    help="Also write the result: a table as .csv, .parquet, .tex or .md; all of it as .json, .nc or .zarr.",
)

workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compute in this many processes.  [default: threads of this one]",
)

scheduler_address_option = click.option(
    "--scheduler-address", metavar="ADDRESS", help="Compute on the workers of this Dask scheduler."
)


def adding(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds options to a command; its help has them in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def request_options(
    request: type[Request], *, only: Container[str] | None = None, without: Container[str] = ()
) -> Callable[[Any], Any]:
    """Return a decorator that adds the options of a request's settings; the command gets them by their names.

    Parameters
    ----------
    request
        The request.
    only
        Names of the settings to add; None for all.
    without
        Names of settings to leave out.
    """
    wanted = [each for each in settings_of(request) if each.name not in without and (only is None or each.name in only)]
    return adding(*map(_option, wanted))


def _option(setting: Setting) -> Callable[[Any], Any]:
    """Return the option of a setting."""
    facts = setting.option
    text = facts.help + (f"  [default: {facts.unset}]" if facts.unset else "")
    if setting.many:
        return _list_option(
            setting.flags,
            setting.name,
            items=_items(setting),
            text=text,
            default=setting.default,
            repeats=facts.repeats,
            metavar=facts.metavar or None,
        )
    if setting.type is bool:
        return click.option(
            setting.flags, setting.name, is_flag=True, default=False, show_default="/" in setting.flags, help=text
        )
    return click.option(
        setting.flags,
        setting.name,
        type=_type(setting),
        metavar=facts.metavar or _metavar(setting),
        help=text,
        **_defaulted(setting),
    )


def _defaulted(setting: Setting) -> dict[str, Any]:
    if setting.default is MISSING:
        return {"required": True}
    default = _sized(setting.default) if setting.option.form == "bytes" else setting.default
    return {"default": default, "show_default": default is not None}


def _metavar(setting: Setting) -> str | None:
    numbers = {int: "N", float: "X"}
    return None if setting.option.form == "bytes" else numbers.get(setting.type)


def _type(setting: Setting) -> Any:
    facts = setting.option
    if facts.choices:
        return (OwnChoice if facts.check else click.Choice)(facts.choices)
    if facts.form == "bytes":
        return BYTES
    if setting.type in (int, float):
        kind: Any = click.IntRange if setting.type is int else click.FloatRange
        return kind(facts.low, facts.high, min_open=facts.above, max_open=facts.below)
    return FOLDER if setting.type is Path else str


def _sized(count: int | None) -> str | None:
    """Write a number of bytes as a user would, such as ``2G``."""
    for power, unit in ((30, "G"), (20, "M")):
        if count and count % (1 << power) == 0:
            return f"{count >> power}{unit}"
    return None if count is None else str(count)


def _items(setting: Setting) -> ListOf:
    if setting.option.choices:
        return ListOf((OwnChoice if setting.option.check else click.Choice)(setting.option.choices))
    if setting.option.form == "ranges":
        return LAYERS if setting.type is int else LAYER_SETS
    return INTEGERS if setting.type is int else NAMES


def _list_option(
    *names: str, items: ListOf, text: str, default: Any = None, repeats: bool = False, metavar: str | None = None
) -> Callable[[Any], Any]:
    """Return an option of several items, separated by commas or given by repeating the option."""
    known = None if default is MISSING else default

    def joined(_ctx: click.Context, _param: click.Parameter, value: tuple[tuple[Any, ...], ...]) -> Any:
        given = tuple(item for part in value for item in part)
        return (given if repeats else tuple(dict.fromkeys(given))) or known

    shown = f"  [default: {','.join(map(str, known))}]" if known else ""
    return click.option(
        *names,
        type=items,
        multiple=True,
        callback=joined,
        required=default is MISSING,
        help=text + shown,
        metavar=metavar,
    )


run_selectors = adding(
    _list_option("--task", "task", items=ListOf(click.Choice(list(TASKS))), text="Runs of these tasks."),
    _list_option("--dataset", items=NAMES, text="Runs of these datasets."),
    _list_option("--model", items=NAMES, text="Runs of these models."),
    _list_option(
        "--trained-on", items=NAMES, text="Runs of models fine-tuned on these datasets.", metavar="DATASET,..."
    ),
    _list_option("--training-size", items=INTEGERS, text="Runs of these percents of the train split."),
    _list_option("--seed", items=INTEGERS, text="Runs of these seeds."),
    _list_option("--view", items=ListOf(click.Choice(VIEWS)), text="Runs of these views."),
    _list_option("--split", items=ListOf(click.Choice(SPLITS)), text="Runs of these splits."),
)
