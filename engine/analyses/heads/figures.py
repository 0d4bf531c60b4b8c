"""Figures of a description: a heat map of layers and heads for each metric and run, with the values in the cells."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from biocache.engine.analyses.heatmaps import heat_figure
from biocache.engine.palette import AMOUNT, Colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["head_figure"]


def head_figure(result: xr.Dataset) -> "Figure":
    """Draw means over samples, a row of panels for each metric and a panel for each run.

    Parameters
    ----------
    result
        From `describe_attention`; of split means those of all queries or samples.
    """
    whole = result.isel(label=0) if "label" in result.dims else result
    # Beside so few layers there is no room for more than the name.
    whole = whole.assign_coords(title=("metric", whole["metric"].to_numpy()))
    facts = result.attrs
    what = "rolled-out maps, " if facts["rollout"] else ""
    title = f"{facts['title']}\n{what}{facts['split']} split, {facts['samples']:,} samples, by {facts['level']}"
    names = dict(zip(whole["run"].to_numpy().tolist(), _names(whole), strict=True))
    return heat_figure(
        whole, whole["mean"], ("layer", "head"), "mean over samples", _colors, panels=("run", names), title=title
    )


def _names(result: xr.Dataset) -> list[str]:
    """Return what tells each run from the others."""
    several = len(np.unique(result["seed"])) > 1
    names = []
    for place in range(result.sizes["run"]):
        own = result.isel(run=place)
        elsewhere = f" trained on {own['trained_on'].item()}" if own["trained_on"].item() else ""
        seed = f", seed {own['seed'].item()}" if several else ""
        names.append(f"{own['model'].item()}{elsewhere} {own['training_size'].item()} %{seed}")
    return names


def _colors(values: xr.DataArray, own: xr.Dataset) -> Colors:
    """Return the colours: from 0 to the largest value, or to 1 of entropy."""
    known = values.to_numpy()[np.isfinite(values.to_numpy())]
    largest = float(known.max()) if known.size else 0.0
    return Colors(0.0, 1.0 if own["metric"].item() == "entropy" or not largest else largest, AMOUNT)
