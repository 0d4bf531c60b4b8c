"""Samples in groups of unequal sizes that share an effect, and how often intervals and tests of them err.

Each trial draws a corpus: groups of one to twelve samples of one to eight words, words of a group and a layer right
together with a probability of the group's own. The truth is known, and layers are alike: what differs between them is
chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.sums import Resamples
from biocache.engine.statistics import SIGNIFICANCE, Estimates, estimate, holm

__all__ = ["GROUPS", "Rates", "rates"]

Values = NDArray[np.float64]

#: Numbers of groups that are tried.
GROUPS = (20, 50, 150)
# Share of words that are right, and how much groups differ (of a beta distribution).
_TRUTH, _CONCENTRATION = 0.7, 6.0
_RESAMPLES = 1000
# Pairs of a family, each of two layers of its own.
_FAMILY = 4


@dataclass
class Rates:
    """Counts of trials, by what they measure, and their shares."""

    trials: int
    hits: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, hit: object) -> None:
        """Count a trial."""
        self.hits[name] = self.hits.get(name, 0) + bool(hit)

    def items(self) -> Iterator[tuple[str, float]]:
        """Yield shares of trials, by what they measure."""
        for name, hits in self.hits.items():
            yield name, hits / self.trials

    def error(self, share: float) -> float:
        """Return the standard error of a share that is right."""
        return float(np.sqrt(share * (1 - share) / self.trials))


def rates(groups: int, trials: int, seed: int = 0) -> Rates:
    """Return how often intervals of groups hold the truth, and how often tests err where nothing differs.

    ``score`` is a share of words, as the scores of probes are; ``attention`` a mean over samples, whose sums are those
    of maps; ``samples`` is the score if samples are taken as independent.
    """
    found, rng = Rates(trials), np.random.default_rng(seed)
    for trial in range(trials):
        size = rng.integers(1, 13, groups)
        group = np.repeat(np.arange(groups), size)
        words = rng.integers(1, 9, len(group))
        share = rng.beta(_TRUTH * _CONCENTRATION, (1 - _TRUTH) * _CONCENTRATION, (2 * _FAMILY, groups))[:, group]
        right = rng.binomial(words, share)
        scores = _scores(right, words, group, groups, trial)
        found.add("coverage of scores", _holds(scores[0]))
        alone = _scores(right[:1], words, np.arange(len(group)), len(group), trial, resamples=100)
        found.add("coverage of scores, samples", _holds(alone[0]))
        found.add("coverage of attention", _holds(_attention(right[0] / words, group, groups, trial)))
        p = np.array([(scores[2 * pair + 1] - scores[2 * pair]).p() for pair in range(_FAMILY)])
        found.add("type I error of a test", p[0] < SIGNIFICANCE)
        found.add("type I error of Holm's family", (holm(p) < SIGNIFICANCE).any())
    return found


def _holds(mean: Estimates) -> bool:
    low, high = mean.interval()
    return bool(low <= _TRUTH <= high)


def _scores(
    right: Values, words: Values, group: NDArray[np.int64], groups: int, seed: int, resamples: int = _RESAMPLES
) -> Estimates:
    counts = np.stack([np.bincount(group, own, groups) for own in (*right, words)], axis=1)

    def scored(weights: Values) -> Values:
        sums = weights @ counts
        return sums[:, :-1] / sums[:, -1:]

    return estimate(scored, counts[:, -1], resamples, seed)


def _attention(values: Values, group: NDArray[np.int64], groups: int, seed: int) -> Estimates:
    sums = Resamples.zero(1, groups, _RESAMPLES, 1, 1)
    sums.add(values[:, np.newaxis, np.newaxis], group, np.zeros(len(group), np.int64), seed)
    size = None if sums.sizes is None else sums.sizes[0, :, 0, 0]
    return Estimates(values.mean(), sums.means()[0, :, 0, 0], size)
