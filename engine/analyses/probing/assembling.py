"""Fits and runs into one Dataset of scores."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from biocache.engine.analyses.probing.bootstrap import interval
from biocache.engine.analyses.probing.controls import CONTROLS, control_labels
from biocache.engine.analyses.probing.counting import finalised
from biocache.engine.analyses.probing.evaluation import Fits, TestSplit, distributions
from biocache.engine.analyses.probing.features import row_labels
from biocache.engine.analyses.probing.grid import Cell
from biocache.engine.analyses.probing.request import ProbeRequest

__all__ = ["DIMS", "assemble", "best_layers", "ordered"]

#: Dimensions of a score; `seed` is that of the run.
DIMS = ("model", "training_size", "seed", "layer", "probe_seed")

_LONG_NAMES = {
    "accuracy": "share of the test rows whose label was predicted",
    "macro_f1": "mean F1 of the classes that occur in the truth or the predictions",
    "micro_f1": "F1 of all decisions for a class pooled, O left out",
    "entity_f1": "F1 of entities that are right in type, first and last word",
    "merged_entity_f1": "F1 of stretches of words of one type; entities of one type that touch are one stretch",
    "class_precision": "precision of a class",
    "class_recall": "recall of a class",
    "class_f1": "F1 of a class",
    "support": "test rows of a class",
    "confusion": "test rows by true and predicted class",
    "ci_low": "lower bound of the 95 % cluster-bootstrap interval over test samples, of the mean over probe seeds",
    "ci_high": "upper bound of the 95 % cluster-bootstrap interval over test samples, of the mean over probe seeds",
    "majority": "score of predicting the most frequent class of the train split",
    "converged": "whether the solver reached its tolerance: 1, 0, or not a number where nothing was fitted",
    "fit_seconds": "time to read the layer, fit and predict",
    "train_rows": "rows that were fitted on",
    "control_accuracy": "accuracy on the control task",
    "selectivity": "accuracy minus that on the control task",
    "code_length": "online code length of the train labels",
    "uniform_code_length": "length of the uniform code of the train labels",
    "compression": "uniform code length over online code length",
}
_UNITS = {"fit_seconds": "s", "code_length": "bit", "uniform_code_length": "bit"}


def assemble(request: ProbeRequest, cells: Mapping[Cell, tuple[int, ...]], fits: Fits) -> xr.Dataset:
    """Put scores, intervals, baselines and controls together.

    Parameters
    ----------
    request
        The request.
    cells
        What was probed: cell to layers.
    fits
        The fits of every place, seed of the probe and goal.

    Returns
    -------
    xarray.Dataset
        As `probe`.
    """
    first = next(iter(cells))
    test = TestSplit.of(first.test[0])
    dataset = _empty(request, cells, test)
    _put_scores(dataset, test, fits)
    for place, scores in distributions(test, fits, test.score_names, request.resamples).items():
        for name, bound in zip(("ci_low", "ci_high"), interval(scores, axis=0), strict=True):
            dataset[name].loc[place._asdict()] = bound
    for cell in cells:
        where = {"model": cell.model, "training_size": cell.training_size, "seed": cell.seed}
        dataset["majority"].loc[where] = _majority(cell, test)
    if request.control:
        _put_selectivity(dataset, cells, fits)
    if request.mdl:
        _put_code_lengths(dataset, fits, len(test.labels))
    return _described(dataset, request, first, fits)


def ordered(dataset: xr.Dataset) -> xr.Dataset:
    """Return a result with its variables in the order of their weight; a store keeps none."""
    return dataset[[name for name in _LONG_NAMES if name in dataset]]


def best_layers(dataset: xr.Dataset, score: str) -> xr.DataArray:
    """Return the layer of the highest score, the mean over the seeds of the probe (model, training_size, seed).

    It describes the test split. Nothing is chosen by it: the interval of the best of many layers is too favourable.
    """
    means = dataset[score].mean("probe_seed")
    # A place without a run is not a number in all layers, of which there is no largest.
    places = means.fillna(-1.0).argmax("layer")
    best = xr.DataArray(dataset.layer.to_numpy()[places.to_numpy()], places.coords, places.dims)
    return best.where(means.notnull().any("layer"))


def _empty(request: ProbeRequest, cells: Mapping[Cell, tuple[int, ...]], test: TestSplit) -> xr.Dataset:
    """Return the result before anything is in it: not a number in every place."""
    random = {cell.model: int(cell.train[0].provenance.random_weights) for cell in cells}
    names = np.array(test.labels, dtype=object)
    dataset = xr.Dataset(
        coords={
            "model": np.array(list(random), dtype=object),
            "training_size": sorted({cell.training_size for cell in cells}),
            "seed": sorted({cell.seed for cell in cells}),
            "layer": sorted({layer for layers in cells.values() for layer in layers}),
            "probe_seed": np.arange(request.seeds),
            "score": np.array(test.score_names, dtype=object),
            "label": names,
            "predicted_label": names,
            "random_weights": ("model", list(random.values())),
        }
    )
    shapes: dict[str, tuple[str, ...]] = {
        **dict.fromkeys(test.score_names, DIMS),
        **dict.fromkeys(("ci_low", "ci_high"), ("score", *DIMS[:-1])),
        "majority": ("score", *DIMS[:-2]),
        **dict.fromkeys(("class_precision", "class_recall", "class_f1"), (*DIMS, "label")),
        "confusion": (*DIMS, "label", "predicted_label"),
        **dict.fromkeys(("train_rows", "converged", "fit_seconds"), DIMS),
    }
    if request.control:
        shapes |= dict.fromkeys(("control_accuracy", "selectivity"), DIMS)
    if request.mdl:
        shapes |= dict.fromkeys(("code_length", "uniform_code_length", "compression"), DIMS)
    for name, dims in shapes.items():
        dataset[name] = (dims, np.full([dataset.sizes[dim] for dim in dims], np.nan))
    dataset["support"] = ("label", np.bincount(test.gold, minlength=len(names)))
    return dataset


def _put_scores(dataset: xr.Dataset, test: TestSplit, fits: Fits) -> None:
    # What seeds share is scored once.
    known: dict[int, dict[str, Any]] = {}
    for (place, seed, goal), fit in fits.items():
        if goal != "task":
            continue
        if id(fit) not in known:
            known[id(fit)] = test.scores(fit.predicted.to_numpy()) | {
                "train_rows": fit.attrs["train_rows"],
                "converged": fit.attrs["converged"],
                "fit_seconds": fit.attrs["seconds"],
            }
        for name, value in known[id(fit)].items():
            dataset[name].loc[{**place._asdict(), "probe_seed": seed}] = value


def _majority(cell: Cell, test: TestSplit) -> Any:
    """Return the scores (score) of always predicting the most frequent class of the train split."""
    usual = int(np.bincount(row_labels(cell.train[0])).argmax())
    counts = test.counts(np.full(len(test.gold), usual))
    return finalised(counts.sum(axis=0), test.labels, test.score_names)


def _put_selectivity(dataset: xr.Dataset, cells: Mapping[Cell, tuple[int, ...]], fits: Fits) -> None:
    runs = {(cell.model, cell.training_size, cell.seed): cell for cell in cells}
    # All cells have the same data, and so the same control.
    gold: dict[int, Any] = {}
    for (place, seed, goal), fit in fits.items():
        if goal == "control":
            cell = runs[place[:3]]
            if seed not in gold:
                gold[seed] = control_labels(cell.test[0], cell.train[0], seed)
            where = {**place._asdict(), "probe_seed": seed}
            dataset["control_accuracy"].loc[where] = (gold[seed] == fit.predicted.to_numpy()).mean()
    dataset["selectivity"] = dataset.accuracy - dataset.control_accuracy


def _put_code_lengths(dataset: xr.Dataset, fits: Fits, classes: int) -> None:
    for (place, seed, goal), fit in fits.items():
        if goal == "code":
            where = {**place._asdict(), "probe_seed": seed}
            dataset["code_length"].loc[where] = fit.bits.sum().item()
            dataset["uniform_code_length"].loc[where] = fit.labels.sum().item() * np.log2(classes)
    dataset["compression"] = dataset.uniform_code_length / dataset.code_length


def _described(dataset: xr.Dataset, request: ProbeRequest, cell: Cell, fits: Fits) -> xr.Dataset:
    for name, variable in dataset.data_vars.items():
        variable.attrs = {"long_name": _LONG_NAMES[str(name)], "units": _UNITS.get(str(name), "1")}
    dataset["seed"].attrs["long_name"] = "seed of the run"
    dataset["probe_seed"].attrs["long_name"] = "seed of the probe"
    run = cell.test[0]
    notes = {"max_train_samples": request.max_train_samples, "control": CONTROLS[request.task]}
    wanted = {"max_train_samples": request.max_train_samples is not None, "control": request.control}
    return dataset.assign_attrs(
        title=f"{request.probe} probe of {request.task} on {run.key.dataset}",
        task=request.task,
        dataset=run.key.dataset,
        probe=request.probe,
        backend=", ".join(sorted({fit.attrs["backend"] for fit in fits.values()})),
        views=", ".join(request.views),
        label_scheme=run.spec.label_scheme,
        pooling=request.pooling,
        combine=request.combine,
        resamples=request.resamples,
        **{name: value for name, value in notes.items() if wanted[name]},
        **{name: value for name, value in request.options.used_by(request.probe).items() if value is not None},
    )
