"""The result of a probing: the scores of all fits, with intervals, baselines and controls, as one Dataset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.controls import CONTROLS, control_labels
from biocache.engine.analyses.probing.features import label_scheme, row_labels, row_samples
from biocache.engine.analyses.probing.grid import Cell
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.metrics import (
    SCORE_TITLES,
    as_iob2,
    main_score,
    sample_counts,
    score_classes,
    score_entities,
    score_names,
    scores_of_counts,
)
from biocache.engine.statistics import bootstrap, interval
from biocache.store.reading import Run

__all__ = ["DIMS", "Fits", "Place", "TestSplit", "assemble", "best_layers", "distributions"]


class Place(NamedTuple):
    """A place in the grid of a result, labelled by its dimensions without the probe's seed."""

    model: str
    training_size: int
    seed: int
    layer: int


#: Dimensions of a score; `seed` is that of the run.
DIMS = (*Place._fields, "probe_seed")

#: Goal, then place and seed of the probe, to the result of `run_fit`. Fits that no seed changes are one object.
Fits = Mapping[str, Mapping[tuple[Place, int], xr.Dataset]]

# Dimensions and meaning of each variable, in the order of the result.
_VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "accuracy": (DIMS, "share of the test rows whose label was predicted"),
    "macro_f1": (DIMS, "mean F1 of the classes that occur in the truth or the predictions"),
    "micro_f1": (DIMS, "F1 of all decisions for a class pooled, O left out"),
    "entity_f1": (DIMS, "F1 of entities that are right in type, first and last word"),
    "merged_entity_f1": (
        DIMS,
        "F1 of stretches of words of one type; entities of one type that touch are one stretch",
    ),
    "class_precision": ((*DIMS, "label"), "precision of a class"),
    "class_recall": ((*DIMS, "label"), "recall of a class"),
    "class_f1": ((*DIMS, "label"), "F1 of a class"),
    "support": (("label",), "test rows of a class"),
    "confusion": ((*DIMS, "label", "predicted_label"), "test rows by true and predicted class"),
    "ci_low": (
        ("score", *Place._fields),
        "lower bound of the 95 % cluster-bootstrap interval over test samples, of the mean over probe seeds",
    ),
    "ci_high": (
        ("score", *Place._fields),
        "upper bound of the 95 % cluster-bootstrap interval over test samples, of the mean over probe seeds",
    ),
    "majority": (("score", *Place._fields[:-1]), "score of predicting the most frequent class of the train split"),
    "converged": (DIMS, "whether the solver reached its tolerance: 1, 0, or NaN where nothing was fitted"),
    "fit_seconds": (DIMS, "time to read the layer, fit and predict"),
    "train_rows": (DIMS, "rows that were fitted on"),
    "control_accuracy": (DIMS, "accuracy on the control task"),
    "selectivity": (DIMS, "accuracy minus that on the control task"),
    "code_length": (DIMS, "online code length of the train labels"),
    "uniform_code_length": (DIMS, "length of the uniform code of the train labels"),
    "compression": (DIMS, "uniform code length over online code length"),
}
_UNITS = {"fit_seconds": "s", "code_length": "bit", "uniform_code_length": "bit"}
# Goal to the variables that only its fits give.
_EXTRAS = {
    "control": {"control_accuracy", "selectivity"},
    "code": {"code_length", "uniform_code_length", "compression"},
}


@dataclass(frozen=True, eq=False)
class TestSplit:
    """What is known of the test split without its hidden states.

    Attributes
    ----------
    gold
        Classes (row).
    sample
        Position of every row's sample (row).
    labels
        Names of the classes.
    scheme
        Label scheme of words; None where a row is a sample.
    """

    __test__ = False

    gold: NDArray[np.int64]
    sample: NDArray[np.int64]
    labels: tuple[str, ...]
    scheme: str | None

    @classmethod
    def of(cls, run: Run) -> "TestSplit":
        """Read it from a run."""
        return cls(row_labels(run), row_samples(run), run.spec.label_names, label_scheme(run))

    def counts(self, predicted: NDArray[np.integer]) -> NDArray[np.float64]:
        """Count a prediction (sample, count); see `sample_counts`."""
        return sample_counts(self.gold, predicted, self.sample, self.labels, self.scheme)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores; see `score_names`."""
        return score_names(self.scheme)

    def sentences(self, codes: NDArray[np.integer]) -> list[list[str]]:
        """Return the IOB2 tags of each sample's words."""
        names = np.array(self.labels, dtype=object)[codes]
        parts = [part.tolist() for part in np.split(names, np.flatnonzero(np.diff(self.sample)) + 1)]
        return parts if self.scheme == "bio" else [as_iob2(types) for types in parts]

    def scores(self, predicted: NDArray[np.integer]) -> dict[str, Any]:
        """Score a prediction: each score, and the scores of each class."""
        classes = score_classes(self.gold, predicted, self.labels)
        found = {
            "accuracy": classes.accuracy,
            "macro_f1": classes.macro_f1,
            "micro_f1": classes.micro_f1,
            "class_precision": classes.precision,
            "class_recall": classes.recall,
            "class_f1": classes.f1,
            "confusion": classes.confusion,
        }
        if self.scheme is not None:
            entities = score_entities(self.sentences(self.gold), self.sentences(predicted))
            found[main_score(self.score_names)] = entities.f1
        return found


def distributions(
    test: TestSplit, fits: Mapping[tuple[Place, int], xr.Dataset], scores: Sequence[str], resamples: int
) -> dict[Place, NDArray[np.float64]]:
    """Return the scores on resamples of the test samples, the mean over the seeds of the probe.

    Parameters
    ----------
    test
        The test split.
    fits
        Fits of the goal ``task``.
    scores
        Names of scores.
    resamples
        Number of resamples.

    Returns
    -------
    dict of Place to numpy.ndarray
        float64 (resample, score). The resamples are the same for all places.
    """
    distinct = _distinct(fits)
    counts = [test.counts(fit.predicted.to_numpy()) for fit in distinct.values()]
    finalise = partial(scores_of_counts, labels=test.labels, scores=scores)
    scored = dict(zip(distinct, bootstrap(counts, finalise, resamples), strict=True))
    members: dict[Place, list[NDArray[np.float64]]] = {}
    for (place, _), fit in fits.items():
        members.setdefault(place, []).append(scored[id(fit)])
    return {place: sum(each[1:], start=each[0]) / len(each) for place, each in members.items()}


def assemble(request: ProbeRequest, cells: Mapping[Cell, tuple[int, ...]], fits: Fits) -> xr.Dataset:
    """Put scores, intervals, baselines and controls together.

    Parameters
    ----------
    request
        The request.
    cells
        What was probed: cell to layers.
    fits
        The fits of every goal, place and seed of the probe.

    Returns
    -------
    xarray.Dataset
        As `probe`.
    """
    first = next(iter(cells))
    test = TestSplit.of(first.test[0])
    dataset = _empty(request, cells, test, fits)
    for where, numbers in _numbers(request, cells, test, fits):
        for name, value in numbers.items():
            dataset[name].loc[where] = value
    dataset["support"] = ("label", np.bincount(test.gold, minlength=len(test.labels)))
    if "control" in fits:
        dataset["selectivity"] = dataset.accuracy - dataset.control_accuracy
    if "code" in fits:
        dataset["compression"] = dataset.uniform_code_length / dataset.code_length
    return _described(dataset, request, first, fits)


def best_layers(dataset: xr.Dataset, score: str) -> xr.DataArray:
    """Return the layer of the highest score, the mean over the seeds of the probe (model, training_size, seed).

    It describes the test split. Do not choose a layer by it: the interval of the best of many layers is too favourable.
    """
    means = dataset[score].mean("probe_seed")
    # All NaN where there is no run; argmax would fail.
    places = means.fillna(-1.0).argmax("layer")
    best = xr.DataArray(dataset.layer.to_numpy()[places.to_numpy()], places.coords, places.dims)
    return best.where(means.notnull().any("layer"))


def _empty(request: ProbeRequest, cells: Mapping[Cell, tuple[int, ...]], test: TestSplit, fits: Fits) -> xr.Dataset:
    """Return the result without numbers: NaN in every place."""
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
    absent = SCORE_TITLES.keys() - set(test.score_names)
    absent |= {name for goal, extras in _EXTRAS.items() if goal not in fits for name in extras}
    for name, (dims, _) in _VARIABLES.items():
        if name not in absent:
            dataset[name] = (dims, np.full([dataset.sizes[dim] for dim in dims], np.nan))
    return dataset


def _numbers(
    request: ProbeRequest, cells: Mapping[Cell, tuple[int, ...]], test: TestSplit, fits: Fits
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield places, by their labels, with their numbers, by variable."""
    # Fits that the seeds share are scored once.
    scored = {
        identity: test.scores(fit.predicted.to_numpy())
        | {
            "train_rows": fit.attrs["train_rows"],
            "converged": fit.attrs["converged"],
            "fit_seconds": fit.attrs["seconds"],
        }
        for identity, fit in _distinct(fits["task"]).items()
    }
    for (place, seed), fit in fits["task"].items():
        yield _at(place, seed), scored[id(fit)]
    for place, scores in distributions(test, fits["task"], test.score_names, request.resamples).items():
        yield place._asdict(), dict(zip(("ci_low", "ci_high"), interval(scores, axis=0), strict=True))
    for cell in cells:
        where = {"model": cell.model, "training_size": cell.training_size, "seed": cell.seed}
        yield where, {"majority": _majority(cell, test)}
    # All cells have the same data, and so the same control.
    first, seeds = next(iter(cells)), {seed for _, seed in fits.get("control", {})}
    gold = {seed: control_labels(first.test[0], first.train[0], seed) for seed in seeds}
    for (place, seed), fit in fits.get("control", {}).items():
        yield _at(place, seed), {"control_accuracy": (gold[seed] == fit.predicted.to_numpy()).mean()}
    for (place, seed), fit in fits.get("code", {}).items():
        uniform = fit.labels.sum().item() * np.log2(len(test.labels))
        yield _at(place, seed), {"code_length": fit.bits.sum().item(), "uniform_code_length": uniform}


def _distinct(fits: Mapping[tuple[Place, int], xr.Dataset]) -> dict[int, xr.Dataset]:
    return {id(fit): fit for fit in fits.values()}


def _at(place: Place, seed: int) -> dict[str, Any]:
    return {**place._asdict(), "probe_seed": seed}


def _majority(cell: Cell, test: TestSplit) -> Any:
    """Return the scores (score) of always predicting the most frequent class of the train split."""
    usual = int(np.bincount(row_labels(cell.train[0])).argmax())
    counts = test.counts(np.full(len(test.gold), usual))
    return scores_of_counts(counts.sum(axis=0), test.labels, test.score_names)


def _described(dataset: xr.Dataset, request: ProbeRequest, cell: Cell, fits: Fits) -> xr.Dataset:
    for name, variable in dataset.data_vars.items():
        variable.attrs = {"long_name": _VARIABLES[str(name)][1], "units": _UNITS.get(str(name), "1")}
    dataset["seed"].attrs["long_name"] = "seed of the run"
    dataset["probe_seed"].attrs["long_name"] = "seed of the probe"
    run = cell.test[0]
    optional = {
        "max_train_samples": request.max_train_samples,
        "control": CONTROLS[run.labelled] if request.control else None,
        **request.options.used_by(request.probe),
    }
    return dataset.assign_attrs(
        title=f"{request.probe} probe of {request.task} on {run.key.dataset}",
        task=request.task,
        dataset=run.key.dataset,
        probe=request.probe,
        backend=", ".join(sorted({fit.attrs["backend"] for own in fits.values() for fit in own.values()})),
        views=", ".join(request.views),
        label_scheme=run.spec.label_scheme,
        pooling=request.pooling,
        combine=request.combine,
        resamples=request.resamples,
        **{name: value for name, value in optional.items() if value is not None},
    )
