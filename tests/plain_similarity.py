"""Similarities of representations as their papers write them, with kernels of all pairs of units."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

Values = NDArray[np.float64]


def unbiased_hsic(first: Values, second: Values) -> float:
    """Return equation 5 of Song et al. 2012, of linear kernels of rows (unit, feature)."""
    n = len(first)
    k, el = first @ first.T, second @ second.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(el, 0)
    one = np.ones(n)
    trace = np.trace(k @ el)
    sums = (one @ k @ one) * (one @ el @ one) / ((n - 1) * (n - 2))
    return float((trace + sums - 2 / (n - 2) * (one @ k @ el @ one)) / (n * (n - 3)))


def biased_hsic(first: Values, second: Values) -> float:
    """Return equation 3 of Kornblith et al. 2019."""
    n = len(first)
    centre = np.eye(n) - 1 / n
    return float(np.trace(first @ first.T @ centre @ second @ second.T @ centre) / (n - 1) ** 2)


def cka(first: Values, second: Values, *, biased: bool = False) -> float:
    hsic = biased_hsic if biased else unbiased_hsic
    return float(hsic(first, second) / np.sqrt(hsic(first, first) * hsic(second, second)))


def procrustes(first: Values, second: Values) -> float:
    """Return the distance of Ding et al. 2021 by its definition: the best rotation, of padded rows."""
    width = max(first.shape[1], second.shape[1])
    sides = []
    for rows in (first, second):
        centred = rows - rows.mean(axis=0)
        centred = centred / np.linalg.norm(centred)
        sides.append(np.pad(centred, ((0, 0), (0, width - rows.shape[1]))))
    left, _, right = np.linalg.svd(sides[0].T @ sides[1])
    return float(np.linalg.norm(sides[0] @ left @ right - sides[1]) ** 2)


def rsa(first: Values, second: Values) -> float:
    """Return Spearman's correlation of the distances 1 - Pearson's correlation of pairs of units."""
    pairs = list(combinations(range(len(first)), 2))
    alike = [np.corrcoef(rows) for rows in (first, second)]
    return float(spearmanr(*[[round(1 - own[pair], 9) for pair in pairs] for own in alike]).statistic)


def knn(first: Values, second: Values, neighbours: int) -> float:
    """Return the mean share of the nearest units by cosine that two representations share."""
    shares = []
    for unit in range(len(first)):
        nearest = []
        for rows in (first, second):
            lengths = np.linalg.norm(rows, axis=1)
            alike = rows @ rows[unit] / (lengths * lengths[unit])
            order = [other for other in np.argsort(-alike, kind="stable").tolist() if other != unit]
            nearest.append(set(order[:neighbours]))
        shares.append(len(nearest[0] & nearest[1]) / neighbours)
    return float(np.mean(shares))
