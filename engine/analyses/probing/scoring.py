"""Scoring predictions of the rows of a split: each score, and its uncertainty over whole groups of samples."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.target import Target
from biocache.engine.correlations import weighted_correlations
from biocache.engine.estimates import Estimates, estimate
from biocache.engine.grouping import find_groups
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
    group
        Number of the group of every row's sample among those that have a row (row).
    groups
        Number of these groups.
    group_name
        What names them; see `Groups.name`.
    """

    target: Target
    gold: NDArray[Any]
    sample: NDArray[np.int64]
    position: NDArray[np.int64]
    group: NDArray[np.int64]
    groups: int
    group_name: str

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores."""
        return target_scores(self.target)

    def predicted(self, fit: xr.Dataset) -> NDArray[Any]:
        """Return what a fit predicts of these rows (row)."""
        values: NDArray[Any] = fit.predicted.to_numpy()[self.position]
        return values

    def sizes(self) -> NDArray[np.float64]:
        """Return the number of rows of each group (group)."""
        return np.bincount(self.group, minlength=self.groups).astype(np.float64)

    @abstractmethod
    def scores(self, predicted: NDArray[Any]) -> dict[str, Any]:
        """Score a prediction (row): each score, and for classes those of each class."""

    @abstractmethod
    def estimates(self, predictions: Sequence[NDArray[Any]], scores: Sequence[str], resamples: int) -> Estimates:
        """Return scores with their uncertainty over groups, paired between predictions; (prediction, score)."""

    @abstractmethod
    def baseline(self, train: NDArray[Any]) -> dict[str, float]:
        """Score the prediction of the most frequent class, or the mean, of the labels of the train split (row)."""


def scored_rows(target: Target, run: Run) -> ScoredRows:
    """Read the rows with labels of the run that is scored."""
    labels = target.aligned(run)
    position = np.flatnonzero(labels.known)
    own = target.samples(run)[position]
    _, sample = np.unique(own, return_inverse=True)
    groups = find_groups(run)
    group, count = groups.numbered(own)
    kind = _Numbers if target.numeric else _Classes
    return kind(target, labels.values[position], sample.astype(np.int64), position, group, count, groups.name)


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

    def estimates(self, predictions: Sequence[NDArray[Any]], scores: Sequence[str], resamples: int) -> Estimates:
        finalise = partial(scores_of_counts, labels=self.target.names, scores=scores)
        # Samples of a group follow each other or not.
        group = np.empty(int(self.sample[-1]) + 1, np.int64)
        group[self.sample] = self.group
        counts = []
        for predicted in predictions:
            own = self._counts(predicted)
            of_groups = np.zeros((self.groups, own.shape[1]))
            np.add.at(of_groups, group, own)
            counts.append(of_groups)
        return estimate(
            lambda weights: np.stack([finalise(weights @ own) for own in counts], axis=1), self.sizes(), resamples
        )

    def baseline(self, train: NDArray[Any]) -> dict[str, float]:
        usual = int(np.bincount(train).argmax())
        counts = self._counts(np.full(len(self.gold), usual)).sum(axis=0)
        found = scores_of_counts(counts, self.target.names, self.score_names)
        return dict(zip(self.score_names, found.tolist(), strict=True))


class _Numbers(ScoredRows):
    def scores(self, predicted: NDArray[Any]) -> dict[str, Any]:
        found = score_numbers(self.gold, predicted)
        return {name: found[name] for name in self.score_names}

    def estimates(self, predictions: Sequence[NDArray[Any]], scores: Sequence[str], resamples: int) -> Estimates:
        kept = [self.score_names.index(name) for name in scores]

        def scored(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            found = [weighted_correlations(self.gold, predicted, weights, self.group) for predicted in predictions]
            return np.stack(found, axis=1)[..., kept]

        return estimate(scored, self.sizes(), resamples)

    def baseline(self, train: NDArray[Any]) -> dict[str, float]:
        return self.scores(np.full(len(self.gold), float(train.mean())))


def mean_over_seeds(
    rows: ScoredRows, fits: Mapping[tuple[Any, int], xr.Dataset], scores: Sequence[str], resamples: int
) -> dict[Any, Estimates]:
    """Return the scores of each place, the mean over the seeds of the probe, with their uncertainty over groups.

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
        Place to estimates (score). They are paired.
    """
    distinct = {id(fit): fit for fit in fits.values()}
    found = rows.estimates([rows.predicted(fit) for fit in distinct.values()], scores, resamples)
    scored = {identity: found[place] for place, identity in enumerate(distinct)}
    members: dict[Any, list[Estimates]] = {}
    for (place, _), fit in fits.items():
        members.setdefault(place, []).append(scored[id(fit)])
    return {place: Estimates.mean(each) for place, each in members.items()}
