"""From the sums of a layer to its numbers: means over seeds, intervals, chance levels, seed floors, matched heads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from biocache.engine.analyses.attention.blocks import Measures
from biocache.engine.analyses.attention.means import estimates_of, finalised, over_heads
from biocache.engine.analyses.attention.request import CHANGES
from biocache.engine.analyses.attention.sums import Moments, Resamples, Sums
from biocache.engine.estimates import Estimates

__all__ = ["finish"]

Values = NDArray[np.float64]
_Sums = tuple[Moments, Resamples]


def finish(
    seeds: Sequence[Sums], measures: Measures, between: Mapping[tuple[int, int], Sums] | None = None
) -> dict[str, NDArray[Any]]:
    """Turn the sums of a layer into its numbers: the means over seeds.

    Parameters
    ----------
    seeds
        Over all samples, of each seed.
    measures
        What was measured.
    between
        Of the runs of two seeds, by their places.

    Returns
    -------
    dict of str to numpy.ndarray
        By variable of the result, without the dimensions training_size and layer: (metric, ...).
    """
    numbers: dict[str, NDArray[Any]] = {}
    pairs = [sums.pairs for sums in seeds if sums.pairs is not None]
    # A sample is in the groups of several classes of words, and the last group is of all its words.
    groups = slice(-1, None) if measures.by_words else None
    own = [_chosen(sums.own, sums.resamples, groups) for sums in seeds]
    if known := [each for each in own if each is not None]:
        numbers |= _of_equal_heads(known, measures)
        numbers |= _of_mismatched_heads(
            numbers["mean"], [_chosen(sums.chance, sums.chance_resamples, slice(None)) for sums in seeds], measures
        )
        if measures.labels is not None:
            by_class = [_chosen(sums.own, sums.resamples, slice(measures.labels)) for sums in seeds]
            by_label, _ = _by_group([each for each in by_class if each is not None], measures)
            numbers |= {f"label_{name}": values for name, values in by_label.items()}
        if between:
            numbers |= _between_seeds(between, measures)
        if pairs:
            numbers |= _matched(pairs, measures)
    elif pairs:
        numbers = {f"pair_{name}": values for name, values in _of_moments(pairs).items()}
        numbers["pair_mean"] = finalised(numbers["pair_mean"], measures.found)
    values = [_of_samples(sums.samples) for sums in seeds if sums.samples]
    if values:
        numbers["value"] = np.moveaxis(np.mean(values, axis=0), 0, -1)
    return numbers


def _chosen(own: Moments | None, resamples: Resamples | None, groups: slice | None) -> _Sums | None:
    """Return the sums of some groups; of all samples, as of one group, where no groups are named."""
    if own is None or resamples is None:
        return None
    if groups is None:
        return own.over_groups(), resamples.over_groups()
    return own.of_groups(groups), resamples.of_groups(groups)


def _of_samples(samples: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]]) -> NDArray[np.float32]:
    """Return the values of all samples (sample, metric, head), in their order."""
    order = np.argsort(np.concatenate([positions for positions, _ in samples]))
    found: NDArray[np.float32] = np.concatenate([values for _, values in samples])[order]
    return found


def _of_equal_heads(seeds: Sequence[_Sums], measures: Measures) -> dict[str, NDArray[Any]]:
    """Return the numbers of all samples, which are one group."""
    by_group, estimates = _by_group(seeds, measures)
    alone = [each[:, 0] for each in estimates]
    numbers = {name: values[:, 0] for name, values in by_group.items()} | _over_heads("layer", alone, measures)
    of_layer = [over_heads(each).whole for each in alone]
    return numbers | {
        "seed_mean": np.stack([each.whole for each in alone], axis=-1),
        "seed_layer_mean": np.stack(of_layer, axis=-1),
    }


def _of_mismatched_heads(mean: Values, seeds: Sequence[_Sums | None], measures: Measures) -> dict[str, NDArray[Any]]:
    """Return the chance level of each head and of the layer, and where the means (metric, head) are above it."""
    known = [each for each in seeds if each is not None]
    if not known:
        unknown = np.full(mean.shape, np.nan)
        names = ("chance", "chance_ci_low", "chance_ci_high", "above_chance")
        of_layer = ("layer_chance", "layer_chance_ci_low", "layer_chance_ci_high")
        return dict.fromkeys(names, unknown) | dict.fromkeys(of_layer, unknown[:, 0])
    by_group, estimates = _by_group(known, measures)
    numbers = {
        "chance": by_group["mean"][:, 0],
        **{f"chance_{bound}": by_group[bound][:, 0] for bound in ("ci_low", "ci_high")},
        **_over_heads("layer_chance", [each[:, 0] for each in estimates], measures),
    }
    numbers["layer_chance"] = numbers.pop("layer_chance_mean")
    for values in numbers.values():
        values[[not metric.has_chance for metric in measures.found]] = np.nan
    identity = np.array([metric.identity for metric in measures.found])[:, np.newaxis]
    room, above = identity - numbers["chance"], mean - numbers["chance"]
    return numbers | {"above_chance": np.divide(above, room, out=np.full(above.shape, np.nan), where=room != 0)}


def _between_seeds(between: Mapping[tuple[int, int], Sums], measures: Measures) -> dict[str, NDArray[Any]]:
    """Return how alike runs are that differ in nothing but the seed; of changes, which have a sign, their size."""
    change = np.array([metric.name in CHANGES for metric in measures.found])[:, np.newaxis]
    found = {
        pair: estimates_of(sums.own.over_groups(), sums.resamples.over_groups(), measures.found)[:, 0]
        for pair, sums in between.items()
        if sums.own is not None and sums.resamples is not None
    }
    numbers: dict[str, NDArray[Any]] = {}
    for name, own in (
        ("between_seeds", found),
        ("layer_between_seeds", {pair: over_heads(each) for pair, each in found.items()}),
    ):
        where = change if name == "between_seeds" else change[:, 0]
        sized = {
            pair: Estimates(
                np.where(where, np.abs(each.whole), each.whole),
                np.where(where[..., np.newaxis], np.abs(each.others), each.others),
                each.size,
            )
            for pair, each in own.items()
        }
        mean = Estimates.between_seeds(sized)
        low, high = _interval(mean, measures)
        # A size is not negative.
        numbers |= {name: mean.whole, f"{name}_ci_low": np.where(where, np.maximum(low, 0.0), low)}
        numbers[f"{name}_ci_high"] = high
    return numbers


def _over_heads(name: str, seeds: Sequence[Estimates], measures: Measures) -> dict[str, NDArray[Any]]:
    """Return the means over heads, with their intervals, of estimates (metric, head) of each seed."""
    mean = Estimates.over_seeds([over_heads(each) for each in seeds])
    low, high = _interval(mean, measures)
    return {f"{name}_mean": mean.whole, f"{name}_ci_low": low, f"{name}_ci_high": high}


def _by_group(seeds: Sequence[_Sums], measures: Measures) -> tuple[dict[str, NDArray[Any]], list[Estimates]]:
    """Return the numbers of groups of values, means over seeds, and the means of each seed, (metric, group, head)."""
    estimates = [estimates_of(own, resamples, measures.found) for own, resamples in seeds]
    mean = Estimates.over_seeds(estimates)
    low, high = _interval(mean, measures)
    moments = _of_moments([own for own, _ in seeds])
    numbers = {name: np.swapaxes(values, 0, 1) for name, values in moments.items() if name != "mean"}
    return {"mean": mean.whole, "ci_low": low, "ci_high": high, **numbers}, estimates


def _of_moments(seeds: Sequence[Moments]) -> dict[str, NDArray[Any]]:
    """Return means over seeds, standard deviations of samples within seeds, and the least count of a seed."""
    spread = np.sqrt(np.mean([own.deviation() ** 2 for own in seeds], axis=0))
    count = np.min([own.count for own in seeds], axis=0).astype(np.int64)
    means = np.mean([own.mean() for own in seeds], axis=0)
    return {"mean": means, "std": spread, "count": count}


def _interval(estimates: Estimates, measures: Measures) -> tuple[Values, Values]:
    """Return the intervals of estimates (metric, ...), within the ranges of the metrics."""
    low, high = estimates.interval()
    return finalised(low, measures.found), finalised(high, measures.found)


def _matched(seeds: Sequence[Moments], measures: Measures) -> dict[str, NDArray[Any]]:
    """Match heads one to one so that the sum of the distances of their means from that for identical maps is least.

    References
    ----------
    Kuhn HW. The Hungarian method for the assignment problem. Nav Res Logist Q 1955;2:83-97.
    https://doi.org/10.1002/nav.3800020109
    """
    found = _of_moments(seeds)
    mean, deviation = finalised(found["mean"], measures.found), found["std"]
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
