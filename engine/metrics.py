"""Scores of predicted labels: of single items, and of the entities that the labels of words spell.

`score_classes` and `score_entities` define them, with scikit-learn and seqeval. `sample_counts` and `scores_of_counts`
compute the same scores from counts that add, for any set of samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from biocache.engine.statistics import ratio
from biocache.store.errors import SettingError
from biocache.store.schema import OUTSIDE, entity_type

__all__ = [
    "NUMBER_SCORES",
    "SCORE_TITLES",
    "ClassScores",
    "EntityScores",
    "as_iob2",
    "chosen_score",
    "main_score",
    "sample_counts",
    "score_classes",
    "score_entities",
    "score_names",
    "score_numbers",
    "score_ranges",
    "scores_of_counts",
]

#: Scores of predicted numbers; see `score_numbers`.
NUMBER_SCORES = ("r2", "pearson", "spearman", "rmse")
#: Name of a score to its title in tables and figures.
SCORE_TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "entity_f1": "entity F1",
    "merged_entity_f1": "merged-entity F1",
    "r2": "R²",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "rmse": "root mean square error",
}
# Scores of other ranges than [0, 1].
_RANGES = {"r2": (-np.inf, 1.0), "pearson": (-1.0, 1.0), "spearman": (-1.0, 1.0), "rmse": (0.0, np.inf)}
# Label scheme to the score of the entities that its labels spell.
_ENTITY_SCORES = {"bio": "entity_f1", "type": "merged_entity_f1"}


def score_names(label_scheme: str | None) -> tuple[str, ...]:
    """Return the names of the scores of predicted labels.

    Parameters
    ----------
    label_scheme
        ``bio``: labels are IOB2 tags, and ``entity_f1`` scores the entities that they spell. ``type``: labels are
        entity types and ``O``, which do not separate two touching entities of one type; ``merged_entity_f1`` takes a
        stretch of words of one type for one entity, in the truth and in the predictions. None: samples are labelled,
        not words.
    """
    of_entities = () if label_scheme is None else (_ENTITY_SCORES[label_scheme],)
    return ("accuracy", "macro_f1", "micro_f1", *of_entities)


def score_ranges(names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest value of scores, float64 (score)."""
    least, most = zip(*(_RANGES.get(name, (0.0, 1.0)) for name in names), strict=True)
    return np.array(least), np.array(most)


def main_score(names: Sequence[str]) -> str:
    """Return the score that ranks layers and models: that of entities, else the accuracy, for numbers R²."""
    return next(name for name in (*_ENTITY_SCORES.values(), "accuracy", "r2") if name in names)


def chosen_score(names: Sequence[str], asked: str | None) -> str:
    """Return the score that ranks layers: the one asked for, else `main_score`.

    Raises
    ------
    SettingError
        If the score asked for is not one of `names`.
    """
    if asked is None or asked in names:
        return asked or main_score(names)
    scheme = next((scheme for scheme, name in _ENTITY_SCORES.items() if name == asked), None)
    remedy = f"; it is of IOB2 tags with --label-scheme={scheme}" if scheme else ""
    raise SettingError(f"--score {asked!r} is not one of {', '.join(names)}, those of these labels{remedy}")


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
        F1 of all decisions for a class pooled, in [0, 1], without those for ``O``, the words outside of all entities.
        Equals the accuracy where ``O`` is not a label.
    precision, recall, f1
        Scores of each class (class), float64 in [0, 1]; 0 where the denominator is 0.
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
    """How well entities were found: one is found if its type, its first and its last word are right.

    Attributes
    ----------
    precision, recall, f1
        Scores of the entities of all types pooled, in [0, 1]; 0 where the denominator is 0.
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
    from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

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
        confusion=_confusion(gold, predicted, len(labels)),
    )


def _confusion(gold: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    cell = gold.astype(np.int64) * classes + predicted
    return np.bincount(cell, minlength=classes**2).reshape(classes, classes).astype(np.int64)


def score_entities(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> EntityScores:
    """Score the entities that the tags of words spell, as the CoNLL shared tasks do [1]_.

    Parameters
    ----------
    gold, predicted
        IOB2 tags of the words of each sentence; see `as_iob2` for entity types.

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


def score_numbers(gold: NDArray[np.floating], predicted: NDArray[np.floating]) -> dict[str, float]:
    """Score predicted numbers.

    Parameters
    ----------
    gold, predicted
        Numbers (item).

    Returns
    -------
    dict of str to float
        ``r2``, the coefficient of determination, at most 1; ``pearson`` and ``spearman``, correlations in [-1, 1], of
        ranks for the second, NaN where all numbers are equal; ``rmse``, the root mean square error, in the unit of the
        numbers. scikit-learn and SciPy compute them.
    """
    from scipy.stats import rankdata
    from sklearn.metrics import r2_score

    truth, guess = gold.astype(np.float64), predicted.astype(np.float64)
    return {
        "r2": float(r2_score(truth, guess)) if len(truth) > 1 else float("nan"),
        "pearson": _correlation(truth, guess),
        "spearman": _correlation(rankdata(truth), rankdata(guess)),
        "rmse": float(np.sqrt(np.mean((truth - guess) ** 2))),
    }


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if len(first) < 2 or first.min() == first.max() or second.min() == second.max():
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def as_iob2(types: Sequence[str]) -> list[str]:
    """Return IOB2 tags for the entity types (or ``O``) of a sentence's words: a stretch of one type is one entity."""
    return [
        name if name == OUTSIDE else f"{'I' if name == before else 'B'}-{name}"
        for before, name in pairwise([OUTSIDE, *types])
    ]


def sample_counts(
    gold: NDArray[np.integer],
    predicted: NDArray[np.integer],
    sample: NDArray[np.integer],
    labels: Sequence[str],
    label_scheme: str | None,
) -> NDArray[np.float64]:
    """Count decisions, and entities, in every sample.

    Parameters
    ----------
    gold, predicted
        Classes (row), as positions in `labels`.
    sample
        Position of every row's sample (row); it never decreases.
    labels
        Names of all classes.
    label_scheme
        As `score_names`.

    Returns
    -------
    numpy.ndarray
        float64 (sample, count): the confusion matrix row by row (true class, predicted class), then, with a label
        scheme, three counts of entities: right in type, first and last word; predicted; in the truth.
    """
    count, classes = int(sample[-1]) + 1, len(labels)
    cell = (sample.astype(np.int64) * classes + gold) * classes + predicted
    confusion = np.bincount(cell, minlength=count * classes**2).reshape(count, classes**2)
    if label_scheme is None:
        return confusion.astype(np.float64)
    starts = np.diff(sample, prepend=-1) != 0
    spans = [_entities(codes, starts, labels, label_scheme) for codes in (gold, predicted)]
    (begin, end, kind), (other_begin, other_end, other_kind) = spans
    right = begin & other_begin & (end == other_end) & (kind == other_kind)
    entities = [np.bincount(sample[found], minlength=count) for found in (right, other_begin, begin)]
    return np.column_stack([confusion, *entities]).astype(np.float64)


def _entities(
    codes: NDArray[np.integer], starts: NDArray[np.bool_], labels: Sequence[str], label_scheme: str
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Return, for every word, whether an entity begins there, where it would end, and which type the word has."""
    # A type may be called B-cell: the prefix is split off tags only.
    tags = label_scheme == "bio"
    types = [entity_type(label) if tags else label for label in labels]
    kind = np.array([types.index(name) for name in types])[codes]
    inside = np.array([label != OUTSIDE for label in labels])[codes]
    begins = np.array([tags and label.startswith("B-") for label in labels])[codes]
    # An entity also ends where the type changes, which is all that merged types show.
    changed = np.diff(kind, prepend=-1) != 0
    broken = starts | changed | begins | ~inside
    bounds = np.append(np.flatnonzero(broken), len(codes))
    end = bounds[np.searchsorted(bounds, np.arange(len(codes)), side="right")]
    return inside & broken, end, kind


def scores_of_counts(counts: NDArray[np.float64], labels: Sequence[str], scores: Sequence[str]) -> NDArray[np.float64]:
    """Return the scores of summed counts.

    Parameters
    ----------
    counts
        Sums (..., count) of the rows of `sample_counts`.
    labels
        Names of all classes.
    scores
        Names of scores; see `score_names`.

    Returns
    -------
    numpy.ndarray
        float64 (..., score) in [0, 1].
    """
    classes = len(labels)
    confusion = counts[..., : classes**2].reshape(*counts.shape[:-1], classes, classes)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    either = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    decided = np.array([label != OUTSIDE for label in labels])
    computed: dict[str, Callable[[], NDArray[np.float64]]] = {
        "accuracy": lambda: ratio(right.sum(axis=-1), confusion.sum(axis=(-2, -1)), 0.0),
        "macro_f1": lambda: ratio(ratio(2 * right, either, 0.0).sum(axis=-1), (either > 0).sum(axis=-1), 0.0),
        "micro_f1": lambda: ratio(2 * right[..., decided].sum(axis=-1), either[..., decided].sum(axis=-1), 0.0),
        **dict.fromkeys(
            _ENTITY_SCORES.values(), lambda: ratio(2 * counts[..., -3], counts[..., -2] + counts[..., -1], 0.0)
        ),
    }
    return np.stack([computed[score]() for score in scores], axis=-1)
