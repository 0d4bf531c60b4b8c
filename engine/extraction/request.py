"""The request of an extraction."""

import re
from dataclasses import dataclass

from biocache.engine.corpora.base import SPLITS, TASKS, VIEWS
from biocache.engine.corpora.request import CorpusRequest
from biocache.engine.request import option
from biocache.store.errors import SettingError
from biocache.store.schema import ACTIVATIONS, ATTENTION, HIDDEN, ROW_DIMS
from biocache.store.text import shown

__all__ = [
    "ATTENTION_DTYPES",
    "DEFAULT_SPLITS",
    "DTYPES",
    "KEEP",
    "LEVELS",
    "NORM_DTYPES",
    "ExtractionRequest",
    "Partition",
]

KEEP = tuple(ACTIVATIONS)
DEFAULT_KEEP = (HIDDEN.name, ATTENTION.name)
LEVELS = tuple(ROW_DIMS)
DTYPES = ("float16", "float32", "int8")
ATTENTION_DTYPES = ("float16", "float32", "uint8")
NORM_DTYPES = ("float16", "float32")
#: Splits that are extracted where none is named.
DEFAULT_SPLITS = ("train", "test")
COMPUTE_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Partition:
    """The windows of one process: every `count`-th, beginning with the `index`-th, from 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise SettingError(f"--partition {self} is not I/N with I from 1 to N")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def __contains__(self, window: object) -> bool:
        return isinstance(window, int) and window % self.count == self.index - 1

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
            raise SettingError(f"--partition {text!r} is not of the form I/N, such as 1/4")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, kw_only=True)
class ExtractionRequest(CorpusRequest):
    """Which runs to extract, and how.

    Attributes
    ----------
    task
        A name in `TASKS`: ``ner``, ``tokens``, ``nli`` or ``text``.
    dataset
        Folder, file, hub id, ``NAME=...`` of one of them, or None for the task's default.
    reading
        How the corpus is read where its files do not tell.
    models
        Aliases, hub ids, folders, files of weights or ``NAME=FOLDER|FILE|HUB_ID``.
    training_sizes
        Percents of the train split; 0 is the pre-trained model.
    seeds
        Seeds of the fine-tuning, or of random weights, a run each; the pre-trained model is read once, under the first.
    splits
        Splits to extract; None for those of `DEFAULT_SPLITS` that the corpus has.
    views
        Views to encode; None for all of the task's.
    checkpoints
        Folder of fine-tuned checkpoints.
    keep
        ``hidden``, ``attention`` and/or ``norms``: of each layer, head and token that of its value vector after the
        output projection (`biocache.engine.models.value_norms`).
    layers
        Hidden layers to keep, 0 being the embedding output, and attention and norms of those from 1; None for all.
    attention_splits
        Splits whose attention and norms are kept.
    attention_views
        Views whose attention and norms are kept; None for ``sentence`` or ``pair``.
    level
        What a hidden state is kept of: ``token``; ``word``, the mean, first and last of the tokens of each; or
        ``sample``, the mean, first, last and maximum, with and without special tokens. Attention and norms are those of
        tokens.
    dtype
        Data type of hidden states on disk: ``float16``, ``float32``, or ``int8``, codes with a scale a token and one a
        feature of each pack. That of norms, which are ``float16`` beside codes.
    attention_dtype
        Data type of attention on disk: ``float16``, ``float32``, or ``uint8``, codes of square roots; None for
        ``float32`` where hidden states are, else ``float16``.
    compute_dtype
        Data type the model computes in: ``float32``, ``bfloat16`` or ``float16``.
    device
        Device name of torch; None for CUDA where there is one, else the CPU.
    max_length
        Tokens after which a sample is cut; None for 512 or what the model can read, if that is less.
    stride
        Tokens by which the windows overlap into which a longer sample is cut instead; None to lose what is beyond.
    limit
        Leading samples of each split to extract; None for all.
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
        Whether to extract a randomly initialised copy of each model.
    finetuned
        Checkpoints of the one model that another tool fine-tuned: folder or file of weights, or ``FOLDER=SIZE``, the
        percent of the train split; filed at that training size, 100 where none is named.
    trained_on
        Dataset that the models were fine-tuned on, where it is not the one to read: ``DATASET`` of the same task, or
        ``TASK/DATASET``; None for the same. The pre-trained models are on no dataset.
    part
        ``encoder`` to read the encoder of encoder-decoders; None for other models.
    merge_adapters
        Whether adapters of peft are merged into their models; a model with an adapter is refused otherwise.
    overwrite
        Whether to replace runs of another spec.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    splits: tuple[str, ...] | None = option(
        None,
        flag="--split",
        choices=SPLITS,
        help="Splits to extract.",
        unset=f"{','.join(DEFAULT_SPLITS)}, where the dataset has them",
    )
    views: tuple[str, ...] | None = option(
        None, flag="--view", choices=VIEWS, help="Views to encode.", unset="all of the task's"
    )
    keep: tuple[str, ...] = option(
        DEFAULT_KEEP,
        choices=KEEP,
        help="What to keep; norms are of value vectors after the output projection, for norm-based attention.",
    )
    layers: tuple[int, ...] | None = option(
        None,
        low=0,
        form="ranges",
        help="Layers to keep, such as 0,6,12 or 0-12; 0 is the embedding output.",
        unset="all",
    )
    stride: int | None = option(
        None,
        low=0,
        help="Cut samples over the max length into windows that overlap by these tokens, or a word more (stride of "
        "Hugging Face's return_overflowing_tokens), instead of losing their ends. Fine-tuning cuts them all the same.",
        unset="cut them off",
    )
    attention_splits: tuple[str, ...] = option(
        ("test",),
        flag="--attention-split",
        choices=SPLITS,
        empty=True,
        help="Splits whose attention and norms are kept.",
    )
    attention_views: tuple[str, ...] | None = option(
        None,
        flag="--attention-view",
        choices=VIEWS,
        help="Views whose attention and norms are kept.",
        unset=", ".join(f"{task.whole_view} for {task.name}" for task in TASKS.values()),
    )
    level: str = option(
        "token",
        choices=LEVELS,
        help="What to keep hidden states of: each token; mean, first and last of the tokens of each word; or mean, "
        "first, last and maximum of each sample. Attention and norms stay those of tokens.",
    )
    dtype: str = option("float16", choices=DTYPES, help="Data type of hidden states on disk.")
    attention_dtype: str | None = option(
        None,
        choices=ATTENTION_DTYPES,
        help="Data type of attention on disk.",
        unset="float16; float32 with --dtype float32",
    )
    compute_dtype: str = option("float32", choices=COMPUTE_DTYPES, help="Data type the model computes in.")
    device: str | None = option(None, help="Device of torch, such as cpu or cuda:1.", unset="cuda where there is one")
    batch_tokens: int | None = option(
        None, low=1, help="Tokens of a forward pass, padding included.", unset="by device"
    )
    window_tokens: int | None = option(
        None, low=1, help="Tokens sorted by length together.", unset="by device and memory"
    )
    max_memory: int | None = option(
        None, low=1, form="bytes", help="Memory to use, such as 8G or 500M.", unset="a quarter of the machine's"
    )
    max_disk: int | None = option(None, low=1, form="bytes", help="Refuse to write more than this, such as 200G.")
    partition: Partition | None = option(
        None, metavar="I/N", help="Compute every N-th window from the I-th: a share for one of N processes."
    )
    random_weights: bool = option(False, help="Extract randomly initialised copies of the models.")
    finetuned: tuple[str, ...] = option(
        (),
        empty=True,
        metavar="FOLDER[=SIZE]",
        help="Checkpoints of the one --model that another tool fine-tuned (folders or files), and on how many percent.",
        unset="none; size 100",
    )
    trained_on: str | None = option(
        None,
        metavar="DATASET|TASK/DATASET",
        help="Dataset that the models were fine-tuned on, where it is not the one to read.",
        unset="the same",
    )
    part: str | None = option(None, choices=("encoder",), help="Part of encoder-decoders to read, such as T5 and BART.")
    merge_adapters: bool = option(False, help="Merge adapters of peft, such as LoRA, into their models.")
    overwrite: bool = option(
        False,
        help="Replace runs of other settings; each stays until its successor is complete, which takes room for both.",
    )

    def check(self) -> None:
        """Refuse views that the task does not have, and models that were trained on nothing."""
        if self.trained_on is not None and not (self.finetuned or any(self.training_sizes)):
            raise SettingError(
                f"--trained-on {shown(self.trained_on)} says what models were fine-tuned on, and none is asked for; "
                "add --training-size or --finetuned"
            )
        own = TASKS[self.task].views
        for flag, views in (("--view", self.views), ("--attention-view", self.attention_views)):
            for view in views or ():
                if view not in own:
                    raise SettingError(f"{flag} {view!r} is not one of {', '.join(own)}, those of {self.task}")

    @property
    def map_dtype(self) -> str:
        """Data type of attention on disk."""
        return self.attention_dtype or ("float32" if self.dtype == "float32" else "float16")

    @property
    def all_views(self) -> tuple[str, ...]:
        """The views to encode."""
        return self.views or tuple(TASKS[self.task].views)

    def seeds_of(self, training_size: int) -> tuple[int, ...]:
        """Return the seeds that give different weights at a training size; all of them for random weights."""
        return self.seeds if self.random_weights else super().seeds_of(training_size)

    def keeps(self, view: str, split: str) -> tuple[str, ...]:
        """Return what is kept of one run, in the order of `KEEP`; maybe nothing.

        Attention is kept only for the views and splits that are asked for, because maps are large: one head's map
        of n tokens has n * n entries. Norms, which weigh it, go with it.
        """
        maps = split in self.attention_splits and view in (self.attention_views or (TASKS[self.task].whole_view,))
        return tuple(name for name in KEEP if name in self.keep and (name == HIDDEN.name or maps))
