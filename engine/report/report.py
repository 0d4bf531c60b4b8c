"""`write_report`: any store in, one HTML page out."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biocache.engine.exporting import check_target, replacing
from biocache.engine.report.absent import missing_commands
from biocache.engine.report.attention import group_comparisons
from biocache.engine.report.figure import Figure, Recipe
from biocache.engine.report.finetunings import group_finetunings
from biocache.engine.report.inventory import Inventory, take_inventory
from biocache.engine.report.page import Page, Section, render
from biocache.engine.report.palette import Palette
from biocache.engine.report.probes import group_probes
from biocache.engine.report.recipes import analysis_recipe, finetune_recipe
from biocache.engine.report.request import Report, ReportRequest
from biocache.engine.report.results import Loaded, load_results
from biocache.engine.report.statements import Finding, Findings
from biocache.engine.report.viewer import fitted, read_viewer
from biocache.engine.request import in_words_of
from biocache.store.catalog import Store
from biocache.store.errors import BiocacheError, RunNotFoundError, SettingError
from biocache.store.paths import local_path
from biocache.store.text import one_line

__all__ = ["check_report", "write_report"]

_EVERYTHING = ReportRequest()
_MARGIN = 1024
_RULES = {
    "probes": (
        "Probes: the best layer",
        "The layer of the highest score, for each model and training size. It describes the test split: the interval "
        "of the best of many layers is too favourable.",
    ),
    "attention": (
        "Attention: the farthest layer",
        "The training size and layer whose mean over samples and heads is farthest from that of equal maps.",
    ),
    "fine-tuning": (
        "Fine-tuning: the best training size",
        "The training size of the highest score on the test split, for each model.",
    ),
}


def check_report(path: Path) -> None:
    """Refuse a place that `write_report` does not write to, before anything is read for it; see `check_target`."""
    check_target(path, (".html",), "output")


@in_words_of(ReportRequest)
def write_report(
    store: str | os.PathLike[str], output: str | os.PathLike[str], request: ReportRequest = _EVERYTHING
) -> Report:
    """Write what a store holds, and what was computed from it, as one page that needs no network.

    Nothing is computed for it: it shows the results that `probe`, `compare_attention` and `finetune` left in the store,
    and where there are none, the command that makes some. Of activations it reads the samples of the viewer alone.

    Parameters
    ----------
    store
        Folder of the store.
    output
        The page, ending in ``.html``; it appears whole, in the place of a file that was there.
    request
        What of the store to show.

    Returns
    -------
    Report
        What was written, with notes of what is absent, incomplete, damaged or left out.

    Raises
    ------
    SettingError
        As `check_report`, or if the page without any sample takes more bytes than it may.
    RunNotFoundError
        If the store holds nothing, or nothing that is asked for.
    ResourceError
        If it cannot be written.
    """
    path = local_path(output, "output")
    check_report(path)
    opened = Store.open(store)
    inventory = take_inventory(opened, request)
    loaded, unread = load_results(opened)
    sections, findings, misshapen = _drawn(opened, loaded, inventory, request)
    unread += misshapen
    figures = [figure for section in sections for figure in section.figures]
    if not inventory.runs and not figures:
        raise _nothing(opened, request)
    viewer = read_viewer(opened, request)
    notes = [*inventory.notes, *unread, *(f"no {section.name} in the store" for section in sections if section.absent)]
    page = Page(opened.path, inventory, sections, findings, viewer, (*notes, *viewer.notes))
    text = render(page)
    if len(text.encode()) > request.max_bytes:
        # What the rest of the page leaves, but for the note that says so.
        rest = len(text.encode()) - viewer.bytes
        viewer = fitted(viewer, request.max_bytes - rest - _MARGIN)
        page = Page(opened.path, inventory, sections, findings, viewer, (*notes, *viewer.notes))
        text = render(page)
        if len(text.encode()) > request.max_bytes:
            raise SettingError(
                f"the page takes {len(text.encode()):,} bytes without a sample, and max_bytes is "
                f"{request.max_bytes:,}; raise it, or choose fewer models, tasks or training sizes"
            )
    with replacing(path) as made:
        made.write_text(text, encoding="utf-8")
    return Report(path, path.stat().st_size, len(inventory.runs), len(figures), viewer.samples, page.notes)


# What results of another shape, which another release or somebody's own code kept, raise where they are drawn.
_MISSHAPEN = (BiocacheError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def _drawn(
    store: Store, loaded: dict[str, Loaded], inventory: Inventory, request: ReportRequest
) -> tuple[list[Section], list[Findings], list[str]]:
    """Draw all results that can be, and say which cannot: one of another shape must not cost the page."""
    try:
        return *_sections(store, loaded, inventory, request), []
    except _MISSHAPEN:
        kept: dict[str, Loaded] = {kind: [] for kind in loaded}
    notes = []
    for kind, results in loaded.items():
        for result in results:
            kept[kind].append(result)
            try:
                _sections(store, kept, inventory, request)
            except _MISSHAPEN as error:
                kept[kind].pop()
                reason = f"{type(error).__name__}: {one_line(error)}"
                notes.append(
                    f"result {result[0].path} has not the shape of a result of {kind} ({reason}); it is left out"
                )
    return *_sections(store, kept, inventory, request), notes


def _sections(
    store: Store, loaded: dict[str, Loaded], inventory: Inventory, request: ReportRequest
) -> tuple[list[Section], list[Findings]]:
    """Draw the results of each kind, and pick what they show."""
    probes = group_probes(loaded["probe"], request)
    comparisons = group_comparisons(loaded["compare-attention"], request)
    tunings = group_finetunings(loaded["finetune"], request)
    sizes = [row["training_size"] for group in probes for row in group.table]
    sizes += [run.key.training_size for run in inventory.runs]
    palette = Palette.of(sizes, [model for group in tunings for model, *_ in group.specs])
    figures: dict[str, list[Figure]] = {"probes": [], "attention": [], "fine-tuning": []}
    found: dict[str, list[Finding]] = {name: [] for name in figures}
    for place, probe in enumerate(probes, start=1):
        made = [analysis_recipe(store, *result) for result in probe.results]
        figures["probes"].append(probe.figure(f"probes-{place}", palette, _distinct(made)))
        found["probes"] += probe.findings(f"probes-{place}")
    for place, comparison in enumerate(comparisons, start=1):
        made = [analysis_recipe(store, *result) for result in comparison.results]
        figures["attention"].append(comparison.figure(f"attention-{place}", _distinct(made)))
        found["attention"] += comparison.findings(f"attention-{place}")
    for place, tuning in enumerate(tunings, start=1):
        made = [finetune_recipe(store, specs, inventory.sources) for specs in _by_seed(tuning.specs.values())]
        figures["fine-tuning"].append(tuning.figure(f"fine-tuning-{place}", palette, made))
        found["fine-tuning"] += tuning.findings(f"fine-tuning-{place}")
    sections = [
        Section(name, figures[name], "" if figures[name] else command)
        for name, command in missing_commands(store, inventory).items()
    ]
    return sections, [Findings(*_RULES[name], rows) for name, rows in found.items() if rows]


def _by_seed(specs: Any) -> list[list[Any]]:
    seeds: dict[int, list[Any]] = {}
    for spec in specs:
        seeds.setdefault(spec["seed"], []).append(spec)
    return list(seeds.values())


def _distinct(recipes: Sequence[Recipe]) -> list[Recipe]:
    return list({recipe.command: recipe for recipe in recipes}.values())


def _nothing(store: Store, request: ReportRequest) -> RunNotFoundError:
    asked = ", ".join(f"{name} {', '.join(map(str, values))}" for name, values in request.selection.items())
    if asked:
        return RunNotFoundError(f"{store.path} holds nothing of {asked}; `biocache ls` lists what there is")
    return RunNotFoundError(
        f"{store.path} holds no runs and no results: there is nothing to report; fill it with `biocache extract`"
    )
