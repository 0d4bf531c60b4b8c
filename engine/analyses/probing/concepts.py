"""What can be erased from features: length, position and frequency, and any label set of the train split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.erasure import Eraser, fit_eraser
from biocache.engine.analyses.probing.target import Target
from biocache.store.errors import DataError, RunNotFoundError, SettingError
from biocache.store.labels import Labels
from biocache.store.reading import Run
from biocache.store.schema import SPANS
from biocache.store.spans import span_labels, span_texts
from biocache.store.text import shown

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.request import ProbeRequest

__all__ = [
    "Erasure",
    "concept_size",
    "erased_digests",
    "erasure_note",
    "erasure_title",
    "find_erasure",
]

# Name of a built-in concept to what it is of rows of each level; it is refused for levels that it does not name.
_BUILT_IN = {
    "length": {
        "words": "tokens of the word",
        "samples": "words of each text",
        "spans": "words of the mention",
        "relations": "words of each mention",
    },
    "position": {
        "words": "place of the word in the sample",
        "spans": "place of the mention in the sample",
        "relations": "place of each mention in the sample",
    },
    "frequency": {
        "words": "logarithm of how often the train split has the word",
        "spans": "logarithm of how often the train split has the mention",
        "relations": "logarithm of how often the train split has each mention",
    },
}


@dataclass(frozen=True, eq=False)
class _Concepts:
    """Concepts of the rows of a train split, side by side.

    Attributes
    ----------
    numbers
        float64 (row, dimension), NaN where unknown.
    codes
        Of each label set of classes: the class of each row, int64 (row), -1 for none; and the number of classes.
    """

    numbers: NDArray[np.float64]
    codes: list[tuple[NDArray[np.int64], int]] = field(default_factory=list)

    def of(self, rows: NDArray[np.integer]) -> Self:
        """Return those of some rows."""
        return type(self)(self.numbers[rows], [(codes[rows], count) for codes, count in self.codes])

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether all concepts of a row are known (row)."""
        parts = [np.isfinite(self.numbers), *(codes[:, np.newaxis] >= 0 for codes, _ in self.codes)]
        return np.asarray(np.concatenate(parts, axis=1).all(axis=1))

    def standardised(self) -> Self:
        """Return them with numbers of mean 0 and variance 1: what is erased does not depend on their units."""
        deviation = self.numbers.std(axis=0)
        return replace(self, numbers=(self.numbers - self.numbers.mean(axis=0)) / np.where(deviation > 0, deviation, 1))

    def block(self, rows: slice) -> NDArray[np.float64]:
        """Return some rows with an indicator for each class, float64 (row, dimension)."""
        parts = [self.numbers[rows], *(np.eye(count)[codes[rows]] for codes, count in self.codes)]
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class Erasure:
    """The erasers of the layers that lie side by side in the features of a row; none where nothing is erased."""

    layers: tuple[Eraser, ...] = ()

    def erase(self, features: NDArray[np.float32]) -> None:
        """Erase concepts from features, float32 (row, feature), which are changed in place."""
        for own, eraser in zip(_by_layer(features, len(self.layers)), self.layers, strict=True):
            eraser.erase(own)


def _by_layer(features: NDArray[np.float32], layers: int) -> list[NDArray[np.float32]]:
    width = features.shape[1] // max(layers, 1)
    return [features[:, number * width : (number + 1) * width] for number in range(layers)]


def find_erasure(
    request: "ProbeRequest",
    target: Target,
    train: Sequence[Run],
    features: NDArray[np.float32],
    position: NDArray[np.int64],
    layers: int,
) -> Erasure:
    """Fit erasers of what a request erases to the rows of the train split, one for each layer.

    Where a layer has no covariance with a concept, neither has any linear function of layers.

    Parameters
    ----------
    request, target
        What is erased, and from which rows.
    train
        Runs of the train split, one a view.
    features
        float32 (row, feature).
    position
        Position of every row among all rows of the split (row).
    layers
        Number of layers whose features lie side by side.

    Raises
    ------
    DataError
        If no row has all concepts.
    """
    if not request.erase:
        return Erasure()
    concepts = _concepts(request, target, train).of(position)
    rows = np.flatnonzero(concepts.known)
    if not len(rows):
        raise DataError(
            f"no row of the train run {train[0].key} has a label of all that --erase {','.join(request.erase)} names; "
            "add labels with `biocache label`, or erase less"
        )
    known = concepts.of(rows).standardised()
    return Erasure(tuple(fit_eraser(own, rows, known.block) for own in _by_layer(features, layers)))


def erased_digests(request: "ProbeRequest", target: Target, train: Run) -> tuple[str, ...]:
    """Return the digests of the label sets that are erased, for the rows of a train run.

    Raises
    ------
    SettingError
        If a name is neither that of a concept of such rows nor that of a label set.
    """
    _refuse_levels(request, target)
    return tuple(_labels(name, request, target, train).digest for name in request.erase or () if name not in _BUILT_IN)


def concept_size(request: "ProbeRequest", target: Target, train: Sequence[Run]) -> int:
    """Return the dimensions of what a request erases; 0 for nothing."""
    if not request.erase:
        return 0
    found = _concepts(request, target, train)
    return int(found.numbers.shape[1]) + sum(count for _, count in found.codes)


def erasure_title(names: Sequence[str] | None) -> str:
    """Return what a title says of the concepts that are erased; nothing for none."""
    return f", {', '.join(names)} erased" if names else ""


def erasure_note(names: Sequence[str], level: str) -> str:
    """Return what a reader must know of scores after an erasure."""
    written = [f"{name} ({_BUILT_IN[name][level]})" if name in _BUILT_IN else f"label set {name}" for name in names]
    return (
        f"erased before the probe (LEACE, fitted on the train rows): {', '.join(written)}; no linear probe reads it "
        "from these features any more, and what is there in another than a linear way stays"
    )


def _refuse_levels(request: "ProbeRequest", target: Target) -> None:
    for name in request.erase or ():
        if name in _BUILT_IN and target.level not in _BUILT_IN[name]:
            raise SettingError(
                f"--erase {name!r} is for words, spans or relations, and the rows are {target.level}; leave it out"
            )


def _concepts(request: "ProbeRequest", target: Target, train: Sequence[Run]) -> _Concepts:
    """Return what is erased, of all rows of the train split."""
    _refuse_levels(request, target)
    numbers, codes = [np.empty((target.rows(train[0]), 0))], []
    for name in request.erase or ():
        if name in _BUILT_IN:
            numbers.append(_MAKERS[name](target, train).astype(np.float64))
            continue
        labels = _labels(name, request, target, train[0])
        if labels.kind == "number":
            numbers.append(labels.values[:, np.newaxis])
        else:
            codes.append((labels.values, len(labels.names)))
    return _Concepts(np.concatenate(numbers, axis=1), codes)


def _labels(name: str, request: "ProbeRequest", target: Target, run: Run) -> Labels:
    """Return the labels of a set for the rows of a run; those of a sample are of all that is in it."""
    try:
        labels = run.labels(name)
    except RunNotFoundError as error:
        raise SettingError(
            f"--erase {shown(name)} is none of {', '.join(_BUILT_IN)}, and the train split has no such label set; add "
            f"it with `biocache label {name}`, or correct the name"
        ) from error
    if labels.level == "samples" and target.level != "samples":
        return replace(labels, level=target.level, values=labels.values[target.samples(run)])
    if target.level == "spans":
        labels = span_labels(run, name)
    places = target.aligned(run).places
    same = labels.places is None or places is None or np.array_equal(labels.places, places)
    if labels.level != target.level or not same:
        what = f"other {labels.level}" if labels.level == target.level else labels.level
        raise SettingError(
            f"--erase {shown(name)} labels {what}, and the rows are the {target.level} of label set "
            f"{shown(target.labels)}; erase a set of the same rows, or of samples"
        )
    return labels.merged() if request.label_scheme == "type" else labels


def _lengths(target: Target, train: Sequence[Run]) -> NDArray[Any]:
    """Return the length of each row (row, text or span)."""
    run = train[0]
    if target.level == "words":
        return run.column("words/token_count")[:, np.newaxis]
    if target.level in SPANS:
        return np.diff(_places(target, run), axis=-1)[..., 0]
    # A view of one text has no words of a second, and so a constant that is nothing to erase.
    texts = [2 * own.column("words/sample").astype(np.int64) + own.column("words/segment") for own in train]
    counts = [np.bincount(text, minlength=2 * run.counts.samples).reshape(-1, 2) for text in texts]
    return np.concatenate(counts, axis=1)


def _positions(target: Target, train: Sequence[Run]) -> NDArray[Any]:
    """Return the place of each row among the words of its sample, from 0 (row, span)."""
    run = train[0]
    begin = run.column("samples/word_start")[target.samples(run)]
    first = np.arange(run.counts.words)[:, np.newaxis] if target.level == "words" else _places(target, run)[..., 0]
    return np.asarray(first - begin[:, np.newaxis])


def _frequencies(target: Target, train: Sequence[Run]) -> NDArray[Any]:
    """Return the logarithm of how often the text of each row is in the train split (row, span)."""
    run = train[0]
    words = target.level == "words"
    texts = run.column("words/word_text")[:, np.newaxis] if words else span_texts(run, target.aligned(run))
    _, place, count = np.unique(texts.astype(str), return_inverse=True, return_counts=True)
    found: NDArray[np.float64] = np.log(count)[place].reshape(texts.shape)
    return found


def _places(target: Target, run: Run) -> NDArray[np.int64]:
    places = target.aligned(run).places
    assert places is not None
    return places


_MAKERS: dict[str, Callable[[Target, Sequence[Run]], NDArray[Any]]] = {
    "length": _lengths,
    "position": _positions,
    "frequency": _frequencies,
}
