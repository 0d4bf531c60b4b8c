"""The tasks of a comparison: what is of one layer, and what is of some layers of two runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.representations.pairs import Described, describe
from biocache.engine.analyses.representations.products import Products, Side, blocks_of, mean_kernels
from biocache.engine.analyses.representations.reading import CHUNK, read_chunks
from biocache.engine.analyses.representations.request import RepresentationRequest
from biocache.engine.analyses.representations.runs import ComparedRuns, Comparison, Units
from biocache.engine.executor import Task
from biocache.engine.machine import machine_memory
from biocache.store import Run

__all__ = ["LayerPart", "PairPart", "all_tasks", "compare_layers", "describe_layer"]

Values = NDArray[np.float64]

# Most bytes of the products of the layers that a task compares, and most of the memory of all tasks; of one pair of
# layers they may be more. Larger tasks read layers fewer times.
_PRODUCT_BYTES, _PARTS = 5 * 2**29, 4
# Copies of the product of two layers that a singular value decomposition makes, about.
_DECOMPOSITION = 6
# Values that are not asked for.
_NONE = np.empty(0)


@dataclass(frozen=True, eq=False)
class LayerPart:
    """What is of one layer of one run.

    Attributes
    ----------
    hsic
        The criterion of the layer and itself, of all units and without each block, float64 (1 + block); empty where
        CKA is not asked for.
    trace
        Trace of its centred kernel.
    described
        Distances between the drawn units; None where they are not asked for.
    """

    hsic: Values
    trace: float
    described: Described | None


@dataclass(frozen=True, eq=False)
class PairPart:
    """What is of one layer of a run and one of another.

    Attributes
    ----------
    hsic
        As of `LayerPart`, of the two layers.
    procrustes
        The Procrustes distance, of all units and without each block, float64 (1 + block); empty where it is not asked
        for.
    shuffled
        The distance where the units of one layer are shuffled.
    """

    hsic: Values
    procrustes: Values
    shuffled: float


def all_tasks(runs: ComparedRuns, units: Units, request: RepresentationRequest) -> list[Task]:
    """Return the tasks: keys are ("layer", run, layer), and ("pairs", first run, second run, number of the task)."""
    tasks, asked = [], set(request.metrics)
    if asked & {"cka", "rsa", "knn"}:
        of_layer = units if "cka" in asked else units.drawn_only()
        for place, run in enumerate(runs.runs):
            memory = _layer_bytes(run, of_layer, request)
            tasks += [
                Task(("layer", place, layer), describe_layer, (run, layer, runs.level, of_layer, request), memory)
                for layer in runs.layers_of(place)
            ]
    if asked & {"cka", "procrustes"}:
        for comparison in runs.comparisons():
            sides = tuple(runs.runs[place] for place in (comparison.first, comparison.second))
            for number, pairs in enumerate(_tiles(sides, comparison, units, request)):
                key = ("pairs", comparison.first, comparison.second, number)
                memory = _pair_bytes(sides, pairs, units, request)
                tasks.append(Task(key, compare_layers, (*sides, pairs, runs.level, units, request), memory))
    return tasks


def _tiles(
    sides: Sequence[Run], comparison: Comparison, units: Units, request: RepresentationRequest
) -> Iterator[tuple[tuple[int, int], ...]]:
    """Cut pairs of layers into tiles, whose layers are read once for all their pairs."""
    room = min(_PRODUCT_BYTES, (request.max_memory or machine_memory() // 2) // _PARTS)
    most = max(1, isqrt(room // _product_bytes(sides, units)))
    layers = [sorted({pair[end] for pair in comparison.pairs}) for end in (0, 1)]
    # As many tiles as there must be, of about equal sizes.
    tile = [-(-len(own) // -(-len(own) // most)) for own in layers]
    place = [
        {layer: number // size for number, layer in enumerate(own)} for own, size in zip(layers, tile, strict=True)
    ]
    tiles: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for pair in comparison.pairs:
        tiles.setdefault((place[0][pair[0]], place[1][pair[1]]), []).append(pair)
    yield from map(tuple, tiles.values())


def _product_bytes(sides: Sequence[Run], units: Units) -> int:
    """Return the bytes of the products of two layers: of each block, and of all units twice as many."""
    return 4 * (units.blocks + 2) * sides[0].spec.feature_size * sides[1].spec.feature_size


def _reading_bytes(run: Run, layers: int, units: Units) -> int:
    """Return the bytes of the rows of a run, with those of a pack as stored and widened, and a copy by block."""
    features = run.spec.feature_size
    return layers * 4 * features * (2 * min(CHUNK, len(units)) + 2 * run.plan.rows.chunk)


def _layer_bytes(run: Run, units: Units, request: RepresentationRequest) -> int:
    # Cosines with their copies, and the numbers of pairs as they are ranked.
    drawn = 8 * 6 * len(units.drawn) ** 2 if {"rsa", "knn"} & set(request.metrics) else 0
    rows = 8 * 3 * len(units.drawn) * run.spec.feature_size if drawn else 0
    products = _product_bytes((run, run), units) * 2 if "cka" in request.metrics else 0
    return _reading_bytes(run, 1, units) + products + drawn + rows


def _pair_bytes(
    sides: Sequence[Run], pairs: Sequence[tuple[int, int]], units: Units, request: RepresentationRequest
) -> int:
    one = _product_bytes(sides, units)
    # A product as it is multiplied and summed, and shuffled or decomposed.
    copies = 2 + (len(pairs) + _DECOMPOSITION if "procrustes" in request.metrics else 0)
    layers = [len({pair[end] for pair in pairs}) for end in (0, 1)]
    reading = sum(_reading_bytes(run, count, units) for run, count in zip(sides, layers, strict=True))
    return len(pairs) * one + copies * 2 * one // (units.blocks + 2) + reading


# What follows runs inside tasks and is sent to workers.


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a layer (unit, feature) with their squared lengths (unit)."""

    rows: NDArray[np.float32]
    squares: Values

    def part(self, units: NDArray[np.int64] | slice) -> "_Rows":
        """Return the rows of some units."""
        return _Rows(self.rows[units], self.squares[units])


def describe_layer(run: Run, layer: int, level: str, units: Units, request: RepresentationRequest) -> LayerPart:
    """Read one layer of one run, and return what is of it alone."""
    asked, features = {"rsa", "knn"} & set(request.metrics), run.spec.feature_size
    drawn = np.empty((len(units.drawn), features), np.float32) if asked else None
    own = _Layers(run, (layer,), level, units, request, drawn)
    products = Products.zero(units.blocks, features, features) if "cka" in request.metrics else None
    for where, (rows,) in own.chunks():
        if products is None:
            continue
        for block, chosen in blocks_of(units.block[where]):
            part = rows.part(chosen)
            own.add(block, [part])
            products.add(block, part.rows, part.rows, part.squares, part.squares)
    described = None
    if drawn is not None:
        described = describe(drawn, ranks="rsa" in asked, neighbours=_neighbours(units, request))
    if products is None:
        return LayerPart(_NONE, np.nan, described)
    count, (sums,) = _counts(units), own.sums
    return LayerPart(products.hsic(count, sums, sums, biased=request.biased), mean_kernels(count, sums), described)


def _neighbours(units: Units, request: RepresentationRequest) -> int:
    """Return how many neighbours are kept, so that enough are left without any block."""
    if "knn" not in request.metrics:
        return 0
    return request.neighbours + int(np.bincount(units.block[units.drawn]).max())


def _counts(units: Units) -> Values:
    return np.bincount(units.block, minlength=units.blocks).astype(np.float64)


class _Layers:
    """Some layers of one run: sums over their units, and the rows of a chunk, shifted to near their means."""

    def __init__(
        self,
        run: Run,
        layers: Sequence[int],
        level: str,
        units: Units,
        request: RepresentationRequest,
        drawn: NDArray[np.float32] | None = None,
    ) -> None:
        self.numbers = list(layers)
        self.features = run.spec.feature_size
        self.sums = [Side.zero(units.blocks, self.features) for _ in layers]
        self._reading = read_chunks(run, level, request.pooling, layers, units)
        self._shift: NDArray[np.float32] | None = None
        self._places, self._drawn = units.drawn, drawn

    def chunks(self) -> Iterator[tuple[slice, list[_Rows]]]:
        """Yield the places of some units, and their rows of each layer; keep those of drawn units of the first."""
        for where, rows in self._reading:
            if self._drawn is not None:
                own = slice(*np.searchsorted(self._places, (where.start, where.stop)).tolist())
                self._drawn[own] = rows[0, self._places[own] - where.start]
            if self._shift is None:
                self._shift = rows.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
            rows -= self._shift
            yield where, [_Rows(layer, np.einsum("nd,nd->n", layer, layer).astype(np.float64)) for layer in rows]

    def add(self, block: int, rows: Sequence[_Rows]) -> None:
        """Add the rows of each layer of a block."""
        for sums, own in zip(self.sums, rows, strict=True):
            sums.add(block, own.rows, own.squares)


def compare_layers(
    first: Run,
    second: Run,
    pairs: Sequence[tuple[int, int]],
    level: str,
    units: Units,
    request: RepresentationRequest,
) -> dict[tuple[int, int], PairPart]:
    """Read some layers of two runs, and return what is of each pair."""
    one, two = (
        _Layers(run, sorted({pair[end] for pair in pairs}), level, units, request)
        for end, run in enumerate((first, second))
    )
    places = [(one.numbers.index(own), two.numbers.index(other)) for own, other in pairs]
    products = [Products.zero(units.blocks, one.features, two.features) for _ in pairs]
    wanted = "procrustes" in request.metrics
    shuffled = [Products.zero(1, one.features, two.features) for _ in pairs if wanted]
    for (where, rows), (_, others) in zip(one.chunks(), two.chunks(), strict=True):
        for block, chosen in blocks_of(units.block[where]):
            own, its = [each.part(chosen) for each in rows], [each.part(chosen) for each in others]
            one.add(block, own)
            two.add(block, its)
            for (left, right), sums in zip(places, products, strict=True):
                sums.add(block, own[left].rows, its[right].rows, own[left].squares, its[right].squares)
        order = np.random.default_rng((request.sampling_seed, where.start)).permutation(where.stop - where.start)
        for (left, right), sums in zip(places, shuffled, strict=False):
            sums.whole[...] += rows[left].rows.T @ others[right].rows[order]
    count, found = _counts(units), {}
    for number, (left, right) in enumerate(places):
        ends = one.sums[left], two.sums[right]
        found[pairs[number]] = PairPart(
            products[number].hsic(count, *ends, biased=request.biased) if "cka" in request.metrics else _NONE,
            products[number].procrustes(count, *ends) if wanted else _NONE,
            _shuffled_distance(shuffled[number], count, *ends) if wanted else np.nan,
        )
    return found


def _shuffled_distance(sums: Products, count: Values, first: Side, second: Side) -> float:
    """Return the Procrustes distance of shuffled units, whose sums of either layer are those of all units."""
    whole = [Side(side.total.sum(axis=0, keepdims=True), side.square.sum(keepdims=True)) for side in (first, second)]
    return float(sums.procrustes(count.sum(keepdims=True), whole[0], whole[1])[0])
