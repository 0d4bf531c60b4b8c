"""Scores of predicted labels: of single items, and of the entities that labels of words spell."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.ner import OUTSIDE

__all__ = [
    "SCORE_TITLES",
    "ClassScores",
    "EntityScores",
    "as_iob2",
    "main_score",
    "score_classes",
    "score_entities",
    "score_names",
]

#: Name of a score -> what it is called in tables and figures.
SCORE_TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "entity_f1": "entity F1",
    "merged_entity_f1": "merged-entity F1",
}


def score_names(label_scheme: str | None) -> tuple[str, ...]:
    """Return the names of the scores of predicted labels.

    Parameters
    ----------
    label_scheme
        ``bio``: labels are IOB2 tags, and ``entity_f1`` is of the entities that they spell. ``type``: labels are entity
        types and ``O``, from which the corpus's own entities cannot be told where two of one type touch;
        ``merged_entity_f1`` takes a stretch of words of one type for one entity, in the truth as in the predictions.
        None: labels are not of words.
    """
    of_entities = {None: (), "bio": ("entity_f1",), "type": ("merged_entity_f1",)}[label_scheme]
    return ("accuracy", "macro_f1", "micro_f1", *of_entities)


def main_score(names: Sequence[str]) -> str:
    """Return the score by which layers and models are told apart: that of entities, else the accuracy."""
    return next((name for name in ("entity_f1", "merged_entity_f1") if name in names), "accuracy")


@dataclass(frozen=True, eq=False)
class ClassScores:
    """How well the labels of words or pairs were predicted.

    Attributes
    ----------
    accuracy
        Share of items whose label was predicted, in [0, 1].
    macro_f1
        Mean F1 of the classes that occur in the truth or in the predictions, ``O`` included, in [0, 1].
    micro_f1
        F1 of all decisions for a class pooled, in [0, 1]; without those for ``O``, the words outside of all entities,
        where that is a label. Where it is none, it equals the accuracy.
    precision, recall, f1
        Of each class (class), float64 in [0, 1]; 0 where the denominator is.
    support
        Items of each class in the truth (class), int64.
    confusion
        Items of each class (true class, predicted class), int64.
    """

    accuracy: float
    macro_f1: float
    micro_f1: float
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]
    confusion: NDArray[np.int64]


@dataclass(frozen=True)
class EntityScores:
    """How well entities were found: one counts where its type, its first and its last word are right.

    Attributes
    ----------
    precision, recall, f1
        Over the entities of all types pooled, in [0, 1]; 0 where the denominator is.
    support
        Entities in the truth.
    """

    precision: float
    recall: float
    f1: float
    support: int


def score_classes(gold: NDArray[np.integer], predicted: NDArray[np.integer], labels: Sequence[str]) -> ClassScores:
    """Score predicted classes with scikit-learn.

    Parameters
    ----------
    gold, predicted
        Classes (item), as positions in `labels`.
    labels
        Names of all classes.

    Returns
    -------
    ClassScores

    Raises
    ------
    ValueError
        If there are no items.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

    classes = np.arange(len(labels))
    each = precision_recall_fscore_support(gold, predicted, labels=classes, zero_division=0)
    decided = [position for position, label in enumerate(labels) if label != OUTSIDE]
    micro = f1_score(gold, predicted, labels=decided, average="micro", zero_division=0) if decided else 0.0
    return ClassScores(
        accuracy=float(accuracy_score(gold, predicted)),
        macro_f1=float(f1_score(gold, predicted, average="macro", zero_division=0)),
        micro_f1=float(micro),
        precision=each[0],
        recall=each[1],
        f1=each[2],
        support=each[3].astype(np.int64),
        confusion=confusion_matrix(gold, predicted, labels=classes).astype(np.int64),
    )


def score_entities(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> EntityScores:
    """Score the entities that the tags of words spell, as the CoNLL shared tasks do [1]_.

    Parameters
    ----------
    gold, predicted
        IOB2 tags of the words of each sentence; `as_iob2` makes them of entity types.

    Returns
    -------
    EntityScores

    Notes
    -----
    seqeval computes them in its default mode, which equals the script ``conlleval``: an ``I-X`` that continues nothing
    begins an entity.

    References
    ----------
    .. [1] E. F. Tjong Kim Sang and F. De Meulder, "Introduction to the CoNLL-2003 shared task: language-independent
       named entity recognition", CoNLL 2003. https://doi.org/10.3115/1119176.1119195
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    if all(tag == OUTSIDE for tags in (*gold, *predicted) for tag in tags):
        return EntityScores(0.0, 0.0, 0.0, 0)
    precision, recall, f1, support = precision_recall_fscore_support(
        [list(tags) for tags in gold], [list(tags) for tags in predicted], average="micro", zero_division=0
    )
    return EntityScores(float(precision), float(recall), float(f1), int(support))


def as_iob2(types: Sequence[str]) -> list[str]:
    """Return the IOB2 tags of a sentence of which each word has an entity type or ``O``: a stretch is one entity."""
    return [
        name if name == OUTSIDE else f"{'I' if name == before else 'B'}-{name}"
        for before, name in pairwise([OUTSIDE, *types])
    ]
