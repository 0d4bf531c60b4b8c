"""What a fine-tuning is asked for."""

import math
from dataclasses import dataclass
from pathlib import Path

from biocache.engine.settings import require_known, require_named, require_positive, require_sizes
from biocache.engine.tasks.base import TASKS
from biocache.engine.tasks.ner import LABEL_SCHEMES
from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED
from biocache.store.paths import local_path

__all__ = ["COMPUTE_DTYPES", "FinetuneRequest"]

COMPUTE_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class FinetuneRequest:
    """Which checkpoints to make, and how.

    Attributes
    ----------
    task
        ``ner`` (a label a word, read at the word's first token) or ``nli`` (a label a pair).
    dataset
        Folder, hub id, ``NAME=FOLDER|HUB_ID``, or None for the task's default.
    models
        Aliases, hub ids, folders or ``NAME=FOLDER|HUB_ID`` of the pre-trained models.
    training_sizes
        Percents of the train split; 0 is the pre-trained model, for which nothing is done.
    seed
        Seed of the subset, of the new head, of the order of the samples and of dropout.
    checkpoints
        Folder that the checkpoints go to, as ``TASK/DATASET/MODEL/size-SSS/seed-N``.
    label_scheme
        ``bio``: the head tells IOB2 tags apart; ``type``: entity types. Says nothing for ``nli``.
    epochs
        Times that the subset is gone through.
    learning_rate
        Largest learning rate of AdamW, reached after the warm-up; then it falls linearly to 0.
    batch_size
        Samples of a forward pass.
    gradient_accumulation
        Forward passes of an optimiser step.
    warmup
        Share of the steps over which the learning rate rises, in [0, 1).
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
        Epochs without a lower loss on the validation split after which to stop, and to go back to the lowest; None to
        train for all epochs and keep the last.
    compute_dtype
        ``float32``, or ``bfloat16`` for products in bfloat16 with weights in float32.
    device
        ``cpu`` or ``cuda``; None for CUDA where there is one.
    save_steps
        Steps after which what is needed to resume is saved; with `patience` it is saved after each epoch instead.
    restart
        Whether to begin anew where an interrupted fine-tuning is found, instead of going on from its last saved step.
    overwrite
        Whether to replace checkpoints, whole or begun, that were made with other settings.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    task: str
    dataset: str | None = None
    models: tuple[str, ...] = ("bert",)
    training_sizes: tuple[int, ...] = (100,)
    seed: int = 42
    checkpoints: Path = Path("checkpoints")
    label_scheme: str = "bio"
    epochs: float = 3.0
    learning_rate: float = 2e-5
    batch_size: int = 16
    gradient_accumulation: int = 1
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_length: int | None = None
    limit: int | None = None
    max_duplicates: float = 0.1
    patience: int | None = None
    compute_dtype: str = "float32"
    device: str | None = None
    save_steps: int = 500
    restart: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        # One number and one path, however it was written: settings are compared.
        for name in ("epochs", "learning_rate", "warmup", "weight_decay", "max_duplicates"):
            object.__setattr__(self, name, float(getattr(self, name)))
        object.__setattr__(self, "checkpoints", local_path(self.checkpoints, "checkpoints"))
        require_known("task", (self.task,), TASKS)
        require_known("label scheme", (self.label_scheme,), LABEL_SCHEMES)
        require_known("compute dtype", (self.compute_dtype,), COMPUTE_DTYPES)
        require_named(self, "models", "training_sizes")
        require_sizes(self.training_sizes)
        if not 0 <= self.seed <= MAX_SEED:
            raise SettingError(f"seed {self.seed} is not a whole number from 0 to {MAX_SEED}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("epochs", "learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise SettingError(f"{name} {value} is not a positive number")
        require_positive(self, "batch_size", "gradient_accumulation", "max_length", "limit", "patience", "save_steps")
        if not 0 <= self.warmup < 1:
            raise SettingError(f"warmup {self.warmup} is not a share of the steps; use 0 or more and less than 1")
        if not 0 <= self.max_duplicates <= 1:
            raise SettingError(f"max_duplicates {self.max_duplicates} is not a share of the samples; use 0 to 1")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise SettingError(f"weight_decay {self.weight_decay} is not a number from 0")
