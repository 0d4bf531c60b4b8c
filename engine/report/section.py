"""Sections of the page: the results of one kind as figures, with their numbers and recipes."""

import base64
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import xarray as xr

from biocache.engine.analysis import Analysis
from biocache.engine.commands import command_line
from biocache.engine.figures import drawing
from biocache.engine.report.figure import Figure, Recipe, Row, Table, by, written
from biocache.engine.report.inventory import Inventory
from biocache.engine.report.recipes import analysis_recipe
from biocache.engine.report.request import ReportRequest
from biocache.engine.report.story import Statement
from biocache.engine.request import Request
from biocache.store.catalog import Store
from biocache.store.keys import RunKey
from biocache.store.results import StoredResult, runs_in
from biocache.store.text import one_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

__all__ = ["AnalysisSection", "Asked", "Kept", "Section", "SectionBuilder", "grouped", "told_apart"]

# Rows of a table that the page shows; the CSV file has all.
_MOST_ROWS = 200
_DOTS_PER_INCH = 160


@dataclass(frozen=True)
class Kept:
    """A result of the store, with its values."""

    stored: StoredResult
    dataset: xr.Dataset

    @property
    def runs(self) -> list[RunKey]:
        """Keys of the runs that it was computed from, from the identities in its inputs."""
        return list(dict.fromkeys(RunKey.from_path(run["run"]) for run in runs_in(self.stored.inputs)))


@dataclass(frozen=True)
class Asked:
    """What a page shows: a store, its runs, and the selection."""

    store: Store
    inventory: Inventory
    request: ReportRequest


@dataclass(frozen=True)
class Section:
    """A section of results.

    Attributes
    ----------
    name, title
        Its name in the page, and its heading.
    rule
        Title of the numbers that are picked from its figures, and the rule that picks them; empty for none.
    figures
        Its figures.
    absent
        The command that makes results for a section without figures; else empty.
    """

    name: str
    title: str
    rule: tuple[str, str]
    figures: Sequence[Figure]
    absent: str = ""

    @property
    def findings(self) -> list[tuple[str, Row]]:
        """The numbers that the rule picks, each with the name of its figure."""
        return [(figure.name, row) for figure in self.figures for row in figure.findings]

    @property
    def statements(self) -> list[tuple[str, Statement]]:
        """What was found, each with the name of its figure."""
        return [(figure.name, own) for figure in self.figures for own in figure.statements]

    @property
    def findings_table(self) -> Table:
        """The same numbers as a table."""
        return Table.of([row for _, row in self.findings])


class SectionBuilder(ABC):
    """How the results of one kind become a section.

    Attributes
    ----------
    kind
        Kind of the results.
    title, rule
        As in `Section`.
    """

    kind: str
    title: str
    rule: ClassVar[tuple[str, str]] = ("", "")

    @abstractmethod
    def is_current(self, stored: StoredResult) -> bool:
        """Return whether this release computes a result in the same way, and so knows its shape."""

    @abstractmethod
    def wants(self, kept: Kept, request: ReportRequest) -> bool:
        """Return whether the page asks for a result."""

    @abstractmethod
    def figures(self, results: Sequence[Kept], asked: Asked) -> Iterator[tuple[Figure, Sequence[Kept]]]:
        """Yield figures, each with the results that it shows."""

    @abstractmethod
    def recipes(self, results: Sequence[Kept], asked: Asked) -> list[Recipe]:
        """Return how to compute the results of a figure again."""

    def suggestion(self, inventory: Inventory) -> tuple[str, Request] | None:
        """Return a command and its request that make results for an empty section; None to leave the section out."""
        return None

    def section(self, results: Sequence[Kept], asked: Asked) -> Section:
        """Build the section of some results, the oldest first."""
        name = "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())
        wanted = [kept for kept in results if self.wants(kept, asked.request)]
        figures = [
            replace(figure, name=f"{name}-{place}", recipes=self.recipes(shown, asked))
            for place, (figure, shown) in enumerate(self.figures(wanted, asked), start=1)
        ]
        suggested = None if figures else self.suggestion(asked.inventory)
        absent = "" if suggested is None else command_line(suggested[0], asked.store.storage, suggested[1])
        return Section(name, self.title, self.rule, told_apart(figures), absent)

    def sound_section(self, results: Sequence[Kept], asked: Asked) -> tuple[Section, list[str]]:
        """Build the section from the results that can be shown, and return notes on the others.

        Another release or other code may have kept results of any shape, so any exception is caught.
        """
        try:
            return self.section(results, asked), []
        except Exception:
            sound: list[Kept] = []
        notes = []
        for kept in results:
            try:
                self.section([*sound, kept], asked)
                sound.append(kept)
            except Exception as error:
                reason = f"{type(error).__name__}: {one_line(error)}"
                notes.append(
                    f"result {kept.stored.where} has not the shape of a result of {self.kind} ({reason}); it is "
                    "left out"
                )
        return self.section(sound, asked), notes


class AnalysisSection(SectionBuilder):
    """The section of an analysis: for each result the table and the figures that its command writes.

    An analysis with interactive figures overrides `Analysis.section` and returns a subclass with its own `figures`.
    """

    def __init__(self, analysis: Analysis[Any, Any]) -> None:
        self.analysis = analysis
        self.kind = analysis.name
        self.title = getattr(type(self), "title", analysis.name)

    def is_current(self, stored: StoredResult) -> bool:
        """Return whether the result is of this version of the analysis."""
        return bool(stored.inputs.get("version") == self.analysis.version)

    def wants(self, kept: Kept, request: ReportRequest) -> bool:
        """Return whether the page asks for one of the runs of a result."""
        return not kept.runs or any(map(request.wants_run, kept.runs))

    def recipes(self, results: Sequence[Kept], asked: Asked) -> list[Recipe]:
        """Return one recipe for each request."""
        made = [analysis_recipe(asked.store, kept.stored, kept.dataset) for kept in results]
        return list({recipe.command: recipe for recipe in made}.values())

    def request_of(self, kept: Kept) -> Any:
        """Return the request that a result was computed for."""
        return self.analysis.Request.from_json(kept.dataset.attrs["request"])

    def rows(self, kept: Kept, asked: Asked, dataset: xr.Dataset | None = None) -> list[Row]:
        """Return the selected rows of `Analysis.frame`, of a result or of a part of it."""
        return _rows(self.analysis.frame(kept.dataset if dataset is None else dataset, self.request_of(kept)), asked)

    def figures(self, results: Sequence[Kept], asked: Asked) -> Iterator[tuple[Figure, Sequence[Kept]]]:
        """Yield a figure of each result."""
        for kept in results:
            request, runs = self.request_of(kept), kept.runs
            corpora = " and ".join(dict.fromkeys(f"{key.task} on {key.dataset}" for key in runs))
            shown = _rows(self.analysis.summary(kept.dataset, request), asked)
            heading = f"First {_MOST_ROWS} of {len(shown):,} rows" if len(shown) > _MOST_ROWS else "Numbers"
            with drawing():
                drawn = {name: self.analysis.draw(name, kept.dataset, request) for name in self.analysis.plots}
            description = " ".join((type(self.analysis).__doc__ or "").partition("\n\n")[0].split())
            notes = [f"Note: {text}." for text in self.analysis.notes(kept.dataset, request)]
            figure = Figure(
                title=f"{self.title}: {corpora}" if corpora else self.title,
                settings=written(self.analysis.settings(request)),
                reading=" ".join([description, *notes]),
                data=Table.of(self.rows(kept, asked)),
                images={name: _image(figure) for name, figure in drawn.items() if figure is not None},
                extras=[(heading, Table.of(shown[:_MOST_ROWS]))],
                statements=list(self.statements(kept, asked)),
            )
            yield figure, [kept]

    def statements(self, kept: Kept, asked: Asked) -> Iterator[Statement]:
        """Yield what a result found, in sentences; by default none."""
        yield from ()


def told_apart(figures: Sequence[Figure]) -> list[Figure]:
    """Add to equal titles the settings that not all figures of that title have."""
    parts = {id(figure): figure.settings.split(", ") for figure in figures}
    titles = by(({"title": figure.title, "settings": parts[id(figure)]} for figure in figures), "title")
    made = []
    for figure in figures:
        same = titles[figure.title,]
        own = [part for part in parts[id(figure)] if not all(part in other["settings"] for other in same)]
        made.append(replace(figure, title=f"{figure.title} ({', '.join(own)})") if own else figure)
    return made


def grouped(
    results: Iterable[Kept], settings_of: Callable[[Kept], Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], list[Kept]]]:
    """Group results by their settings, in the order of the settings."""
    groups: dict[str, tuple[Mapping[str, Any], list[Kept]]] = {}
    for kept in results:
        settings = settings_of(kept)
        groups.setdefault(json.dumps(list(settings.items())), (settings, []))[1].append(kept)
    return [groups[key] for key in sorted(groups)]


def _rows(frame: "pd.DataFrame", asked: Asked) -> list[Row]:
    """Return the selected rows of a table."""
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    request = asked.request
    return [row for row in rows if request.wants(**row) and request.wants_training(row.get("trained_on", ""))]


def _image(drawn: "Drawing") -> str:
    """Return a figure as a data URL, and close it if pyplot manages it."""
    from matplotlib import pyplot

    buffer = io.BytesIO()
    with drawing():
        drawn.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    pyplot.close(drawn)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
