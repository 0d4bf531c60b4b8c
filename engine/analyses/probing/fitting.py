"""One fit: read one layer or several, fit a probe, return its predictions, in any process that reads the store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from biocache.engine.analyses.probing.classifiers import backend_of, fit_scaled
from biocache.engine.analyses.probing.code_length import online_code
from biocache.engine.analyses.probing.controls import control_labels
from biocache.engine.analyses.probing.features import Rows, read_rows
from biocache.engine.analyses.probing.layers import MIX, Layers, MixedProbe, layers_of
from biocache.engine.analyses.probing.request import PROTOCOL, ProbeRequest
from biocache.engine.analyses.probing.target import Target
from biocache.engine.statistics import drawn_samples
from biocache.store.errors import DataError
from biocache.store.keys import RunKey
from biocache.store.reading import Run
from biocache.store.storage import Storage
from biocache.store.text import shown

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.classifiers import Fitted

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
        The layer, or the label of several; see `layers_of`.
    seed
        Seed of the probe; 0 where the fit does not depend on it, so that all seeds share one fit.
    request
        Defines the rows and the classifier.
    target
        What is predicted.
    labels
        Digests of the labels of the rows of the two splits.
    """

    goal: str
    train: tuple[RunKey, ...]
    test: tuple[RunKey, ...]
    layer: Layers
    seed: int
    request: ProbeRequest
    target: Target
    labels: tuple[str, ...]

    def probe_of(self, stored: Sequence[int]) -> "Fitted":
        """Return the probe of these layers, where a run has stored some."""
        return MixedProbe(self.target.probe, len(stored)) if self.layer == MIX else self.target.fitted


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
        "labels": list(fit.labels),
        "probe": fit.target.probe,
        **({} if fit.target.own is None else {"own": fit.target.own.identity}),
        "backend": backend_of(fit.probe_of(())),
        "options": request.options.used_by(fit.target.probe),
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
        For ``task`` and ``control``: ``predicted`` (row), int32 classes or float64 numbers, of every row of
        the scored corpus; rows without tokens are predicted as the most frequent class, or the mean, of the rows that
        were fitted on, as are rows without label, which are not scored; of mixed layers also ``weight``
        (mixed_layer), and the attribute ``gamma``. For ``code``:
        ``bits`` (block) and ``labels`` (block); see `online_code`. Attributes: ``backend``, ``converged`` (0 or 1),
        ``train_rows``, and ``seconds`` of reading, fitting and predicting.
    """
    from biocache.engine.analyses.probing.own import OwnProbeError

    began = time.perf_counter()
    train, test = _runs_of(store, fit)
    try:
        found = _coded(fit, train) if fit.goal == "code" else _predicted(fit, train, test)
    except OwnProbeError as error:
        raise DataError(
            f"--probe {shown(fit.target.probe)} {error}, fitted to layer {fit.layer} of run {train[0].key}; correct it"
        ) from error
    found.attrs["seconds"] = time.perf_counter() - began
    return found


def _runs_of(store: Storage, fit: Fit) -> list[list[Run]]:
    """Return the runs of both splits, whose labels are those that the fit was planned with."""
    runs = [[_opened(store, key) for key in keys] for keys in (fit.train, fit.test)]
    if any(fit.target.aligned(own[0]).digest != digest for own, digest in zip(runs, fit.labels, strict=True)):
        # A process that lives longer than a command may know the labels that were there before.
        forget_runs()
        runs = [[_opened(store, key) for key in keys] for keys in (fit.train, fit.test)]
    for (run, *_), digest in zip(runs, fit.labels, strict=True):
        fit.target.require_same(run, digest)
    return runs


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
    request, target, count = fit.request, fit.target, len(rows)
    usual = rows.labels.mean() if target.numeric else np.bincount(rows.labels).argmax()
    stored = train[0].spec.layers
    probe = fit_scaled(rows, fit.probe_of(stored), request.options, len(target.names), fit.seed)
    # Freed before the test split is read: the two are never in memory together.
    del rows
    unseen, position = read_rows(test, target, request, layers_of(fit.layer, stored), np.arange(test[0].counts.samples))
    predicted = np.full(target.rows(test[0]), usual, np.float64 if target.numeric else np.int32)
    if len(unseen):
        predicted[position] = probe.predict(unseen)
    made = xr.Dataset(
        {"predicted": ("row", predicted)},
        attrs={
            "backend": probe.classifier.backend,
            "converged": int(probe.classifier.converged),
            "train_rows": count,
        },
    )
    if probe.classifier.mix is not None:
        weights, made.attrs["gamma"] = probe.classifier.mix
        made = made.assign_coords(mixed_layer=list(stored)).assign(weight=("mixed_layer", weights))
    return made


def _coded(fit: Fit, train: Sequence[Run]) -> xr.Dataset:
    rows = _train_rows(fit, train)
    request = fit.request
    probe = fit.probe_of(train[0].spec.layers)
    bits, labels = online_code(rows, probe, request.options, len(fit.target.names), fit.seed)
    return xr.Dataset(
        {"bits": ("block", bits), "labels": ("block", labels)},
        attrs={"backend": backend_of(probe), "converged": 1, "train_rows": len(rows)},
    )


def _train_rows(fit: Fit, train: Sequence[Run]) -> Rows:
    """Read the rows to fit on, with the labels of the goal."""
    run = train[0]
    samples = drawn_samples(run.counts.samples, fit.request.max_train_samples, fit.seed)
    rows, position = read_rows(train, fit.target, fit.request, layers_of(fit.layer, run.spec.layers), samples)
    if not len(rows):
        raise DataError(
            f"no row of the train run {run.key} has tokens and a label of {fit.target.labels}; extract it with a "
            "larger --max-length, or add labels with `biocache label`"
        )
    if fit.target.probe == "bilstm-crf" and not fit.target.aligned(run).known.all():
        raise DataError(
            f"bilstm-crf reads whole sentences, and some words of run {run.key} have no label of {fit.target.labels}; "
            "label them all, or use another --probe"
        )
    if fit.goal != "control":
        return rows
    return Rows(rows.features, control_labels(fit.target, run, run, fit.seed)[position], rows.sample)
