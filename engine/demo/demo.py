"""What the demo is: where its parts are, and what is asked for in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.demo.models import MODELS
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.finetuning.request import FinetuneRequest

__all__ = ["DATASET", "SIZES", "Demo"]

DATASET = "demo"
#: Percents of the train split that the models are fine-tuned on.
SIZES = (10, 30, 50, 100)


@dataclass(frozen=True, slots=True)
class Demo:
    """Where the parts of a demo are, and what is asked for in it.

    Attributes
    ----------
    folder
        Folder of the demo.
    """

    folder: Path

    @property
    def corpus(self) -> Path:
        """Folder of the corpora, one a task."""
        return self.folder / "corpus"

    @property
    def models(self) -> dict[str, Path]:
        """Name of a model to the folder of its pre-trained checkpoint."""
        return {name: self.folder / "models" / name for name in MODELS}

    @property
    def checkpoints(self) -> Path:
        """Folder of the fine-tuned checkpoints."""
        return self.folder / "checkpoints"

    @property
    def store(self) -> Path:
        """Folder of the store."""
        return self.folder / "biocache.zarr"

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    def finetune_request(self, task: str, *models: str) -> FinetuneRequest:
        """Return how models, by default all, are fine-tuned: as larger ones are, but faster."""
        return FinetuneRequest(
            **self._shared(task, models),
            training_sizes=SIZES,
            checkpoints=self.checkpoints,
            epochs=6,
            learning_rate=2e-3,
            batch_size=8,
        )

    def extraction_request(self, task: str, *models: str) -> ExtractionRequest:
        """Return what is extracted of models, by default of all: every layer at every training size."""
        return ExtractionRequest(
            **self._shared(task, models),
            training_sizes=(0, *SIZES),
            # Pairs are probed and compared as they were fine-tuned: encoded together.
            views=("pair",) if task == "nli" else None,
            checkpoints=self.checkpoints,
        )

    def probe_request(self, task: str) -> ProbeRequest:
        """Return what is probed: every layer, with a control task."""
        if task == "ner":
            return ProbeRequest(task=task, max_train_samples=100, control=True)
        return ProbeRequest(task=task, features="pair", control=True)

    def attention_request(self, task: str, model: str) -> AttentionRequest:
        """Return how the attention of a fine-tuned model is compared with that of the pre-trained one."""
        return AttentionRequest(task=task, model=model, training_sizes=SIZES)

    def _shared(self, task: str, models: tuple[str, ...]) -> dict[str, Any]:
        named = tuple(f"{name}={self.models[name]}" for name in models or MODELS)
        return {"task": task, "dataset": f"{DATASET}={self.corpus / task}", "models": named}
