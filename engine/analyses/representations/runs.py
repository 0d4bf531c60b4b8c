"""The runs of a comparison of representations, the units that they share, and what is compared with what."""

from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.baseline import find_baseline, refuse_unlike_data
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
class ComparedRuns:
    """The baseline run, those that are compared with it, and those of other seeds.

    Attributes
    ----------
    baseline, others
        The runs, of others one a training size.
    seeds
        Complete runs of each of the others with another seed.
    level
        ``word`` or ``sample``.
    layers
        Layers of the baseline and of the others.
    groups
        Groups of the samples.
    """

    baseline: Run
    others: tuple[Run, ...]
    seeds: tuple[tuple[Run, ...], ...]
    level: str
    layers: tuple[tuple[int, ...], tuple[int, ...]]
    groups: Groups

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs: the baseline, the others, and those of other seeds."""
        return (self.baseline, *self.others, *(run for runs in self.seeds for run in runs))

    def layers_of(self, run: int) -> tuple[int, ...]:
        """Return the layers of a run, by its position, that are compared."""
        return self.layers[min(run, 1)]

    def comparisons(self) -> list[Comparison]:
        """Return all that is compared: all layers of the baseline and another, and equal layers of two seeds."""
        every = tuple((own, other) for own in self.layers[0] for other in self.layers[1])
        found = [Comparison(0, 1 + place, every) for place in range(len(self.others))]
        return found + [each for own in self.seed_comparisons() for each in own]

    def seed_comparisons(self) -> list[list[Comparison]]:
        """Return for each of the others the comparisons with its runs of other seeds."""
        equal, place, found = tuple((layer, layer) for layer in self.layers[1]), 1 + len(self.others), []
        for own, runs in enumerate(self.seeds):
            found.append([Comparison(1 + own, place + number, equal) for number in range(len(runs))])
            place += len(runs)
        return found


def find_runs(store: Store, request: RepresentationRequest) -> ComparedRuns:
    """Find the runs of a request, and refuse what cannot be compared.

    Raises
    ------
    RunNotFoundError, AmbiguousRunError, IncompleteRunError
        As `find_baseline`.
    SpecMismatchError
        If runs read other samples, or were cut at another length, or training sizes have other layers.
    SettingError
        If a layer is not stored, or `against` comes without a model.
    """
    baseline, others = find_baseline(store, request, "hidden")
    refuse_unlike_data([baseline, *others], _WHAT)
    refuse_unlike(others, {"layers": "compare them one by one"}, "compared", _WHAT)
    layers = tuple(_layers(run, request) for run in (baseline, others[0]))
    return ComparedRuns(
        baseline=baseline,
        others=others,
        seeds=tuple(_other_seeds(store, run) for run in others),
        level=request.level or _level(baseline),
        layers=(layers[0], layers[1]),
        groups=find_groups(baseline),
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


def _other_seeds(store: Store, run: Run) -> tuple[Run, ...]:
    """Return the complete runs that differ from a fine-tuned one in the seed alone."""
    if run.key.training_size == 0:
        return ()
    parts = {name: value for name, value in run.key.items() if name != "seed"}
    return tuple(
        other
        for other in store.select(**parts)
        if other.key != run.key and "hidden" in other.spec.keep and other.complete and _is_like(other, run)
    )


def _is_like(other: Run, run: Run) -> bool:
    alike = ("limit", "dataset_digest", "max_length", "stride", "layers", "level")
    return all(getattr(other.spec, name) == getattr(run.spec, name) for name in alike)


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
