"""The four models of the demo: a BERT and a GPT pre-trained on everyday texts, and their biomedical twins."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from biocache.engine.demo.checkpoints import write_checkpoint
from biocache.engine.demo.corpus import read_before
from biocache.engine.demo.pretraining import pretrain
from biocache.store.atomic import temporary_folder

__all__ = ["MODELS", "PretrainedModel", "write_model"]

_TEXTS = 4000
# All tokenizers are trained on both domains, so that twins split a text into equally many tokens.
_TOKENIZER_TEXTS = 600


@dataclass(frozen=True, slots=True)
class PretrainedModel:
    """How a model of the demo is pre-trained.

    Attributes
    ----------
    family
        ``bert``, ``gpt2`` or ``biogpt``.
    domain
        Domain of its texts: ``general`` or ``biomedical``.
    steps
        Optimiser steps.
    begins_with
        Model whose weights it starts from; None for random weights.
    """

    family: str
    domain: str
    steps: int
    begins_with: str | None = None


# As the real models: BioBERT continues from BERT, BioGPT starts from random weights.
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
        Folder of all models; it must hold the model that this one starts from.

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
