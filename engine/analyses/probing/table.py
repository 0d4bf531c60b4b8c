"""The result of a probing as a table: a row a layer, means over the seeds of the probe."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from biocache.engine.analyses.probing.information import INFORMATION
from biocache.engine.analyses.probing.layers import is_single, tidy_label
from biocache.engine.analyses.probing.result import best_layers
from biocache.engine.analyses.probing.transfer import FITTED_AT
from biocache.engine.metrics import SCORE_TITLES

__all__ = ["EXTRAS", "PLACE", "SEED_MEAN", "layer_rows", "mean_rows", "with_baselines"]

#: Columns of the place of a row; `seed` is that of the run. `trained_on` is there where a model is trained elsewhere.
PLACE = ("model", "trained_on", "training_size", "seed", "layer")
#: What stands for the seed in the row of a mean over seeds.
SEED_MEAN = "mean"
#: Columns of code lengths, of the chosen C and of weights of layers.
EXTRAS = (
    "c",
    "code_length",
    "prior_code_length",
    "compression",
    "prior_compression",
    "control_code_length",
    "mix_weight",
)


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
        Columns: those of `PLACE`, before the training size `FITTED_AT` where all probes were fitted at one;
        ``best``, ``random_weights``; of each score its value, ``_spread`` (standard deviation over the seeds of
        the probe, where there are several), ``_ci_low``, ``_ci_high`` and ``_majority``; where there are several seeds
        of the runs ``_over_seeds``, the mean over them, with its interval; with a control of each
        score ``control_``, as ``control_accuracy``, with ``_majority``, the score of its most frequent label,
        and ``selectivity_`` with its interval; of a probe that gives probabilities ``entropy``,
        ``cross_entropy`` and, with intervals, the columns of `INFORMATION`; ``seen_share`` and
        ``texts_in_tuning``; the columns of `EXTRAS` that it has, ``c`` where it was chosen, the geometric mean
        over the seeds of the probe, and ``mix_weight`` the weight of the layer in the mean of all; precision,
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
    columns |= _over_seeds(numbers, scores)
    columns |= _controls(means, scores)
    bits = [f"{name}{end}" for name in INFORMATION for end in ("", "_ci_low", "_ci_high")]
    facts = ("entropy", "cross_entropy", *bits, "seen_share", "texts_in_tuning")
    columns |= {name: means[name] for name in facts if name in means}
    if "c_grid" in result.attrs:
        means["c"] = np.exp(np.log(numbers.c).mean("probe_seed"))
    elif "c" in means:
        means = means.drop_vars("c")
    columns |= {name: means[name] for name in EXTRAS if name in means}
    for what in ("class_precision", "class_recall", "class_f1"):
        for label in means.label.to_numpy().tolist() if what in means else ():
            columns[f"{what}_{label}"] = means[what].sel(label=label, drop=True)
    order = [name for name in PLACE if name in result.dims]
    frame = xr.Dataset(columns).to_dataframe(dim_order=order).reset_index()
    known: pd.DataFrame = frame[frame[scores[0]].notna()].reset_index(drop=True)
    if FITTED_AT in result.attrs:
        known.insert(list(known).index("training_size"), FITTED_AT, result.attrs[FITTED_AT])
    labels = [tidy_label(label) for label in known["layer"]]
    if not all(map(is_single, labels)):
        return known.assign(layer=pd.Series(labels, dtype=object))
    return known


def _over_seeds(numbers: xr.Dataset, scores: Sequence[str]) -> dict[str, xr.DataArray]:
    """Return the columns of the means over seeds of the runs, of each score; none without several."""
    return {
        f"{name}_over_seeds{end}": numbers[f"over_seeds{end}"].sel(score=name, drop=True)
        for name in (scores if "over_seeds" in numbers else ())
        for end in ("", "_ci_low", "_ci_high")
    }


def _controls(means: xr.Dataset, scores: Sequence[str]) -> dict[str, xr.DataArray]:
    """Return the columns of the control task, of each score; none without one."""
    columns: dict[str, xr.DataArray] = {}
    for name in scores if "control" in means else ():
        own = means.sel(score=name, drop=True)
        columns |= {
            f"control_{name}": own.control,
            f"control_{name}_majority": own.control_majority,
            f"selectivity_{name}": own.selectivity,
            f"selectivity_{name}_ci_low": own.selectivity_ci_low,
            f"selectivity_{name}_ci_high": own.selectivity_ci_high,
        }
    return columns


def mean_rows(rows: Iterable[Mapping[Any, Any]], scores: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each place that has a mean over seeds: the mean and its interval in the columns of scores.

    Parameters
    ----------
    rows
        Those of `layer_rows`.
    scores
        Names of the scores.
    """
    names = [name for name in PLACE if name != "seed"]
    means: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if not np.isfinite(row.get(f"{scores[0]}_over_seeds", np.nan)):
            continue
        kept = {name: value for name, value in row.items() if name in (*PLACE, FITTED_AT) or name.endswith("_majority")}
        found = {
            f"{score}{end}": row[f"{score}_over_seeds{end}"] for score in scores for end in ("", "_ci_low", "_ci_high")
        }
        alike = {"seed": SEED_MEAN, "best": False, "random_weights": row["random_weights"]}
        means[tuple(row.get(name) for name in names)] = {**kept, **alike, **found}
    return list(means.values())


def with_baselines(frame: pd.DataFrame, scores: Sequence[str], score: str) -> pd.DataFrame:
    """Return scores only, and controls of the main one and of the accuracy, under a row of majorities for each run.

    Means over seeds follow the runs of a training size.
    """
    parts = []
    controls = dict.fromkeys((score, next(name for name in ("accuracy", "r2") if name in scores)))
    starts = (*scores, *INFORMATION, *(f"{what}_{name}" for what in ("control", "selectivity") for name in controls))
    known = (*PLACE, FITTED_AT, "best", *EXTRAS)
    shown = [str(name) for name in frame if name in known or str(name).startswith(starts)]
    shown = [name for name in shown if not name.endswith("_majority") and "_over_seeds" not in name]
    place = [name for name in (*PLACE[:-1], FITTED_AT) if name in frame]
    means = pd.DataFrame(mean_rows(frame.to_dict("records"), scores))
    if len(means):
        frame = pd.concat([frame.astype(object), means.astype(object)], ignore_index=True)
        of = [name for name in place if name != "seed"]
        frame = frame.iloc[np.argsort(frame.groupby(of, sort=False).ngroup(), kind="stable")]
    for _, own in frame.groupby(place, sort=False):
        first = own.iloc[0]
        baseline = {name: first[name] for name in place} | {"layer": "majority", "best": False}
        baseline |= {name: first[f"{name}_majority"] for name in shown if f"{name}_majority" in first}
        parts += [pd.DataFrame([baseline], columns=shown), own[shown].astype({"layer": object})]
    table = pd.concat([part.astype(object) for part in parts], ignore_index=True)
    ends = ("", "_spread", "_ci_low", "_ci_high")
    titles = {
        f"{before}{name}{end}": f"{before.replace('_', ' ')}{SCORE_TITLES[name]}{end}"
        for before in ("", "control_", "selectivity_")
        for name in scores
        for end in ends
    }
    titles |= {f"{name}{end}": f"{title}{end}" for name, title in INFORMATION.items() for end in ends}
    return table.rename(columns=titles | {"c": "C"})
