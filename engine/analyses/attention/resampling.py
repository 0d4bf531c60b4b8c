"""The weights of the bootstrap over units, for sums that add: each resample weighs each unit by a Poisson number.

A unit is a group of samples, or a sample (see `biocache.engine.grouping`). A resample draws n units out of n with
replacement; how often a unit is drawn is nearly Poisson with mean 1, and independent of the others (Hanley and
MacGibbon 2006). A weight is a function of the seed, the resample and the number of the unit, so that every process
computes the weights of its own samples, and sums over packs add to the sums of one process. Intervals are those of
`biocache.engine.statistics`.

References
----------
Hanley JA, MacGibbon B. Creating non-parametric bootstrap samples using Poisson frequencies. Comput Methods Programs
Biomed 2006;83:57-62. https://doi.org/10.1016/j.cmpb.2006.04.006 Steele GL, Lea D, Flood CH. Fast splittable
pseudorandom number generators. OOPSLA 2014. https://doi.org/10.1145/2660193.2660195 (SplitMix64, which the weights are
drawn with)
"""

from math import exp, factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.compiling import compiled

__all__ = ["resample"]

_U = np.uint64
_GOLDEN, _FIRST, _SECOND = _U(0x9E3779B97F4A7C15), _U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB)
# Upper ends of the intervals of a 64-bit number that mean 0, 1, 2, ...; the rest has a probability of 1 in 10^17.
_POISSON = np.array(
    [min(2**64 - 1, int(2**64 * sum(exp(-1) / factorial(k) for k in range(n + 1)))) for n in range(18)], np.uint64
)


@compiled
def _mixed(number: Any) -> Any:
    number = (number ^ (number >> _U(30))) * _FIRST
    number = (number ^ (number >> _U(27))) * _SECOND
    return number ^ (number >> _U(31))


@compiled
def _stream(seed: int, number: int) -> Any:
    """Return the start of a stream of random numbers: each but stream 0 is of one resample."""
    return _mixed(_U(seed) + (_U(number) + _U(1)) * _GOLDEN)


@compiled
def _drawn(stream: Any, unit: int) -> Any:
    return _mixed(stream + (_U(unit) + _U(1)) * _GOLDEN)


@compiled
def _poisson(number: Any) -> Any:
    # Two comparisons decide nearly all draws, without a branch.
    count = np.int64(number >= _POISSON[0]) + np.int64(number >= _POISSON[1])
    if count == 2:
        while count < _POISSON.size and number >= _POISSON[count]:
            count += 1
    return count


@compiled
def resample(
    values: NDArray[Any],
    units: NDArray[Any],
    group: NDArray[Any],
    seed: int,
    totals: NDArray[Any],
    weights: NDArray[Any],
) -> None:
    """Add weighted values of some samples to the resamples' sums.

    Parameters
    ----------
    values
        float64 (sample, column); NaN does not count.
    units
        Unit of every sample, int64 (sample).
    group
        Group of values, such as a class, of every sample, int64 (sample).
    seed
        Seed of the bootstrap.
    totals, weights
        Sums of weighted values and of weights, float64 (group, resample, column), added to.
    """
    groups, columns = len(totals), values.shape[1]
    flat, whole = values.reshape(-1), ~np.isnan(values.sum(axis=1))
    total, counted, common = np.empty(groups * columns), np.empty(groups * columns), np.empty(groups)
    for resample in range(totals.shape[1]):
        stream = _stream(seed, resample + 1)
        total[:], counted[:], common[:] = 0, 0, 0
        for i in range(units.size):
            weight = float(_poisson(_drawn(stream, units[i])))
            if weight > 0 and whole[i]:
                common[group[i]] += weight
                _add(weight, flat, _U(i * columns), total, _U(group[i] * columns), _U(columns))
            elif weight > 0:
                own = slice(group[i] * columns, (group[i] + 1) * columns)
                _add_known(weight, values[i], total[own], counted[own])
        for own_group in range(groups):
            for column in range(columns):
                place = own_group * columns + column
                totals[own_group, resample, column] += total[place]
                weights[own_group, resample, column] += common[own_group] + counted[place]


@compiled
def _add(weight: float, values: NDArray[Any], begin: Any, total: NDArray[Any], place: Any, columns: Any) -> None:
    for column in range(columns):
        total[place + column] += weight * values[begin + column]


@compiled
def _add_known(weight: float, values: NDArray[Any], total: NDArray[Any], counted: NDArray[Any]) -> None:
    for column in range(values.size):
        if not np.isnan(values[column]):
            total[column] += weight * values[column]
            counted[column] += weight
