"""The result of a comparison as a table for reading: a row a layer, or a row a pair of layers."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from biocache.engine.analyses.attention.figures import mean_best_match

__all__ = ["all_rows", "head_rows", "pair_rows"]


def all_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return all numbers, a row for each place along the dimensions but seeds: each has columns of its own.

    Parameters
    ----------
    result
        From `compare_attention`.
    """
    of_seeds = {
        f"{name}_{seed}": result[name].sel(seed=seed, drop=True)
        for name in ("seed_mean", "seed_layer_mean")
        for seed in (result["seed"].values.tolist() if name in result else ())
    }
    return result.drop_dims("seed", errors="ignore").assign(of_seeds).to_dataframe().reset_index()


def head_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return means over samples and heads, a row a training size and layer, and the head that changed most.

    Parameters
    ----------
    result
        From `compare_attention`, not of all pairs.
    """
    rows = []
    for place in _places(result, "training_size", "layer"):
        row = dict(place)
        for metric in result["metric"].values.tolist():
            row |= _cells(result.sel(metric=metric, **place), result, metric)
        rows.append(row)
    return pd.DataFrame(rows)


def _places(result: xr.Dataset, *dims: str) -> Iterator[dict[str, Any]]:
    """Yield the labels of every combination of places along some dimensions."""
    for labels in product(*(result[dim].values.tolist() for dim in dims)):
        yield dict(zip(dims, labels, strict=True))


def _cells(own: xr.Dataset, result: xr.Dataset, metric: str) -> dict[str, Any]:
    unit = str(own["unit"].item())
    name = metric if unit == "1" else f"{metric} ({unit})"
    cells: dict[str, Any] = {name: own["layer_mean"].item()}
    cells |= {f"{name}_{bound}": own[f"layer_{bound}"].item() for bound in ("ci_low", "ci_high")}
    if result["chance"].sel(metric=metric).notnull().any():
        cells[f"{metric} by chance"] = own["layer_chance"].item()
        cells |= {f"{metric} by chance_{bound}": own[f"layer_chance_{bound}"].item() for bound in ("ci_low", "ci_high")}
    if "layer_between_seeds" in own and result["between_seeds"].sel(metric=metric).notnull().any():
        between = f"{metric} between seeds"
        cells[between] = own["layer_between_seeds"].item()
        cells |= {f"{between}_{bound}": own[f"layer_between_seeds_{bound}"].item() for bound in ("ci_low", "ci_high")}
    if "label_mean" in own and metric not in own.attrs.get("not_split", "").split(", "):
        means = own["label_mean"].mean("head")
        cells |= {f"{metric}, {label}": mean for label, mean in zip(own["label"].values, means.values, strict=True)}
    change = np.abs(own["mean"].to_numpy() - float(own["identity"]))
    head = None if np.isnan(change).all() else int(np.nanargmax(change))
    return {**cells, f"most changed head of {metric}": "-" if head is None else _head(own, head)}


def _head(own: xr.Dataset, head: int) -> str:
    text = f"{int(own['head'][head])}: {_number(float(own['mean'][head]))}"
    if "matched_head" in own:
        text += f" (matches {int(own['matched_head'][head])}: {_number(float(own['matched_mean'][head]))})"
    return text


def pair_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return for every pair of layers the means of all pairs of heads and of best matches, and the best pair.

    Parameters
    ----------
    result
        From `compare_attention`, of all pairs.
    """
    matches = mean_best_match(result)
    rows = []
    for place in _places(result, "metric", "training_size", "layer", "other_layer"):
        mean = result["pair_mean"].sel(place)
        off = np.abs(mean.to_numpy() - float(mean["identity"]))
        if np.isnan(off).all():
            continue
        head, other_head = np.unravel_index(int(np.nanargmin(off)), off.shape)
        means = {"mean of all pairs": mean.mean().item(), "mean of best matches": matches.sel(place).item()}
        best = f"{head} and {other_head}: {_number(float(mean[head, other_head]))}"
        rows.append({**place, **means, "best pair": best})
    return pd.DataFrame(rows)


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"
