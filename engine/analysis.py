"""Analyses, the computations over runs: one life cycle for all of them, and the registry of their names."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from biocache.engine.request import Request, in_words_of, settings_of, values_of
from biocache.store.errors import BusyError, SettingError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from biocache.engine.executor import Executor, OnProgress, Task
    from biocache.engine.report.section import SectionBuilder
    from biocache.store.catalog import Store
    from biocache.store.storage import StorePlace

__all__ = ["ANALYSES", "GROUP", "Analysis", "Found", "Registry", "compute", "find"]

#: Entry points of this group are analyses of other packages.
GROUP = "biocache.analyses"

R = TypeVar("R", bound=Request)
Runs = TypeVar("Runs")


class Analysis(ABC, Generic[R, Runs]):
    """A computation over runs: a request, tasks, and a result that is kept in the store.

    Its docstring is the help of its command. A subclass selects the runs, names what decides the numbers, makes the
    tasks and combines their results into one Dataset. The command, its options, `--json`, workers, progress and the
    lines that repeat it follow from that.

    Attributes
    ----------
    name
        Name of the command and kind of the results.
    version
        Raised by a change of what is computed, so that older results are not found any more.
    Request
        Type of the request.
    unit
        Name of its tasks, for the progress.
    lighter
        The option that reduces the memory of its tasks, for a message.
    plots
        Names of its figures; the first is what ``--plot`` draws, ``--plot-NAME`` the others.
    examples
        Command lines for the help.
    signed
        Columns of the table that hold differences: a terminal shows the sign of positive ones too.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Request: ClassVar[type[Any]]
    unit: ClassVar[str] = "tasks"
    lighter: ClassVar[str] = ""
    plots: ClassVar[tuple[str, ...]] = ()
    examples: ClassVar[tuple[str, ...]] = ()
    signed: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def select(self, store: "Store", request: R) -> Runs:
        """Return the runs of a request; refuse runs that are missing, incomplete or do not go together."""

    @abstractmethod
    def inputs(self, request: R, runs: Runs) -> Mapping[str, Any]:
        """Return the identities of the runs, as JSON; `compute` adds the version and the settings."""

    @abstractmethod
    def tasks(self, store: "Store", request: R, runs: Runs) -> "list[Task]":
        """Return the tasks that compute the parts of the result."""

    @abstractmethod
    def combine(self, request: R, runs: Runs, parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return the result, made of the results of the tasks, by their keys."""

    def settings(self, request: R) -> dict[str, Any]:
        """Return the settings that decide the numbers, as JSON; see `Option.decides`."""
        from biocache.engine.plugins import plain_setting

        deciding = {setting.name for setting in settings_of(type(request)) if setting.option.decides}
        return {name: plain_setting(value) for name, value in values_of(request) if name in deciding}

    def frame(self, result: "xr.Dataset", request: R) -> "pd.DataFrame":
        """Return the numbers of a result as a table: rows of ``--json``, of ``.csv`` and of the report.

        A column ``x`` may come with ``x_ci_low`` and ``x_ci_high``, the bounds of its interval, and ``x_spread``, its
        standard deviation; a terminal shows them in one column.
        """
        return result.to_dataframe().reset_index()

    def summary(self, result: "xr.Dataset", request: R) -> "pd.DataFrame":
        """Return the table that a terminal shows; see `frame`."""
        return self.frame(result, request)

    def notes(self, result: "xr.Dataset", request: R) -> Iterator[str]:
        """Yield what a reader of the numbers must know."""
        yield from ()

    def draw(self, name: str, result: "xr.Dataset", request: R) -> "Figure | None":
        """Return one of the figures that `plots` names; None if the result has nothing to draw."""
        raise NotImplementedError(f"{type(self).__name__} does not draw {name!r} of {request} and {result}")

    def section(self) -> "SectionBuilder":
        """Return how the report shows the results: by default each alone, its table and the figures of `draw`."""
        from biocache.engine.report.section import AnalysisSection

        return AnalysisSection(self)


@dataclass(frozen=True)
class Found(Generic[R, Runs]):
    """A request with the runs that it selects now.

    Attributes
    ----------
    analysis, store, request
        The analysis, the store and the request.
    runs
        The runs that `Analysis.select` returned.
    inputs
        Everything that decides the numbers, as JSON.
    """

    analysis: Analysis[R, Runs]
    store: "Store"
    request: R
    runs: Runs
    inputs: dict[str, Any]

    def result(self) -> "xr.Dataset | None":
        """Return the result that the store has; None if it has none."""
        from biocache.store.results import find_in

        return find_in(self.store.result_places, self.analysis.name, self.inputs)

    def compute(
        self, executor: "Executor | None" = None, *, force: bool = False, on_progress: "OnProgress | None" = None
    ) -> "xr.Dataset":
        """Return the result, computed if the store does not have it; see `compute`.

        In a store that cannot be written to it is not kept; see `Store.open`.
        """
        from biocache.engine.executor import Executor
        from biocache.store.results import keep_in

        with in_words_of(type(self.request)):
            known = None if force else self.result()
            if known is not None:
                return known
            tasks = self.analysis.tasks(self.store, self.request, self.runs)
            with nullcontext(executor) if executor is not None else Executor() as using:
                allowed = getattr(self.request, "max_memory", None)
                parts = using.run(tasks, allowed, on_progress, force=force, lighter=self.analysis.lighter)
            made = self.analysis.combine(self.request, self.runs, parts)
            made = made.assign_attrs(request=self.request.to_json())
            # An analysis of another package may open runs by their names.
            if find(self.analysis, self.store, self.request).inputs != self.inputs:
                raise BusyError(
                    "runs, labels or your own code changed while this was computed from them, and nothing is kept; run "
                    "the same command again"
                )
            return keep_in(self.store.result_places, self.analysis.name, self.inputs, made)


def find(analysis: "str | Analysis[R, Runs]", store: "StorePlace | Store", request: R) -> Found[R, Runs]:
    """Find the runs of a request; see `compute`."""
    from biocache.store.catalog import Store

    known: Analysis[R, Runs] = ANALYSES[analysis] if isinstance(analysis, str) else analysis
    if not isinstance(request, known.Request):
        raise SettingError(f"{known.name} takes a {known.Request.__name__}, and was given a {type(request).__name__}")
    with in_words_of(type(request)):
        opened = store if isinstance(store, Store) else Store.open(store)
        runs = known.select(opened, request)
        inputs = {"version": known.version, **known.inputs(request, runs), "settings": known.settings(request)}
        return Found(known, opened, request, runs, inputs)


def compute(
    analysis: "str | Analysis[R, Runs]",
    store: "StorePlace | Store",
    request: R,
    *,
    executor: "Executor | None" = None,
    force: bool = False,
    on_progress: "OnProgress | None" = None,
) -> "xr.Dataset":
    """Compute an analysis of a store, or return the result that the store has.

    Parameters
    ----------
    analysis
        The analysis, or its name in `ANALYSES`.
    store
        The store, or its folder.
    request
        Which runs, and how; of the type `Analysis.Request`.
    executor
        Runs the tasks; None for threads of this process.
    force
        Whether to compute again what the store has.
    on_progress
        Called with the number of tasks that are done and of all tasks.

    Returns
    -------
    xarray.Dataset
        In memory. Its attribute ``request`` is the request as JSON.

    Raises
    ------
    BiocacheError
        If there is no such analysis, runs are missing or differ, or memory or disk does not suffice.
    """
    return find(analysis, store, request).compute(executor, force=force, on_progress=on_progress)


class Registry(Mapping[str, Analysis[Any, Any]]):
    """Analyses by name: those of biocache and those of installed packages, each imported on first use.

    Parameters
    ----------
    own
        Name to the place, ``module:class``, and the first line of the help.
    """

    def __init__(self, own: Mapping[str, tuple[str, str]]) -> None:
        self._own = own

    def __getitem__(self, name: str) -> Analysis[Any, Any]:
        """Return an analysis.

        Raises
        ------
        SettingError
            If there is none of that name, or one of another package cannot be loaded.
        """
        return _loaded(self._point(name))

    def __contains__(self, name: object) -> bool:
        return name in self._own or any(point.name == name for point in _points())

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._own, *sorted(point.name for point in _points())]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def titles(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each analysis and one line of help, without importing it."""
        for name in self:
            yield name, self._own[name][1] if name in self._own else f"Analysis of the package {_package(name)}."

    def _point(self, name: str) -> EntryPoint:
        if name in self._own:
            return EntryPoint(name, self._own[name][0], GROUP)
        found = [point for point in _points() if point.name == name]
        if not found:
            raise SettingError(f"there is no analysis {name!r}; there are {', '.join(self)}")
        return found[0]


def _points() -> Sequence[EntryPoint]:
    return tuple(entry_points(group=GROUP))


def _package(name: str) -> str:
    point = next(point for point in _points() if point.name == name)
    return point.dist.name if point.dist is not None else point.module


@cache
def _loaded(point: EntryPoint) -> Analysis[Any, Any]:
    try:
        kind: Callable[[], Any] = getattr(import_module(point.module), point.attr)
        made = kind()
    except (ImportError, AttributeError, TypeError) as error:
        raise SettingError(
            f"analysis {point.name!r} of {point.module} cannot be loaded ({type(error).__name__}: {error}); install "
            "its package again, or remove it"
        ) from error
    if not isinstance(made, Analysis) or made.name != point.name or not issubclass(made.Request, Request):
        raise SettingError(f"{point.value} is not an analysis named {point.name!r}; its package declares it wrongly")
    return made


#: All analyses by name. A package adds its own by an entry point of the group ``biocache.analyses``.
ANALYSES = Registry(
    {
        "probe": (
            "biocache.engine.analyses.probing.analysis:Probing",
            "Measure what a classifier reads from each layer.",
        ),
        "compare-probes": (
            "biocache.engine.analyses.probing.comparison:ProbeComparison",
            "Test which differences between probes are more than chance.",
        ),
        "describe-attention": (
            "biocache.engine.analyses.heads.analysis:AttentionDescription",
            "Describe what each attention head attends to.",
        ),
        "compare-attention": (
            "biocache.engine.analyses.attention.analysis:AttentionComparison",
            "Compare attention maps of runs, head by head.",
        ),
        "compare-representations": (
            "biocache.engine.analyses.representations.analysis:RepresentationComparison",
            "Compare hidden states of runs, layers by layers.",
        ),
    }
)
