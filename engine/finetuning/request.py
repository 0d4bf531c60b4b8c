"""The request of a fine-tuning."""

import math
from dataclasses import dataclass

from biocache.engine.corpora.request import CorpusRequest
from biocache.engine.request import option
from biocache.store.errors import SettingError
from biocache.store.schema import LABEL_SCHEMES

__all__ = ["COMPUTE_DTYPES", "FinetuneRequest"]

COMPUTE_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class FinetuneRequest(CorpusRequest):
    """Which checkpoints to make, and how.

    Attributes
    ----------
    task
        ``ner`` or ``tokens`` (a label a word, read at the word's first token), ``nli`` or ``text`` (a label a sample).
    dataset
        Folder, file, hub id, ``NAME=...`` of one of them, or None for the task's default.
    reading
        How the corpus is read where its files do not tell.
    models
        Aliases, hub ids, folders, files of weights or ``NAME=FOLDER|FILE|HUB_ID`` of the pre-trained models.
    training_sizes
        Percents of the train split; 0 is the pre-trained model, for which nothing is done.
    seeds
        Seeds of the subset, of the new head, of the order of the samples and of dropout; a checkpoint each.
    checkpoints
        Folder that the checkpoints go to, as ``TASK/DATASET/MODEL/size-SSS/seed-N``.
    label_scheme
        ``bio``: the head classifies IOB2 tags; ``type``: entity types. No effect for ``nli``.
    epochs
        Training epochs over the subset.
    max_steps
        Optimiser steps, whatever the number of epochs that they are; None for `epochs`.
    steps_of
        Training size of which every size trains as many optimiser steps as `epochs` take, so that sizes differ in data
        and not in updates; None for the epochs of each size. With equal epochs a larger size has more updates, and
        these alone change a model (Mehrafarin et al., Findings of ACL 2022, doi:10.18653/v1/2022.findings-acl.237).
    learning_rate
        Largest learning rate of AdamW, reached after the warm-up; then it falls linearly to 0.
    batch_size
        Samples of a forward pass.
    gradient_accumulation
        Forward passes of an optimiser step.
    warmup
        Share of the steps for the warm-up of the learning rate, in [0, 1).
    weight_decay
        Weight decay of AdamW.
    max_length
        Tokens after which a sample is cut; None for 512 or what the model can read, if that is less.
    limit
        Leading samples of each split to read; None for all. The training size is a percentage of these.
    max_duplicates
        Largest share of the samples of the validation and test splits whose words may be in the train split too, in
        [0, 1]; more is refused.
    patience
        Early stopping: epochs without a lower loss on the validation split after which to stop and keep the lowest;
        None to train for all epochs and keep the last.
    compute_dtype
        ``float32``, or ``bfloat16`` for products in bfloat16 with weights in float32.
    device
        ``cpu`` or ``cuda``; None for CUDA where there is one.
    save_steps
        Steps between saves to resume from; with `patience` each epoch is saved instead.
    restart
        Whether to start an interrupted fine-tuning again, instead of resuming it from its last saved step.
    overwrite
        Whether to replace checkpoints, complete or interrupted, that were made with other settings.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    training_sizes: tuple[int, ...] = option(
        (10, 30, 50, 100),
        flag="--training-size",
        low=0,
        high=100,
        help="Percents of the train split to fine-tune on; 0 is the pre-trained model, which needs nothing.",
    )
    label_scheme: str = option("bio", choices=LABEL_SCHEMES, help="Labels of ner: IOB2 tags, or merged by entity type.")
    epochs: float = option(3.0, low=0, above=True, help="Training epochs.")
    max_steps: int | None = option(None, low=1, help="Train N optimiser steps instead of --epochs.", unset="--epochs")
    steps_of: int | None = option(
        None,
        low=1,
        high=100,
        metavar="PERCENT",
        help="Train every size as many steps as --epochs of this size take: sizes differ in data, not in updates.",
        unset="each its own",
    )
    learning_rate: float = option(
        2e-5, low=0, above=True, help="Largest learning rate of AdamW; it falls linearly to 0."
    )
    batch_size: int = option(16, low=1, help="Samples of a forward pass.")
    gradient_accumulation: int = option(1, low=1, help="Forward passes of an optimiser step.")
    warmup: float = option(
        0.1, low=0, high=1, below=True, help="Share of the steps for the warm-up of the learning rate."
    )
    weight_decay: float = option(0.01, low=0, help="Weight decay of AdamW.")
    max_duplicates: float = option(
        0.1,
        low=0,
        high=1,
        help="Largest share of the validation or test split that may be in the train split, word for word.",
    )
    patience: int | None = option(
        None,
        low=1,
        help="Stop after N epochs without a lower validation loss, and keep the lowest.",
        unset="all epochs",
    )
    compute_dtype: str = option("float32", choices=COMPUTE_DTYPES, help="Data type of products.")
    device: str | None = option(None, help="Device of torch: cpu or cuda.", unset="cuda where there is one")
    save_steps: int = option(500, low=1, help="Save a step to resume from every N steps; with --patience every epoch.")
    restart: bool = option(
        False,
        flag="--restart/--resume",
        help="Start an interrupted fine-tuning again, or resume it from its last saved step.",
    )
    overwrite: bool = option(False, help="Replace checkpoints that were made with other settings.")

    def check(self) -> None:
        """Refuse two lengths of the training."""
        super().check()
        if self.max_steps is not None and self.steps_of is not None:
            raise SettingError("--max-steps and --steps-of both say how long to train; give one of them")

    def steps_in_epochs(self, samples: int) -> int:
        """Return the optimiser steps that `epochs` over a number of samples take."""
        batches = -(-samples // self.batch_size)
        return math.ceil(self.epochs * -(-batches // self.gradient_accumulation))
