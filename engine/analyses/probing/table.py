"""The result of a probing as a table: a row a layer, means over the seeds of the probe."""

from collections.abc import Iterator, Sequence

import pandas as pd
import xarray as xr

from biocache.engine.analyses.probing.layers import is_single, tidy_label
from biocache.engine.analyses.probing.result import best_layers
from biocache.engine.finetuning.updates import unequal_steps
from biocache.engine.metrics import SCORE_TITLES

__all__ = ["EXTRAS", "PLACE", "layer_rows", "mix_notes", "steps_notes", "with_baselines"]

#: Columns of the place of a row; `seed` is that of the run. `trained_on` is there where a model is trained elsewhere.
PLACE = ("model", "trained_on", "training_size", "seed", "layer")
#: Columns of controls and code lengths.
EXTRAS = ("control_accuracy", "control_r2", "selectivity", "code_length", "compression", "mix_weight")


def layer_rows(result: xr.Dataset, score: str) -> pd.DataFrame:
    """Return a row for each model, training size, seed and layer that has a run.

    Parameters
    ----------
    result
        What `probe` returns.
    score
        Score that decides which layer is the best.

    Returns
    -------
    pandas.DataFrame
        Columns: those of `PLACE`, ``best``, ``random_weights``; of each score its value, ``_spread`` (standard
        deviation over the seeds of the probe, where there are several), ``_ci_low``, ``_ci_high`` and ``_majority``;
        the columns of `EXTRAS` that it has, ``mix_weight`` the weight of the layer in the mean of all; precision,
        recall and F1 of each class, such as ``class_f1_protein``.
    """
    scores = result.score.to_numpy().tolist()
    numbers = result.reset_coords(drop=True)
    means, best = numbers.mean("probe_seed"), best_layers(result, score).reset_coords(drop=True)
    random = result.random_weights.reset_coords(drop=True).astype(bool)
    columns = {"best": means.layer == best, "random_weights": random}
    for name in scores:
        columns[name] = means[name]
        if result.sizes["probe_seed"] > 1:
            columns[f"{name}_spread"] = numbers[name].std("probe_seed", ddof=1)
        for bound in ("ci_low", "ci_high", "majority"):
            columns[f"{name}_{bound}"] = means[bound].sel(score=name, drop=True)
    columns |= {name: means[name] for name in EXTRAS if name in means}
    for what in ("class_precision", "class_recall", "class_f1"):
        for label in means.label.to_numpy().tolist() if what in means else ():
            columns[f"{what}_{label}"] = means[what].sel(label=label, drop=True)
    order = [name for name in PLACE if name in result.dims]
    frame = xr.Dataset(columns).to_dataframe(dim_order=order).reset_index()
    known: pd.DataFrame = frame[frame[scores[0]].notna()].reset_index(drop=True)
    labels = [tidy_label(label) for label in known["layer"]]
    if not all(map(is_single, labels)):
        return known.assign(layer=pd.Series(labels, dtype=object))
    return known


def mix_notes(result: xr.Dataset) -> Iterator[str]:
    """Yield where the weights of a learnt mean of layers lie, for each model, training and seed."""
    if "mix_weight" not in result:
        return
    weights = result.mix_weight.mean("probe_seed").dropna("layer", how="all")
    dims = [name for name in PLACE[:-1] if name in weights.dims]
    for row in weights.stack(place=dims).transpose("place", "layer").dropna("place", how="all"):
        own = row.dropna("layer")
        layers = own.layer.to_numpy().astype(int)
        centre = float((layers * own.to_numpy()).sum())
        most = int(layers[own.to_numpy().argmax()])
        place = dict(zip(dims, row.place.item(), strict=True))
        where = f" of {place['trained_on']}" if place.get("trained_on") else ""
        yield (
            f"the mean of layers of {place['model']} at training size {place['training_size']}{where}, seed "
            f"{place['seed']} has its centre at layer {centre:.1f} "
            f"and most weight, {float(own.max()):.3f}, on layer {most}"
        )


def steps_notes(result: xr.Dataset) -> Iterator[str]:
    """Yield which models' training sizes differ in optimiser steps."""
    if "training_steps" not in result:
        return
    dims = [name for name in result.training_steps.dims if name != "training_size"]
    for row in result.training_steps.stack(place=dims).transpose("place", "training_size"):
        place = dict(zip(dims, row.place.item(), strict=True))
        line = unequal_steps(dict(zip(row.training_size.values.tolist(), row.values.tolist(), strict=True)))
        if line:
            where = f", trained on {place['trained_on']}" if place.get("trained_on") else ""
            yield f"{place['model']}{where}, seed {place['seed']}: {line}"


def with_baselines(frame: pd.DataFrame, scores: Sequence[str]) -> pd.DataFrame:
    """Return scores and controls only, under a row of the majority baseline for each run."""
    parts = []
    shown = [name for name in frame if name in (*PLACE, "best", *EXTRAS) or str(name).startswith(tuple(scores))]
    shown = [name for name in shown if not str(name).endswith("_majority")]
    place = [name for name in PLACE[:-1] if name in frame]
    for _, own in frame.groupby(place, sort=False):
        first = own.iloc[0]
        baseline = {name: first[name] for name in place} | {"layer": "majority", "best": False}
        baseline |= {name: first[f"{name}_majority"] for name in scores}
        parts += [pd.DataFrame([baseline], columns=shown), own[shown].astype({"layer": object})]
    table = pd.concat([part.astype(object) for part in parts], ignore_index=True)
    ends = ("", "_spread", "_ci_low", "_ci_high")
    titles = {f"{name}{end}": f"{SCORE_TITLES[name]}{end}" for name in scores for end in ends}
    return table.rename(columns=titles | {"control_r2": f"control {SCORE_TITLES['r2']}"})
