"""The four models of the demo: a BERT and a GPT that have read of everyday life, and their biomedical twins."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from biocache.engine.demo.checkpoints import write_checkpoint
from biocache.engine.demo.corpus import read_before
from biocache.engine.demo.pretraining import pretrain
from biocache.store.atomic import temporary_folder

__all__ = ["MODELS", "PretrainedModel", "write_model"]

_TEXTS = 4000
# All tokenizers know the words of both domains, so that twins read a text in pieces of one size.
_TOKENIZER_TEXTS = 600


@dataclass(frozen=True, slots=True)
class PretrainedModel:
    """How a model of the demo comes about.

    Attributes
    ----------
    family
        ``bert``, ``gpt2`` or ``biogpt``.
    domain
        What it reads: ``general`` or ``biomedical``.
    steps
        Optimiser steps of its pre-training.
    begins_with
        Model whose weights it begins with; None for random ones.
    """

    family: str
    domain: str
    steps: int
    begins_with: str | None = None


# As the real ones: BioBERT goes on from BERT, BioGPT begins anew.
MODELS: Mapping[str, PretrainedModel] = {
    "bert": PretrainedModel("bert", "general", 400),
    "biobert": PretrainedModel("bert", "biomedical", 400, begins_with="bert"),
    "gpt2": PretrainedModel("gpt2", "general", 300),
    "biogpt": PretrainedModel("biogpt", "biomedical", 400),
}


def write_model(name: str, folder: Path) -> Path:
    """Write a model of the demo with its tokenizer: 3 layers, 4 heads, 48 features.

    Parameters
    ----------
    name
        One of `MODELS`.
    folder
        Where the models are; one that this begins with must be there.

    Returns
    -------
    Path
        The folder of the model, complete or absent.
    """
    model = MODELS[name]
    with temporary_folder(folder) as temporary:
        source = folder / model.begins_with if model.begins_with else _random(model, temporary / "random")
        return pretrain(source, folder / name, read_before(model.domain, _TEXTS), steps=model.steps)


def _random(model: PretrainedModel, folder: Path) -> Path:
    texts = [text for domain in ("general", "biomedical") for text in read_before(domain, _TOKENIZER_TEXTS)]
    return write_checkpoint(
        model.family,
        folder,
        [text.split() for text in texts],
        hidden_size=48,
        layers=3,
        heads=4,
        vocab_size=1000,
        initializer_range=0.05,
    )
