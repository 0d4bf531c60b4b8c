"""The result of a probing: the scores of all fits, with intervals, baselines and controls, as one Dataset."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from biocache.engine.analyses.probing.concepts import erasure_title
from biocache.engine.analyses.probing.controls import CONTROLS, control_labels, seen_types
from biocache.engine.analyses.probing.grid import Cell
from biocache.engine.analyses.probing.information import information_numbers
from biocache.engine.analyses.probing.layers import MIX, Layers, is_single, labels_in_order
from biocache.engine.analyses.probing.leaks import leaks, leaks_into_tuning
from biocache.engine.analyses.probing.pooling import pooling_note
from biocache.engine.analyses.probing.request import C_GRID, ProbeRequest
from biocache.engine.analyses.probing.scoring import ScoredRows, mean_over_seeds, scored_rows
from biocache.engine.analyses.probing.seen import seen_share
from biocache.engine.analyses.probing.transfer import FITTED_AT, fitted_title
from biocache.engine.analyses.probing.variables import (
    EXTRAS,
    OF_CLASSES,
    OF_PROBABILITIES,
    UNITS,
    VARIABLES,
    Fits,
    Place,
)
from biocache.engine.estimates import Estimates
from biocache.engine.finetuning.updates import training_steps
from biocache.engine.metrics import SCORE_TITLES, main_score, score_ranges
from biocache.store.schema import GOLD

__all__ = ["assemble", "best_layers", "places_of", "predicted_of"]


def places_of(cells: Mapping[Cell, tuple[Layers, ...]]) -> dict[Cell, dict[Layers, Place]]:
    """Return the place of each layer of each cell.

    Layers are labelled by their numbers; where layers are seen together in any cell, all labels are text.
    """
    label = int if all(is_single(layer) for layers in cells.values() for layer in layers) else str
    return {cell: {layer: Place.of(cell, label(layer)) for layer in layers} for cell, layers in cells.items()}


def assemble(request: ProbeRequest, cells: Mapping[Cell, tuple[Layers, ...]], fits: Fits) -> xr.Dataset:
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
    test = scored_rows(first.target, first.test[0])
    dataset = _empty(request, cells, test, fits)
    for where, numbers in _numbers(request, cells, test, fits):
        for name, value in numbers.items():
            dataset[name].loc[where] = value
    if not first.target.numeric:
        dataset["support"] = ("label", np.bincount(test.gold, minlength=len(first.target.names)))
    if "control" in fits:
        for name in test.score_names:
            dataset.selectivity.loc[{"score": name}] = dataset[name] - dataset.control.sel(score=name, drop=True)
    if "code" in fits:
        dataset["compression"] = dataset.uniform_code_length / dataset.code_length
        dataset["prior_compression"] = dataset.prior_code_length / dataset.code_length
    if not any(cell.trained_on for cell in cells):
        dataset = dataset.isel(trained_on=0, drop=True)
    described = _described(dataset, request, first, test, fits)
    read = pooling_note((cell.test[0] for cell in cells), request)
    return described.assign_attrs(head_token=read) if read else described


def predicted_of(task: str, labels: str, level: str) -> str:
    """Return what is predicted, as titles name it."""
    what = task if labels == GOLD else f"{labels} of {task}"
    return f"{what} by span" if level == "spans" else what


def best_layers(dataset: xr.Dataset, score: str) -> xr.DataArray:
    """Return the layer of the highest score, the mean over the seeds of the probe (model, ..., training_size, seed).

    Layers that are seen together are no layer, and are never it. It describes the test split. Do not choose a layer
    by it: the interval of the best of many layers is too favourable.
    """
    alone = [is_single(label) for label in dataset.layer.to_numpy().tolist()]
    means = dataset[score].mean("probe_seed").isel(layer=np.flatnonzero(alone))
    # All NaN where there is no run; argmax would fail.
    places = means.fillna(-np.inf).argmax("layer")
    best = xr.DataArray(means.layer.to_numpy()[places.to_numpy()], places.coords, places.dims)
    return best.where(means.notnull().any("layer"))


def _empty(request: ProbeRequest, cells: Mapping[Cell, tuple[Layers, ...]], test: ScoredRows, fits: Fits) -> xr.Dataset:
    """Return the result without numbers: NaN in every place."""
    random = {cell.model: int(cell.train[0].provenance.random_weights) for cell in cells}
    names = np.array(test.target.names, dtype=object)
    labels = labels_in_order(place.layer for place, _ in fits["task"])
    dataset = xr.Dataset(
        coords={
            "model": np.array(list(random), dtype=object),
            "trained_on": np.array(sorted({cell.trained_on for cell in cells}), dtype=object),
            "training_size": sorted({cell.training_size for cell in cells}),
            "seed": sorted({cell.seed for cell in cells}),
            "layer": np.array(labels, dtype=object if isinstance(labels[0], str) else None),
            "probe_seed": np.arange(request.seeds),
            "score": np.array(test.score_names, dtype=object),
            "label": names,
            "predicted_label": names,
            "random_weights": ("model", list(random.values())),
        }
    )
    absent = SCORE_TITLES.keys() - set(test.score_names)
    absent |= OF_CLASSES if test.target.numeric else set()
    absent |= set() if test.target.has_probabilities else OF_PROBABILITIES
    absent |= set() if "c" in request.options.used_by(test.target.probe) else {"c"}
    absent |= {name for goal, extras in EXTRAS.items() if goal not in fits for name in extras}
    if not _seeds_of(cells, [place for place, _ in fits["task"]]):
        absent |= {"over_seeds", "over_seeds_ci_low", "over_seeds_ci_high"}
    if MIX not in labels:
        absent |= {"mix_weight", "mix_gamma"}
    for name, (dims, _) in VARIABLES.items():
        if name not in absent:
            dataset[name] = (dims, np.full([dataset.sizes[dim] for dim in dims], np.nan))
    return dataset


def _numbers(
    request: ProbeRequest, cells: Mapping[Cell, tuple[Layers, ...]], test: ScoredRows, fits: Fits
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield places, by their labels, with their numbers, by variable."""
    # Fits that the seeds share are scored once.
    scored = {
        identity: test.scores(test.predicted(fit))
        | {
            "train_rows": fit.attrs["train_rows"],
            "converged": fit.attrs["converged"],
            "fit_seconds": fit.attrs["seconds"],
            **({"c": fit.attrs["c"]} if "c" in fit.attrs else {}),
        }
        for identity, fit in _distinct(fits["task"]).items()
    }
    for (place, seed), fit in fits["task"].items():
        yield _at(place, seed), scored[id(fit)]
        # A train split of one class has nothing to weigh.
        if place.layer == MIX and "weight" in fit:
            where = _at(place, seed)
            yield {**where, "layer": fit.mixed_layer.astype(str).to_numpy().tolist()}, {"mix_weight": fit.weight.data}
            del where["layer"]
            yield where, {"mix_gamma": fit.attrs["gamma"]}
    ranges = score_ranges(test.score_names)
    estimates = mean_over_seeds(test, fits["task"], test.score_names, request.resamples)
    for place, scores in estimates.items():
        # Student's t knows no range.
        bounds = [np.clip(bound, *ranges) for bound in scores.interval()]
        yield place._asdict(), dict(zip(("ci_low", "ci_high"), bounds, strict=True))
    for place, own in _seeds_of(cells, estimates).items():
        mean = Estimates.over_seeds([estimates[each] for each in own])
        low, high = (np.clip(bound, *ranges) for bound in mean.interval())
        where = {name: value for name, value in place._asdict().items() if name != "seed"}
        yield where, {"over_seeds": mean.whole, "over_seeds_ci_low": low, "over_seeds_ci_high": high}
    yield from information_numbers(request, test, fits)
    # All cells have the same data, and so the same baseline and control.
    first = next(iter(cells))
    target = first.target
    labels = target.aligned(first.train[0])
    baseline = test.baseline(labels.values[labels.known])
    for cell in cells:
        where = Place.of(cell, 0)._asdict()
        del where["layer"]
        majority = [baseline[name] for name in test.score_names]
        yield (
            where,
            {
                "majority": majority,
                "training_steps": training_steps(cell.test[0]),
                # Fitted at one size, a probe saw no row of the train runs of the others.
                **({"seen_share": seen_share(cell)} if request.fit_at is None else {}),
                "texts_in_tuning": leaks_into_tuning(cell),
            },
        )
    if "control" in fits:
        yield from _control_numbers(request, first, test, fits["control"], estimates)
    for goal in ("code", "control_code"):
        for (place, seed), fit in fits.get(goal, {}).items():
            numbers = {f"{goal}_length": fit.bits.sum().item() + fit.attrs["choice_bits"]}
            if goal == "code":
                numbers["uniform_code_length"] = fit.labels.sum().item() * np.log2(len(target.names))
                numbers["prior_code_length"] = fit.prior_bits.sum().item()
            yield _at(place, seed), numbers | {f"{goal}_converged": fit.attrs["converged"]}


def _seeds_of(cells: Iterable[Cell], places: Iterable[Place]) -> dict[Place, list[Place]]:
    """Return the places of several seeds of the run, under the first; the pre-trained model is one for all seeds."""
    fixed = {cell.model for cell in cells if not cell.train[0].provenance.random_weights}
    found: dict[Place, list[Place]] = {}
    for place in dict.fromkeys(places):
        if place.training_size or place.model not in fixed:
            found.setdefault(place._replace(seed=0), []).append(place)
    return {own[0]: own for own in found.values() if len(own) > 1}


def _control_numbers(
    request: ProbeRequest,
    cell: Cell,
    test: ScoredRows,
    fits: Mapping[tuple[Place, int], xr.Dataset],
    estimates: Mapping[Place, Estimates],
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the scores of the controls, and the intervals of the selectivity, paired over the groups of the task."""
    names, target = test.score_names, cell.target
    controls: dict[Place, list[Estimates]] = {}
    for seed in sorted({seed for _, seed in fits}):
        own = replace(test, gold=control_labels(target, cell.test, cell.train, seed)[test.position])
        of_seed = {key: fit for key, fit in fits.items() if key[1] == seed}
        for (place, _), fit in of_seed.items():
            found = own.scores(own.predicted(fit))
            yield (
                _at(place, seed),
                {"control": [found[name] for name in names], "control_converged": fit.attrs["converged"]},
            )
        train = control_labels(target, cell.train, cell.train, seed)[target.aligned(cell.train[0]).known]
        majority = own.baseline(train)
        yield {"probe_seed": seed}, {"control_majority": [majority[name] for name in names]}
        for place, scores in mean_over_seeds(own, of_seed, names, request.resamples).items():
            controls.setdefault(place, []).append(scores)
    low, high = score_ranges(names)
    for place, of_seeds in controls.items():
        difference = estimates[place] - Estimates.mean(of_seeds)
        bounds = [np.clip(bound, low - high, high - low) for bound in difference.interval()]
        yield place._asdict(), dict(zip(("selectivity_ci_low", "selectivity_ci_high"), bounds, strict=True))


def _distinct(fits: Mapping[tuple[Place, int], xr.Dataset]) -> dict[int, xr.Dataset]:
    return {id(fit): fit for fit in fits.values()}


def _at(place: Place, seed: int) -> dict[str, Any]:
    return {**place._asdict(), "probe_seed": seed}


def _described(dataset: xr.Dataset, request: ProbeRequest, cell: Cell, test: ScoredRows, fits: Fits) -> xr.Dataset:
    for name, variable in dataset.data_vars.items():
        variable.attrs = {"long_name": VARIABLES[str(name)][1], "units": UNITS.get(str(name), "1")}
    dataset["seed"].attrs["long_name"] = "seed of the run"
    if "trained_on" in dataset:
        dataset["trained_on"].attrs["long_name"] = "dataset trained on, where it is another; empty for the same"
    dataset["probe_seed"].attrs["long_name"] = "seed of the probe"
    run, target = cell.test[0], cell.target
    optional = {
        "max_train_samples": request.max_train_samples,
        "given": request.given,
        "control": CONTROLS[target.level] if request.control else None,
        "control_seen": seen_types(target, cell.test, cell.train) if request.control else None,
        **request.options.used_by(target.probe),
        "c": None if "c" not in dataset or cell.validation else request.options.strength,
        "c_grid": list(C_GRID) if cell.validation else None,
        "c_chosen_by": main_score(test.score_names) if cell.validation else None,
        "c_fixed": cell.untuned or None,
        FITTED_AT: request.fit_at,
        "erased": list(request.erase) if request.erase else None,
    }
    what = predicted_of(request.task, request.labels, target.level)
    return dataset.assign_attrs(
        title=f"{target.probe} probe of {what} on {run.key.dataset}{fitted_title(request.fit_at)}"
        f"{erasure_title(request.erase)}",
        task=request.task,
        dataset=run.key.dataset,
        labels=request.labels,
        level=target.level,
        split=request.score_on,
        train_on=request.train_on,
        scored_rows=len(test.gold),
        group=test.group_name,
        groups=test.groups,
        unlabelled_rows=target.rows(run) - len(test.gold),
        probe=target.probe,
        random=int(target.is_random(request)),
        backend=", ".join(sorted({fit.attrs["backend"] for own in fits.values() for fit in own.values()})),
        views=", ".join(target.views),
        label_scheme=target.scheme or "none",
        pooling=request.pooling,
        combine=request.combine,
        resamples=request.resamples,
        **leaks(cell),
        **{name: value for name, value in optional.items() if value is not None},
    )
