r"""Linear CKA and the Procrustes distance from sums over units: they add, so that memory does not grow with the units.

With rows :math:`x_i` and :math:`y_i` of n units, linear kernels :math:`K_{ij} = x_i \cdot x_j` and :math:`L`, and
:math:`\tilde K`, :math:`\tilde L` the kernels with a diagonal of zeros, the unbiased estimator of the Hilbert-Schmidt
independence criterion is [1]_

.. math:: \frac{1}{n (n - 3)} \left[ \operatorname{tr} \tilde K \tilde L
    + \frac{1^\top \tilde K 1 \, 1^\top \tilde L 1}{(n - 1)(n - 2)} - \frac{2}{n - 2} 1^\top \tilde K \tilde L 1 \right]

and no kernel is needed for it: with :math:`C = \sum_i x_i y_i^\top`, :math:`s = \sum_i x_i`, :math:`t = \sum_i y_i`,
:math:`a_i = |x_i|^2` and :math:`b_i = |y_i|^2`,

.. math:: \operatorname{tr} \tilde K \tilde L &= |C|_F^2 - \sum_i a_i b_i \\
    1^\top \tilde K 1 &= |s|^2 - \sum_i a_i \\
    1^\top \tilde K \tilde L 1 &= s^\top C t - s \cdot \sum_i b_i x_i - t \cdot \sum_i a_i y_i + \sum_i a_i b_i

All of these are sums over units, in float64, of what float32 gives for a chunk of them. They are also kept for each
block of units, C in float32, so that the statistic without a block follows without reading again. The biased estimator
is :math:`|C - s t^\top / n|_F^2 / (n - 1)^2`. Both are the same for rows that are shifted by a vector: rows are shifted
to near their mean, for the sake of rounding.

References
----------
.. [1] L. Song, A. Smola, A. Gretton, J. Bedo and K. Borgwardt, "Feature selection via dependence maximization", Journal
   of Machine Learning Research 13, 2012. https://jmlr.org/papers/v13/song12a.html
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Products", "Side", "blocks_of", "mean_kernels"]

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Side:
    """Sums over the units of each block of one layer.

    Attributes
    ----------
    total
        Sum of the rows, float64 (block, feature).
    square
        Sum of their squared lengths, float64 (block).
    """

    total: Values
    square: Values

    @classmethod
    def zero(cls, blocks: int, features: int) -> Self:
        """Return the sums of no unit."""
        return cls(np.zeros((blocks, features)), np.zeros(blocks))

    def add(self, block: int, rows: NDArray[np.float32], square: Values) -> None:
        """Add rows (unit, feature) of a block, with their squared lengths (unit)."""
        self.total[block] += rows.sum(axis=0, dtype=np.float64)
        self.square[block] += square.sum()


@dataclass(frozen=True, eq=False)
class Products:
    """Sums over the units of each block of two layers.

    Attributes
    ----------
    whole
        C of all units, float64 (feature, other feature).
    product
        C of each block, float32 (block, feature, other feature).
    first, second
        Sums of the rows of either, each weighted by the squared length of the other's, float64 (block, feature).
    squares
        Sum of the products of squared lengths, float64 (block).
    """

    whole: Values
    product: NDArray[np.float32]
    first: Values
    second: Values
    squares: Values

    @classmethod
    def zero(cls, blocks: int, features: int, others: int) -> Self:
        """Return the sums of no unit."""
        return cls(
            np.zeros((features, others)),
            np.zeros((blocks, features, others), np.float32),
            np.zeros((blocks, features)),
            np.zeros((blocks, others)),
            np.zeros(blocks),
        )

    def add(
        self, block: int, rows: NDArray[np.float32], others: NDArray[np.float32], square: Values, square_other: Values
    ) -> None:
        """Add rows (unit, feature) of a block and those of the other layer, with their squared lengths (unit)."""
        product = rows.T @ others
        self.whole[...] += product
        self.product[block] += product
        # In float64 the rows would be copied.
        self.first[block] += square_other.astype(np.float32) @ rows
        self.second[block] += square.astype(np.float32) @ others
        self.squares[block] += square @ square_other

    def hsic(self, count: Values, first: Side, second: Side, *, biased: bool) -> Values:
        """Return the Hilbert-Schmidt independence criterion of all units, then that without each block.

        Parameters
        ----------
        count
            Units of every block, float64 (block).
        first, second
            The sums of either layer.
        biased
            Whether to return the biased estimator.

        Returns
        -------
        numpy.ndarray
            float64 (1 + block); NaN for fewer than four units.
        """
        blocks = len(count)
        # Without a block all sums are those of all less those of the block.
        kept = np.vstack([np.ones(blocks), 1 - np.eye(blocks)])
        n, total, other = kept @ count, kept @ first.total, kept @ second.total
        norm = np.full(1 + blocks, np.vdot(self.whole, self.whole))
        bilinear = np.einsum("kd,kd->k", total @ self.whole, other)
        nearly = self.whole.astype(np.float32)
        ends = total[1:].astype(np.float32), other[1:].astype(np.float32)
        # A block at a time, while it is in a processor's cache.
        for number, block in enumerate(self.product):
            norm[1 + number] += float(np.vdot(block, block)) - 2 * float(np.vdot(nearly, block))
            bilinear[1 + number] -= float(ends[0][number] @ block @ ends[1][number])
        lengths = np.einsum("kd,kd->k", total, total), np.einsum("kd,kd->k", other, other)
        with np.errstate(divide="ignore", invalid="ignore"):
            if biased:
                found = (norm - 2 * bilinear / n + lengths[0] * lengths[1] / n**2) / (n - 1) ** 2
            else:
                squares = kept @ self.squares
                weighted = np.einsum("kd,kd->k", kept @ self.first, total)
                weighted += np.einsum("kd,kd->k", kept @ self.second, other)
                sums = (lengths[0] - kept @ first.square) * (lengths[1] - kept @ second.square)
                rows = bilinear - weighted + squares
                found = (norm - squares + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows) / (n * (n - 3))
        return np.where(n >= 4, found, np.nan)

    def procrustes(self, count: Values, first: Side, second: Side) -> Values:
        r"""Return the squared Procrustes distance [1]_ of all units, then nearly that without each block.

        .. math:: 2 - 2 |X^\top Y|_*

        of centred rows with a Frobenius norm of 1; 0 for a rotation, at most 2. Without a block it is the value of the
        linear approximation at all units: a singular value decomposition for each block would take hours.

        References
        ----------
        .. [1] F. Ding, J.-S. Denain and J. Steinhardt, "Grounding representation similarity through statistical
           testing", NeurIPS 2021. https://arxiv.org/abs/2108.01661
        """
        n = count.sum()
        means = [side.total.sum(axis=0) / n for side in (first, second)]
        left, values, right = np.linalg.svd(self.whole - n * np.outer(*means), full_matrices=False)
        rotation = left @ right
        # Sums of a block of centred rows.
        own = self.product.reshape(len(count), -1) @ rotation.ravel().astype(np.float32)
        own = own.astype(np.float64)
        own -= first.total @ (rotation @ means[1]) + second.total @ (means[0] @ rotation)
        own += count * (means[0] @ rotation @ means[1])
        spreads = [
            side.square - 2 * side.total @ mean + count * (mean @ mean)
            for side, mean in zip((first, second), means, strict=True)
        ]
        sizes = [spread.sum() for spread in spreads]
        if min(sizes) <= 0:
            return np.full(1 + len(count), np.nan)
        alike = values.sum() / np.sqrt(sizes[0] * sizes[1])
        influence = own / np.sqrt(sizes[0] * sizes[1])
        influence -= alike / 2 * (spreads[0] / sizes[0] + spreads[1] / sizes[1])
        return np.concatenate([[2 - 2 * alike], 2 - 2 * alike + 2 * influence])


def mean_kernels(count: Values, side: Side) -> float:
    """Return the trace of the centred kernel of a layer: the sum of squared distances from the mean."""
    total = side.total.sum(axis=0)
    return float(side.square.sum() - total @ total / count.sum())


def blocks_of(block: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64] | slice]]:
    """Yield the blocks of some units, each with the places of its units; slices where the units are in their order."""
    if (np.diff(block) >= 0).all():
        numbers, first = np.unique(block, return_index=True)
        for number, begin, end in zip(numbers.tolist(), first, [*first[1:], len(block)], strict=True):
            yield number, slice(int(begin), int(end))
        return
    for number in np.unique(block).tolist():
        yield number, np.flatnonzero(block == number)
