"""The result of a comparison as one Dataset: means, intervals, chance levels and matched heads, with their names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.attention.blocks import Measures
from biocache.engine.analyses.attention.comparison import layer_pairs, measures_of
from biocache.engine.analyses.attention.finishing import finish
from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analyses.attention.runs import ComparedRuns, special_positions
from biocache.engine.analyses.attention.sums import RunSums
from biocache.engine.analyses.baseline import attributes_of

__all__ = ["make_dataset"]

Values = NDArray[np.float64]

# Variables of each seed, where a training size has several.
_OF_SEEDS = ("seed_mean", "seed_layer_mean")

# Dimensions of each variable beyond metric, training_size and layer, and what it is.
_VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "mean": (("head",), "mean over samples"),
    "std": (("head",), "standard deviation over samples"),
    "ci_low": (("head",), "lower end of the 95 % interval of the mean"),
    "ci_high": (("head",), "upper end of the 95 % interval of the mean"),
    "chance": (("head",), "mean over samples and all mismatched heads of the same layer"),
    "chance_ci_low": (("head",), "lower end of the 95 % interval of the chance level"),
    "chance_ci_high": (("head",), "upper end of the 95 % interval of the chance level"),
    "above_chance": (("head",), "mean between the chance level, 0, and equal maps, 1"),
    "count": (("head",), "samples that were measured"),
    "layer_mean": ((), "mean over samples and heads"),
    "layer_ci_low": ((), "lower end of the 95 % interval of the mean over heads"),
    "layer_ci_high": ((), "upper end of the 95 % interval of the mean over heads"),
    "between_seeds": (("head",), "mean over samples and pairs of seeds, of the runs of two seeds; of changes the size"),
    "between_seeds_ci_low": (("head",), "lower end of the 95 % interval between seeds"),
    "between_seeds_ci_high": (("head",), "upper end of the 95 % interval between seeds"),
    "layer_between_seeds": ((), "the same of the mean over heads"),
    "layer_between_seeds_ci_low": ((), "lower end of the 95 % interval of that"),
    "layer_between_seeds_ci_high": ((), "upper end of the 95 % interval of that"),
    "seed_mean": (("head", "seed"), "mean over samples of each seed"),
    "seed_layer_mean": (("seed",), "mean over samples and heads of each seed"),
    "layer_chance": ((), "mean of the chance level over heads"),
    "layer_chance_ci_low": ((), "lower end of the 95 % interval of that mean"),
    "layer_chance_ci_high": ((), "upper end of the 95 % interval of that mean"),
    "label_mean": (("label", "head"), "mean over the samples of a label, or over those with words of it of these"),
    "label_std": (("label", "head"), "standard deviation over these samples"),
    "label_ci_low": (("label", "head"), "lower end of the 95 % interval of a label's mean"),
    "label_ci_high": (("label", "head"), "upper end of the 95 % interval of a label's mean"),
    "label_count": (("label", "head"), "samples of a label, or with words of it, that were measured"),
    "matched_head": (("head",), "head of the other run that is matched with the baseline's"),
    "matched_mean": (("head",), "mean over samples of matched heads"),
    "matched_std": (("head",), "standard deviation over samples of matched heads"),
    "matched_gap": (("head",), "how much farther from equal maps all heads are together where this match is barred"),
    "value": (("head", "sample"), "value of a sample"),
    "pair_mean": (("head", "other_layer", "other_head"), "mean over samples"),
    "pair_std": (("head", "other_layer", "other_head"), "standard deviation over samples"),
    "pair_count": (("head", "other_layer", "other_head"), "samples that were measured"),
}


def make_dataset(
    runs: ComparedRuns, request: AttentionRequest, parts: Mapping[tuple[int, int, int], RunSums]
) -> xr.Dataset:
    """Return the result of a comparison; see `compare_attention`.

    Parameters
    ----------
    runs
        The runs.
    request
        The request.
    parts
        Sums over all samples; see `layer_tasks`.
    """
    measures = measures_of(runs, request)
    numbers = [_of_sizes(runs, measures, parts, pair) for pair in layer_pairs(runs, request)]
    others = runs.others[0].spec
    layers, other_layers = len(runs.baseline.spec.attention_layers), len(others.attention_layers)
    variables = {}
    for name, (dims, meaning) in _VARIABLES.items():
        if name not in numbers[0][0]:
            continue
        values = np.stack([np.stack([run[name] for run in layer]) for layer in numbers])
        if measures.diagonal:
            stacked = np.moveaxis(values, (2, 1, 0), (0, 1, 2))
        else:
            # (layer, other layer, run, metric, head, other head)
            square = values.reshape(layers, other_layers, *values.shape[1:])
            stacked = np.transpose(square, (3, 2, 0, 4, 1, 5))
        variables[name] = (("metric", "training_size", "layer", *dims), stacked, {"long_name": meaning})
    return xr.Dataset(variables, _coordinates(runs, request, measures), _attributes(runs, request))


def _of_sizes(
    runs: ComparedRuns, measures: Measures, parts: Mapping[tuple[int, int, int], RunSums], pair: tuple[int, int]
) -> list[dict[str, NDArray[Any]]]:
    """Return the numbers of two layers, of each training size."""
    sums = {
        (against.first.key, other.key): found
        for place, against in enumerate(runs.against(between_seeds=measures.diagonal))
        for other, found in zip(against.others, parts[place, *pair].runs, strict=True)
    }
    numbers, all_seeds = [], runs.several_seeds
    for size in runs.sizes:
        seeds = {run.key: number for number, run in enumerate(size.runs)}
        between = {
            (seeds[one.key], seeds[other.key]): sums[one.key, other.key]
            for one, other in (size.seed_pairs if measures.diagonal else ())
        }
        own = finish([sums[baseline.key, run.key] for baseline, run in size.pairs], measures, between)
        of_seeds = {name: own.pop(name) for name in _OF_SEEDS if name in own}
        if all_seeds:
            own |= {name: _at(values, size.seeds, all_seeds) for name, values in of_seeds.items()}
        numbers.append(own)
    with_pairs = next((own for own in numbers if "between_seeds" in own), {})
    for name in (name for name in with_pairs if "between_seeds" in name):
        for own in numbers:
            own.setdefault(name, np.full_like(with_pairs[name], np.nan))
    return numbers


def _at(values: Values, seeds: Sequence[int], places: Sequence[int]) -> Values:
    """Put values (..., seed) of some seeds in the places of all; NaN for the others."""
    found = np.full((*values.shape[:-1], len(places)), np.nan)
    found[..., [places.index(seed) for seed in seeds]] = values
    return found


def _coordinates(runs: ComparedRuns, request: AttentionRequest, measures: Measures) -> dict[str, Any]:
    baseline, other = runs.baseline, runs.others[0]
    metrics = measures.found
    coordinates: dict[str, Any] = {
        "metric": ("metric", _texts(measures.metrics)),
        "unit": ("metric", _texts(_unit(metric.unit, runs) for metric in metrics), {"long_name": "unit of the values"}),
        "title": ("metric", _texts(metric.title for metric in metrics), {"long_name": "what the values are"}),
        "identity": ("metric", [metric.identity for metric in metrics], {"long_name": "value for identical maps"}),
        **runs.coordinates,
        "layer": ("layer", list(baseline.spec.attention_layers), {"long_name": "block that computes the maps"}),
        "head": ("head", np.arange(baseline.spec.head_count), {"long_name": "attention head, from 0"}),
    }
    if not measures.diagonal:
        coordinates["other_layer"] = ("other_layer", list(other.spec.attention_layers))
        coordinates["other_head"] = ("other_head", np.arange(other.spec.head_count))
    if runs.labels is not None:
        meaning = f"label of label set {runs.labels.name}, empty for none"
        coordinates["label"] = ("label", _texts(runs.labels.names), {"long_name": meaning})
    if request.per_sample:
        coordinates["sample"] = ("sample", np.arange(baseline.counts.samples))
        coordinates["sample_id"] = ("sample", baseline.column("samples/sample_id"))
    return coordinates


def _texts(texts: Any) -> NDArray[Any]:
    return np.array(list(texts), dtype=object)


def _unit(unit: str, runs: ComparedRuns) -> str:
    return runs.level if unit == "token" else unit


def _of_words(runs: ComparedRuns, request: AttentionRequest) -> dict[str, Any]:
    """Describe a split by the words that attend: how many have no label, and what is not split."""
    whole = [metric.name for metric in measures_of(runs, request).found if not metric.of_rows]
    unlabelled = 0 if runs.labels is None else int((~runs.labels.known).sum())
    return {"split_by": "words", "unlabelled_words": unlabelled, "not_split": ", ".join(whole)}


def _attributes(runs: ComparedRuns, request: AttentionRequest) -> dict[str, Any]:
    return {
        **attributes_of("attention", runs),
        "level": runs.level,
        "samples": runs.baseline.counts.samples,
        "special_positions": special_positions(
            (runs.baseline, *runs.others), runs.level, excluded=request.exclude_special
        ),
        "group": runs.groups.name,
        "groups": runs.units[1],
        **(_of_words(runs, request) if runs.by_words else {}),
        "resamples": request.resamples,
        "resampling_seed": request.resampling_seed,
    }
