"""Scores as finalised counts: what is counted in each sample adds up to the scores of any set of samples."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.ner import OUTSIDE, entity_type

__all__ = ["ENTITY_COUNTS", "entity_counts", "finalised", "sample_counts"]

#: Entities that are right, predicted, and in the truth.
ENTITY_COUNTS = 3


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
        ``bio`` or ``type``, as of `score_entities`; None where labels are not of words.

    Returns
    -------
    numpy.ndarray
        float64 (sample, count): the confusion matrix row by row (true class, predicted class), then, with a label
        scheme, `ENTITY_COUNTS` of entities.
    """
    count, classes = int(sample[-1]) + 1, len(labels)
    cell = (sample.astype(np.int64) * classes + gold) * classes + predicted
    confusion = np.bincount(cell, minlength=count * classes**2).reshape(count, classes**2)
    if label_scheme is None:
        return confusion.astype(np.float64)
    return np.hstack([confusion, entity_counts(gold, predicted, sample, labels, label_scheme)]).astype(np.float64)


def entity_counts(
    gold: NDArray[np.integer],
    predicted: NDArray[np.integer],
    sample: NDArray[np.integer],
    labels: Sequence[str],
    label_scheme: str,
) -> NDArray[np.int64]:
    """Count entities in every sample; see `sample_counts`.

    Returns
    -------
    numpy.ndarray
        int64 (sample, 3): right in type, first and last word; predicted; in the truth.
    """
    starts = np.diff(sample, prepend=-1) != 0
    spans = [_entities(codes, starts, labels, label_scheme) for codes in (gold, predicted)]
    (begin, end, kind), (other_begin, other_end, other_kind) = spans
    right = begin & other_begin & (end == other_end) & (kind == other_kind)
    count = int(sample[-1]) + 1
    return np.stack([np.bincount(sample[found], minlength=count) for found in (right, other_begin, begin)], axis=1)


def _entities(
    codes: NDArray[np.integer], starts: NDArray[np.bool_], labels: Sequence[str], label_scheme: str
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Return, for every word, whether an entity begins there, where it would end, and of which type the word is."""
    # A type may be called B-cell: only of tags the prefix is no part of it.
    tags = label_scheme == "bio"
    types = [entity_type(label) if tags else label for label in labels]
    names = {name: position for position, name in enumerate(dict.fromkeys(types))}
    kind = np.array([names[name] for name in types])[codes]
    inside = np.array([label != OUTSIDE for label in labels])[codes]
    begins = np.array([tags and label.startswith("B-") for label in labels])[codes]
    # An entity also ends where a type does: of merged types that is all there is to see.
    changed = np.diff(kind, prepend=-1) != 0
    broken = starts | changed | begins | ~inside
    bounds = np.append(np.flatnonzero(broken), len(codes))
    end = bounds[np.searchsorted(bounds, np.arange(len(codes)), side="right")]
    return inside & broken, end, kind


def finalised(counts: NDArray[np.float64], labels: Sequence[str], scores: Sequence[str]) -> NDArray[np.float64]:
    """Return the scores of summed counts.

    Parameters
    ----------
    counts
        Sums (..., count) of what `sample_counts` returns.
    labels
        Names of all classes.
    scores
        Some of `score_names`, as `score_classes` and `score_entities` define them.

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
        "accuracy": lambda: _ratio(right.sum(axis=-1), confusion.sum(axis=(-2, -1))),
        "macro_f1": lambda: _ratio(_ratio(2 * right, either).sum(axis=-1), (either > 0).sum(axis=-1)),
        "micro_f1": lambda: _ratio(2 * right[..., decided].sum(axis=-1), either[..., decided].sum(axis=-1)),
        **dict.fromkeys(
            ("entity_f1", "merged_entity_f1"), lambda: _ratio(2 * counts[..., -3], counts[..., -2] + counts[..., -1])
        ),
    }
    return np.stack([computed[score]() for score in scores], axis=-1)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.floating | np.integer]) -> NDArray[np.float64]:
    out = np.zeros(np.shape(part))
    np.divide(part, whole, out=out, where=np.asarray(whole) > 0)
    return out
