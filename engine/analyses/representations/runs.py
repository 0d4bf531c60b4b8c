"""The runs of a comparison of representations, the units that they share, and what is compared with what."""

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.baseline import BaselineRuns, find_baseline, refuse_unlike_data
from biocache.engine.analyses.representations.request import LEAST_UNITS, RepresentationRequest
from biocache.engine.corpora.base import TASKS
from biocache.engine.grouping import Groups, find_groups
from biocache.engine.selection import refuse_unlike
from biocache.engine.statistics import drawn_samples
from biocache.store import Run, Store
from biocache.store.errors import SettingError
from biocache.store.levels import rows_of_samples

__all__ = ["ComparedRuns", "Comparison", "Units", "find_runs", "shared_units", "view_of"]

_WHAT = "representations of "


@dataclass(frozen=True)
class Comparison:
    """Two of the runs that are compared, by their positions, and their layers.

    Attributes
    ----------
    first, second
        Positions in `ComparedRuns.runs`.
    pairs
        Pairs of layers, by number.
    """

    first: int
    second: int
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class ComparedRuns(BaselineRuns):
    """The baseline and the runs that are compared with it.

    Attributes
    ----------
    sizes
        As of `BaselineRuns`.
    level
        ``word`` or ``sample``.
    layers
        Layers of the baseline and of the others.
    groups
        Groups of the samples.
    """

    level: str
    layers: tuple[tuple[int, ...], tuple[int, ...]]
    groups: Groups

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs: those of the baseline, then the others."""
        return (*self.baselines, *self.others)

    def layers_of(self, run: int) -> tuple[int, ...]:
        """Return the layers of a run, by its position, that are compared."""
        return self.layers[int(run >= len(self.baselines))]

    def comparisons(self) -> list[Comparison]:
        """Return all that is compared: all layers of runs and their baselines, and equal layers of two seeds."""
        return [each for own in (*self.with_baseline(), *self.between_seeds()) for each in own]

    def with_baseline(self) -> list[list[Comparison]]:
        """Return for each training size the comparisons with the baseline, one a seed."""
        every = tuple((own, other) for own in self.layers[0] for other in self.layers[1])
        first = {run.key: place for place, run in enumerate(self.baselines)}
        return [
            [Comparison(first[baseline.key], self._place(run), every) for baseline, run in size.pairs]
            for size in self.sizes
        ]

    def between_seeds(self) -> list[list[Comparison]]:
        """Return for each training size the comparisons of every two seeds."""
        equal = tuple((layer, layer) for layer in self.layers[1])
        return [
            [Comparison(self._place(one), self._place(other), equal) for one, other in size.seed_pairs]
            for size in self.sizes
        ]

    def _place(self, run: Run) -> int:
        return len(self.baselines) + [other.key for other in self.others].index(run.key)


def find_runs(store: Store, request: RepresentationRequest) -> ComparedRuns:
    """Find the runs of a request, and refuse what cannot be compared.

    Raises
    ------
    RunNotFoundError, AmbiguousRunError, IncompleteRunError
        As `find_baseline`.
    SpecMismatchError
        If runs read other samples, or were cut at another length, or training sizes or seeds have other layers.
    SettingError
        If a layer is not stored, or `against` comes without a model.
    """
    sizes = find_baseline(store, request, "hidden")
    found = BaselineRuns(sizes)
    refuse_unlike_data([*found.baselines, *found.others], _WHAT)
    for alike in (found.baselines, found.others):
        refuse_unlike(alike, {"layers": "compare them one by one"}, "compared", _WHAT)
    layers = tuple(_layers(run, request) for run in (found.baseline, found.others[0]))
    return ComparedRuns(
        sizes=sizes,
        level=request.level or _level(found.baseline),
        layers=(layers[0], layers[1]),
        groups=find_groups(found.baseline),
    )


def _level(run: Run) -> str:
    if run.spec.level != "token":
        return run.spec.level
    return "word" if TASKS[run.key.task].labels_words else "sample"


def _layers(run: Run, request: RepresentationRequest) -> tuple[int, ...]:
    if request.layers is None:
        return run.spec.layers
    missing = next((layer for layer in request.layers if layer not in run.spec.layers), None)
    if missing is not None:
        kept = ", ".join(map(str, run.spec.layers))
        raise SettingError(f"--layers {missing} is not stored in run {run.key}, which has {kept}; name some of these")
    return tuple(sorted(request.layers))


def view_of(run: Run, level: str, pooling: str) -> xr.Dataset:
    """Return the view of a run whose rows are words or samples, without labels."""
    if level == "word":
        return run.words(pooling, labels=())
    return run.samples(pooling, labels=())


@dataclass(frozen=True, eq=False)
class Units:
    """The words or samples that all runs have, and the blocks of whole groups that they are in.

    Attributes
    ----------
    position
        Positions among the words or samples of the corpus, ascending, int64 (unit).
    block
        Block of every unit, from 0, int64 (unit).
    blocks, groups
        Number of blocks, and of groups.
    drawn
        The units, by their places here, that RSA and nearest neighbours are computed from, ascending, int64 (drawn).
    total
        Number of words or samples of the corpus.
    lost
        Number of these that a run has no token of.
    """

    position: NDArray[np.int64]
    block: NDArray[np.int64]
    blocks: int
    groups: int
    drawn: NDArray[np.int64]
    total: int
    lost: int

    def __len__(self) -> int:
        return len(self.position)

    def drawn_only(self) -> "Units":
        """Return the drawn units alone."""
        return replace(
            self,
            position=self.position[self.drawn],
            block=self.block[self.drawn],
            drawn=np.arange(len(self.drawn)),
        )


def shared_units(runs: ComparedRuns, request: RepresentationRequest) -> Units:
    """Return the units of a comparison.

    Raises
    ------
    SettingError
        If the runs share fewer than four, or a run keeps too little to make them.
    """
    views = [view_of(run, runs.level, request.pooling) for run in runs.runs]
    if runs.level == "word":
        total = runs.baseline.counts.words
        shared = reduce(np.intersect1d, [view["word"].to_numpy() for view in views]).astype(np.int64)
    else:
        total = runs.baseline.counts.samples
        there = [rows_of_samples(run, request.pooling, special_tokens=False)[0] for run in runs.runs]
        shared = np.flatnonzero(np.logical_and.reduce(there))
    if len(shared) < LEAST_UNITS:
        raise SettingError(
            f"{_WHAT}{runs.baseline.key} and {runs.others[0].key} cannot be compared: they share {len(shared)} "
            f"{runs.level}s that have tokens, and {LEAST_UNITS} are needed; extract more samples"
        )
    position = shared[drawn_samples(len(shared), request.units, request.sampling_seed)]
    sample = runs.baseline.column("words/sample")[position] if runs.level == "word" else position
    block, groups = _blocks(sample, runs.groups, request.blocks)
    return Units(
        position=position,
        block=block,
        blocks=int(block.max()) + 1,
        groups=groups,
        drawn=drawn_samples(len(position), request.sample, request.sampling_seed),
        total=total,
        lost=total - len(shared),
    )


def _blocks(sample: NDArray[np.int64], groups: Groups, most: int) -> tuple[NDArray[np.int64], int]:
    """Return the block of every unit, and the number of groups: blocks hold whole groups and about as many units.

    Groups follow each other as they first appear in the corpus: neighbours, which may belong together without a label
    that says so, are mostly in one block.
    """
    group, count = groups.numbered(sample)
    if count <= most:
        return group, count
    size = np.bincount(group)
    # A group that is larger than a block leaves numbers unused.
    place = (np.cumsum(size) - size) * most // len(group)
    return np.unique(place, return_inverse=True)[1][group], count
