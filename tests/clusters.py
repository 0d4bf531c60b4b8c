"""Samples in groups of unequal sizes that share an effect, and how often intervals and tests of them err.

Each trial draws a corpus: groups of one to twelve samples of one to eight words, words of a group and a layer right
together with a probability of the group's own. The truth is known, and layers are alike: what differs between them is
chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention.sums import Resamples
from biocache.engine.estimates import Estimates, estimate
from biocache.engine.statistics import SIGNIFICANCE, holm

__all__ = ["GROUPS", "SEEDS", "Rates", "rates", "seed_rates"]

Values = NDArray[np.float64]

#: Numbers of groups that are tried, and of seeds of the training.
GROUPS = (20, 50, 150)
SEEDS = (3, 5, 10)
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


def seed_rates(seeds: int, groups: int, trials: int, seed: int = 0) -> Rates:
    """Return the same of means over seeds of the training, to whose variance seeds add as much as groups do.

    A score is the mean over samples of an effect of the group, one of the seed, one of both, and noise. ``samples
    alone`` leaves the variance between seeds out. Two models, of the same truth, are fine-tuned with the same seeds.
    Between seeds, where all pairs share seeds, the truth is the expected squared difference of two.
    """
    found, rng = Rates(trials), np.random.default_rng(seed)
    for trial in range(trials):
        size = rng.integers(1, 13, groups)
        group = np.repeat(np.arange(groups), size)
        effect = np.sqrt(seeds / groups)
        values = np.empty((2, seeds, len(group)))
        shared = rng.normal(0, 1, (1, groups)), rng.normal(0, effect, (seeds, 1))
        for model in values:
            own = rng.normal(0, 1, (1, groups)), rng.normal(0, effect, (seeds, 1))
            both = rng.normal(0, 1, (seeds, groups))
            model[:] = (
                (own[0] + shared[0] + both)[:, group] + own[1] + shared[1] + rng.normal(0, 1, (seeds, len(group)))
            )
        pairs = list(combinations(range(seeds), 2))
        squares = [(values[0, one] - values[0, other]) ** 2 for one, other in pairs]
        means = _means(np.array([*values[0], *values[1], *squares]), group, groups, trial)
        first, second = ([means[place + own] for own in range(seeds)] for place in (0, seeds))
        found.add("coverage over seeds", _covers(Estimates.over_seeds(first), 0.0))
        found.add("coverage over seeds, samples alone", _covers(Estimates.mean(first), 0.0))
        p = Estimates.over_seeds([b - a for a, b in zip(first, second, strict=True)]).p()
        found.add("type I error of a test over seeds", p < SIGNIFICANCE)
        between = {pair: means[2 * seeds + place] for place, pair in enumerate(pairs)}
        # Twice the variances of a seed, of a seed in a group, and of the noise.
        truth = 2 * (2 * effect**2 + 1 + 1)
        found.add("coverage between seeds", _covers(Estimates.between_seeds(between), truth))
    return found


def _means(values: Values, group: NDArray[np.int64], groups: int, seed: int) -> Estimates:
    """Return the means over samples of values (value, sample)."""
    counts = np.stack([np.bincount(group, own, groups) for own in (*values, np.ones(len(group)))], axis=1)

    def scored(weights: Values) -> Values:
        sums = weights @ counts
        return sums[:, :-1] / sums[:, -1:]

    return estimate(scored, counts[:, -1], _RESAMPLES, seed)


def _covers(mean: Estimates, truth: float) -> bool:
    low, high = mean.interval()
    return bool(low <= truth <= high)


def _holds(mean: Estimates) -> bool:
    return _covers(mean, _TRUTH)


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
