"""One fit: read a layer, fit a probe, return its predictions. It runs in any process that can read the store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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
from biocache.store.storage import Storage

__all__ = ["FIT_KIND", "Fit", "fit_inputs", "forget_runs", "run_fit"]

#: Kind of the results that hold one fit.
FIT_KIND = "probe-fit"


@dataclass(frozen=True)
class Fit:
    """A fit: the arguments of one task.

    Attributes
    ----------
    goal
        ``task``, its ``control``, or the online ``code`` of the task.
    train, test
        Keys of the runs of the splits, one a view.
    layer
        The layer.
    seed
        Seed of the probe; 0 where the fit does not depend on it, so that all seeds share one fit.
    request
        Defines the rows and the classifier.
    """

    goal: str
    train: tuple[RunKey, ...]
    test: tuple[RunKey, ...]
    layer: int
    seed: int
    request: ProbeRequest


def fit_inputs(fit: Fit, identities: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return everything that decides a fit, as JSON: the key of its kept result.

    Parameters
    ----------
    fit
        The fit.
    identities
        Identities of its runs, those of the train split first.
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


def run_fit(store: Storage, fit: Fit) -> xr.Dataset:
    """Fit a probe.

    Parameters
    ----------
    store
        Where the store is.
    fit
        The fit.

    Returns
    -------
    xarray.Dataset
        For ``task`` and ``control``: ``predicted`` (row), int16, the class of every word or sample of the test corpus;
        rows without tokens are predicted as the most frequent class of the rows that were fitted on. For ``code``:
        ``bits`` (block) and ``labels`` (block); see `online_code`. Attributes: ``backend``, ``converged`` (0 or 1),
        ``train_rows``, and ``seconds`` of reading, fitting and predicting.
    """
    began = time.perf_counter()
    train, test = ([_opened(store, key) for key in keys] for keys in (fit.train, fit.test))
    found = _coded(fit, train) if fit.goal == "code" else _predicted(fit, train, test)
    found.attrs["seconds"] = time.perf_counter() - began
    return found


def _opened(store: Storage, key: RunKey) -> Run:
    """Return a run whose tables all fits of this process share."""
    run = _kept(store, key)
    if not run.group.is_same():
        _kept.cache_clear()
        run = _kept(store, key)
    return run


@lru_cache(maxsize=4)
def _kept(store: Storage, key: RunKey) -> Run:
    # At most the splits and views of one model: tables of words are large.
    return Run.open(store, key)


def forget_runs() -> None:
    """Free the tables of runs that fits of this process have read."""
    _kept.cache_clear()


def _predicted(fit: Fit, train: Sequence[Run], test: Sequence[Run]) -> xr.Dataset:
    rows = _train_rows(fit, train)
    request, count = fit.request, len(rows)
    usual = int(np.bincount(rows.labels).argmax())
    probe = fit_scaled(rows, request.probe, request.options, len(train[0].spec.label_names), fit.seed)
    # Freed before the test split is read: the two are never in memory together.
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
    """Read the rows to fit on, with the labels of the goal."""
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
