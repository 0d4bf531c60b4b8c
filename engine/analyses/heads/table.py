"""The result of a description as tables: a row a head, or a row a layer."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

__all__ = ["head_rows", "layer_rows"]

# Of a run, in a table.
_RUN = ("model", "trained_on", "training_size", "seed")
_NUMBERS = ("mean", "std", "ci_low", "ci_high", "even", "count", "layer_mean", "layer_ci_low", "layer_ci_high")
_FACTS = ("title", "unit", "training_steps")


def head_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return a row for each metric, run, class, layer and head that was measured.

    Parameters
    ----------
    result
        From `describe_attention`.
    """
    frame = result[list(_NUMBERS)].to_dataframe().reset_index()
    place = [name for name in ("metric", *_RUN, "label", "layer", "head") if name in frame]
    kept: pd.DataFrame = frame.loc[frame["count"] > 0, [*place, *_NUMBERS, *_FACTS]]
    return kept.drop(columns=[] if (kept["trained_on"] != "").any() else "trained_on").reset_index(drop=True)


def layer_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return means over heads, a row for each metric, run, class and layer, and the head whose mean is the highest.

    Parameters
    ----------
    result
        From `describe_attention`.
    """
    shown = [name for name in _RUN if name in ("model", "training_size") or len(np.unique(result[name])) > 1]
    rows = []
    for metric, run, label in _places(result):
        own = result.sel(metric=metric).isel(run=run)
        own = own if label is None else own.isel(label=label)
        unit = str(own["unit"].item())
        begin = {
            "metric": metric if unit == "1" else f"{metric} ({unit})",
            **{name: own[name].item() for name in shown},
        }
        if label is not None:
            begin["queries"] = own["label"].item()
        for layer in own["layer"].to_numpy().tolist():
            at = own.sel(layer=layer)
            if int(at["count"].max()):
                rows.append({**begin, "layer": layer, **_cells(at)})
    return pd.DataFrame(rows)


def _places(result: xr.Dataset) -> Iterator[tuple[str, int, int | None]]:
    labels: list[int | None] = list(range(result.sizes["label"])) if "label" in result.dims else [None]
    for metric in result["metric"].to_numpy().tolist():
        for run in range(result.sizes["run"]):
            for label in labels:
                yield metric, run, label


def _cells(at: xr.Dataset) -> dict[str, Any]:
    rollout = bool(at.attrs["rollout"])
    name = "rollout" if rollout else "mean of heads"
    cells: dict[str, Any] = {
        name: at["layer_mean"].item(),
        **{f"{name}_{bound}": at[f"layer_{bound}"].item() for bound in ("ci_low", "ci_high")},
        "even attention": at["even"].item(),
    }
    if rollout:
        return cells
    head = int(np.nanargmax(at["mean"].to_numpy()))
    low, high = (at[bound].to_numpy()[head] for bound in ("ci_low", "ci_high"))
    interval = "" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]"
    return {**cells, "highest head": f"{head}: {at['mean'].to_numpy()[head]:.3f}{interval}"}
