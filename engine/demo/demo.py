"""The demo: the places of its parts, its requests, and the scores of its fine-tuned models."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.corpora.base import TASKS
from biocache.engine.demo.models import MODELS
from biocache.engine.extraction.request import DEFAULT_SPLITS, ExtractionRequest
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.store import Store

__all__ = ["DATASET", "SCORES", "SIZES", "Demo"]

DATASET = "demo"
#: Percents of the train split that the models are fine-tuned on.
SIZES = (10, 30, 50, 100)
#: The tasks of the demo, and the main score of each.
SCORES = {"ner": "entity_f1", "nli": "accuracy"}


@dataclass(frozen=True, slots=True)
class Demo:
    """The places of the parts of a demo, and its requests.

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
        """Folders of the pre-trained checkpoints, by the names of the models."""
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
        """Return the request that fine-tunes models, by default all; tiny ones need a high learning rate."""
        return FinetuneRequest(
            **self._shared(task, models),
            training_sizes=SIZES,
            checkpoints=self.checkpoints,
            epochs=6,
            learning_rate=2e-3,
            batch_size=8,
        )

    def extraction_request(self, task: str, *models: str) -> ExtractionRequest:
        """Return the request that extracts models, by default all: every layer at every training size."""
        return ExtractionRequest(
            **self._shared(task, models),
            training_sizes=(0, *SIZES),
            splits=DEFAULT_SPLITS,
            # Pairs are probed and compared as they were fine-tuned: encoded together.
            views=(TASKS[task].whole_view,),
            checkpoints=self.checkpoints,
        )

    def probe_request(self, task: str) -> ProbeRequest:
        """Return the request that probes every layer, with a control task."""
        if TASKS[task].labels_words:
            return ProbeRequest(task=task, max_train_samples=100, control=True)
        return ProbeRequest(task=task, features="pair", control=True)

    def attention_request(self, task: str, model: str) -> AttentionRequest:
        """Return the request that compares the attention of a fine-tuned model with that of the pre-trained one."""
        return AttentionRequest(task=task, model=model, training_sizes=SIZES)

    def scores(self) -> Iterator[tuple[str, str, dict[int, float]]]:
        """Yield each task and model of a finished demo, with its score on the test split at each training size."""
        found = {}
        for result in Store.open(self.store).results("finetune"):
            spec = result.inputs["checkpoint"]
            score = result.load()[SCORES[spec["task"]]].sel(split="test")
            found[spec["task"], spec["model"], spec["training_size"]] = score.item()
        for task in SCORES:
            for model in MODELS:
                yield task, model, {size: found[task, model, size] for size in SIZES}

    def _shared(self, task: str, models: tuple[str, ...]) -> dict[str, Any]:
        named = tuple(f"{name}={self.models[name]}" for name in models or MODELS)
        return {"task": task, "dataset": f"{DATASET}={self.corpus / task}", "models": named}
