"""The scores of a fine-tuned classifier, as one dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.encoding import Encoding
from biocache.engine.corpora.task import Sample
from biocache.engine.finetuning.targets import NO_LABEL, Targets
from biocache.engine.metrics import NUMBER_SCORES, as_iob2, score_classes, score_entities, score_numbers

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Predicted", "check_scores", "score_splits", "word_classes"]

_UNIT = {"units": "1", "valid_min": 0.0, "valid_max": 1.0}


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions of a classifier for one split.

    Attributes
    ----------
    samples
        The samples.
    values
        Predicted classes, int64: one a word (the samples' words one after another) or one a sample; or numbers, one a
        sample.
    """

    samples: Sequence[Sample]
    values: NDArray[Any]


def word_classes(encoding: Encoding, rows: NDArray[np.integer], usual: int) -> NDArray[np.int64]:
    """Read the class of every word at its first token.

    Parameters
    ----------
    encoding
        Tokens of the samples.
    rows
        Predicted classes (sample, token), as long along ``token`` as the longest sample.
    usual
        Class of words without tokens, because they were cut off; see `Targets.usual`.

    Returns
    -------
    numpy.ndarray
        int64 (word,).
    """
    classes = np.full(len(encoding.word_text), usual, np.int64)
    read = encoding.word_token_count > 0
    sample = np.repeat(np.arange(len(rows)), encoding.word_count)[read]
    start = np.cumsum(encoding.token_count, dtype=np.int64) - encoding.token_count
    classes[read] = rows[sample, encoding.word_token_start[read] - start[sample]]
    return classes


def score_splits(predicted: Mapping[str, Predicted], targets: Targets) -> "xr.Dataset":
    """Score the predictions for some splits.

    Parameters
    ----------
    predicted
        Split name to its predictions.
    targets
        What was predicted. Entities are predicted as IOB2 tags, or as entity types, where consecutive words of one type
        are one entity; the truth is the corpus's own entities for both.

    Returns
    -------
    xarray.Dataset
        float64 in [0, 1] with dims split: ``accuracy``, ``macro_f1``, ``micro_f1`` and, for IOB2 tags,
        ``entity_precision``, ``entity_recall``, ``entity_f1``; with dims (split, label): ``precision``, ``recall``,
        ``f1``. int64 counts: ``items`` and, for IOB2 tags, ``entities`` (split), ``support`` (split, label) and
        ``confusion`` (split, label, predicted_label). For numbers: ``r2``, ``pearson``, ``spearman`` and ``rmse``
        (split), without labels. Words and samples without label are not scored. The definitions are those of
        `biocache.engine.metrics`.
    """
    parts = {split: _score(part, targets) for split, part in predicted.items()}
    made = next(iter(parts.values()))
    variables = {
        name: (
            ("split", *dims),
            np.array([part[name] for part in parts.values()]),
            dict(_UNIT) if name not in _UNBOUNDED else {"units": "1"},
        )
        for name, dims in _DIMS.items()
        if name in made
    }
    text = np.array(targets.names, dtype=object)
    coordinates = {"split": np.array(list(parts), dtype=object), "label": text}
    import xarray as xr

    return xr.Dataset(variables, coordinates | {"predicted_label": text})


# Dimensions of the scores after split, in the order of the dataset.
_DIMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("accuracy", "macro_f1", "micro_f1", "items"), ()),
    **dict.fromkeys(("precision", "recall", "f1", "support"), ("label",)),
    "confusion": ("label", "predicted_label"),
    **dict.fromkeys(("entity_precision", "entity_recall", "entity_f1", "entities"), ()),
    **dict.fromkeys(NUMBER_SCORES, ()),
}
# Dimensions of what else a checkpoint records: its training.
_OTHER_DIMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("train_samples", "steps", "seconds", "samples_per_second"), ()),
    **dict.fromkeys(("loss", "learning_rate"), ("step",)),
    "validation_loss": ("evaluation_step",),
}
_UNBOUNDED = {"items", "entities", "support", "confusion", *NUMBER_SCORES}


def check_scores(scores: "xr.Dataset") -> None:
    """Refuse a dataset that is not the scores and the loss curve of a checkpoint.

    Raises
    ------
    ValueError
        If a variable is missing, or its dimensions or type are not those of `score_splits` and `Training.run`.
    """
    main = "r2" if "r2" in scores.variables else "accuracy"
    absent = {"split", "label", main, *_OTHER_DIMS} - {"validation_loss", "steps"} - set(scores.variables)
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


def _score(part: Predicted, targets: Targets) -> dict[str, Any]:
    gold = targets.values(part.samples)
    known = ~np.isnan(gold) if targets.numeric else gold != NO_LABEL
    if targets.numeric:
        return {**score_numbers(gold[known], part.values[known]), "items": int(known.sum())}
    found = {**vars(score_classes(gold[known], part.values[known], targets.names)), "items": int(known.sum())}
    if targets.iob2:
        entities = score_entities(*_sentences(part, targets, known))
        found |= {f"entity_{name}": getattr(entities, name) for name in ("precision", "recall", "f1")}
        found["entities"] = entities.support
    return found


def _sentences(part: Predicted, targets: Targets, known: NDArray[np.bool_]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the IOB2 tags of the words of each sentence: the corpus's own, and those predicted."""
    ends = np.cumsum([0, *(sum(map(len, sample.texts)) for sample in part.samples)]).tolist()
    names = np.array(targets.names, dtype=object)[part.values]
    own, guessed = [], []
    for sample, begin, end in zip(part.samples, ends, ends[1:], strict=False):
        kept = known[begin:end]
        own.append([tag for tag in sample.tags or () if tag is not None])
        tags = names[begin:end][kept].tolist()
        guessed.append(as_iob2(tags) if targets.scheme == "type" else tags)
    return own, guessed
