"""From parts to the result of a comparison: similarities, intervals, chance levels and seed floors, as one Dataset."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.baseline import attributes_of
from biocache.engine.analyses.representations.comparison import LayerPart, PairPart
from biocache.engine.analyses.representations.pairs import correlations, shared_neighbours
from biocache.engine.analyses.representations.request import RepresentationRequest
from biocache.engine.analyses.representations.runs import ComparedRuns, Comparison, Units
from biocache.engine.estimates import Estimates

__all__ = ["TITLES", "make_dataset"]

Values = NDArray[np.float64]

#: Metric -> what it is, the value for representations that are the same but for a rotation and a scale, and its range.
TITLES: dict[str, tuple[str, float, tuple[float, float]]] = {
    "cka": ("linear CKA", 1.0, (-1.0, 1.0)),
    "procrustes": ("Procrustes distance", 0.0, (0.0, 2.0)),
    "rsa": ("Spearman's correlation of correlation distances", 1.0, (-1.0, 1.0)),
    "knn": ("share of mutual nearest neighbours", 1.0, (0.0, 1.0)),
}
#: Metrics that are correlations: their intervals are made on Fisher's scale.
_CORRELATIONS = ("cka", "rsa")
_NEAR_1 = 0.999
_SHARES = {
    "value": "value of all units",
    "value_ci_low": "lower end of the 95 % jackknife interval over blocks of groups",
    "value_ci_high": "upper end of the 95 % jackknife interval over blocks of groups",
    "chance": "value where the units of one run are shuffled",
}
_FLOOR = {
    "between_seeds": "mean value of the runs of two seeds, at equal layers",
    "between_seeds_ci_low": "lower end of the 95 % interval between seeds",
    "between_seeds_ci_high": "upper end of the 95 % interval between seeds",
}
_DIMS = ("metric", "training_size", "layer", "other_layer")


def make_dataset(
    runs: ComparedRuns, units: Units, request: RepresentationRequest, parts: Mapping[Any, Any]
) -> xr.Dataset:
    """Return the result of a comparison; see `compare_representations`."""
    numbers = _Numbers(runs, units, request, parts)
    variables = _variables(
        _DIMS,
        _SHARES,
        [[numbers.over_seeds(metric, seeds) for seeds in runs.with_baseline()] for metric in request.metrics],
    )
    if runs.several_seeds:
        of_seeds = [[numbers.of_seeds(metric, place) for place in range(len(runs.sizes))] for metric in request.metrics]
        variables["seed_value"] = ((*_DIMS, "seed"), np.array(of_seeds), {"long_name": "value of each seed"})
        floors = [[numbers.between_seeds(metric, own) for own in runs.between_seeds()] for metric in request.metrics]
        variables |= _variables(("metric", "training_size", "other_layer"), _FLOOR, floors)
    return xr.Dataset(variables, _coordinates(runs, request), _attributes(runs, units, request))


def _variables(dims: tuple[str, ...], meanings: Mapping[str, str], found: list[list[Any]]) -> dict[str, Any]:
    """Return variables of numbers, (metric, training size, number) of arrays."""
    return {
        name: (dims, np.stack([[own[place] for own in each] for each in found]), {"long_name": meaning})
        for place, (name, meaning) in enumerate(meanings.items())
    }


class _Numbers:
    """The numbers of comparisons, from the results of the tasks."""

    def __init__(
        self, runs: ComparedRuns, units: Units, request: RepresentationRequest, parts: Mapping[Any, Any]
    ) -> None:
        self._runs, self._units, self._request = runs, units, request
        self._layers: dict[tuple[int, int], LayerPart] = {
            (key[1], key[2]): part for key, part in parts.items() if key[0] == "layer"
        }
        self._pairs: dict[tuple[int, int, int, int], PairPart] = {
            (key[1], key[2], *pair): found
            for key, part in parts.items()
            if key[0] == "pairs"
            for pair, found in part.items()
        }

    def _of(self, metric: str, comparison: Comparison) -> tuple[Estimates, Values]:
        """Return values with those without each block, and chance levels (layer, other layer)."""
        known: dict[str, Callable[[Comparison], tuple[Values, Values | float]]] = {
            "cka": self._cka,
            "procrustes": self._procrustes,
            "rsa": self._rsa,
            "knn": self._knn,
        }
        values, chance = known[metric](comparison)
        found = Estimates(values[..., 0], values[..., 1:], np.ones(values.shape[-1] - 1))
        return found, np.broadcast_to(chance, found.whole.shape)

    def over_seeds(self, metric: str, seeds: list[Comparison]) -> tuple[Values, Values, Values, Values]:
        """Return means over seeds, both ends of their intervals, and chance levels (layer, other layer)."""
        found = [self._of(metric, comparison) for comparison in seeds]
        mean = Estimates.over_seeds([own for own, _ in found])
        return mean.whole, *_interval(metric, mean), np.mean([chance for _, chance in found], axis=0)

    def of_seeds(self, metric: str, size: int) -> Values:
        """Return the values of each seed of a size, by its place (layer, other layer, seed); NaN for other seeds."""
        seeds, all_seeds = self._runs.sizes[size].seeds, self._runs.several_seeds
        found = np.full((*map(len, self._runs.layers), len(all_seeds)), np.nan)
        for seed, comparison in zip(seeds, self._runs.with_baseline()[size], strict=True):
            found[..., all_seeds.index(seed)] = self._of(metric, comparison)[0].whole
        return found

    def between_seeds(self, metric: str, pairs: list[Comparison]) -> tuple[Values, Values, Values]:
        """Return the means of equal layers of two seeds, with their intervals (layer); NaN without pairs."""
        if not pairs:
            unknown = np.full(len(self._runs.layers[1]), np.nan)
            return unknown, unknown, unknown
        place = np.arange(len(self._runs.layers[1]))
        mean = Estimates.between_seeds(
            {(pair.first, pair.second): self._of(metric, pair)[0][place, place] for pair in pairs}
        )
        return mean.whole, *_interval(metric, mean)

    def _grid(self, comparison: Comparison, value: Callable[[tuple[int, int]], Any]) -> Values:
        """Return a value for each pair of layers; NaN for those that are not compared."""
        layers = [self._runs.layers_of(place) for place in (comparison.first, comparison.second)]
        shape = np.shape(value(comparison.pairs[0]))
        found = np.full((len(layers[0]), len(layers[1]), *shape), np.nan)
        for own, other in comparison.pairs:
            found[layers[0].index(own), layers[1].index(other)] = value((own, other))
        return found

    def _sides(self, comparison: Comparison, pair: tuple[int, int]) -> tuple[LayerPart, LayerPart]:
        return self._layers[comparison.first, pair[0]], self._layers[comparison.second, pair[1]]

    def _cka(self, comparison: Comparison) -> tuple[Values, Values | float]:
        n = len(self._units)

        def value(pair: tuple[int, int]) -> Values:
            own, other = self._sides(comparison, pair)
            scale = own.hsic * other.hsic
            both = self._pairs[comparison.first, comparison.second, *pair].hsic
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(scale > 0, both / np.sqrt(scale), np.nan)

        def shuffled(pair: tuple[int, int]) -> float:
            # The mean over all orders of the units of one run.
            own, other = self._sides(comparison, pair)
            scale = own.hsic[0] * other.hsic[0]
            return float(own.trace * other.trace / (n - 1) ** 3 / np.sqrt(scale)) if scale > 0 else np.nan

        chance = self._grid(comparison, shuffled) if self._request.biased else 0.0
        return self._grid(comparison, value), chance

    def _procrustes(self, comparison: Comparison) -> tuple[Values, Values | float]:
        parts = {pair: self._pairs[comparison.first, comparison.second, *pair] for pair in comparison.pairs}
        chance = self._grid(comparison, lambda pair: parts[pair].shuffled)
        return self._grid(comparison, lambda pair: parts[pair].procrustes), chance

    def _described(self, comparison: Comparison) -> list[Any]:
        return [
            [self._layers[place, layer].described for layer in self._runs.layers_of(place)]
            for place in (comparison.first, comparison.second)
        ]

    def _blocks(self) -> tuple[NDArray[np.int64], int]:
        return self._units.block[self._units.drawn], self._units.blocks

    def _rsa(self, comparison: Comparison) -> tuple[Values, Values | float]:
        first, second = self._described(comparison)
        return correlations(first, second, *self._blocks()), 0.0

    def _knn(self, comparison: Comparison) -> tuple[Values, Values | float]:
        first, second = self._described(comparison)
        neighbours = self._request.neighbours
        values = shared_neighbours(first, second, *self._blocks(), neighbours)
        return values, neighbours / (len(self._units.drawn) - 1)


def _interval(metric: str, mean: Estimates) -> tuple[Values, Values]:
    """Return the interval of values, which are a mean over seeds."""
    least, most = TITLES[metric][2]
    bounds = [np.clip(bound, least, most) for bound in mean.interval()]
    if metric in _CORRELATIONS:
        # Near 1 the scale makes much of rounding.
        known = np.maximum(np.abs(mean.whole), np.abs(mean.others).max(axis=-1)) < _NEAR_1
        if mean.seeds is not None:
            known &= np.abs(mean.seeds).max(axis=-1) < _NEAR_1
        where = known[..., np.newaxis]
        scaled = Estimates(
            np.arctanh(np.where(known, mean.whole, 0.0)),
            np.arctanh(np.where(where, mean.others, 0.0)),
            mean.size,
            None if mean.seeds is None else np.arctanh(np.where(where, mean.seeds, 0.0)),
        )
        bounds = [np.where(known, np.tanh(own), bound) for own, bound in zip(scaled.interval(), bounds, strict=True)]
    return bounds[0], bounds[1]


def _texts(texts: Any) -> NDArray[Any]:
    return np.array(list(texts), dtype=object)


def _coordinates(runs: ComparedRuns, request: RepresentationRequest) -> dict[str, Any]:
    titles = [_title(metric, request) for metric in request.metrics]
    return {
        "metric": ("metric", _texts(request.metrics)),
        "title": ("metric", _texts(titles), {"long_name": "what the values are"}),
        "identity": (
            "metric",
            [TITLES[metric][1] for metric in request.metrics],
            {"long_name": "value for representations that are the same but for a rotation and a scale"},
        ),
        **runs.coordinates,
        "layer": ("layer", list(runs.layers[0]), {"long_name": "layer of the baseline, 0 for the embeddings"}),
        "other_layer": ("other_layer", list(runs.layers[1]), {"long_name": "layer of the other run"}),
    }


def _title(metric: str, request: RepresentationRequest) -> str:
    title = TITLES[metric][0]
    if metric != "cka":
        return title
    return f"biased {title}" if request.biased else f"debiased {title}"


def _attributes(runs: ComparedRuns, units: Units, request: RepresentationRequest) -> dict[str, Any]:
    return {
        **attributes_of("representations", runs),
        "level": runs.level,
        "pooling": request.pooling,
        "samples": runs.baseline.counts.samples,
        "units": len(units),
        "units_lost": units.lost,
        "drawn_units": len(units.drawn),
        "groups": units.groups,
        "group": runs.groups.name,
        "blocks": units.blocks,
        "neighbours": request.neighbours,
        "sampling_seed": request.sampling_seed,
    }
