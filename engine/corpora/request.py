"""What extraction and fine-tuning are both asked for: a corpus, models, and how far samples are read."""

from dataclasses import dataclass
from pathlib import Path

from biocache.engine.corpora.base import TASKS
from biocache.engine.request import Request, option
from biocache.store.keys import MAX_SEED

__all__ = ["CorpusRequest"]

_DEFAULTS = ", ".join(f"{task.default_dataset} for {task.name}" for task in TASKS.values() if task.default_dataset)


@dataclass(frozen=True, kw_only=True)
class CorpusRequest(Request):
    """A corpus and models, for the requests of what runs one through the others.

    Attributes
    ----------
    task
        A name in `TASKS`: ``ner`` or ``nli``.
    dataset
        Folder, hub id, ``NAME=FOLDER|HUB_ID``, or None for the task's default.
    models
        Aliases, hub ids, folders or ``NAME=FOLDER|HUB_ID``.
    training_sizes
        Percents of the train split; 0 is the pre-trained model.
    seed
        Seed of the fine-tuning, or of random weights.
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
        None, metavar="NAME|FOLDER|HUB_ID", help="Corpus; NAME=FOLDER names it.", unset=_DEFAULTS
    )
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
    seed: int = option(42, low=0, high=MAX_SEED, help="Seed of fine-tuning or random weights.")
    checkpoints: Path = option(Path("checkpoints"), help="Folder of fine-tuned checkpoints.")
    max_length: int | None = option(None, low=1, help="Tokens after which a sample is cut.", unset="512 or the model's")
    limit: int | None = option(None, low=1, help="Leading samples of each split to read.", unset="all")
