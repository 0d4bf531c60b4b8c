"""What a checkpoint was made from: the spec that identifies it."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from biocache.engine.models.sources import checkpoint_path
from biocache.store.errors import SpecMismatchError
from biocache.store.metadata import Natural
from biocache.store.text import shortened

__all__ = ["HYPERPARAMETERS", "FinetuneSpec"]

#: Fields of `FinetuneRequest` that a spec holds under the same names.
HYPERPARAMETERS = (
    *("learning_rate", "batch_size", "gradient_accumulation"),
    *("warmup", "weight_decay", "patience", "compute_dtype"),
)


@dataclass(frozen=True, kw_only=True)
class FinetuneSpec:
    """Everything that decides the weights of a checkpoint, but for the machine.

    Attributes
    ----------
    task, dataset, model, training_size, seed
        Its name, as in the keys of its runs.
    label_names
        The classes of the head.
    label_scheme
        ``type`` or ``bio``.
    limit
        Number of leading samples of each split that were read; None for all.
    train_samples
        Samples of the subset.
    subset_digest
        SHA-256 of their ids, words and labels.
    validation_digest
        The same of the validation split, where it decided when to stop; None where it did not.
    base_digest
        SHA-256 of the pre-trained encoder's weights, as extraction records it at training size 0.
    pooler_digest
        The same of its pooler, for a head that reads it; None for ``ner``.
    tokenizer_digest
        SHA-256 of what decides the tokenizer's output.
    max_length
        Tokens after which a sample is cut, special tokens included.
    epochs
        Epochs of the training; None where `max_steps` says how long it is.
    max_steps
        Its optimiser steps; None for as many as `epochs` take.
    learning_rate, batch_size, gradient_accumulation, warmup, weight_decay, patience, compute_dtype
        As in `FinetuneRequest`.
    """

    task: str
    dataset: str
    model: str
    training_size: Natural
    seed: Natural
    label_names: tuple[str, ...]
    label_scheme: str
    limit: int | None
    train_samples: Natural
    subset_digest: str
    validation_digest: str | None
    base_digest: str
    pooler_digest: str | None
    tokenizer_digest: str
    max_length: int
    epochs: float | None
    learning_rate: float
    batch_size: int
    gradient_accumulation: int
    warmup: float
    weight_decay: float
    patience: int | None
    compute_dtype: str
    max_steps: Natural | None = None

    @property
    def path(self) -> Path:
        """Where the checkpoint is below the folder of all."""
        return checkpoint_path(self.task, self.dataset, self.model, self.training_size, self.seed)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def require_equal(self, stored: Self, what: str, remedy: str) -> None:
        """Refuse a spec that differs.

        Parameters
        ----------
        stored
            The spec of what is there.
        what
            What is there.
        remedy
            The next step.

        Raises
        ------
        SpecMismatchError
            If the specs differ; the message names in what.
        """
        pairs = {f.name: (getattr(stored, f.name), getattr(self, f.name)) for f in fields(self)}
        named = "; ".join(
            f"{name}: stored {shortened(old)}, asked for {shortened(new)}"
            for name, (old, new) in pairs.items()
            if old != new
        )
        if named:
            raise SpecMismatchError(f"{what} was made with other settings ({named}); {remedy}")
