"""The result of a comparison of representations as tables: a row a pair of layers, or a row a layer."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

__all__ = ["layer_rows", "pair_rows"]

_FLOOR = ("between_seeds", "between_seeds_ci_low", "between_seeds_ci_high")


def pair_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return a row for each metric, training size, layer of the baseline and layer of the other run.

    Parameters
    ----------
    result
        From `compare_representations`.
    """
    equal = result["layer"] == result["other_layer"]
    floors = [name for name in _FLOOR if name in result]
    result = result.assign({name: result[name].where(equal) for name in floors})
    seeds = result["seed"].values.tolist() if "seed_value" in result else []
    of_seeds = {f"seed_value_{seed}": result["seed_value"].sel(seed=seed, drop=True) for seed in seeds}
    result = result.drop_dims("seed", errors="ignore").assign(of_seeds)
    names = ["metric", "training_size", "layer", "other_layer", "value", "value_ci_low", "value_ci_high", "chance"]
    kept = [*names, *_FLOOR, *of_seeds, "title", "identity", "training_steps", "seed_count"]
    frame = result.transpose("metric", "training_size", "layer", "other_layer").to_dataframe().reset_index()
    return frame[[name for name in kept if name in frame]]


def layer_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return for each training size and layer of the baseline the values at the equal layer, and the most similar one.

    Parameters
    ----------
    result
        From `compare_representations`.
    """
    rows = []
    for size in result["training_size"].values.tolist():
        for layer in result["layer"].values.tolist():
            row: dict[str, Any] = {"training_size": size, "layer": layer}
            for metric in result["metric"].values.tolist():
                row |= _cells(result.sel(metric=metric, training_size=size, layer=layer), metric, layer)
            rows.append(row)
    return pd.DataFrame(rows)


def _cells(own: xr.Dataset, metric: str, layer: int) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    if layer in own["other_layer"]:
        equal = own.sel(other_layer=layer)
        cells[metric] = equal["value"].item()
        cells |= {f"{metric}_{bound}": equal[f"value_{bound}"].item() for bound in ("ci_low", "ci_high")}
        if metric == "procrustes" or float(equal["chance"]):
            cells[f"{metric} by chance"] = equal["chance"].item()
        for name in (name for name in _FLOOR if name in own):
            cells[f"{metric} between seeds{name.removeprefix('between_seeds')}"] = equal[name].item()
    off = np.abs(own["value"].to_numpy() - float(own["identity"]))
    if np.isnan(off).all():
        return {**cells, f"nearest by {metric}": "-"}
    nearest = own.isel(other_layer=int(np.nanargmin(off)))
    return {**cells, f"nearest by {metric}": f"{int(nearest['other_layer'])}: {nearest['value'].item():.3f}"}
