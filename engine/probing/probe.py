"""`probe`: runs of a store in, scores of every layer out."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import xarray as xr

from biocache.engine.probing.assembling import assemble, ordered
from biocache.engine.probing.classifiers import backend_of
from biocache.engine.probing.evaluation import Fits, Place
from biocache.engine.probing.execution import run_fits
from biocache.engine.probing.fitting import PROTOCOL, Fit, find_fit
from biocache.engine.probing.grid import Cell, find_cells, probed_layers
from biocache.engine.probing.planning import FitPlan, plan_fits
from biocache.engine.probing.request import ProbeRequest
from biocache.engine.scheduling import computing
from biocache.engine.scoring import main_score, score_names
from biocache.store.catalog import Store
from biocache.store.errors import SettingError
from biocache.store.paths import resolved
from biocache.store.results import find_result, run_identity, save_result

__all__ = ["KIND", "chosen_score", "find_probe", "fitted", "plan_probe", "probe", "probe_inputs", "probe_scores"]

#: Kind of the results that hold a whole probing.
KIND = "probe"

Cells = Mapping[Cell, tuple[int, ...]]


def probe(
    store: str | os.PathLike[str],
    request: ProbeRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    """Measure how well a classifier reads the labels of the task from each layer of the runs of a store.

    For each model, training size, seed of a run, layer and seed of the probe a classifier is fitted to the features of
    the train split, which alone decides their scaling, and scored once on the test split. No model is loaded. What is
    in the store already is not computed again: a result is found by its runs and settings, and so is each fit in it,
    so that an interrupted probing goes on, and another layer or model costs that layer or model.

    Parameters
    ----------
    store
        Folder of the store.
    request
        What is probed, and how.
    workers
        Worker processes to start; None for threads of this process.
    scheduler_address
        Address of a Dask scheduler whose workers compute, and see the store under the same path.
    force
        Whether to compute again what the store has.
    on_progress
        Called with the fits that are done and all there are.

    Returns
    -------
    xarray.Dataset
        Dimensions ``model``, ``training_size``, ``seed`` (of the run), ``layer`` and ``probe_seed``; NaN where there is
        no such run or layer. ``accuracy``, ``macro_f1``, ``micro_f1`` and, for ``ner``, ``entity_f1`` or, where labels
        are merged by type, ``merged_entity_f1`` (see `score_names`), all in [0, 1], as `score_classes` and
        `score_entities` define them; ``class_precision``, ``class_recall``, ``class_f1`` (.., label) and ``confusion``
        (.., label, predicted_label); ``support`` (label). ``ci_low`` and ``ci_high`` (score, ..) without
        ``probe_seed`` are the 95 % percentile interval of the mean over the probe's seeds, on `resamples` draws of
        whole test samples. ``majority`` (score, ..) scores the most frequent class of the train split. ``train_rows``,
        ``converged`` (0 or 1) and ``fit_seconds`` describe the fits. With ``control``, ``control_accuracy`` and
        ``selectivity``; with ``mdl``, ``code_length`` and ``uniform_code_length`` in bits, and ``compression``. The
        attribute ``backend`` names the library that fitted.

    Raises
    ------
    BiocacheError
        If runs are missing, incomplete or unlike, or a fit takes more memory than allowed.

    Notes
    -----
    Every word or sample of the test corpus is scored, so that models whose tokenizers or ``max_length`` lose different
    words are scored on the same ones. What has no tokens is predicted as the most frequent class, for ``ner`` ``O``; of
    the train split it is left out.

    The code length is of the train labels. A model that was fine-tuned on them has seen them, so its compression says
    how well it holds them, and is not to be compared with that of a model that has not.
    """
    opened = Store.open(store)
    cells = _cells(opened, request)
    inputs = _inputs(request, cells)
    known = None if force else find_result(opened.path, KIND, inputs)
    if known is not None:
        return ordered(known)
    fits = fitted(
        opened,
        request,
        cells,
        workers=workers,
        scheduler_address=scheduler_address,
        force=force,
        on_progress=on_progress,
    )
    return ordered(save_result(opened.path, KIND, inputs, assemble(request, cells, fits)))


def find_probe(store: str | os.PathLike[str], request: ProbeRequest) -> xr.Dataset | None:
    """Return the result of a request that the store has; None where it has none. See `probe`."""
    opened = Store.open(store)
    known = find_result(opened.path, KIND, _inputs(request, _cells(opened, request)))
    return None if known is None else ordered(known)


def probe_inputs(store: Store, request: ProbeRequest) -> dict[str, Any]:
    """Return what the result of a request is found by, as of now: its runs and settings, as JSON; see `probe`."""
    return _inputs(request, _cells(store, request))


def probe_scores(store: str | os.PathLike[str], request: ProbeRequest) -> tuple[str, ...]:
    """Return the names of the scores that the result of a request has; see `score_names`."""
    run = find_cells(Store.open(store), request)[0].test[0]
    return score_names(run.spec.label_scheme if request.task == "ner" else None)


def chosen_score(names: Sequence[str], asked: str | None) -> str:
    """Return the score by which layers are told apart: the one asked for, else that of entities, else the accuracy.

    Raises
    ------
    SettingError
        If there is no such score.
    """
    if asked is None or asked in names:
        return asked or main_score(names)
    schemes = {"entity_f1": "bio", "merged_entity_f1": "type"}
    remedy = f"; it is of runs extracted with --label-scheme {schemes[asked]}" if asked in schemes else ""
    raise SettingError(f"score {asked!r} is not one of {', '.join(names)}, those of these runs{remedy}")


def plan_probe(store: str | os.PathLike[str], request: ProbeRequest, workers: int | None = None) -> FitPlan:
    """Say how many fits would run at once, and in what memory; see `plan_fits`."""
    opened = Store.open(store)
    cells = _cells(opened, request)
    return plan_fits(list(cells), request, len(set(_wanted(opened, request, cells).values())), workers)


def _cells(store: Store, request: ProbeRequest) -> Cells:
    return probed_layers(find_cells(store, request), request)


def _inputs(request: ProbeRequest, cells: Cells) -> dict[str, Any]:
    """Return all that decides a result, as JSON."""
    return {
        "protocol": PROTOCOL,
        "cells": [
            {"train": _identities(cell.train), "test": _identities(cell.test), "layers": list(layers)}
            for cell, layers in cells.items()
        ],
        "probe": request.probe,
        "backend": backend_of(request.probe),
        "options": request.options.used_by(request.probe),
        **{
            name: getattr(request, name)
            for name in ("pooling", "combine", "seeds", "max_train_samples", "control", "mdl", "resamples")
        },
    }


def _identities(runs: Sequence[Any]) -> list[dict[str, str]]:
    return [run_identity(run) for run in runs]


def _wanted(store: Store, request: ProbeRequest, cells: Cells) -> dict[tuple[Place, int, str], Fit]:
    """Return the fit of every place, seed of the probe and goal."""
    goals = ("task", *(("control",) if request.control else ()), *(("code",) if request.mdl else ()))
    root = str(resolved(store.path))
    return {
        (Place(cell.model, cell.training_size, cell.seed, layer), seed, goal): Fit(
            root,
            goal,
            tuple(run.key for run in cell.train),
            tuple(run.key for run in cell.test),
            layer,
            seed if request.is_random or goal != "task" else 0,
            request,
        )
        for cell, layers in cells.items()
        for layer in layers
        for seed in range(request.seeds)
        for goal in goals
    }


def fitted(
    store: Store,
    request: ProbeRequest,
    cells: Cells,
    *,
    workers: int | None,
    scheduler_address: str | None,
    force: bool,
    on_progress: Callable[[int, int], None] | None,
) -> Fits:
    """Return all fits of a request, running those that the store does not have."""
    wanted = _wanted(store, request, cells)
    runs = {run.key: run_identity(run) for cell in cells for run in (*cell.train, *cell.test)}
    known: dict[Fit, xr.Dataset] = {}
    for fit in () if force else set(wanted.values()):
        found = find_fit(fit, [runs[key] for key in (*fit.train, *fit.test)])
        if found is not None:
            known[fit] = found
    todo = [fit for fit in dict.fromkeys(wanted.values()) if fit not in known]
    if todo:
        plan = plan_fits(list(cells), request, len(todo), workers)
        with computing(workers, scheduler_address) as client:
            if client is not None and scheduler_address is not None:
                # Machines of their own: each worker has a fit at a time, whatever this one could hold together.
                plan = replace(plan, at_once=min(len(client.nthreads()) or 1, len(todo)), threads=1)
            known |= dict(zip(todo, run_fits(todo, plan, client, on_progress), strict=True))
    return {place: known[fit] for place, fit in wanted.items()}
