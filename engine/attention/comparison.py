"""`compare_attention`: two runs and more of a store in, how alike their heads are out."""

import os
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from operator import add
from typing import Any

import dask
import numpy as np
import xarray as xr
from dask.callbacks import Callback
from dask.delayed import Delayed, delayed
from numpy.typing import NDArray

from biocache.engine.attention.alignment import Alignment, align
from biocache.engine.attention.blocks import Measures, PackPair, compare_packs
from biocache.engine.attention.dataset import in_order, make_dataset
from biocache.engine.attention.outcome import finish
from biocache.engine.attention.request import AttentionRequest
from biocache.engine.attention.runs import ComparedRuns, find_runs
from biocache.engine.attention.sums import Sums
from biocache.engine.scheduling import computing
from biocache.store import Run, Store
from biocache.store.errors import ResourceError
from biocache.store.paths import local_path, resolved
from biocache.store.results import find_result, run_identity, save_result

__all__ = ["KIND", "METHOD", "comparison_inputs", "compare_attention"]

#: Kind of the results that hold a comparison.
KIND = "attention"
#: Version of the method: a change of what is computed makes older results those of another question.
METHOD = 1
# Partial sums that are added at once.
_FAN_IN = 4

Numbers = list[dict[str, NDArray[Any]]]


def compare_attention(
    store: str | os.PathLike[str],
    request: AttentionRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
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
        Called with how many blocks are done and how many there are.

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
    opened = Store.open(resolved(local_path(store, "store")))
    runs = find_runs(opened, request)
    inputs = _inputs(runs, request)
    found = None if force else find_result(opened.path, KIND, inputs)
    if found is not None:
        return in_order(found)
    measures = _measures(runs, request)
    with computing(workers, scheduler_address) as client:
        numbers = _compute(client, _graph(runs, request, measures), on_progress)
    return in_order(save_result(opened.path, KIND, inputs, make_dataset(runs, request, measures, numbers)))


def comparison_inputs(store: Store, request: AttentionRequest) -> dict[str, Any]:
    """Return what the result of a request is found by, as of now: its runs and settings, as JSON."""
    return _inputs(find_runs(store, request), request)


def _inputs(runs: ComparedRuns, request: AttentionRequest) -> dict[str, Any]:
    settings = (
        "exclude_special",
        "by_label",
        "match_heads",
        "all_pairs",
        "per_sample",
        "replicates",
        "resampling_seed",
    )
    return {
        "method": METHOD,
        "baseline": run_identity(runs.baseline),
        "runs": [run_identity(run) for run in runs.others],
        "metrics": list(request.metrics),
        **{name: getattr(request, name) for name in settings},
    }


def _measures(runs: ComparedRuns, request: AttentionRequest) -> Measures:
    return Measures(
        metrics=request.metrics,
        labels=len(runs.baseline.spec.label_names) if request.by_label else None,
        replicates=request.replicates,
        seed=request.resampling_seed,
        diagonal=not request.all_pairs,
        all_heads=request.all_pairs or request.match_heads,
        per_sample=request.per_sample,
    )


def _graph(runs: ComparedRuns, request: AttentionRequest, measures: Measures) -> list[Delayed]:
    """Return a task for each layer (of all pairs: for each two), which adds up those of all packs."""
    baseline = runs.baseline
    aligned = [align(baseline, other, runs.level, exclude_special=request.exclude_special) for other in runs.others]
    if request.by_label:
        group = baseline.column("samples/label").astype(np.int64)
    else:
        group = np.zeros(baseline.counts.samples, np.int64)
    packs = [
        delayed(
            tuple(
                _pack_pairs(baseline, other, pack, alignment, group)
                for other, alignment in zip(runs.others, aligned, strict=True)
            ),
            traverse=False,
        )
        for pack in range(baseline.counts.packs)
    ]
    compare, total, finished = (delayed(function, pure=False) for function in (compare_packs, _total, _finish))
    layers = []
    for layer, other_layer in _layer_pairs(runs, request):
        parts = [compare(pack, layer, other_layer, measures) for pack in packs]
        while len(parts) > 1:
            parts = [total(parts[begin : begin + _FAN_IN]) for begin in range(0, len(parts), _FAN_IN)]
        layers.append(finished(parts[0], measures))
    return layers


def _layer_pairs(runs: ComparedRuns, request: AttentionRequest) -> list[tuple[int, int]]:
    layers = range(len(runs.baseline.spec.attention_layers))
    if not request.all_pairs:
        return [(layer, layer) for layer in layers]
    return list(product(layers, range(len(runs.others[0].spec.attention_layers))))


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


def _total(parts: Sequence[tuple[Sums, ...]]) -> tuple[Sums, ...]:
    return tuple(reduce(add, sums) for sums in zip(*parts, strict=True))


def _finish(sums: tuple[Sums, ...], measures: Measures) -> Numbers:
    return [finish(own, measures) for own in sums]


def _compute(client: Any, layers: list[Delayed], on_progress: Callable[[int, int], None] | None) -> list[Numbers]:
    tell = on_progress or (lambda _done, _total: None)
    return _compute_here(layers, tell) if client is None else _compute_on_cluster(client, layers, tell)


def _compute_here(layers: list[Delayed], tell: Callable[[int, int], None]) -> list[Numbers]:
    done = 0

    def count(key: Any, *_: Any) -> None:
        nonlocal done
        if str(key).startswith(compare_packs.__name__):
            done += 1
            tell(done, total)

    total = sum(str(key).startswith(compare_packs.__name__) for layer in layers for key in dict(layer.dask))
    with Callback(posttask=count):
        return list(dask.compute(*layers, scheduler="threads"))


def _compute_on_cluster(client: Any, layers: list[Delayed], tell: Callable[[int, int], None]) -> list[Numbers]:
    from distributed import KilledWorker, as_completed

    futures = client.compute(layers)
    try:
        for done, _ in enumerate(as_completed(futures, loop=client.loop), start=1):
            tell(done, len(futures))
        return list(client.gather(futures))
    except KilledWorker as error:
        raise ResourceError(
            "Dask workers died while comparing attention, most likely for want of memory; give them more, or start "
            "fewer on a machine"
        ) from error
    finally:
        client.cancel(futures)
