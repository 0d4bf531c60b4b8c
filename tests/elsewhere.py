"""Stores of runs whose models were fine-tuned on what they read, and on other datasets."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from extractions import request
from transformers import AutoConfig, BertForTokenClassification

from biocache.engine import extract
from biocache.engine.models.loading import weights_digest


class Elsewhere(NamedTuple):
    """Two stores of one corpus: read by models that were tuned on it, and also by those that were not.

    Attributes
    ----------
    usual, both
        The stores.
    checkpoints, base
        Folders of the fine-tuned checkpoints and of the pre-trained model.
    digests
        Digests of the checkpoints' encoders, by task and dataset.
    """

    usual: Path
    both: Path
    checkpoints: Path
    base: Path
    digests: dict[str, str]


def put_checkpoint(base: Path, folder: Path, seed: int) -> str:
    """Save a model with a head and weights of its own, and return the digest of its encoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForTokenClassification(AutoConfig.from_pretrained(base, num_labels=3))
    model.save_pretrained(folder)
    return weights_digest(model.base_model)


def write_elsewhere(folder: Path, corpus: Path, base: Path) -> Elsewhere:
    """Write checkpoints and extract the stores."""
    places = {"ner/ner": 1, "ner/first": 2, "nli/pairs": 3}
    digests = {
        place: put_checkpoint(base, folder / "c" / place / "tiny/size-030/seed-42", seed)
        for place, seed in places.items()
    }
    asked: dict[str, Any] = {"checkpoints": folder / "c", "splits": ("train", "test"), "limit": 12}
    asked |= {"training_sizes": (0, 30)}
    for store in ("usual", "both"):
        extract(folder / store, request(corpus, base, **asked))
    for place in ("first", "nli/pairs"):
        extract(folder / "both", request(corpus, base, trained_on=place, **asked))
    return Elsewhere(folder / "usual", folder / "both", folder / "c", base, digests)
