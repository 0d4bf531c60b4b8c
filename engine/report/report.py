"""`write_report`: any store in, one HTML page out."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from biocache.engine.analysis import ANALYSES
from biocache.engine.exporting import check_target, replacing
from biocache.engine.report.finetunings import FinetuneSection
from biocache.engine.report.inventory import take_inventory
from biocache.engine.report.page import Page, render
from biocache.engine.report.request import Report, ReportRequest
from biocache.engine.report.section import Asked, Kept, Section, SectionBuilder
from biocache.engine.report.viewer import fitted, read_viewer
from biocache.engine.request import in_words_of
from biocache.store.catalog import Store
from biocache.store.errors import BiocacheError, RunNotFoundError, SettingError
from biocache.store.paths import local_path
from biocache.store.storage import StorePlace

__all__ = ["check_report", "write_report"]

_EVERYTHING = ReportRequest()
_MARGIN = 1024


def check_report(path: Path) -> None:
    """Refuse a path that `write_report` cannot write, before anything is read for it; see `check_target`."""
    check_target(path, (".html",), "output")


@in_words_of(ReportRequest)
def write_report(
    store: StorePlace | Store, output: str | os.PathLike[str], request: ReportRequest = _EVERYTHING
) -> Report:
    """Write what a store holds, and what was computed from it, as one page that needs no network.

    Nothing is computed for it: it shows the results of fine-tuning and of every analysis in the store, and where there
    are none, the command that makes some. Of activations it reads only the samples of the viewer.

    Parameters
    ----------
    store
        Folder of the store.
    output
        The page, ending in ``.html``; it appears whole and replaces an existing file.
    request
        What of the store to show.

    Returns
    -------
    Report
        What was written, with notes of what is absent, incomplete, damaged or left out.

    Raises
    ------
    SettingError
        As `check_report`, or if the page without any sample is larger than `ReportRequest.max_bytes`.
    RunNotFoundError
        If the store holds nothing, or nothing that is asked for.
    ResourceError
        If it cannot be written.
    """
    path = local_path(output, "output")
    check_report(path)
    opened = store if isinstance(store, Store) else Store.open(store)
    inventory = take_inventory(opened, request)
    sections, left_out = _sections(Asked(opened, inventory, request))
    figures = [figure for section in sections for figure in section.figures]
    if not inventory.runs and not figures:
        raise _nothing(opened, request)
    absent = [f"no {section.name} in the store" for section in sections if section.absent]
    page = Page(
        opened.storage, inventory, sections, read_viewer(opened, request), (*inventory.notes, *left_out, *absent)
    )
    text = render(page)
    if len(text.encode()) > request.max_bytes:
        # The room that the rest of the page leaves, less a margin for the note about it.
        rest = len(text.encode()) - page.viewer.bytes
        page = replace(page, viewer=fitted(page.viewer, request.max_bytes - rest - _MARGIN))
        text = render(page)
        if len(text.encode()) > request.max_bytes:
            raise SettingError(
                f"the page takes {len(text.encode()):,} bytes without a sample, and max_bytes is "
                f"{request.max_bytes:,}; raise it, or choose fewer models, tasks or training sizes"
            )
    with replacing(path) as made:
        made.write_text(text, encoding="utf-8")
    return Report(path, path.stat().st_size, len(inventory.runs), len(figures), page.viewer.samples, page.notes)


def _sections(asked: Asked) -> tuple[list[Section], list[str]]:
    """Build all sections that have figures or a suggestion, and return notes on the results that they leave out."""
    sections: list[Section] = []
    left_out: list[str] = []
    unreadable: list[BiocacheError] = []
    for builder in _builders(asked.store, left_out):
        kept = []
        for result in asked.store.results(builder.kind, unreadable):
            if not builder.is_current(result):
                left_out.append(
                    f"result {result.where} was computed by another release, in another way; it is left out"
                )
                continue
            try:
                kept.append(Kept(result, result.load()))
            except BiocacheError as error:
                unreadable.append(error)
        section, notes = builder.sound_section(kept, asked)
        left_out += notes
        if section.figures or section.absent:
            sections.append(section)
    return sections, [*left_out, *map(str, unreadable)]


def _builders(store: Store, left_out: list[str]) -> Iterator[SectionBuilder]:
    """Yield the section builders of all analyses that can be loaded, and of fine-tuning."""
    for name in ANALYSES:
        try:
            yield ANALYSES[name].section()
        except SettingError as error:
            if store.results(name, []):
                left_out.append(str(error))
    yield FinetuneSection()


def _nothing(store: Store, request: ReportRequest) -> RunNotFoundError:
    asked = ", ".join(f"{name} {', '.join(map(str, values))}" for name, values in request.selection.items())
    if asked:
        return RunNotFoundError(f"{store.storage} holds nothing of {asked}; `biocache ls` lists what there is")
    return RunNotFoundError(
        f"{store.storage} holds no runs and no results: there is nothing to report; fill it with `biocache extract`"
    )
