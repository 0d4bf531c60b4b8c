"""Rows of features with their labels, of one layer or several, from the views of runs: what a probe is fitted on."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.pooling import sample_pooling
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.analyses.probing.target import Target
from biocache.store.reading import Run
from biocache.store.schema import SPANS

__all__ = ["Rows", "feature_size", "read_rows", "view_of"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Words, samples, spans or relations as a classifier sees them.

    Attributes
    ----------
    features
        float32 (row, feature).
    labels
        Label of every row (row): int64, as a position in the names of the target, or float64.
    sample
        Position of every row's sample in the run (row), int64; it never decreases.
    """

    features: NDArray[np.float32]
    labels: NDArray[Any]
    sample: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def of_samples(self, samples: NDArray[np.integer]) -> Self:
        """Return the rows of some samples, in their own order."""
        kept = np.isin(self.sample, samples)
        return type(self)(self.features[kept], self.labels[kept], self.sample[kept])

    def sequences(self) -> list[slice]:
        """Return where the rows of each sample lie, in their order."""
        bounds = [0, *(np.flatnonzero(np.diff(self.sample)) + 1).tolist(), len(self)]
        return [slice(first, last) for first, last in pairwise(bounds) if last > first]


def feature_size(runs: Sequence[Run], target: Target, request: ProbeRequest) -> int:
    """Return the length of a row's features of one layer."""
    parts = len(runs) * SPANS.get(target.level, 1)
    return runs[0].spec.feature_size * parts * (2 if request.combine == "full" else 1)


def view_of(run: Run, target: Target, request: ProbeRequest) -> xr.Dataset:
    """Return the view of a run whose rows are those of a target.

    Raises
    ------
    SettingError
        If the run keeps hidden states of another level, from which they do not follow, or no token is the one that
        the pooling asks for.
    """
    if target.level == "samples":
        pooling, special_tokens = sample_pooling(run, request.pooling)
        return run.samples(pooling, special_tokens, labels=())
    if target.level == "spans":
        return run.spans(target.labels, request.pooling)
    if target.level == "relations":
        return run.relations(target.labels, request.pooling)
    return run.words(request.pooling, labels=())


def read_rows(
    runs: Sequence[Run], target: Target, request: ProbeRequest, layers: Sequence[int], samples: NDArray[np.int64]
) -> tuple[Rows, NDArray[np.int64]]:
    """Read the rows of some samples, each layer once.

    Parameters
    ----------
    runs
        Runs of one split: one, or premise and hypothesis.
    target
        What is predicted.
    request
        Defines a row: pooling and combination of texts.
    layers
        The layers, whose features lie side by side.
    samples
        Positions of the samples (sample), ascending.

    Returns
    -------
    rows
        Rows that have tokens and a label; ``max_length`` or the tokenizer may have left no token.
    position
        Position of every row among all rows of the corpus (row).
    """
    views = [view_of(run, target, request) for run in runs]
    labels = target.aligned(runs[0])
    row = views[0][target.level.removesuffix("s")].to_numpy()
    kept = np.isin(views[0]["sample"].to_numpy(), samples) & labels.known[row]
    position = row[kept].astype(np.int64)
    size = runs[0].spec.feature_size
    width = feature_size(runs, target, request)
    features = np.empty((len(position), width * len(layers)), np.float32)
    for number, layer in enumerate(layers):
        own = features[:, number * width : (number + 1) * width]
        for place, view in enumerate(views):
            seen = view.sizes["feature"]
            columns = own[:, place * seen : (place + 1) * seen]
            _fill(columns, view.hidden.sel(layer=layer), kept, runs[place].group.storage.at_once)
        if request.combine == "full":
            first, second, apart = (own[:, part * size : (part + 1) * size] for part in range(3))
            np.abs(np.subtract(first, second, out=apart), out=apart)
            np.multiply(first, second, out=own[:, 3 * size :])
    # A text that lost all its tokens has a mean of NaN.
    sound = ~np.isnan(features[:, ::size]).any(axis=1)
    if not sound.all():
        features, position = features[sound], position[sound]
    return Rows(features, labels.values[position], target.samples(runs[0])[position]), position


def _fill(target: NDArray[np.float32], hidden: xr.DataArray, kept: NDArray[np.bool_], at_once: int) -> None:
    """Compute a layer block by block, so that only `at_once` blocks are in memory beside the rows."""
    todo: list[tuple[slice, NDArray[np.bool_], Any]] = []
    begin = row = 0
    for block in hidden.data.blocks:
        chosen = kept[row : row + block.shape[0]]
        row += block.shape[0]
        count = int(chosen.sum())
        if count:
            todo.append((slice(begin, begin + count), chosen, block))
        begin += count

    def fill(part: tuple[slice, NDArray[np.bool_], Any]) -> None:
        rows, chosen, block = part
        target[rows] = block.compute(scheduler="synchronous")[chosen]

    if at_once == 1:
        for part in todo:
            fill(part)
        return
    with ThreadPoolExecutor(at_once, "biocache-read") as pool:
        list(pool.map(fill, todo))
