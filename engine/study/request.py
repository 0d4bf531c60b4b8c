"""The grid of a study, and the requests of its steps."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from biocache.engine.analyses.attention.request import DEFAULT_METRICS, METRIC_NAMES, AttentionRequest
from biocache.engine.analyses.probing.request import PROBES, ProbeRequest
from biocache.engine.corpora.base import TASKS
from biocache.engine.corpora.request import ReadingRequest
from biocache.engine.extraction.request import LEVELS, ExtractionRequest
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.request import Request, option
from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED
from biocache.store.text import shown

__all__ = ["STEPS", "Cell", "StudyRequest"]

STEPS = ("finetune", "extract", "probe", "compare-attention")

# The probes of the original study: for labels of words, and for labels of samples.


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one dataset.

    Attributes
    ----------
    task
        Name of the task.
    dataset, model
        As the user gave them: a folder, a hub id, ``NAME=...``; the task's default dataset is None.
    dataset_name, model_name
        Their names in run keys.
    """

    task: str
    dataset: str | None
    dataset_name: str
    model: str
    model_name: str


@dataclass(frozen=True, kw_only=True)
class StudyRequest(Request):
    """The grid, and the settings of all its steps.

    Attributes
    ----------
    tasks
        The tasks.
    datasets
        A dataset for each task, in the same order; None for the default datasets of the tasks.
    reading
        How the corpora are read where their files do not tell; each setting holds for the corpora whose task has it.
    models
        Aliases, hub ids, folders, files of weights or ``NAME=FOLDER|FILE|HUB_ID``.
    training_sizes
        Percents of the train split; 0 is the pre-trained model.
    equal_updates
        Whether all training sizes are fine-tuned for as many optimiser steps as the epochs of the largest take, so that
        they differ in data and not in updates.
    seeds
        Seeds of subsets and fine-tuning, a checkpoint and its runs each; the pre-trained model is the same for all.
    checkpoints
        Folder of fine-tuned checkpoints.
    steps
        Which of `STEPS` to run.
    finetuning, extraction
        Settings of these steps; the fields that the grid decides (task, dataset, its reading, model, size, seeds,
        checkpoints, level) are replaced.
    levels
        What hidden states are kept of; see `ExtractionRequest.level`. A level for all tasks, or ``TASK=LEVEL`` for
        some, the others at the level that stands alone or at ``token``.
    probe
        Classifier of all tasks; None for that of `ProbeRequest`.
    max_train_samples
        Maximum number of samples that a probe is fitted on; None for all.
    metrics
        Metrics of the attention comparison.
    max_disk
        Maximum bytes of checkpoints and activations together, before compression; None for no limit.

    Raises
    ------
    SettingError
        If a list is empty or a value out of its range.
    """

    tasks: tuple[str, ...] = option(
        ("ner",), flag="--task", choices=tuple(TASKS), repeats=True, help="Tasks, one for each dataset."
    )
    datasets: tuple[str, ...] | None = option(
        None,
        flag="--dataset",
        repeats=True,
        help="A dataset for each task, in the same order; NAME=FOLDER names it.",
        unset="those of the tasks",
    )
    reading: ReadingRequest = field(default_factory=ReadingRequest)
    models: tuple[str, ...] = option(
        ("bert",), flag="--model", help="Models: bert, biobert, gpt2, biogpt, hub ids or NAME=FOLDER."
    )
    training_sizes: tuple[int, ...] = option(
        (0, 10, 30, 50, 100),
        flag="--training-size",
        low=0,
        high=100,
        help="Percents of the train split; 0 is pre-trained.",
    )
    equal_updates: bool = option(
        False, help="Fine-tune all sizes as many steps as --epochs of the largest take: they differ in data alone."
    )
    seeds: tuple[int, ...] = option(
        (42,), flag="--seed", low=0, high=MAX_SEED, help="Seeds of fine-tuning: each size is fine-tuned with each."
    )
    checkpoints: Path = option(Path("checkpoints"), help="Folder of fine-tuned checkpoints.")
    steps: tuple[str, ...] = option(STEPS, choices=STEPS, help="Steps to run.")
    finetuning: FinetuneRequest = field(default_factory=lambda: FinetuneRequest(task="ner"), metadata={"lends": False})
    extraction: ExtractionRequest = field(
        default_factory=lambda: ExtractionRequest(task="ner"), metadata={"lends": False}
    )
    levels: tuple[str, ...] = option(
        ("token",),
        flag="--level",
        help="What to keep hidden states of, as for extract: token, word or sample, or TASK=LEVEL for each task.",
    )
    probe: str | None = option(None, choices=PROBES, help="Classifier of the probes.", unset="that of `biocache probe`")
    max_train_samples: int | None = option(
        None, low=1, help="Samples of the train split that a probe is fitted on.", unset="all"
    )
    metrics: tuple[str, ...] = option(
        DEFAULT_METRICS, flag="--metric", choices=METRIC_NAMES, help="Metrics of the comparison of attention."
    )
    max_disk: int | None = option(None, low=1, form="bytes", help="Refuse to write more than this, such as 200G.")

    def check(self) -> None:
        """Refuse corpora that are not one for each task."""
        if self.datasets is not None and len(self.datasets) != len(self.tasks):
            raise SettingError(
                f"--dataset names {len(self.datasets)} and --task {len(self.tasks)}; give a dataset for each task, in "
                "the same order"
            )
        self.reading.refuse_unfit(*self.tasks)
        self._levels()
        if self.equal_updates and (self.finetuning.max_steps or self.finetuning.steps_of):
            raise SettingError("--equal-updates says how long to train: leave out --max-steps and --steps-of")

    def _levels(self) -> dict[str, str]:
        """Return the level of each task."""
        named: dict[str | None, str] = {}
        for item in self.levels:
            task, _, level = item.rpartition("=")
            if level not in LEVELS:
                raise SettingError(f"--level {shown(item)} names no level: {', '.join(LEVELS)}")
            if task and task not in self.tasks:
                raise SettingError(f"--level {shown(item)} is for a task that --task does not name")
            if (task or None) in named:
                raise SettingError(f"--level has two levels for {task or 'all tasks'}; leave one of them out")
            named[task or None] = level
        return {task: named.get(task, named.get(None, LEVELS[0])) for task in self.tasks}

    @property
    def updates_are_equal(self) -> bool:
        """Whether all training sizes are fine-tuned for the same number of optimiser steps."""
        made = self.finetuning
        return self.equal_updates or made.max_steps is not None or made.steps_of is not None

    @property
    def corpora(self) -> tuple[tuple[str, str | None], ...]:
        """The task and the dataset of each corpus; None for the task's default."""
        return tuple(zip(self.tasks, self.datasets or (None,) * len(self.tasks), strict=True))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The training sizes, ascending, each once."""
        return tuple(sorted(set(self.training_sizes)))

    def seeds_of(self, size: int) -> tuple[int, ...]:
        """Return the seeds that a training size has runs of; the pre-trained model is read under the first."""
        return self.seeds if size else self.seeds[:1]

    def finetune_request(self, cell: Cell, size: int, seed: int) -> FinetuneRequest:
        """Return the request for the checkpoint of a cell at a size and seed."""
        request = replace(self.finetuning, **self._parts(cell, size, seed))
        return replace(request, steps_of=self.sizes[-1]) if self.equal_updates and size else request

    def extraction_request(self, cell: Cell, size: int, seed: int) -> ExtractionRequest:
        """Return the request for the runs of a cell at a size and seed."""
        return replace(self.extraction, level=self._levels()[cell.task], **self._parts(cell, size, seed))

    def _parts(self, cell: Cell, size: int, seed: int) -> dict[str, Any]:
        """Return the fields of a request that the grid decides."""
        return {
            "task": cell.task,
            "dataset": cell.dataset,
            "reading": self.reading.fitting(cell.task),
            "models": (cell.model,),
            "training_sizes": (size,),
            "seeds": (seed,),
            "checkpoints": self.checkpoints,
        }

    def probe_request(self, cell: Cell, sizes: tuple[int, ...], seeds: tuple[int, ...]) -> ProbeRequest:
        """Return the request that probes a cell at some sizes and seeds."""
        return ProbeRequest(
            task=cell.task,
            dataset=cell.dataset_name,
            models=(cell.model_name,),
            training_sizes=sizes,
            run_seeds=seeds,
            probe=self.probe,
            max_train_samples=self.max_train_samples,
        )

    def attention_request(self, cell: Cell, sizes: tuple[int, ...], seeds: tuple[int, ...]) -> AttentionRequest:
        """Return the request that compares the attention of a cell at some sizes with the smallest of the grid."""
        return AttentionRequest(
            task=cell.task,
            dataset=cell.dataset_name,
            model=cell.model_name,
            seeds=seeds,
            view=TASKS[cell.task].whole_view,
            split="test",
            training_sizes=sizes,
            baseline=self.sizes[0],
            metrics=self.metrics,
        )
