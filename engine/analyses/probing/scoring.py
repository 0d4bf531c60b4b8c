"""Scoring predictions of the rows of a split: each score, and its distribution over resamples of whole samples."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.target import Target
from biocache.engine.metrics import (
    as_iob2,
    main_score,
    sample_counts,
    score_classes,
    score_entities,
    score_names,
    score_numbers,
    scores_of_counts,
)
from biocache.engine.statistics import bootstrap, drawn_weights, weighted_correlations
from biocache.store.reading import Run

__all__ = ["ScoredRows", "mean_over_seeds", "scored_rows", "target_scores"]


def target_scores(target: Target) -> tuple[str, ...]:
    """Return the names of the scores of a target's predictions."""
    return ("r2", "pearson", "spearman") if target.numeric else score_names(target.scheme)


@dataclass(frozen=True, eq=False)
class ScoredRows(ABC):
    """What is known, without hidden states, of the rows of a split that have a label.

    Attributes
    ----------
    target
        What is predicted.
    gold
        Labels (row).
    sample
        Number of every row's sample among those that have a row (row).
    position
        Position of every row among all rows of the split (row).
    """

    target: Target
    gold: NDArray[Any]
    sample: NDArray[np.int64]
    position: NDArray[np.int64]

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores."""
        return target_scores(self.target)

    def predicted(self, fit: xr.Dataset) -> NDArray[Any]:
        """Return what a fit predicts of these rows (row)."""
        values: NDArray[Any] = fit.predicted.to_numpy()[self.position]
        return values

    @abstractmethod
    def scores(self, predicted: NDArray[Any]) -> dict[str, Any]:
        """Score a prediction (row): each score, and for classes those of each class."""

    @abstractmethod
    def resampled(self, predictions: Sequence[NDArray[Any]], scores: Sequence[str], resamples: int) -> NDArray[Any]:
        """Return scores on resamples of the samples, the same for all predictions; (prediction, resample, score)."""

    @abstractmethod
    def baseline(self, train: NDArray[Any]) -> dict[str, float]:
        """Score the prediction of the most frequent class, or the mean, of the labels of the train split (row)."""


def scored_rows(target: Target, run: Run) -> ScoredRows:
    """Read the rows with labels of the run that is scored."""
    labels = target.aligned(run)
    position = np.flatnonzero(labels.known)
    _, sample = np.unique(target.samples(run)[position], return_inverse=True)
    kind = _Numbers if target.numeric else _Classes
    return kind(target, labels.values[position], sample.astype(np.int64), position)


class _Classes(ScoredRows):
    def _counts(self, predicted: NDArray[Any]) -> NDArray[np.float64]:
        return sample_counts(self.gold, predicted, self.sample, self.target.names, self.target.scheme)

    def _sentences(self, codes: NDArray[np.integer]) -> list[list[str]]:
        """Return the IOB2 tags of each sample's words."""
        names = np.array(self.target.names, dtype=object)[codes]
        parts = [part.tolist() for part in np.split(names, np.flatnonzero(np.diff(self.sample)) + 1)]
        return parts if self.target.scheme == "bio" else [as_iob2(types) for types in parts]

    def scores(self, predicted: NDArray[Any]) -> dict[str, Any]:
        classes = score_classes(self.gold, predicted, self.target.names)
        found = {name: getattr(classes, name) for name in ("accuracy", "macro_f1", "micro_f1", "confusion")}
        found |= {f"class_{name}": getattr(classes, name) for name in ("precision", "recall", "f1")}
        if self.target.scheme is not None:
            entities = score_entities(self._sentences(self.gold), self._sentences(predicted))
            found[main_score(self.score_names)] = entities.f1
        return found

    def resampled(self, predictions: Sequence[NDArray[Any]], scores: Sequence[str], resamples: int) -> NDArray[Any]:
        finalise = partial(scores_of_counts, labels=self.target.names, scores=scores)
        return bootstrap([self._counts(each) for each in predictions], finalise, resamples)

    def baseline(self, train: NDArray[Any]) -> dict[str, float]:
        usual = int(np.bincount(train).argmax())
        counts = self._counts(np.full(len(self.gold), usual)).sum(axis=0)
        found = scores_of_counts(counts, self.target.names, self.score_names)
        return dict(zip(self.score_names, found.tolist(), strict=True))


class _Numbers(ScoredRows):
    def scores(self, predicted: NDArray[Any]) -> dict[str, Any]:
        found = score_numbers(self.gold, predicted)
        return {name: found[name] for name in self.score_names}

    def resampled(self, predictions: Sequence[NDArray[Any]], scores: Sequence[str], resamples: int) -> NDArray[Any]:
        kept = [self.score_names.index(name) for name in scores]
        found = np.empty((len(predictions), resamples, len(kept)))
        samples, first = int(self.sample[-1]) + 1, 0
        for weights in drawn_weights(samples, resamples, 0):
            for place, predicted in enumerate(predictions):
                values = weighted_correlations(self.gold, predicted, weights, self.sample)
                found[place, first : first + len(weights)] = values[:, kept]
            first += len(weights)
        return found

    def baseline(self, train: NDArray[Any]) -> dict[str, float]:
        return self.scores(np.full(len(self.gold), float(train.mean())))


def mean_over_seeds(
    rows: ScoredRows, fits: Mapping[tuple[Any, int], xr.Dataset], scores: Sequence[str], resamples: int
) -> dict[Any, NDArray[np.float64]]:
    """Return the scores of each place on resamples of the samples, the mean over the seeds of the probe.

    Parameters
    ----------
    rows
        The rows that are scored.
    fits
        Fits of the goal ``task``, by place and seed of the probe.
    scores
        Names of scores.
    resamples
        Number of resamples.

    Returns
    -------
    dict
        Place to float64 (resample, score). The resamples are the same for all places.
    """
    distinct = {id(fit): fit for fit in fits.values()}
    resampled = rows.resampled([rows.predicted(fit) for fit in distinct.values()], scores, resamples)
    scored = dict(zip(distinct, resampled, strict=True))
    members: dict[Any, list[NDArray[np.float64]]] = {}
    for (place, _), fit in fits.items():
        members.setdefault(place, []).append(scored[id(fit)])
    return {place: sum(each[1:], start=each[0]) / len(each) for place, each in members.items()}
