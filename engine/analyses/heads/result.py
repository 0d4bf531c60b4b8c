"""From sums to the result of a description: means and intervals of heads and layers, as one Dataset."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.attention.means import estimates_of, finalised, over_heads
from biocache.engine.analyses.attention.runs import special_positions
from biocache.engine.analyses.heads.describing import Described, HeadSums
from biocache.engine.analyses.heads.request import HeadsRequest
from biocache.engine.analyses.heads.runs import DescribedRuns, described_of
from biocache.engine.finetuning.updates import training_steps

__all__ = ["ALL", "finish", "make_dataset"]

#: Label of all queries, or all samples, beside those of the classes that means are split by.
ALL = "all"
_HEAD, _LAYER = ("layer", "head"), ("layer",)
# Dimensions of each variable beyond metric, run and, where means are split, label; what it is; and its value where a
# run has no such layer or head.
_VARIABLES: dict[str, tuple[tuple[str, ...], str, Any]] = {
    "mean": (_HEAD, "mean over samples", np.nan),
    "std": (_HEAD, "standard deviation over samples", np.nan),
    "ci_low": (_HEAD, "lower end of the 95 % interval of the mean", np.nan),
    "ci_high": (_HEAD, "upper end of the 95 % interval of the mean", np.nan),
    "count": (_HEAD, "samples that were measured", 0),
    "layer_mean": (_LAYER, "mean over samples and heads", np.nan),
    "layer_ci_low": (_LAYER, "lower end of the 95 % interval of the mean over heads", np.nan),
    "layer_ci_high": (_LAYER, "upper end of the 95 % interval of the mean over heads", np.nan),
    "even": ((), "mean of attention that is even over the keys that a query sees", np.nan),
}


def make_dataset(runs: DescribedRuns, request: HeadsRequest, parts: Mapping[tuple[int, int], Any]) -> xr.Dataset:
    """Return the result of a description; see `describe_attention`.

    Parameters
    ----------
    runs
        The runs.
    request
        The request.
    parts
        Sums over all samples by the positions of the run and the layer; see `head_tasks`.
    """
    what = described_of(runs, request)
    layers = sorted({layer for run in runs.runs for layer in run.spec.attention_layers})
    heads = 1 if request.rollout else max(run.spec.head_count for run in runs.runs)
    sizes = {"layer": len(layers), "head": heads}
    first = (len(what.found), len(runs.runs), what.groups)
    variables = {
        name: np.full((*first, *(sizes[dim] for dim in dims)), empty) for name, (dims, _, empty) in _VARIABLES.items()
    }
    for place, run in enumerate(runs.runs):
        for index, layer in enumerate(run.spec.attention_layers):
            sums = parts[place, -1].layers[index] if request.rollout else parts[place, index]
            for name, values in finish(sums, what).items():
                dims = _VARIABLES[name][0]
                at = (layers.index(layer),) if "layer" in dims else ()
                own = slice(values.shape[-1]) if "head" in dims else ()
                variables[name][(slice(None), place, slice(None), *at, *([own] if "head" in dims else []))] = values
    split = ("label",) if what.labels else ()
    arrays = {
        name: (
            ("metric", "run", *split, *_VARIABLES[name][0]),
            values if split else values[:, :, 0],
            {"long_name": _VARIABLES[name][1]},
        )
        for name, values in variables.items()
    }
    return xr.Dataset(arrays, _coordinates(runs, request, what, layers), _attributes(runs, request, what))


def finish(sums: HeadSums, what: Described) -> dict[str, NDArray[Any]]:
    """Turn the sums of a layer into its numbers, the group of all first.

    Returns
    -------
    dict of str to numpy.ndarray
        By variable of the result: (metric, group) or (metric, group, head).
    """
    estimates = estimates_of(sums.own, sums.resamples, what.found)
    layers = over_heads(estimates)
    numbers: dict[str, NDArray[Any]] = {
        "mean": estimates.whole,
        "std": np.swapaxes(sums.own.deviation(), 0, 1),
        "count": np.swapaxes(sums.own.count, 0, 1).astype(np.int64),
        "layer_mean": layers.whole,
        "even": finalised(np.swapaxes(sums.even.mean(), 0, 1), what.found)[..., 0],
    }
    for name, own in (("", estimates), ("layer_", layers)):
        for bound, values in zip(("ci_low", "ci_high"), own.interval(), strict=True):
            # Student's t knows no range.
            numbers[f"{name}{bound}"] = finalised(values, what.found)
    order = [what.labels, *range(what.labels)]
    return {name: values[:, order] for name, values in numbers.items()}


def _texts(texts: Any) -> NDArray[Any]:
    return np.array(list(texts), dtype=object)


def _coordinates(runs: DescribedRuns, request: HeadsRequest, what: Described, layers: list[int]) -> dict[str, Any]:
    keys = [run.key for run in runs.runs]
    heads: Any = np.arange(max(run.spec.head_count for run in runs.runs))
    coordinates: dict[str, Any] = {
        "metric": ("metric", _texts(metric.name for metric in what.found)),
        "title": ("metric", _texts(metric.title for metric in what.found), {"long_name": "what the values are"}),
        "unit": (
            "metric",
            _texts(runs.level if metric.in_positions else "1" for metric in what.found),
            {"long_name": "unit of the values"},
        ),
        "run": ("run", _texts(map(str, keys)), {"long_name": "key of the run"}),
        "model": ("run", _texts(key.model for key in keys)),
        "trained_on": (
            "run",
            _texts(key.trained_on for key in keys),
            {"long_name": "dataset trained on, where it is another; empty for the same"},
        ),
        "training_size": (
            "run",
            [key.training_size for key in keys],
            {"long_name": "percent of the train split that the model was fine-tuned on"},
        ),
        "seed": ("run", [key.seed for key in keys], {"long_name": "seed of the run"}),
        "training_steps": (
            "run",
            [training_steps(run) for run in runs.runs],
            {"long_name": "optimiser steps of the fine-tuning; 0 of a pre-trained model, NaN where not known"},
        ),
        "causal": (
            "run",
            [int(run.spec.causal) for run in runs.runs],
            {"long_name": "whether a query sees no later key"},
        ),
        "layer": ("layer", layers, {"long_name": "block that computes the maps"}),
        "head": (
            "head",
            _texts(["rollout"]) if request.rollout else heads,
            {"long_name": "attention head, from 0"},
        ),
    }
    if runs.labels is not None:
        meaning = f"label of label set {runs.labels.name}, empty for none; the first is all of them"
        coordinates["label"] = ("label", _texts([ALL, *runs.labels.names]), {"long_name": meaning})
    return coordinates


def _attributes(runs: DescribedRuns, request: HeadsRequest, what: Described) -> dict[str, Any]:
    key = runs.runs[0].key
    split: dict[str, Any] = {}
    if runs.labels is not None:
        split = {"split_by": runs.labels.level}
        if runs.by_words:
            split["unlabelled_words"] = int((~runs.labels.known).sum())
    return {
        "title": f"attention heads of {', '.join(dict.fromkeys(run.key.model for run in runs.runs))} on {key.dataset}",
        **{name: getattr(key, name) for name in ("task", "dataset", "view", "split")},
        "level": runs.level,
        "samples": runs.runs[0].counts.samples,
        "special_positions": special_positions(runs.runs, runs.level, excluded=request.exclude_special),
        "rollout": int(request.rollout),
        "group": runs.groups.name,
        "groups": what.units,
        **split,
        "resamples": request.resamples,
        "resampling_seed": request.resampling_seed,
    }
