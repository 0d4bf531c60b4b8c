"""The test split: its labels, and scores of what was predicted, with their distribution over its samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.bootstrap import bootstrap_scores
from biocache.engine.analyses.probing.counting import sample_counts
from biocache.engine.analyses.probing.features import row_labels, row_samples
from biocache.engine.scoring import as_iob2, main_score, score_classes, score_entities, score_names
from biocache.store.reading import Run

__all__ = ["Fits", "Place", "TestSplit", "distributions"]


class Place(NamedTuple):
    """A place in the grid of a result, labelled by its dimensions but for the probe's seed."""

    model: str
    training_size: int
    seed: int
    layer: int


#: Place, seed of the probe and goal -> the result of `run_fit`. Seeds that decide nothing share one result.
Fits = Mapping[tuple[Place, int, str], xr.Dataset]


@dataclass(frozen=True, eq=False)
class TestSplit:
    """What is known of the test split without its hidden states.

    Attributes
    ----------
    gold
        Classes (row).
    sample
        Position of every row's sample (row).
    labels
        Names of the classes.
    scheme
        Label scheme of words; None where a row is a sample.
    """

    __test__ = False

    gold: NDArray[np.int64]
    sample: NDArray[np.int64]
    labels: tuple[str, ...]
    scheme: str | None

    @classmethod
    def of(cls, run: Run) -> "TestSplit":
        """Read it from a run."""
        scheme = run.spec.label_scheme if run.labelled == "words" else None
        return cls(row_labels(run), row_samples(run), run.spec.label_names, scheme)

    def counts(self, predicted: NDArray[np.integer]) -> NDArray[np.float64]:
        """Count a prediction (sample, count); see `sample_counts`."""
        return sample_counts(self.gold, predicted, self.sample, self.labels, self.scheme)

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores; see `score_names`."""
        return score_names(self.scheme)

    def sentences(self, codes: NDArray[np.integer]) -> list[list[str]]:
        """Return the IOB2 tags of each sample's words."""
        names = np.array(self.labels, dtype=object)[codes]
        parts = [part.tolist() for part in np.split(names, np.flatnonzero(np.diff(self.sample)) + 1)]
        return parts if self.scheme == "bio" else [as_iob2(types) for types in parts]

    def scores(self, predicted: NDArray[np.integer]) -> dict[str, Any]:
        """Score a prediction: each score, and what there is by class."""
        classes = score_classes(self.gold, predicted, self.labels)
        found = {
            "accuracy": classes.accuracy,
            "macro_f1": classes.macro_f1,
            "micro_f1": classes.micro_f1,
            "class_precision": classes.precision,
            "class_recall": classes.recall,
            "class_f1": classes.f1,
            "confusion": classes.confusion,
        }
        if self.scheme is not None:
            entities = score_entities(self.sentences(self.gold), self.sentences(predicted))
            found[main_score(self.score_names)] = entities.f1
        return found


def distributions(
    test: TestSplit, fits: Fits, scores: Sequence[str], resamples: int
) -> dict[Place, NDArray[np.float64]]:
    """Return the scores on resamples of the test samples, the mean over the seeds of the probe.

    Returns
    -------
    dict of Place to numpy.ndarray
        float64 (resample, score). The resamples are the same for all places.
    """
    tasks = {(place, seed): fit for (place, seed, goal), fit in fits.items() if goal == "task"}
    distinct = {id(fit): fit for fit in tasks.values()}
    counts = [test.counts(fit.predicted.to_numpy()) for fit in distinct.values()]
    scored = dict(zip(distinct, bootstrap_scores(counts, test.labels, scores, resamples), strict=True))
    members: dict[Place, list[NDArray[np.float64]]] = {}
    for (place, _), fit in tasks.items():
        members.setdefault(place, []).append(scored[id(fit)])
    return {place: sum(each[1:], start=each[0]) / len(each) for place, each in members.items()}
