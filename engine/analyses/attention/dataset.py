"""The result of a comparison as one labelled Dataset."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.attention.blocks import Measures
from biocache.engine.analyses.attention.metrics import METRICS
from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analyses.attention.runs import ComparedRuns

__all__ = ["make_dataset"]

# Dimensions of each variable beyond metric, training_size and layer, and what it is.
_VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "mean": (("head",), "mean over samples"),
    "std": (("head",), "standard deviation over samples"),
    "ci_low": (("head",), "lower end of the 95 % bootstrap interval of the mean"),
    "ci_high": (("head",), "upper end of the 95 % bootstrap interval of the mean"),
    "chance": (("head",), "mean over samples for mismatched heads of the same layer"),
    "above_chance": (("head",), "mean between the chance level, 0, and equal maps, 1"),
    "count": (("head",), "samples that were measured"),
    "layer_mean": ((), "mean over samples and heads"),
    "layer_ci_low": ((), "lower end of the 95 % bootstrap interval of the mean over heads"),
    "layer_ci_high": ((), "upper end of the 95 % bootstrap interval of the mean over heads"),
    "label_mean": (("label", "head"), "mean over the samples of a label"),
    "label_std": (("label", "head"), "standard deviation over the samples of a label"),
    "label_ci_low": (("label", "head"), "lower end of the 95 % bootstrap interval of a label's mean"),
    "label_ci_high": (("label", "head"), "upper end of the 95 % bootstrap interval of a label's mean"),
    "label_count": (("label", "head"), "samples of a label that were measured"),
    "matched_head": (("head",), "head of the other run that is matched with the baseline's"),
    "matched_mean": (("head",), "mean over samples of matched heads"),
    "matched_std": (("head",), "standard deviation over samples of matched heads"),
    "value": (("head", "sample"), "value of a sample"),
    "pair_mean": (("head", "other_layer", "other_head"), "mean over samples"),
    "pair_std": (("head", "other_layer", "other_head"), "standard deviation over samples"),
    "pair_count": (("head", "other_layer", "other_head"), "samples that were measured"),
}


def make_dataset(
    runs: ComparedRuns, request: AttentionRequest, measures: Measures, numbers: list[list[dict[str, NDArray[Any]]]]
) -> xr.Dataset:
    """Label the numbers of a comparison.

    Parameters
    ----------
    runs
        The runs.
    request
        The request.
    measures
        What was measured.
    numbers
        For each layer (of all pairs: each two layers) and each run, its numbers by variable, (metric, ...).
    """
    others = runs.others[0].spec
    layers, other_layers = len(runs.baseline.spec.attention_layers), len(others.attention_layers)
    variables = {}
    for name in numbers[0][0]:
        dims, meaning = _VARIABLES[name]
        values = np.stack([np.stack([run[name] for run in layer]) for layer in numbers])
        if measures.diagonal:
            stacked = np.moveaxis(values, (2, 1, 0), (0, 1, 2))
        else:
            # (layer, other layer, run, metric, head, other head)
            square = values.reshape(layers, other_layers, *values.shape[1:])
            stacked = np.transpose(square, (3, 2, 0, 4, 1, 5))
        variables[name] = (("metric", "training_size", "layer", *dims), stacked, {"long_name": meaning})
    return xr.Dataset(variables, _coordinates(runs, request, measures), _attributes(runs, request))


def _coordinates(runs: ComparedRuns, request: AttentionRequest, measures: Measures) -> dict[str, Any]:
    baseline, other = runs.baseline, runs.others[0]
    metrics = [METRICS[name] for name in request.metrics]
    coordinates: dict[str, Any] = {
        "metric": ("metric", _texts(request.metrics)),
        "unit": ("metric", _texts(_unit(metric.unit, runs) for metric in metrics), {"long_name": "unit of the values"}),
        "title": ("metric", _texts(metric.title for metric in metrics), {"long_name": "what the values are"}),
        "identity": ("metric", [metric.identity for metric in metrics], {"long_name": "value of equal maps"}),
        "training_size": (
            "training_size",
            [run.key.training_size for run in runs.others],
            {"long_name": "percent of the train split that the model was fine-tuned on"},
        ),
        "layer": ("layer", list(baseline.spec.attention_layers), {"long_name": "block that computes the maps"}),
        "head": ("head", np.arange(baseline.spec.head_count), {"long_name": "attention head, from 0"}),
    }
    if not measures.diagonal:
        coordinates["other_layer"] = ("other_layer", list(other.spec.attention_layers))
        coordinates["other_head"] = ("other_head", np.arange(other.spec.head_count))
    if request.by is not None:
        coordinates["label"] = ("label", _texts(baseline.spec.label_names), {"long_name": "label in the corpus"})
    if request.per_sample:
        coordinates["sample"] = ("sample", np.arange(baseline.counts.samples))
        coordinates["sample_id"] = ("sample", baseline.column("samples/sample_id"))
    return coordinates


def _texts(texts: Any) -> NDArray[Any]:
    return np.array(list(texts), dtype=object)


def _unit(unit: str, runs: ComparedRuns) -> str:
    return runs.level if unit == "token" else unit


def _attributes(runs: ComparedRuns, request: AttentionRequest) -> dict[str, Any]:
    key = runs.baseline.key
    return {
        "title": f"attention of {runs.others[0].key.model} against {key.model} at training size {key.training_size}",
        "task": key.task,
        "dataset": key.dataset,
        "view": key.view,
        "split": key.split,
        "model": runs.others[0].key.model,
        "baseline_model": key.model,
        "baseline_training_size": key.training_size,
        "baseline_run": str(key),
        "runs": ", ".join(str(run.key) for run in runs.others),
        "level": runs.level,
        "samples": runs.baseline.counts.samples,
        "special_positions": "excluded" if request.exclude_special else "included",
        "resamples": request.resamples,
        "resampling_seed": request.resampling_seed,
    }
