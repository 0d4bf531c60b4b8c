"""Find the models of an extraction: pre-trained, fine-tuned on what is read or elsewhere, with adapters merged."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.models.adapters import with_adapter
from biocache.engine.models.sources import ModelSource, find_source, parse_finetuned, pretrained_source
from biocache.engine.sources import run_names
from biocache.store.errors import SettingError
from biocache.store.keys import RunKey

__all__ = ["find_models"]


def find_models(request: ExtractionRequest, models: Sequence[tuple[str, str]], dataset: str) -> list[ModelSource]:
    """Find the weights of all models at all training sizes of a request.

    Parameters
    ----------
    request
        What is asked for.
    models
        Names and bases of its models, as `parse_model` returns them.
    dataset
        Name of the dataset to read.

    Raises
    ------
    ModelError
        If a model or checkpoint is missing, or has an adapter that cannot be merged.
    SettingError
        If checkpoints of another tool are given for several models or seeds, adapters are to be merged and there are
        none, or what the models were trained on cannot be part of a path.
    """
    trained_on = _trained_on(request, dataset)
    found = [
        find_source(
            name,
            base,
            task=request.task,
            dataset=dataset,
            training_size=size,
            seed=seed,
            checkpoints=request.checkpoints,
            random_weights=request.random_weights,
            trained_on=trained_on,
        )
        for name, base in models
        for size in request.training_sizes
        for seed in request.seeds_of(size)
    ]
    found += _finetuned(request, models, trained_on)
    sources = [with_adapter(replace(source, part=request.part or ""), merge=request.merge_adapters) for source in found]
    if request.merge_adapters and not any(source.adapter or source.random_weights for source in sources):
        raise SettingError("--merge-adapters: none of the models has an adapter; leave it out")
    return sources


def _trained_on(request: ExtractionRequest, dataset: str) -> str:
    """Return the dataset that the models were fine-tuned on, where it is not the one to read."""
    if request.trained_on is None:
        return ""
    (name,) = run_names("trained_on", request.trained_on)
    # A name that cannot be part of a path is refused before it is looked for.
    return RunKey(request.task, dataset, "model", 100, 0, "view", "split", trained_on=name).trained_on


def _finetuned(request: ExtractionRequest, models: Sequence[tuple[str, str]], trained_on: str) -> Iterator[ModelSource]:
    """Yield the checkpoints that another tool made of the one model."""
    if request.finetuned and len(models) > 1:
        raise SettingError(f"--finetuned is for one model, and --model names {len(models)}; extract them one by one")
    if request.finetuned and len(request.seeds) > 1:
        raise SettingError(
            f"--finetuned is for one seed, and --seed names {len(request.seeds)}; extract the checkpoints of each seed "
            "with its --seed"
        )
    for text in request.finetuned:
        place, size = parse_finetuned(text)
        name, base = models[0]
        base = pretrained_source(name, base, request.seeds[0]).base
        yield ModelSource(name, base, size, request.seeds[0], place, trained_on=trained_on)
