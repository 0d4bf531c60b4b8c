"""The result of a probing as a table: a row a layer, means over the seeds of the probe."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from biocache.engine.analyses.probing.result import best_layers
from biocache.engine.metrics import SCORE_TITLES

__all__ = ["EXTRAS", "PLACE", "layer_rows", "with_baselines"]

#: Columns that say where a row belongs; `seed` is that of the run.
PLACE = ("model", "training_size", "seed", "layer")
#: What controls say.
EXTRAS = ("control_accuracy", "selectivity", "code_length", "compression")


def layer_rows(result: xr.Dataset, score: str) -> pd.DataFrame:
    """Return a row for each model, training size, seed and layer that has a run.

    Parameters
    ----------
    result
        What `probe` returns.
    score
        Score by which a layer is the best.

    Returns
    -------
    pandas.DataFrame
        Columns: those of `PLACE`, ``best``, ``random_weights``; of each score its value, ``_spread`` (standard
        deviation over the seeds of the probe, where there are several), ``_ci_low``, ``_ci_high`` and ``_majority``;
        what controls say; precision, recall and F1 of each class, such as ``class_f1_protein``.
    """
    scores = result.score.to_numpy().tolist()
    means, best = result.mean("probe_seed"), best_layers(result, score)
    known = means[scores[0]].notnull().transpose(*PLACE)
    rows = []
    for place in np.argwhere(known.to_numpy()):
        where = dict(zip(PLACE, place.tolist(), strict=True))
        at, seeds = means.isel(where), result.isel(where)
        row: dict[str, Any] = {name: at[name].item() for name in PLACE}
        row["best"] = row["layer"] == best.sel({name: row[name] for name in PLACE[:-1]}).item()
        row["random_weights"] = bool(at.random_weights)
        for name in scores:
            row[name] = at[name].item()
            if result.sizes["probe_seed"] > 1:
                row[f"{name}_spread"] = seeds[name].std(ddof=1).item()
            row |= {f"{name}_{bound}": at[bound].sel(score=name).item() for bound in ("ci_low", "ci_high", "majority")}
        row |= {name: at[name].item() for name in EXTRAS if name in at}
        for what in ("class_precision", "class_recall", "class_f1"):
            row |= {f"{what}_{label}": at[what].sel(label=label).item() for label in at.label.to_numpy().tolist()}
        rows.append(row)
    return pd.DataFrame(rows)


def with_baselines(frame: pd.DataFrame, scores: Sequence[str]) -> pd.DataFrame:
    """Return scores and controls alone, those of each run under a row of its majority baseline."""
    parts = []
    shown = [name for name in frame if name in (*PLACE, "best", *EXTRAS) or str(name).startswith(tuple(scores))]
    shown = [name for name in shown if not str(name).endswith("_majority")]
    for _, own in frame.groupby(list(PLACE[:-1]), sort=False):
        first = own.iloc[0]
        baseline = {name: first[name] for name in PLACE[:-1]} | {"layer": "majority", "best": False}
        baseline |= {name: first[f"{name}_majority"] for name in scores}
        parts += [pd.DataFrame([baseline], columns=shown), own[shown].astype({"layer": object})]
    table = pd.concat([part.astype(object) for part in parts], ignore_index=True)
    ends = ("", "_spread", "_ci_low", "_ci_high")
    return table.rename(columns={f"{name}{end}": f"{SCORE_TITLES[name]}{end}" for name in scores for end in ends})
