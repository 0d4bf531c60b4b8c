"""The commands of analyses, made from the attributes of each `Analysis`."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import (
    adding,
    force_option,
    json_option,
    output_option,
    request_options,
    results_option,
    scheduler_address_option,
    store_option,
    workers_option,
)
from biocache.cli.progress import Bars
from biocache.cli.render import note, print_frame, print_json
from biocache.cli.values import FOLDER
from biocache.engine.analysis import ANALYSES, Analysis
from biocache.engine.request import build, values_of
from biocache.engine.stages import stage

if TYPE_CHECKING:
    import xarray as xr

    from biocache.store.storage import Storage

__all__ = ["analysis_command"]


def analysis_command(name: str) -> click.Command:
    """Return the command of an analysis.

    Raises
    ------
    SettingError
        If the analysis belongs to another package and cannot be loaded.
    """
    analysis = ANALYSES[name]

    def command(store: "Storage", **values: Any) -> None:
        _run(analysis, store, values)

    command.__doc__ = type(analysis).__doc__
    lines = ["\b", "Examples, in the folder that a demo made:", *(f"  {line}" for line in analysis.examples)]
    decorated: click.Command = adding(
        click.command(name, epilog="\n".join(lines) if analysis.examples else None),
        store_option,
        results_option,
        request_options(analysis.Request),
        output_option,
        *_plot_options(analysis),
        json_option,
        workers_option,
        scheduler_address_option,
        force_option,
    )(command)
    return decorated


def _plot_options(analysis: Analysis[Any, Any]) -> list[Any]:
    """Return the options of the figures: --plot for the first, --plot-NAME for each other."""
    options = []
    for place, name in enumerate(analysis.plots):
        flag = f"--plot-{name}" if place else "--plot"
        text = f"Draw {name.replace('-', ' ')}: .png .svg .pdf."
        options.append(click.option(flag, _parameter(name), type=FOLDER, metavar="FILE", help=text))
    if options:
        text = "Width of figures: single (one column of a page, 3.3 in), double (6.3 in), or inches."
        options.append(
            click.option("--plot-width", metavar="single|double|INCHES", default="double", show_default=True, help=text)
        )
    return options


def _parameter(plot: str) -> str:
    return f"plot_{plot.replace('-', '_')}"


def _run(analysis: Analysis[Any, Any], store: "Storage", values: dict[str, Any]) -> None:
    results = values.pop("results")
    plots = {name: values.pop(_parameter(name)) for name in analysis.plots}
    output, as_json, force = (values.pop(name) for name in ("output", "as_json", "force"))
    plot_width = values.pop("plot_width", "double")
    machines = {name: values.pop(name) for name in ("workers", "scheduler_address")}
    request = build(analysis.Request, values)
    from biocache.engine.analysis import find
    from biocache.engine.executor import Executor
    from biocache.engine.figures import check_places, drawing, parse_width, save_figure
    from biocache.store import Store

    width = parse_width(plot_width)
    check_places(output, *plots.values())
    # What code of the user's own prints is not part of the table or JSON on stdout.
    with Bars(analysis.unit) as bars, redirect_stdout(sys.stderr):
        with stage("reading the store"):
            found = find(analysis, Store.open(store, results=results), request)
            result = None if force else found.result()
        known = result is not None
        if result is None:
            with Executor(**machines) as executor:
                result = found.compute(
                    executor, force=force, on_progress=lambda done, total: bars.update(analysis.name, done, total)
                )
    if known:
        note("the store has this result; --force computes it again")
    elif found.result() is None:
        place = found.store.result_places[0]
        note(f"{place} cannot be written to, so that the result is not kept; --results names another place")
    for text in analysis.notes(result, request):
        note(text)
    if output is not None:
        _export(analysis, result, request, output)
        note(f"result: {output}")
    for name, place in plots.items():
        if place is None:
            continue
        with drawing(width):
            figure = analysis.draw(name, result, request)
            if figure is not None:
                save_figure(figure, place)
        note(
            f"{name.replace('-', ' ')}: {place}"
            if figure is not None
            else f"there is nothing to draw in {place}: this result has no {name.replace('-', ' ')}"
        )
    _print(analysis, result, request, as_json=as_json)


def _print(analysis: Analysis[Any, Any], result: "xr.Dataset", request: Any, *, as_json: bool) -> None:
    from biocache.engine.records import records

    if as_json:
        # What was left open is shown as the result says it was decided, such as the probe.
        used = {name: result.attrs.get(name) if value is None else value for name, value in values_of(request)}
        print_json(records(analysis.frame(result, request), result.attrs), settings=used)
    else:
        print_frame(analysis.summary(result, request), analysis.signed)


def _export(analysis: Analysis[Any, Any], result: "xr.Dataset", request: Any, output: Path) -> None:
    from biocache.engine.exporting import export_dataset
    from biocache.engine.report.figure import written
    from biocache.engine.tables import TABLES, export_table, with_facts

    if output.suffix.lower() not in TABLES:
        export_dataset(result, output)
        return
    facts = {"title": f"biocache {analysis.name}", **result.attrs}
    settings = written({name: value for name, value in analysis.settings(request).items() if value != ()})
    where = ", ".join(str(facts[name]) for name in ("task", "dataset", "split") if name in facts)
    notes = "".join(f" {text[0].upper()}{text[1:]}." for text in analysis.notes(result, request))
    caption = f"{facts['title']} ({where}). Settings: {settings}.{notes}"
    whole, summary = analysis.frame(result, request), analysis.summary(result, request)
    export_table(output, with_facts(whole, facts), summary, caption, analysis.signed)
