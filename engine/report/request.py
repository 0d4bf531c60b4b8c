"""The request for a report, and the report that was written."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from biocache.engine.corpora.base import TASKS
from biocache.engine.request import Request, option
from biocache.engine.sources import named
from biocache.store.keys import RunKey

__all__ = ["Report", "ReportRequest"]


@dataclass(frozen=True, kw_only=True)
class ReportRequest(Request):
    """Which part of a store to report.

    Attributes
    ----------
    tasks, datasets, models, trained_on, training_sizes
        Parts of the keys of the runs and results that are shown; None for all.
    samples
        Samples of each model and view in the viewer of attention maps; 0 leaves the viewer out.
    max_bytes
        Maximum size of the page; the viewer drops samples to fit.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    tasks: tuple[str, ...] | None = option(
        None, flag="--task", choices=tuple(TASKS), help="Tasks.", unset="all in the store"
    )
    datasets: tuple[str, ...] | None = option(None, flag="--dataset", help="Datasets.", unset="all in the store")
    models: tuple[str, ...] | None = option(None, flag="--model", help="Models.", unset="all in the store")
    trained_on: tuple[str, ...] | None = option(
        None,
        flag="--trained-on",
        metavar="DATASET,...",
        help="Datasets that the models were fine-tuned on.",
        unset="all",
    )
    training_sizes: tuple[int, ...] | None = option(
        None,
        flag="--training-size",
        low=0,
        high=100,
        help="Percents of the train split that the models were fine-tuned on.",
        unset="all",
    )
    samples: int = option(6, low=0, help="Samples of each model and view whose attention maps are shown; 0 for none.")
    max_bytes: int = option(20 * 2**20, low=1, form="bytes", help="Maximum size of the page; drops samples to fit.")

    @cached_property
    def selection(self) -> dict[str, Any]:
        """The selected parts of a run's key, as `Store.keys` takes them."""
        parts = {
            "task": self.tasks,
            "dataset": named("dataset", self.datasets),
            "model": named("model", self.models),
            "trained_on": named("trained_on", self.trained_on),
            "training_size": self.training_sizes,
        }
        return {name: list(values) for name, values in parts.items() if values is not None}

    def wants(self, **parts: Any) -> bool:
        """Return whether all these parts of a key are selected; other names are ignored."""
        chosen = {name: values for name, values in self.selection.items() if name != "trained_on"}
        return all(value in chosen[name] for name, value in parts.items() if name in chosen)

    def wants_run(self, key: RunKey) -> bool:
        """Return whether all parts of a run's key are selected."""
        return key.matches(self.selection)

    def wants_training(self, trained_on: str) -> bool:
        """Return whether a dataset that models were fine-tuned on is selected; empty for the one that they read."""
        chosen = self.selection.get("trained_on", ())
        return not chosen or not trained_on or any(f"/{name}".endswith(f"/{trained_on}") for name in chosen)


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Attributes
    ----------
    path
        The file.
    bytes
        Its size.
    runs, figures, samples
        Number of runs in the catalog, of figures, and of samples in the viewer.
    notes
        What is absent, incomplete, damaged or left out.
    """

    path: Path
    bytes: int
    runs: int
    figures: int
    samples: int
    notes: tuple[str, ...] = ()
