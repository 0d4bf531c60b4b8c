"""What an extraction is asked for."""

import re
from dataclasses import dataclass
from pathlib import Path

from biocache.engine.settings import require_known, require_named, require_positive, require_sizes
from biocache.engine.tasks.base import SPLITS, TASKS
from biocache.store.errors import SettingError
from biocache.store.paths import local_path

__all__ = ["DTYPES", "KEEP", "ExtractionRequest", "Partition"]

KEEP = ("hidden", "attention")
DTYPES = ("float16", "float32")
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Partition:
    """The share of one process: every `count`-th window, beginning with the `index`-th, from 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise SettingError(f"partition {self.index}/{self.count} is not I/N with I from 1 to N")

    @classmethod
    def parse(cls, text: str) -> "Partition":
        """Read ``I/N``.

        Raises
        ------
        SettingError
            If the text is of another form, or I is not from 1 to N.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if match is None:
            raise SettingError(f"partition {text!r} is not of the form I/N, such as 1/4")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, kw_only=True)
class ExtractionRequest:
    """Which runs to extract, and how.

    Attributes
    ----------
    task
        ``ner`` or ``nli``.
    dataset
        Folder, hub id, ``NAME=FOLDER|HUB_ID``, or None for the task's default.
    models
        Aliases, hub ids, folders or ``NAME=FOLDER|HUB_ID``.
    training_sizes
        Percents of the train split; 0 is the pre-trained model.
    seed
        Seed of the fine-tuning, or of random weights.
    splits
        Splits to extract.
    views
        Views to encode; None for all of the task's.
    checkpoints
        Folder of fine-tuned checkpoints.
    keep
        ``hidden`` and/or ``attention``.
    layers
        Hidden layers to keep, 0 being the embedding output, and attention of those from 1; None for all.
    attention_splits
        Splits whose attention is kept.
    attention_views
        Views whose attention is kept; None for ``sentence`` and ``pair``.
    dtype
        Data type on disk, ``float16`` or ``float32``.
    compute_dtype
        Data type the model computes in: ``float32``, ``bfloat16`` or ``float16``.
    device
        Device name of torch; None for CUDA where there is one, else the CPU.
    max_length
        Tokens after which a sample is cut; None for 512 or what the model can read, if that is less.
    limit
        Leading samples of each split to extract; None for all.
    label_scheme
        ``type`` or ``bio``.
    batch_tokens
        Tokens of a forward pass, padding included; None for a choice by device.
    window_tokens
        Tokens sorted by length together; None for a choice by device and memory.
    max_memory
        Bytes the process may use; None for a quarter of the machine's.
    max_disk
        Bytes the store may grow by; None for no limit.
    partition
        Share of the windows to compute; None for all.
    random_weights
        Whether to extract a randomly initialised twin of each model.
    overwrite
        Whether to replace runs of another spec.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    task: str
    dataset: str | None = None
    models: tuple[str, ...] = ("bert",)
    training_sizes: tuple[int, ...] = (0,)
    seed: int = 42
    splits: tuple[str, ...] = ("train", "test")
    views: tuple[str, ...] | None = None
    checkpoints: Path = Path("checkpoints")
    keep: tuple[str, ...] = KEEP
    layers: tuple[int, ...] | None = None
    attention_splits: tuple[str, ...] = ("test",)
    attention_views: tuple[str, ...] | None = None
    dtype: str = "float16"
    compute_dtype: str = "float32"
    device: str | None = None
    max_length: int | None = None
    limit: int | None = None
    label_scheme: str = "type"
    batch_tokens: int | None = None
    window_tokens: int | None = None
    max_memory: int | None = None
    max_disk: int | None = None
    partition: Partition | None = None
    random_weights: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoints", local_path(self.checkpoints, "checkpoints"))
        require_known("task", (self.task,), tuple(TASKS))
        views = tuple(TASKS[self.task].views)
        require_known("view", self.views or views, views)
        require_known("attention view", self.attention_views or (), views)
        require_known("split", self.splits, SPLITS)
        require_known("attention split", self.attention_splits, SPLITS)
        require_known("keep", self.keep, KEEP)
        require_known("dtype", (self.dtype,), DTYPES)
        require_known("compute dtype", (self.compute_dtype,), COMPUTE_DTYPES)
        require_named(self, "models", "training_sizes", "splits", "keep")
        require_positive(self, "max_length", "limit", "batch_tokens", "window_tokens", "max_memory", "max_disk")
        require_sizes(self.training_sizes)

    @property
    def all_views(self) -> tuple[str, ...]:
        """The views to encode."""
        return self.views or tuple(TASKS[self.task].views)

    def keeps(self, view: str, split: str) -> tuple[str, ...]:
        """Return what is kept of one run: ``hidden``, ``attention``, both or nothing.

        A view or split has attention only where it is asked for, since maps are large: one head's map of n
        tokens has n * n entries.
        """
        maps = split in self.attention_splits and view in (self.attention_views or ("sentence", "pair"))
        return tuple(name for name in KEEP if name in self.keep and (name == "hidden" or maps))
