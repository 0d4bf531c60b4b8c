"""The tasks of a comparison: for each layer, some packs of a run against those of the runs compared with it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.alignment import Alignment, align
from biocache.engine.analyses.attention.blocks import Measures, PackPair, compare_packs
from biocache.engine.analyses.attention.metrics import METRICS
from biocache.engine.analyses.attention.own import find_own
from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analyses.attention.runs import Against, ComparedRuns
from biocache.engine.analyses.attention.sums import Resamples
from biocache.engine.analyses.attention.tasks import block_bytes, held_bytes, parts_of, refuse_many_classes
from biocache.engine.executor import Task
from biocache.store import Run
from biocache.store.errors import SettingError

__all__ = ["layer_pairs", "layer_tasks", "measures_of"]


def measures_of(runs: ComparedRuns, request: AttentionRequest, *, between_seeds: bool = False) -> Measures:
    """Return what a request measures of every pair of blocks; between seeds only equal heads of all samples."""
    if between_seeds:
        return replace(
            measures_of(runs, request),
            labels=None,
            by_words=False,
            all_heads=False,
            per_sample=False,
            mismatched=False,
        )
    return Measures(
        metrics=tuple(map(str, request.metrics)),
        own=tuple(find_own(metric) for metric in request.metrics if metric not in METRICS),
        labels=None if runs.labels is None else len(runs.labels.names),
        by_words=runs.by_words,
        resamples=request.resamples,
        seed=request.resampling_seed,
        units=runs.units[1],
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
    """Return tasks whose results add, for each layer (or pair of layers) and some packs of the run compared with.

    Keys are (place in `ComparedRuns.against`, layer, other layer), layers by position.
    """
    measures = measures_of(runs, request)
    if measures.by_words and not any(metric.of_rows for metric in measures.found):
        raise SettingError(
            f"--by={request.by} labels words, and {', '.join(measures.metrics)} is of whole maps, not of their "
            "rows; name a metric of rows with --metric, such as js"
        )
    of_layer = _resample_bytes(runs, measures, sum(len(size.runs) for size in runs.sizes))
    refuse_many_classes(request.by, runs.labels, of_layer * len(layer_pairs(runs, request)))
    return [
        Task(key=(place, *layers), call=compare_packs, args=(part, *layers, found), memory=memory)
        for place, against in enumerate(runs.against(between_seeds=measures.diagonal))
        for found in [measures_of(runs, request, between_seeds=against.between_seeds)]
        for parts, memory in [_parts(runs, request, against, found)]
        for layers in layer_pairs(runs, request)
        for part in parts
    ]


def _parts(
    runs: ComparedRuns, request: AttentionRequest, against: Against, measures: Measures
) -> tuple[list[Sequence[tuple[tuple[PackPair, ...], ...]]], int]:
    """Return the packs of a run for each task of a layer, with those that they are compared with; and its memory."""
    first = against.first
    classes = None if runs.labels is None or measures.labels is None else runs.labels.values
    words, group = (classes, None) if measures.by_words else (None, classes)
    aligned = [
        align(first, other, runs.level, exclude_special=request.exclude_special, labels=words)
        for other in against.others
    ]
    group = np.zeros(first.counts.samples, np.int64) if group is None else group
    packs = [
        tuple(
            _pack_pairs(first, other, pack, alignment, (group, runs.units[0]), norms=measures.of_norms)
            for other, alignment in zip(against.others, aligned, strict=True)
        )
        for pack in range(first.counts.packs)
    ]
    sizes = [block_bytes(run, with_norms=measures.of_norms) for run in (first, *against.others)]
    return parts_of(packs), held_bytes(first, sizes) + _resample_bytes(runs, measures, len(against.others))


def _resample_bytes(runs: ComparedRuns, measures: Measures, others: int) -> int:
    """Return the bytes of the resampled sums of a layer of a run and a number of others."""
    if not measures.diagonal:
        return 0
    heads = others * len(measures.metrics) * runs.baseline.spec.head_count
    return Resamples.bytes_of(measures.groups + measures.by_chance, measures.units, measures.resamples, heads)


def _pack_pairs(
    first: Run, second: Run, pack: int, alignment: Alignment, of_sample: Sequence[NDArray[np.int64]], *, norms: bool
) -> tuple[PackPair, ...]:
    """Cut the samples of a pack where packs of the other run begin: one part where the packs are the same."""
    samples, (group, unit) = first.plan.samples_of(pack), of_sample
    packs = np.unique(second.plan.sample_pack[samples.start : samples.stop])
    pairs = []
    for other in packs.tolist():
        own = second.plan.samples_of(other)
        part = slice(max(samples.start, own.start), min(samples.stop, own.stop))
        pairs.append(
            PackPair(
                first=first.chunks("attention"),
                second=second.chunks("attention"),
                norms=(first.chunks("norms"), second.chunks("norms")) if norms else None,
                packs=(pack, other),
                samples=np.arange(part.start, part.stop),
                group=group[part].copy(),
                unit=unit[part].copy(),
                alignment=alignment.of_samples(part),
            )
        )
    return tuple(pairs)
