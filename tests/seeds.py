"""Means over seeds of the training, and what is between them, by the formulas of their papers in plain NumPy."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]


def t_interval(value: Values, left_out: Values, size: Values, seeds: Values) -> tuple[Values, Values]:
    """Return the interval of a mean over seeds.

    Parameters
    ----------
    value
        The mean (...).
    left_out
        The mean without each group (group, ...).
    size
        Size of each group (group).
    seeds
        The value of each seed, or of what stands for it (seed, ...).
    """
    count, number = len(left_out), len(seeds)
    of_groups = (count - 1) / count * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    of_seeds = seeds.var(axis=0, ddof=1) / number
    freedom = size.sum() ** 2 / (size**2).sum() - 1
    both = (of_groups + of_seeds) ** 2 / (of_groups**2 / freedom + of_seeds**2 / (number - 1))
    half = stats.t.ppf(0.975, both) * np.sqrt(of_groups + of_seeds)
    return value - half, value + half


def stand_ins(pairs: dict[tuple[int, int], Values], seeds: Sequence[int]) -> Values:
    """Return Tukey's pseudo-values of the mean over pairs, one a seed (seed, ...)."""
    whole = np.mean(list(pairs.values()), axis=0)
    without = [np.mean([own for pair, own in pairs.items() if seed not in pair], axis=0) for seed in seeds]
    return np.stack([len(seeds) * whole - (len(seeds) - 1) * each for each in without])


def every_pair(seeds: Sequence[int]) -> list[tuple[int, int]]:
    return list(combinations(range(len(seeds)), 2))
