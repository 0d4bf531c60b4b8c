"""The scores of a fine-tuned classifier, as one dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.corpora.encoding import Encoding
from biocache.engine.corpora.ner import OUTSIDE
from biocache.engine.corpora.task import Sample
from biocache.engine.metrics import as_iob2, score_classes, score_entities

__all__ = ["Predicted", "check_scores", "score_splits", "word_classes"]

_UNIT = {"units": "1", "valid_min": 0.0, "valid_max": 1.0}


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a classifier says of one split.

    Attributes
    ----------
    samples
        The samples.
    classes
        Predicted classes, int64: one a word (``ner``, the samples' words one after another) or one a sample.
    """

    samples: Sequence[Sample]
    classes: NDArray[np.int64]


def word_classes(encoding: Encoding, rows: NDArray[np.integer], labels: Sequence[str]) -> NDArray[np.int64]:
    """Read the class of every word at its first token.

    Parameters
    ----------
    encoding
        Tokens of the samples.
    rows
        Predicted classes (sample, token), as long along ``token`` as the longest sample.
    labels
        Names of the classes.

    Returns
    -------
    numpy.ndarray
        int64 (word,). A word without tokens, because it was cut off, is outside of every entity: ``O``.
    """
    classes = np.full(len(encoding.word_text), labels.index(OUTSIDE), np.int64)
    read = encoding.word_token_count > 0
    sample = np.repeat(np.arange(len(rows)), encoding.word_count)[read]
    start = np.cumsum(encoding.token_count, dtype=np.int64) - encoding.token_count
    classes[read] = rows[sample, encoding.word_token_start[read] - start[sample]]
    return classes


def score_splits(predicted: Mapping[str, Predicted], labels: Sequence[str], label_scheme: str) -> xr.Dataset:
    """Score the predictions for some splits.

    Parameters
    ----------
    predicted
        Split name to its predictions.
    labels
        Names of the classes.
    label_scheme
        How entities are predicted: ``bio``, as IOB2 tags, or ``type``, as entity types, of which a stretch is one
        entity. The truth is the corpus's own entities for both.

    Returns
    -------
    xarray.Dataset
        float64 in [0, 1] with dims split: ``accuracy``, ``macro_f1``, ``micro_f1`` and, for ``ner``,
        ``entity_precision``, ``entity_recall``, ``entity_f1``; with dims (split, label): ``precision``, ``recall``,
        ``f1``. int64 counts: ``items`` and, for ``ner``, ``entities`` (split), ``support`` (split, label) and
        ``confusion`` (split, label, predicted_label). Their definitions are those of `biocache.engine.metrics`.
    """
    parts = {split: _score(part, labels, label_scheme) for split, part in predicted.items()}
    made = next(iter(parts.values()))
    variables = {
        name: (
            ("split", *dims),
            np.array([part[name] for part in parts.values()]),
            dict(_UNIT) if name not in _COUNTS else {"units": "1"},
        )
        for name, dims in _DIMS.items()
        if name in made
    }
    text = np.array(labels, dtype=object)
    coordinates = {"split": np.array(list(parts), dtype=object), "label": text}
    return xr.Dataset(variables, coordinates | {"predicted_label": text})


# Dimensions of the scores after split, in the order of the dataset.
_DIMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("accuracy", "macro_f1", "micro_f1", "items"), ()),
    **dict.fromkeys(("precision", "recall", "f1", "support"), ("label",)),
    "confusion": ("label", "predicted_label"),
    **dict.fromkeys(("entity_precision", "entity_recall", "entity_f1", "entities"), ()),
}
# Dimensions of what else a checkpoint records: its training.
_OTHER_DIMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("train_samples", "seconds", "samples_per_second"), ()),
    **dict.fromkeys(("loss", "learning_rate"), ("step",)),
    "validation_loss": ("evaluation_step",),
}
_COUNTS = {"items", "entities", "support", "confusion"}


def check_scores(scores: xr.Dataset) -> None:
    """Refuse a dataset that does not look like the scores and the loss curve of a checkpoint.

    Raises
    ------
    ValueError
        If a variable is missing, or its dimensions or type are not those of `score_splits` and `Training.run`.
    """
    absent = {"split", "label", "accuracy", *_OTHER_DIMS} - {"validation_loss"} - set(scores.variables)
    if absent:
        raise ValueError(f"{', '.join(sorted(absent))} is missing")
    for coordinate in ("split", "label"):
        values = scores[coordinate].values.tolist() if scores[coordinate].dims == (coordinate,) else [None]
        if not all(isinstance(value, str) for value in values) or len(set(values)) < len(values):
            raise ValueError(f"{coordinate} does not hold distinct names")
    for name, variable in scores.data_vars.items():
        dims = _OTHER_DIMS.get(str(name), ("split", *_DIMS.get(str(name), ())))
        if variable.dims != dims or variable.dtype.kind not in "biuf":
            raise ValueError(f"{name} is not of numbers along {dims}")


def _score(part: Predicted, labels: Sequence[str], label_scheme: str) -> dict[str, Any]:
    code = {label: position for position, label in enumerate(labels)}
    gold = np.array([code[label] for sample in part.samples for label in sample.labels])
    found = {**vars(score_classes(gold, part.classes, labels)), "items": len(gold)}
    if part.samples[0].word_labels is not None:
        ends = np.cumsum([0, *(len(sample.labels) for sample in part.samples)]).tolist()
        guessed = [[labels[position] for position in part.classes[a:b].tolist()] for a, b in pairwise(ends)]
        if label_scheme == "type":
            guessed = [as_iob2(types) for types in guessed]
        entities = score_entities([sample.tags or () for sample in part.samples], guessed)
        found |= {f"entity_{name}": getattr(entities, name) for name in ("precision", "recall", "f1")}
        found["entities"] = entities.support
    return found
