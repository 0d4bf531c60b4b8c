"""What a report is asked for, and what became of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biocache.engine.settings import require_positive, require_sizes
from biocache.store.errors import SettingError

__all__ = ["Report", "ReportRequest"]

_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """What of a store to report.

    Attributes
    ----------
    tasks, datasets, models, training_sizes
        Parts of the keys of the runs, and of the results, that are shown; None for all.
    samples
        Samples that the viewer of attention maps offers of each model and view; 0 leaves the viewer out.
    max_bytes
        Most bytes of the page. The viewer takes fewer samples, so as to fit.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    tasks: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    training_sizes: tuple[int, ...] | None = None
    samples: int = 6
    max_bytes: int = 20 * _MIB

    def __post_init__(self) -> None:
        for name in ("tasks", "datasets", "models", "training_sizes"):
            if getattr(self, name) == ():
                raise SettingError(f"{name} is empty: name at least one, or None for all")
        require_sizes(self.training_sizes or ())
        require_positive(self, "max_bytes")
        if self.samples < 0:
            raise SettingError(f"samples {self.samples} is not a number from 0; 0 leaves the viewer out")

    @property
    def selection(self) -> dict[str, Any]:
        """Parts of a run's key that are asked for, as `Store.keys` takes them."""
        parts = {
            "task": self.tasks,
            "dataset": self.datasets,
            "model": self.models,
            "training_size": self.training_sizes,
        }
        return {name: list(values) for name, values in parts.items() if values is not None}

    def wants(self, **parts: Any) -> bool:
        """Return whether all these parts of a key are among those that are asked for."""
        chosen = self.selection
        return all(value in chosen[name] for name, value in parts.items() if name in chosen)


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
        How many runs it lists, figures it draws and samples its viewer offers.
    notes
        What is absent, incomplete, damaged or left out.
    """

    path: Path
    bytes: int
    runs: int
    figures: int
    samples: int
    notes: tuple[str, ...] = ()
