"""The part of a request that extraction and fine-tuning share: a corpus, models and sample limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from biocache.engine.corpora.base import TASKS
from biocache.engine.corpora.labels import LABEL_TYPES
from biocache.engine.request import Request, option
from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED
from biocache.store.text import counted

__all__ = ["CorpusRequest", "ReadingRequest"]

_DEFAULTS = ", ".join(f"{task.default_dataset} for {task.name}" for task in TASKS.values() if task.default_dataset)


# Settings of some tasks: field to the tasks.
_WORDS = tuple(task.name for task in TASKS.values() if task.labels_words)
_SAMPLES = tuple(task.name for task in TASKS.values() if not task.labels_words)
_FITS: Mapping[str, tuple[str, ...]] = {
    "word_column": _WORDS,
    "tag_column": _WORDS,
    "text_column": ("text",),
    "pair_columns": ("nli",),
    "label_column": _SAMPLES,
    "label_type": _SAMPLES,
}


@dataclass(frozen=True, kw_only=True)
class ReadingRequest(Request):
    """How a corpus is read where its files do not tell: its splits and its columns.

    A column is named by its header or numbered from 1.

    Attributes
    ----------
    config
        Configuration of a dataset of the hub; None for its default.
    split_files
        ``SPLIT=FILE``, or ``SPLIT=NAME`` of a split of the hub, for splits whose names say nothing; of several of one
        split, the rows follow each other.
    word_column, tag_column
        Columns of words and their tags, for ``ner`` and ``tokens``; None for the first and the last.
    text_column
        Column of the text, for ``text``; None for a guess by its name.
    pair_columns
        Columns of the first and the second text, for ``nli``; None for a guess by their names.
    label_column
        Column of the labels, for ``nli`` and ``text``; None for a guess by its name.
    id_column, group_column
        Columns of the ids of samples, and of the document, premise or patient that they belong to; None for a guess by
        their names.
    label_type
        What labels are, ``class`` or ``number``, for ``nli`` and ``text``; None for numbers where all are and some have
        a fraction.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    config: str | None = option(None, help="Configuration of a dataset of the hub.", unset="its default")
    split_files: tuple[str, ...] = option(
        (),
        metavar="SPLIT=FILE,...",
        empty=True,
        help="Files, or splits of the hub, whose names do not tell their split.",
    )
    word_column: str | None = option(
        None, metavar="NAME|N", help="Column of the words (ner, tokens).", unset="the first, or by its name"
    )
    tag_column: str | None = option(
        None, metavar="NAME|N", help="Column of the tags (ner, tokens).", unset="the last, or by its name"
    )
    text_column: str | None = option(None, metavar="NAME|N", help="Column of the text (text).", unset="by its name")
    pair_columns: tuple[str, ...] | None = option(
        None, metavar="A,B", repeats=True, help="Columns of the first and second text (nli).", unset="by their names"
    )
    label_column: str | None = option(
        None, metavar="NAME|N", help="Column of the labels (nli, text).", unset="by its name"
    )
    id_column: str | None = option(None, metavar="NAME|N", help="Column of the samples' ids.", unset="by its name")
    group_column: str | None = option(
        None, metavar="NAME|N", help="Column of what samples belong to, such as documents.", unset="by its name"
    )
    label_type: str | None = option(
        None, choices=LABEL_TYPES, help="What labels are (nli, text).", unset="numbers if some have fractions"
    )

    def check(self) -> None:
        """Refuse columns of a pair that are not two."""
        if self.pair_columns is not None and len(self.pair_columns) != 2:
            raise SettingError(
                f"--pair-columns names {counted(len(self.pair_columns), 'column')}; name the two of a pair"
            )

    def refuse_unfit(self, *tasks: str) -> None:
        """Refuse settings that none of some tasks has.

        Raises
        ------
        SettingError
            If one is set.
        """
        for name, fit in _FITS.items():
            if getattr(self, name) is not None and not {*fit} & {*tasks}:
                flag = f"--{name.replace('_', '-')}"
                whose = " and ".join(fit)
                raise SettingError(f"{flag} is for {whose}, and --task is {', '.join(tasks)}; leave it out")

    def fitting(self, task: str) -> Self:
        """Return the settings without those that a task does not have."""
        unfit: dict[str, Any] = {name: None for name, fit in _FITS.items() if task not in fit}
        return replace(self, **unfit)


@dataclass(frozen=True, kw_only=True)
class CorpusRequest(Request):
    """A corpus and models; the base of `ExtractionRequest` and `FinetuneRequest`.

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
        Seeds of the fine-tuning, or of random weights; a checkpoint or run each. The pre-trained model is the same for
        all.
    checkpoints
        Folder of fine-tuned checkpoints.
    max_length
        Tokens after which a sample is cut; None for 512 or what the model can read, if that is less.
    limit
        Leading samples of each split to read; None for all.

    Raises
    ------
    SettingError
        If a value is out of its range.
    """

    task: str = option(choices=tuple(TASKS), help="How text is read.")
    dataset: str | None = option(
        None,
        metavar="NAME|FOLDER|HUB_ID",
        help="Dataset: a folder, file or hub id; NAME=FOLDER names it.",
        unset=_DEFAULTS,
    )
    reading: ReadingRequest = field(default_factory=ReadingRequest)
    models: tuple[str, ...] = option(
        ("bert",), flag="--model", help="Models: bert, biobert, gpt2, biogpt, hub ids or NAME=FOLDER."
    )
    training_sizes: tuple[int, ...] = option(
        (0,),
        flag="--training-size",
        low=0,
        high=100,
        help="Percents of the train split that the models were fine-tuned on; 0 is pre-trained.",
    )
    seeds: tuple[int, ...] = option(
        (42,), flag="--seed", low=0, high=MAX_SEED, help="Seeds of fine-tuning or random weights; a model each."
    )
    checkpoints: Path = option(Path("checkpoints"), help="Folder of fine-tuned checkpoints.")
    max_length: int | None = option(None, low=1, help="Tokens after which a sample is cut.", unset="512 or the model's")
    limit: int | None = option(None, low=1, help="Leading samples of each split to read.", unset="all")

    def check(self) -> None:
        """Refuse settings of the corpus that its task does not have."""
        self.reading.refuse_unfit(self.task)

    def seeds_of(self, training_size: int) -> tuple[int, ...]:
        """Return the seeds that give different weights at a training size: of the pre-trained model only the first."""
        return self.seeds if training_size else self.seeds[:1]
