"""What came of the demo's fine-tuning."""

from collections.abc import Iterator

import numpy as np

from biocache.engine.corpora.base import TASKS
from biocache.engine.demo.demo import SIZES, Demo
from biocache.engine.demo.models import MODELS
from biocache.store import Store

__all__ = ["SCORES", "test_scores"]

#: The score that a task is judged by.
SCORES = {"ner": "entity_f1", "nli": "accuracy"}


def test_scores(demo: Demo) -> Iterator[tuple[str, str, dict[int, float]]]:
    """Yield a task, a model, and its score on the test split at each training size, as the store keeps it.

    Parameters
    ----------
    demo
        A finished demo.
    """
    found = {}
    for result in Store.open(demo.store).results("finetune"):
        spec = result.inputs["checkpoint"]
        scores = result.load()[SCORES[spec["task"]]]
        found[spec["task"], spec["model"], spec["training_size"]] = np.asarray(scores.sel(split="test")).item()
    for task in TASKS:
        for model in MODELS:
            yield task, model, {size: found[task, model, size] for size in SIZES}
