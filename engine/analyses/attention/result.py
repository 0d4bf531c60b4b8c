"""From sums to the result of a comparison: means, intervals, chance levels and matched heads, as one Dataset."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from biocache.engine.analyses.attention.blocks import Measures
from biocache.engine.analyses.attention.comparison import layer_pairs, measures_of
from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analyses.attention.runs import ComparedRuns
from biocache.engine.analyses.attention.sums import Moments, Resamples, RunSums, Sums
from biocache.engine.analyses.baseline import attributes_of
from biocache.engine.finetuning.updates import training_steps
from biocache.engine.statistics import Estimates, ratio

__all__ = ["finish", "make_dataset"]

Values = NDArray[np.float64]

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


def make_dataset(runs: ComparedRuns, request: AttentionRequest, parts: Mapping[tuple[int, int], RunSums]) -> xr.Dataset:
    """Return the result of a comparison; see `compare_attention`.

    Parameters
    ----------
    runs
        The runs.
    request
        The request.
    parts
        Sums over all samples by the positions of the layers in the baseline and in the other runs; see `layer_pairs`.
    """
    measures = measures_of(runs, request)
    numbers = [[finish(sums, measures) for sums in parts[pair].runs] for pair in layer_pairs(runs, request)]
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


def finish(sums: Sums, measures: Measures) -> dict[str, NDArray[Any]]:
    """Turn the sums of a layer into its numbers.

    Parameters
    ----------
    sums
        Over all samples.
    measures
        What was measured.

    Returns
    -------
    dict of str to numpy.ndarray
        By variable of the result, without the dimensions training_size and layer: (metric, ...).
    """
    numbers: dict[str, NDArray[Any]] = {}
    if sums.own is not None and sums.resamples is not None:
        own, resamples = sums.own.over_groups(), sums.resamples.over_groups()
        if measures.by_words:
            # A sample is in the groups of several classes, and the last group is of all its words.
            own, resamples = sums.own.of_groups(slice(-1, None)), sums.resamples.of_groups(slice(-1, None))
        numbers |= _of_equal_heads(own, resamples, measures)
        numbers |= _of_mismatched_heads(numbers["mean"], sums.chance, sums.chance_resamples, measures)
        if measures.labels is not None:
            classes = slice(measures.labels)
            by_label, _ = _by_group(sums.own.of_groups(classes), sums.resamples.of_groups(classes), measures)
            numbers |= {f"label_{name}": values for name, values in by_label.items()}
        if sums.pairs is not None:
            numbers |= _matched(sums.pairs, measures)
    elif sums.pairs is not None:
        numbers = {
            "pair_mean": _finalised(sums.pairs.mean(), measures),
            "pair_std": sums.pairs.deviation(),
            "pair_count": sums.pairs.count.astype(np.int64),
        }
    if sums.samples:
        order = np.argsort(np.concatenate([positions for positions, _ in sums.samples]))
        numbers["value"] = np.moveaxis(np.concatenate([values for _, values in sums.samples])[order], 0, -1)
    return numbers


def _of_equal_heads(own: Moments, resamples: Resamples, measures: Measures) -> dict[str, NDArray[Any]]:
    """Return the numbers of all samples, which are one group."""
    by_group, estimates = _by_group(own, resamples, measures)
    numbers = {name: values[:, 0] for name, values in by_group.items()}
    return numbers | _over_heads("layer", estimates[:, 0], measures)


def _of_mismatched_heads(
    mean: Values, chance: Moments | None, resamples: Resamples | None, measures: Measures
) -> dict[str, NDArray[Any]]:
    """Return the chance level of each head and of the layer, and where the means (metric, head) are above it."""
    if chance is None or resamples is None:
        unknown = np.full(mean.shape, np.nan)
        names = ("chance", "chance_ci_low", "chance_ci_high", "above_chance")
        of_layer = ("layer_chance", "layer_chance_ci_low", "layer_chance_ci_high")
        return dict.fromkeys(names, unknown) | dict.fromkeys(of_layer, unknown[:, 0])
    by_group, estimates = _by_group(chance, resamples, measures)
    numbers = {
        "chance": by_group["mean"][:, 0],
        **{f"chance_{bound}": by_group[bound][:, 0] for bound in ("ci_low", "ci_high")},
        **_over_heads("layer_chance", estimates[:, 0], measures),
    }
    numbers["layer_chance"] = numbers.pop("layer_chance_mean")
    for values in numbers.values():
        values[[not metric.has_chance for metric in measures.found]] = np.nan
    identity = np.array([metric.identity for metric in measures.found])[:, np.newaxis]
    room, above = identity - numbers["chance"], mean - numbers["chance"]
    return numbers | {"above_chance": np.divide(above, room, out=np.full(above.shape, np.nan), where=room != 0)}


def _over_heads(name: str, estimates: Estimates, measures: Measures) -> dict[str, NDArray[Any]]:
    """Return the means over heads, with their intervals, of estimates (metric, head)."""
    others = estimates.others
    size = estimates.size
    if size is not None:
        # Without a unit that has no part in a head, the head's mean is what it was.
        kept = np.isnan(others) & ~np.isnan(others).all(axis=1, keepdims=True)
        others = np.where(kept, estimates.whole[..., np.newaxis], others)
        size = size.max(axis=1)
    mean = Estimates(_mean_over_heads(estimates.whole), _mean_over_heads(np.swapaxes(others, 1, 2)), size)
    low, high = _interval(mean, measures)
    return {f"{name}_mean": mean.whole, f"{name}_ci_low": low, f"{name}_ci_high": high}


def _by_group(own: Moments, resamples: Resamples, measures: Measures) -> tuple[dict[str, NDArray[Any]], Estimates]:
    """Return the numbers of groups of values, and their means, (metric, group, head)."""
    mean = _finalised(np.swapaxes(own.mean(), 0, 1), measures)
    others = _finalised(np.moveaxis(resamples.means(), 2, 0), measures)
    sizes = None if resamples.sizes is None else np.moveaxis(resamples.sizes, (2, 1), (0, -1))
    estimates = Estimates(mean, np.moveaxis(others, 2, -1), sizes)
    low, high = _interval(estimates, measures)
    numbers = {
        "mean": mean,
        "std": np.swapaxes(own.deviation(), 0, 1),
        "ci_low": low,
        "ci_high": high,
        "count": np.swapaxes(own.count, 0, 1).astype(np.int64),
    }
    return numbers, estimates


def _interval(estimates: Estimates, measures: Measures) -> tuple[Values, Values]:
    """Return the intervals of estimates (metric, ...), within the ranges of the metrics."""
    low, high = estimates.interval()
    return _finalised(low, measures), _finalised(high, measures)


def _matched(pairs: Moments, measures: Measures) -> dict[str, NDArray[Any]]:
    """Match heads one to one so that the sum of their distances from the value for identical maps is least.

    References
    ----------
    Kuhn HW. The Hungarian method for the assignment problem. Nav Res Logist Q 1955;2:83-97.
    https://doi.org/10.1002/nav.3800020109
    """
    mean, deviation = _finalised(pairs.mean(), measures), pairs.deviation()
    identity = np.array([metric.identity for metric in measures.found])
    # A pair that no sample measured is worse than any other.
    distances = np.nan_to_num(np.abs(mean - identity[:, np.newaxis, np.newaxis]), nan=1e6)
    matched = np.stack([linear_sum_assignment(each)[1] for each in distances])
    gap = np.stack([_gap(each, own) for each, own in zip(distances, matched, strict=True)])
    gap[np.isnan(np.take_along_axis(mean, matched[..., np.newaxis], 2)[..., 0])] = np.nan
    return {
        "matched_head": matched,
        "matched_mean": np.take_along_axis(mean, matched[..., np.newaxis], 2)[..., 0],
        "matched_std": np.take_along_axis(deviation, matched[..., np.newaxis], 2)[..., 0],
        "matched_gap": gap,
    }


def _gap(distances: Values, matched: NDArray[np.int64]) -> Values:
    """Return, for each head, by how much the least sum of distances grows where its match is barred (head).

    It is 0 where other matchings are as good, and so none is identified; NaN of one head, which has no other.
    """
    heads = np.arange(len(matched))
    least, gap = distances[heads, matched].sum(), np.full(len(matched), np.nan)
    for head in heads if len(heads) > 1 else ():
        barred = distances.copy()
        barred[head, matched[head]] = 1e9
        gap[head] = barred[linear_sum_assignment(barred)].sum() - least
    return gap


def _finalised(means: Values, measures: Measures) -> Values:
    return np.stack([metric.finalise(mean) for metric, mean in zip(measures.found, means, strict=True)])


def _mean_over_heads(values: Values) -> Values:
    """Average over the last axis what is not NaN; NaN where nothing is."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def _coordinates(runs: ComparedRuns, request: AttentionRequest, measures: Measures) -> dict[str, Any]:
    baseline, other = runs.baseline, runs.others[0]
    metrics = measures.found
    coordinates: dict[str, Any] = {
        "metric": ("metric", _texts(measures.metrics)),
        "unit": ("metric", _texts(_unit(metric.unit, runs) for metric in metrics), {"long_name": "unit of the values"}),
        "title": ("metric", _texts(metric.title for metric in metrics), {"long_name": "what the values are"}),
        "identity": ("metric", [metric.identity for metric in metrics], {"long_name": "value for identical maps"}),
        "training_size": (
            "training_size",
            [run.key.training_size for run in runs.others],
            {"long_name": "percent of the train split that the model was fine-tuned on"},
        ),
        "training_steps": (
            "training_size",
            [training_steps(run) for run in runs.others],
            {"long_name": "optimiser steps of the fine-tuning; 0 of a pre-trained model, NaN where not known"},
        ),
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


def _special(runs: ComparedRuns, request: AttentionRequest) -> str:
    """Say which special positions the maps hold: by word, special tokens are of no word."""
    if request.exclude_special:
        return "excluded"
    if runs.level == "token":
        return "included"
    causal = any(run.spec.causal for run in (runs.baseline, *runs.others))
    return "special tokens excluded, first words of causal models included" if causal else "excluded"


def _attributes(runs: ComparedRuns, request: AttentionRequest) -> dict[str, Any]:
    return {
        **attributes_of("attention", runs.baseline, runs.others),
        "level": runs.level,
        "samples": runs.baseline.counts.samples,
        "special_positions": _special(runs, request),
        "group": runs.groups.name,
        "groups": runs.units[1],
        **(_of_words(runs, request) if runs.by_words else {}),
        "resamples": request.resamples,
        "resampling_seed": request.resampling_seed,
    }
