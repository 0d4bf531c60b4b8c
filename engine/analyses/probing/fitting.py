"""One fit: read a layer, fit a probe, and return what it predicts. It runs in any process that sees the store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from biocache.engine.analyses.probing.classifiers import backend_of, fit_scaled
from biocache.engine.analyses.probing.code_length import online_code
from biocache.engine.analyses.probing.controls import control_labels
from biocache.engine.analyses.probing.features import Rows, drawn_samples, read_rows
from biocache.engine.analyses.probing.request import PROTOCOL, ProbeRequest
from biocache.store.errors import DataError
from biocache.store.keys import RunKey
from biocache.store.reading import Run

__all__ = ["FIT_KIND", "GOALS", "Fit", "fit_inputs", "forget_runs", "run_fit"]

#: Kind of the results that hold one fit.
FIT_KIND = "probe-fit"
#: What is fitted: the task, its control, or the online code of the task.
GOALS = ("task", "control", "code")


@dataclass(frozen=True)
class Fit:
    """What one task fits.

    Attributes
    ----------
    goal
        ``task``, ``control`` or ``code``.
    train, test
        Keys of the runs of the splits, one a view.
    layer
        The layer.
    seed
        Seed of the probe; 0 where it decides nothing, so that all seeds share one fit.
    request
        Says what a row is and which classifier is fitted.
    """

    goal: str
    train: tuple[RunKey, ...]
    test: tuple[RunKey, ...]
    layer: int
    seed: int
    request: ProbeRequest


def fit_inputs(fit: Fit, identities: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return all that decides a fit, as JSON: what it is found by.

    Parameters
    ----------
    fit
        The fit.
    identities
        Of its runs, those of the train split first.
    """
    request = fit.request
    return {
        "protocol": PROTOCOL,
        "goal": fit.goal,
        "runs": list(identities),
        "layer": fit.layer,
        "seed": fit.seed,
        "probe": request.probe,
        "backend": backend_of(request.probe),
        "options": request.options.used_by(request.probe),
        "pooling": request.pooling,
        "combine": request.combine,
        "max_train_samples": request.max_train_samples,
    }


def run_fit(store: str, fit: Fit) -> xr.Dataset:
    """Fit a probe.

    Parameters
    ----------
    store
        Folder of the store.
    fit
        What to fit.

    Returns
    -------
    xarray.Dataset
        For ``task`` and ``control``: ``predicted`` (row), int16, the class of every word or sample of the test corpus;
        what has no tokens is predicted as the most frequent class of the rows that were fitted on. For ``code``:
        ``bits`` (block) and ``labels`` (block); see `online_code`. Attributes: ``backend``, ``converged`` (0 or 1),
        ``train_rows`` and ``seconds``, of reading, fitting and predicting.
    """
    began = time.perf_counter()
    root = Path(store)
    train, test = ([_opened(root, key) for key in keys] for keys in (fit.train, fit.test))
    found = _coded(fit, train) if fit.goal == "code" else _predicted(fit, train, test)
    found.attrs["seconds"] = time.perf_counter() - began
    return found


def _opened(root: Path, key: RunKey) -> Run:
    """Return a run whose tables are read once, and not again by each fit."""
    attributes = root / key.path / "zarr.json"
    if not attributes.exists():
        return Run.open(root, key)  # Which says that it is gone.
    return _kept(root, key, attributes.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _kept(root: Path, key: RunKey, _written: int) -> Run:
    # No more than the splits and views of one model: tables of words are large. A run that was made anew is another.
    return Run.open(root, key)


def forget_runs() -> None:
    """Free the tables of runs that fits of this process have read."""
    _kept.cache_clear()


def _predicted(fit: Fit, train: Sequence[Run], test: Sequence[Run]) -> xr.Dataset:
    rows = _train_rows(fit, train)
    request, count = fit.request, len(rows)
    usual = int(np.bincount(rows.labels).argmax())
    probe = fit_scaled(rows, request.probe, request.options, len(train[0].spec.label_names), fit.seed)
    # Before the test split is read: the two are never in memory together.
    del rows
    unseen, position = read_rows(test, request, fit.layer, np.arange(test[0].counts.samples))
    predicted = np.full(_row_count(test[0]), usual, np.int16)
    if len(unseen):
        predicted[position] = probe.predict(unseen)
    return xr.Dataset(
        {"predicted": ("row", predicted)},
        attrs={
            "backend": probe.classifier.backend,
            "converged": int(probe.classifier.converged),
            "train_rows": count,
        },
    )


def _coded(fit: Fit, train: Sequence[Run]) -> xr.Dataset:
    rows = _train_rows(fit, train)
    request = fit.request
    bits, labels = online_code(rows, request.probe, request.options, len(train[0].spec.label_names), fit.seed)
    return xr.Dataset(
        {"bits": ("block", bits), "labels": ("block", labels)},
        attrs={"backend": backend_of(request.probe), "converged": 1, "train_rows": len(rows)},
    )


def _train_rows(fit: Fit, train: Sequence[Run]) -> Rows:
    """Read what is fitted on, with the labels of the goal."""
    run = train[0]
    samples = drawn_samples(run.counts.samples, fit.request.max_train_samples, fit.seed)
    rows, position = read_rows(train, fit.request, fit.layer, samples)
    if not len(rows):
        raise DataError(f"no row of the train run {run.key} has tokens; extract it with a larger --max-length")
    if fit.goal != "control":
        return rows
    return Rows(rows.features, control_labels(run, run, fit.seed)[position], rows.sample)


def _row_count(run: Run) -> int:
    return int(getattr(run.counts, run.labelled))
