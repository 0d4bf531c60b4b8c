"""Which grid a study covers, and the request of each of its steps."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from biocache.engine.attention.request import DEFAULT_METRICS, AttentionRequest
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.probing.request import ProbeRequest
from biocache.engine.settings import require_known, require_named, require_sizes
from biocache.engine.tasks.base import TASKS
from biocache.store.paths import local_path

__all__ = ["STEPS", "Cell", "StudyRequest"]

STEPS = ("finetune", "extract", "probe", "compare-attention")

#: The probes of the study that biocache replaces.
STUDY_PROBES = {"ner": "bilstm-crf", "nli": "svc"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one data set.

    Attributes
    ----------
    task
        ``ner`` or ``nli``.
    dataset, model
        As the user gave them: a folder, a hub id, ``NAME=...``; the task's default data set is None.
    dataset_name, model_name
        Their names in run keys.
    """

    task: str
    dataset: str | None
    dataset_name: str
    model: str
    model_name: str


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """The grid, and the settings that all of it shares.

    Attributes
    ----------
    corpora
        The task and the data set of each corpus; None for the task's default.
    models
        Aliases, hub ids, folders or ``NAME=FOLDER|HUB_ID``.
    training_sizes
        Percents of the train split; 0 is the pre-trained model.
    seed
        Seed of subsets and fine-tuning.
    checkpoints
        Folder of fine-tuned checkpoints.
    steps
        Which of `STEPS` to do.
    finetuning, extraction
        Requests whose settings are taken; what the grid decides (task, data set, model, size, seed, checkpoints) is
        replaced.
    probe
        Classifier of all tasks; None for those of the original study, ``bilstm-crf`` for ``ner`` and ``svc`` for
        ``nli``.
    max_train_samples
        Most samples that a probe is fitted on; None for all.
    metrics
        Metrics of the comparison of attention.
    max_disk
        Bytes that checkpoints and activations may take together, before compression; None for no limit.

    Raises
    ------
    SettingError
        If a list is empty or a value out of its range.
    """

    corpora: tuple[tuple[str, str | None], ...]
    models: tuple[str, ...] = ("bert",)
    training_sizes: tuple[int, ...] = (0, 10, 30, 50, 100)
    seed: int = 42
    checkpoints: Path = Path("checkpoints")
    steps: tuple[str, ...] = STEPS
    finetuning: FinetuneRequest = field(default_factory=lambda: FinetuneRequest(task="ner"))
    extraction: ExtractionRequest = field(default_factory=lambda: ExtractionRequest(task="ner"))
    probe: str | None = None
    max_train_samples: int | None = None
    metrics: tuple[str, ...] = DEFAULT_METRICS
    max_disk: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "checkpoints", local_path(self.checkpoints, "checkpoints"))
        require_named(self, "corpora", "models", "training_sizes", "steps")
        require_known("task", (task for task, _ in self.corpora), TASKS)
        require_known("step", self.steps, STEPS)
        require_sizes(self.training_sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The training sizes, ascending, each once."""
        return tuple(sorted(set(self.training_sizes)))

    def finetune_request(self, cell: Cell, size: int) -> FinetuneRequest:
        """Return what makes the checkpoint of a cell at a size."""
        return replace(self.finetuning, **self._parts(cell, size))

    def extraction_request(self, cell: Cell, size: int) -> ExtractionRequest:
        """Return what extracts the runs of a cell at a size."""
        return replace(self.extraction, **self._parts(cell, size))

    def _parts(self, cell: Cell, size: int) -> dict[str, Any]:
        """Return what the grid decides of a request."""
        return {
            "task": cell.task,
            "dataset": cell.dataset,
            "models": (cell.model,),
            "training_sizes": (size,),
            "seed": self.seed,
            "checkpoints": self.checkpoints,
        }

    def probe_request(self, cell: Cell, sizes: tuple[int, ...]) -> ProbeRequest:
        """Return what probes the runs of a cell at some sizes."""
        return ProbeRequest(
            task=cell.task,
            dataset=cell.dataset_name,
            models=(cell.model_name,),
            training_sizes=sizes,
            run_seeds=(self.seed,),
            probe=self.probe or STUDY_PROBES[cell.task],
            max_train_samples=self.max_train_samples,
        )

    def attention_request(self, cell: Cell, sizes: tuple[int, ...]) -> AttentionRequest:
        """Return what compares the attention of a cell at some sizes with that of the smallest of the grid."""
        return AttentionRequest(
            task=cell.task,
            dataset=cell.dataset_name,
            model=cell.model_name,
            seed=self.seed,
            view="sentence" if cell.task == "ner" else "pair",
            split="test",
            training_sizes=sizes,
            baseline=self.sizes[0],
            metrics=self.metrics,
        )
