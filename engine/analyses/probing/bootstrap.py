"""Uncertainty over the test samples: cluster bootstrap, paired comparison, Holm's correction."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.counting import finalised

__all__ = ["bootstrap_scores", "holm", "interval", "paired_p"]

# Resamples whose weights are in memory at once.
_CHUNK = 256


def bootstrap_scores(
    counts: Sequence[NDArray[np.float64]], labels: Sequence[str], scores: Sequence[str], resamples: int, seed: int = 0
) -> NDArray[np.float64]:
    """Score resamples of the test samples.

    Samples are drawn with replacement, each with all its words [1]_: words of a sentence are not independent. All
    predictions are scored on the same resamples, so that differences between them are paired.

    Parameters
    ----------
    counts
        Of each prediction (sample, count), as `sample_counts`, of the same samples.
    labels, scores
        As `finalised`.
    resamples
        Resamples to draw.
    seed
        Seed of the draw.

    Returns
    -------
    numpy.ndarray
        float64 (prediction, resample, score).

    References
    ----------
    .. [1] A. C. Cameron, J. B. Gelbach and D. L. Miller, "Bootstrap-based improvements for inference with clustered
       errors", Review of Economics and Statistics 90(3), 2008. https://doi.org/10.1162/rest.90.3.414
    """
    found = np.empty((len(counts), resamples, len(scores)))
    for part, weights in _weights(len(counts[0]), resamples, seed):
        for place, each in enumerate(counts):
            found[place, part] = finalised(weights @ each, labels, scores)
    return found


def _weights(samples: int, resamples: int, seed: int) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield how often each resample holds each sample (resample, sample)."""
    rng = np.random.default_rng(seed)
    for first in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - first)
        drawn = rng.integers(0, samples, (count, samples)) + samples * np.arange(count)[:, np.newaxis]
        weights = np.bincount(drawn.ravel(), minlength=count * samples).reshape(count, samples)
        yield slice(first, first + count), weights.astype(np.float64)


def interval(scores: NDArray[np.float64], axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the 95 % percentile interval of resampled scores, along an axis."""
    low, high = np.quantile(scores, [0.025, 0.975], axis=axis)
    return np.asarray(low), np.asarray(high)


def paired_p(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Return two-sided p-values of differences between paired scores.

    .. math:: p = \min(1, 2 (1 + \min(\#\{d \le 0\}, \#\{d \ge 0\})) / (B + 1))

    which inverts the percentile interval [1]_. The least value of B resamples is 2 / (B + 1).

    Parameters
    ----------
    differences
        Of the scores in every resample (..., resample).

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman and Hall, 1993.
       https://doi.org/10.1201/9780429246593
    """
    tail = np.minimum((differences <= 0).sum(axis=-1), (differences >= 0).sum(axis=-1))
    return np.asarray(np.minimum(1.0, 2 * (1 + tail) / (differences.shape[-1] + 1)))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Correct the p-values of a family of comparisons [1]_.

    With the m values in ascending order,

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) p_{(j)})

    Rejecting those below 0.05 errs in any of them with a probability of at most 0.05.

    Parameters
    ----------
    p
        p-values (comparison), in [0, 1].

    Returns
    -------
    numpy.ndarray
        Corrected values (comparison), in [0, 1].

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2),
       1979. https://www.jstor.org/stable/4615733
    """
    order = np.argsort(p, kind="stable")
    scaled = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected
