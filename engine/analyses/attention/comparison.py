"""`compare_attention`: two runs and more of a store in, how alike their heads are out."""

import os
from dataclasses import dataclass
from functools import reduce
from itertools import product
from operator import add

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.attention.alignment import Alignment, align
from biocache.engine.analyses.attention.blocks import Measures, PackPair, compare_packs
from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analyses.attention.runs import ComparedRuns
from biocache.engine.analyses.attention.sums import Sums
from biocache.engine.analysis import compute
from biocache.engine.executor import Executor, OnProgress, Task
from biocache.store import Run

__all__ = ["RunSums", "compare_attention", "layer_pairs", "layer_tasks", "measures_of"]

# Tasks of a layer, at most: each sends its sums back, which are as large for one pack as for many.
_MOST_TASKS = 64
# Of a block: as stored, and widened tile by tile.
_BLOCK_COPIES = 2


@dataclass(frozen=True, eq=False)
class RunSums:
    """Sums over some samples, one for each run that is compared with the baseline; those of any packs add."""

    runs: tuple[Sums, ...]

    def __add__(self, other: "RunSums") -> "RunSums":
        return RunSums(tuple(own + more for own, more in zip(self.runs, other.runs, strict=True)))


def compare_attention(
    store: str | os.PathLike[str],
    request: AttentionRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> xr.Dataset:
    """Compare the attention maps of runs with those of a baseline run, head by head, from the store alone.

    Every chunk of the baseline is read once for all metrics and training sizes. The result is kept in the store; the
    same request finds it there. It does not depend on packs, workers or their order.

    Parameters
    ----------
    store
        Folder of the store.
    request
        Which runs, and how.
    workers
        Processes to compute in; None for threads of this one.
    scheduler_address
        Address of a Dask scheduler whose workers compute and see the store under the same path; None to compute here.
    force
        Whether to compute again what the store has the result of.
    on_progress
        Called with the tasks that are done and all there are.

    Returns
    -------
    xarray.Dataset
        In memory, with the dimensions (metric, training_size, layer, head): ``mean`` over samples, ``std``, ``ci_low``
        and ``ci_high`` (95 % bootstrap interval over samples), ``chance`` (mean of mismatched heads of the layer; NaN
        for changes), ``above_chance`` (0 at the chance level, 1 for equal maps) and ``count``; and (metric,
        training_size, layer): ``layer_mean``, ``layer_ci_low`` and ``layer_ci_high`` of the mean over heads. By label
        also ``label_mean``, ``label_std``, ``label_ci_low``, ``label_ci_high`` and ``label_count``, with the dimension
        label; matched, ``matched_head``, ``matched_mean`` and ``matched_std``; per sample, ``value`` with the dimension
        sample. Of all pairs instead of all that ``pair_mean``, ``pair_std`` and ``pair_count`` (metric, training_size,
        layer, head, other_layer, other_head).

    Raises
    ------
    BiocacheError
        If a run is missing, incomplete, without attention, or of other samples or another max length than the baseline;
        the message says what to extract.
    """
    with Executor(workers, scheduler_address) as executor:
        return compute("compare-attention", store, request, executor=executor, force=force, on_progress=on_progress)


def measures_of(runs: ComparedRuns, request: AttentionRequest) -> Measures:
    """Return what a request measures of every pair of blocks."""
    return Measures(
        metrics=request.metrics,
        labels=len(runs.baseline.spec.label_names) if request.by is not None else None,
        resamples=request.resamples,
        seed=request.resampling_seed,
        diagonal=not request.all_pairs,
        all_heads=request.all_pairs or request.match_heads,
        per_sample=request.per_sample,
    )


def layer_pairs(runs: ComparedRuns, request: AttentionRequest) -> list[tuple[int, int]]:
    """Return the positions of the layers that are compared, in the baseline and in the others."""
    layers = range(len(runs.baseline.spec.attention_layers))
    if not request.all_pairs:
        return [(layer, layer) for layer in layers]
    return list(product(layers, range(len(runs.others[0].spec.attention_layers))))


def layer_tasks(runs: ComparedRuns, request: AttentionRequest) -> list[Task]:
    """Return tasks for each layer (of all pairs: each two) and some packs of the baseline, whose results add."""
    baseline, measures = runs.baseline, measures_of(runs, request)
    aligned = [align(baseline, other, runs.level, exclude_special=request.exclude_special) for other in runs.others]
    if request.by is not None:
        group = baseline.column("samples/label").astype(np.int64)
    else:
        group = np.zeros(baseline.counts.samples, np.int64)
    packs = [
        tuple(
            _pack_pairs(baseline, other, pack, alignment, group)
            for other, alignment in zip(runs.others, aligned, strict=True)
        )
        for pack in range(baseline.counts.packs)
    ]
    size = -(-len(packs) // _MOST_TASKS)
    parts = [packs[begin : begin + size] for begin in range(0, len(packs), size)]
    memory = _BLOCK_COPIES * sum(_block_bytes(run) for run in (baseline, *runs.others))
    return [
        Task(key=pair, call=_compared, args=(part, *pair, measures), memory=memory)
        for pair in layer_pairs(runs, request)
        for part in parts
    ]


def _block_bytes(run: Run) -> int:
    return run.plan.entries.chunk * run.spec.head_count * np.dtype(run.spec.dtype).itemsize


def _compared(
    packs: list[tuple[tuple[PackPair, ...], ...]], layer: int, other_layer: int, measures: Measures
) -> RunSums:
    return reduce(add, (RunSums(compare_packs(pack, layer, other_layer, measures)) for pack in packs))


def _pack_pairs(
    first: Run, second: Run, pack: int, alignment: Alignment, group: NDArray[np.int64]
) -> tuple[PackPair, ...]:
    """Cut the samples of a pack where the other run begins a pack: one part where the packs are the same."""
    samples = first.plan.samples_of(pack)
    packs = np.unique(second.plan.sample_pack[samples.start : samples.stop])
    pairs = []
    for other in packs.tolist():
        own = second.plan.samples_of(other)
        part = slice(max(samples.start, own.start), min(samples.stop, own.stop))
        begins = (
            int(first.plan.entries.start[part.start]) - pack * first.plan.entries.chunk,
            int(second.plan.entries.start[part.start]) - other * second.plan.entries.chunk,
        )
        pairs.append(
            PackPair(
                first=first.chunks("attention"),
                second=second.chunks("attention"),
                packs=(pack, other),
                begins=begins,
                samples=np.arange(part.start, part.stop),
                group=group[part].copy(),
                alignment=alignment.part(part),
            )
        )
    return tuple(pairs)
