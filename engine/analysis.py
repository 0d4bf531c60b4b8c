"""What is computed from runs: one life for every analysis, and the registry that finds them by name."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from biocache.engine.request import Request, in_words_of, settings_of, values_of
from biocache.store.errors import SettingError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from biocache.engine.executor import Executor, OnProgress, Task
    from biocache.store.catalog import Store

__all__ = ["ANALYSES", "GROUP", "Analysis", "Found", "Registry", "compute", "find"]

#: Entry points of this group are analyses of other packages.
GROUP = "biocache.analyses"

R = TypeVar("R", bound=Request)
Runs = TypeVar("Runs")


class Analysis(ABC, Generic[R, Runs]):
    """A computation over runs: a request, tasks, and a result that is kept in the store.

    Its text is the help of its command. A subclass says which runs it is of, what decides its numbers, which tasks
    compute them and how their results become one Dataset; the command, its options, `--json`, workers, progress and
    the lines that repeat it come by themselves.

    Attributes
    ----------
    name
        Name of the command and kind of the results.
    version
        A change of what is computed raises it: older results are then those of another question.
    Request
        Type of the request.
    unit
        What its tasks are, for the progress.
    lighter
        The option that makes its tasks take less memory, for a message.
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
        """Return the runs of a request, complete and alike in what must agree; refuse what cannot be computed."""

    @abstractmethod
    def inputs(self, request: R, runs: Runs) -> Mapping[str, Any]:
        """Return the identities of the runs, as JSON; what else decides the numbers is added by `compute`."""

    @abstractmethod
    def tasks(self, store: "Store", request: R, runs: Runs) -> "list[Task]":
        """Return the tasks that compute the parts of the result."""

    @abstractmethod
    def combine(self, request: R, runs: Runs, parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return the result, made of what the tasks computed, by their keys."""

    def settings(self, request: R) -> dict[str, Any]:
        """Return the settings that decide the numbers, as JSON; see `Option.decides`."""
        deciding = {setting.name for setting in settings_of(type(request)) if setting.option.decides}
        return {name: value for name, value in values_of(request) if name in deciding}

    def ordered(self, result: "xr.Dataset") -> "xr.Dataset":
        """Return a result with its variables in their order, whatever the store made of it."""
        return result

    def frame(self, result: "xr.Dataset", request: R) -> "pd.DataFrame":
        """Return the numbers of a result as a table: rows of ``--json``, of ``.csv`` and of the report.

        A column ``x`` may have others beside it: ``x_ci_low`` and ``x_ci_high``, bounds of its interval, and
        ``x_spread``, its standard deviation; a terminal shows them in one.
        """
        return result.to_dataframe().reset_index()

    def summary(self, result: "xr.Dataset", request: R) -> "pd.DataFrame":
        """Return what a terminal shows of a result; see `frame`."""
        return self.frame(result, request)

    def notes(self, result: "xr.Dataset", request: R) -> Iterator[str]:
        """Yield what must be known to read the numbers right."""
        yield from ()

    def draw(self, name: str, result: "xr.Dataset", request: R) -> "Figure | None":
        """Return one of the figures that `plots` names; None where a result has nothing to draw in it."""
        raise NotImplementedError(f"{type(self).__name__} does not draw {name!r} of {request} and {result}")


@dataclass(frozen=True)
class Found(Generic[R, Runs]):
    """A request with the runs that it is of, as of now.

    Attributes
    ----------
    analysis, store, request
        What is asked for, and of what.
    runs
        What `Analysis.select` found.
    inputs
        All that decides the numbers, as JSON.
    """

    analysis: Analysis[R, Runs]
    store: "Store"
    request: R
    runs: Runs
    inputs: dict[str, Any]

    def result(self) -> "xr.Dataset | None":
        """Return the result that the store has; None where it has none."""
        from biocache.store.results import find_result

        known = find_result(self.store.path, self.analysis.name, self.inputs)
        return None if known is None else self.analysis.ordered(known)

    def compute(
        self, executor: "Executor | None" = None, *, force: bool = False, on_progress: "OnProgress | None" = None
    ) -> "xr.Dataset":
        """Return the result, computed where the store does not have it; see `compute`."""
        from biocache.engine.executor import Executor
        from biocache.store.results import save_result

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
            return self.analysis.ordered(save_result(self.store.path, self.analysis.name, self.inputs, made))


def find(analysis: "str | Analysis[R, Runs]", store: "str | os.PathLike[str] | Store", request: R) -> Found[R, Runs]:
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
    store: "str | os.PathLike[str] | Store",
    request: R,
    *,
    executor: "Executor | None" = None,
    force: bool = False,
    on_progress: "OnProgress | None" = None,
) -> "xr.Dataset":
    """Compute an analysis of a store, or find its result there.

    Parameters
    ----------
    analysis
        The analysis, or its name in `ANALYSES`.
    store
        The store, or its folder.
    request
        What is computed, and how; of the type `Analysis.Request`.
    executor
        What runs the tasks; None for threads of this process.
    force
        Whether to compute again what the store has the result of.
    on_progress
        Called with the tasks that are done and all there are.

    Returns
    -------
    xarray.Dataset
        In memory. Its attribute ``request`` is the request as JSON.

    Raises
    ------
    BiocacheError
        If there is no such analysis, runs are missing or unlike, or memory or disk does not suffice.
    """
    return find(analysis, store, request).compute(executor, force=force, on_progress=on_progress)


class Registry(Mapping[str, Analysis[Any, Any]]):
    """Analyses by name: those of biocache, and those of installed packages; each imported when it is asked for.

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
            If there is none of the name, or that of another package cannot be used.
        """
        return _loaded(self._point(name))

    def __contains__(self, name: object) -> bool:
        return name in self._own or any(point.name == name for point in _points())

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._own, *sorted(point.name for point in _points())]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def titles(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each analysis and one line of what it does, nothing of it imported."""
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
        raise SettingError(
            f"{point.value} is not an analysis of the name {point.name!r}; its package declares it wrongly"
        )
    return made


#: All analyses by name. Another package adds its own by an entry point of the group ``biocache.analyses``.
ANALYSES = Registry(
    {
        "probe": (
            "biocache.engine.analyses.probing.analysis:Probing",
            "Measure what a classifier reads from each layer.",
        ),
        "compare-probes": (
            "biocache.engine.analyses.probing.analysis:ProbeComparison",
            "Tell which differences between probes are more than chance.",
        ),
        "compare-attention": (
            "biocache.engine.analyses.attention.analysis:AttentionComparison",
            "Compare attention maps of runs, head by head.",
        ),
    }
)
