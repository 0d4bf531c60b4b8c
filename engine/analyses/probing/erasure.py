"""Concept erasure: the smallest change of features after which no linear probe reads a concept from them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Eraser", "erasing_memory", "fit_eraser"]

Values = NDArray[np.float64]

# Rows that are in memory in float64 at once.
_BLOCK = 4096
# A standard deviation below this share of the mean, or of what it was, is the rounding of float32.
_ROUNDING = 16 * float(np.finfo(np.float32).eps)
# Singular values below this share of the largest are rounding: the indicators of classes sum to 1.
_RANK = 1e-10


@dataclass(frozen=True, eq=False)
class Eraser:
    """An affine map of features, x - writing reading' (x - mean); see `fit_eraser`.

    Attributes
    ----------
    mean
        float64 (feature).
    reading, writing
        float64 (feature, direction); as many directions as the concept has that are in the features.
    gone
        Features of which nothing is left but the mean (feature).
    """

    mean: Values
    reading: Values
    writing: Values
    gone: NDArray[np.bool_]

    def erase(self, features: NDArray[np.float32]) -> None:
        """Erase the concept from features, float32 (row, feature), which are changed in place."""
        for first in range(0, len(features), _BLOCK):
            block = features[first : first + _BLOCK]
            values = block.astype(np.float64)
            values -= ((values - self.mean) @ self.reading) @ self.writing.T
            # Scaled to a variance of 1, what rounding leaves would be a feature that a probe reads.
            values[:, self.gone] = self.mean[self.gone]
            block[:] = values


def fit_eraser(features: NDArray[np.float32], rows: NDArray[np.int64], concept: Callable[[slice], Values]) -> Eraser:
    r"""Fit the eraser of a concept: LEACE, the least-squares concept erasure in closed form [1]_.

    With features x and concept z, W the pseudo-inverse of the square root of the covariance of x, and P the orthogonal
    projection on the column space of :math:`W \Sigma_{xz}`,

    .. math:: r(x) = x - W^+ P W (x - E[x])

    has no covariance with z, so that no linear classifier has a smaller loss on r(x) than the best constant one, and
    of all affine maps with that property it changes x least, in every norm. So features are scaled by their deviation
    first, which changes the rounding alone. Covariances are those of the given rows, in float64, a block of rows at a
    time.

    Parameters
    ----------
    features
        float32 (row, feature).
    rows
        Positions of the rows of which the concept is known (known row); at least one.
    concept
        Returns the concept of a slice of these, float64 (known row, dimension).

    References
    ----------
    .. [1] N. Belrose, D. Schneider-Joseph, S. Ravfogel, R. Cotterell, E. Raff and S. Biderman, "LEACE: Perfect linear
       concept erasure in closed form", NeurIPS 2023. https://doi.org/10.48550/arXiv.2306.03819
    """
    size = features.shape[1]
    slices = [slice(first, first + _BLOCK) for first in range(0, len(rows), _BLOCK)]
    mean = np.zeros(size)
    for own in slices:
        mean += features[rows[own]].sum(axis=0, dtype=np.float64) / len(rows)
    covariance, shared = np.zeros((size, size)), np.zeros((size, concept(slice(0)).shape[1]))
    for own in slices:
        centred = features[rows[own]] - mean
        covariance += centred.T @ centred / len(rows)
        shared += centred.T @ concept(own) / len(rows)
    deviation = np.sqrt(np.diag(covariance))
    # What is constant but for rounding stays as it is: nothing is read from it.
    inverse = np.divide(1.0, deviation, out=np.zeros(size), where=deviation > _ROUNDING * np.abs(mean))
    covariance *= inverse[:, np.newaxis] * inverse
    shared *= inverse[:, np.newaxis]
    variance, axes = np.linalg.eigh(covariance)
    kept = variance > max(variance[-1], 0.0) * size * np.finfo(np.float64).eps
    root, axes = np.sqrt(variance[kept]), axes[:, kept]
    directions, strength, _ = np.linalg.svd((axes / root).T @ shared, full_matrices=False)
    directions = directions[:, strength > _RANK * max(strength, default=0.0)]
    written = (axes * root) @ directions
    # Each feature has a variance of 1 here.
    left = 1 - np.square(written).sum(axis=1)
    return Eraser(
        mean,
        inverse[:, np.newaxis] * ((axes / root) @ directions),
        deviation[:, np.newaxis] * written,
        (left <= _ROUNDING**2) & (inverse > 0),
    )


def erasing_memory(features: int, dimensions: int) -> int:
    """Return the bytes that fitting and using an eraser add, for features of some length and dimensions of a concept.

    There are the covariance, its axes, what the solver works in, and blocks of rows.
    """
    return 8 * (7 * features**2 + 6 * features * dimensions + _BLOCK * (3 * features + 2 * dimensions))
