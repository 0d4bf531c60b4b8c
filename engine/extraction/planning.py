"""Plan an extraction: everything about its runs that is known before a model is loaded."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from biocache.engine.corpora.encoding import CorpusEncoder, Encoding
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.extraction.finding import find_models
from biocache.engine.extraction.memory import choose_budget
from biocache.engine.extraction.plans import ExtractionPlan, ModelPlan, RunPlan, of_blocks
from biocache.engine.extraction.request import DEFAULT_SPLITS, ExtractionRequest
from biocache.engine.machine import choose_device
from biocache.engine.models.shape import ModelShape, choose_max_length, load_shape, require_vocabulary
from biocache.engine.models.sources import ModelSource, parse_model
from biocache.engine.models.traits import Traits
from biocache.engine.sources import refuse_repeats
from biocache.engine.stages import stage
from biocache.store.errors import ModelError, SettingError
from biocache.store.keys import RunKey
from biocache.store.levels import row_counts
from biocache.store.packing import PackPlan, entry_capacity, plan_packs, token_capacity
from biocache.store.schema import ATTENTION, HIDDEN
from biocache.store.spec import RunSpec
from biocache.store.windows import Windows

__all__ = ["plan_again", "plan_extraction"]


def plan_extraction(request: ExtractionRequest) -> ExtractionPlan:
    """Read the corpus, find the models, tokenise everything and lay out every run.

    Parameters
    ----------
    request
        What is asked for.

    Returns
    -------
    ExtractionPlan
        Complete except for the digests of the weights. No weights are loaded.

    Raises
    ------
    BiocacheError
        If the corpus is malformed, a model or checkpoint is missing, a setting does not fit the model, or the
        memory does not suffice.
    """
    device = choose_device(request.device)
    # Names are checked first: reading a corpus takes longer.
    models = [parse_model(text) for text in request.models]
    with stage("reading the dataset"):
        corpus = read_corpus(
            request.task,
            request.dataset,
            splits=request.splits,
            usual_splits=DEFAULT_SPLITS,
            limit=request.limit,
            reading=request.reading,
        )
    if request.splits is None:
        request = replace(request, splits=tuple(corpus.splits))
    sources = find_models(request, models, corpus.name)
    encoder = CorpusEncoder(corpus)
    planned = [_plan_model(request, source, load_shape(source), encoder, device) for source in sources]
    plan = ExtractionPlan(request, encoder, device, tuple(planned))
    refuse_repeats("run", (str(run.key) for run in plan.runs))
    return plan


def plan_again(plan: ExtractionPlan, model: ModelPlan, traits: Traits) -> ModelPlan:
    """Return the plan of a model that a trial looked at.

    Raises
    ------
    BiocacheError
        As `plan_extraction`, where the model is not what its configuration says.
    """
    shape = model.shape.measured(traits)
    if shape.layers == model.shape.layers and shape.heads == model.shape.heads and not shape.stateful:
        layers = _layers(plan.request, model.source, shape)
        alike = _features(model.source, traits, layers) == model.shape.features
        if alike and all(_is_as_measured(run.spec, shape) for run in model.runs):
            return replace(model, shape=shape)
    return _plan_model(plan.request, model.source, shape, plan.encoder, plan.device)


def _is_as_measured(spec: RunSpec, shape: ModelShape) -> bool:
    measured = shape.of_run(maps=of_blocks(spec.keep))
    return all(getattr(spec, name) == value for name, value in measured.items())


def _plan_model(
    request: ExtractionRequest, source: ModelSource, shape: ModelShape, encoder: CorpusEncoder, device: str
) -> ModelPlan:
    layers = _layers(request, source, shape)
    if shape.traits is not None:
        shape = replace(shape, features=_features(source, shape.traits, layers))
    runs = tuple(_plan_runs(request, source, shape, encoder, layers))
    if not runs and shape.traits is not None and shape.traits.no_maps:
        raise ModelError(
            f"model {source.name!r} has no attention maps that can be kept ({shape.traits.no_maps}); pass --keep=hidden"
        )
    if not runs:
        raise SettingError(
            f"nothing to extract: --keep={','.join(request.keep)} keeps nothing of view "
            f"{','.join(request.all_views)} and split {','.join(request.splits or ())}; add hidden to --keep, or the "
            "split to --attention-split"
        )
    budget = choose_budget([(run.windows.plan, run.sizes) for run in runs], shape, device, request)
    return ModelPlan(source, shape, runs, budget)


def _features(source: ModelSource, traits: Traits, layers: tuple[int, ...]) -> int:
    """Return the features of some layers, which must have the same number."""
    widths = {layer: traits.features[layer] for layer in layers}
    usual = Counter(widths.values()).most_common(1)[0][0]
    unlike = [layer for layer, width in widths.items() if width != usual or not width]
    if unlike:
        width = widths[unlike[0]]
        what = f"{width} features and others {usual}" if width else "not a row a token"
        rest = ",".join(str(layer) for layer, one in widths.items() if one == usual and one) or "others"
        raise SettingError(
            f"layer {unlike[0]} of model {source.name!r} has {what}; a run holds layers of one size: pass "
            f"--layers={rest}"
        )
    return usual


def _layers(request: ExtractionRequest, source: ModelSource, shape: ModelShape) -> tuple[int, ...]:
    if request.layers is None:
        return tuple(range(shape.layers + 1))
    for layer in request.layers:
        if not 0 <= layer <= shape.layers:
            raise SettingError(
                f"layer {layer} is not one of model {source.name!r}: it has 0 (embeddings) to {shape.layers}"
            )
    return tuple(sorted(set(request.layers)))


def _kept(
    request: ExtractionRequest, view: str, split: str, layers: tuple[int, ...], shape: ModelShape
) -> tuple[str, ...]:
    asked = request.keeps(view, split)
    if asked and HIDDEN.name not in asked and not ATTENTION.layers(layers):
        raise SettingError(
            f"layer 0 is the embedding output and has no {' and no '.join(asked)}; add a layer from 1 to --layers"
        )
    maps = set(ATTENTION.layers(layers)) - set(shape.without_maps)
    return tuple(name for name in asked if name == HIDDEN.name or maps)


def _plan_runs(
    request: ExtractionRequest,
    source: ModelSource,
    shape: ModelShape,
    encoder: CorpusEncoder,
    layers: tuple[int, ...],
) -> Iterator[RunPlan]:
    tokenizer, digest = encoder.tokenizer(source.tokenizer)
    corpus = encoder.corpus
    max_length = choose_max_length(request.max_length, source, shape, tokenizer)
    # Codes have the packs of float16: larger ones would take more memory, and share the scale of a feature.
    itemsize = 4 if request.dtype == "float32" else 2
    for view in request.all_views:
        for split in request.splits or ():
            keep = _kept(request, view, split, layers, shape)
            if not keep:
                continue
            encoding = encoder.encode(source.tokenizer, view, split, max_length, request.stride)
            require_vocabulary(source, shape, encoding.token_id)
            spec = RunSpec(
                key=RunKey(
                    *(request.task, corpus.name, source.name, source.training_size, source.seed, view, split),
                    trained_on=source.trained_on,
                ),
                dataset_digest=encoder.digest(split),
                limit=request.limit,
                model_digest="",
                tokenizer_digest=digest,
                encoding_digest=encoding.digest(),
                max_length=max_length,
                token_types=_feeds_segments(encoding, source, shape),
                keep=keep,
                layers=layers,
                feature_size=shape.features,
                head_count=shape.heads,
                dtype=request.dtype,
                compute_dtype=request.compute_dtype,
                attention_implementation="eager",
                stride=request.stride,
                attention_dtype=request.map_dtype,
                level=request.level,
                **shape.of_run(maps=of_blocks(keep)),
            )
            entries = entry_capacity(shape.heads, itemsize) if ATTENTION in spec.kept else None
            layout, windows = _lay_out(encoding, spec, token_capacity(shape.features, itemsize), entries)
            notes = encoding.notes | dict(corpus.notes.get(split, {}))
            yield RunPlan(spec, layout, windows, corpus.splits[split], encoding, notes)


def _lay_out(encoding: Encoding, spec: RunSpec, tokens: int, entries: int | None) -> tuple[PackPlan, Windows]:
    """Lay out the samples in packs, and their windows in the same."""
    lengths = encoding.token_count.astype(np.int64)
    # First as if there were one pack: a sample has the map entries of its windows.
    windows = Windows.of(lengths, encoding.window, np.array([0, len(lengths)]), spec.entry_count)
    # Every level has the packs of tokens, and so the batches of the model: its rows are those of tokens, reduced.
    layout = plan_packs(lengths, windows.entries, tokens, entries)
    layout = layout.with_rows(row_counts(spec.level, len(lengths), *encoding.words))
    if len(windows.sample) == len(lengths):
        return layout, Windows.whole(layout)
    return layout, Windows.of(lengths, encoding.window, layout.first_sample, spec.entry_count)


def _feeds_segments(encoding: Encoding, source: ModelSource, shape: ModelShape) -> bool:
    if encoding.token_type is None or not shape.token_types:
        return False
    largest = int(encoding.token_type.max(initial=0))
    if largest >= shape.token_types:
        raise ModelError(
            f"the tokenizer of model {source.name!r} gives the token type {largest}, and the model has embeddings of "
            f"{shape.token_types}; give the tokenizer that belongs to these weights, from {source.tokenizer}"
        )
    if not np.array_equal(encoding.token_type, encoding.segment):
        raise ModelError(
            f"the tokenizer of model {source.name!r} uses token types that are not the segments 0 and 1; biocache "
            "cannot feed this model from its store"
        )
    return True
