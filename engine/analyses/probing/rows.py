"""Rows of features with what belongs to each: what a probe is fitted on and predicts."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Words (``ner``) or samples (``nli``) as a classifier sees them, one layer.

    Attributes
    ----------
    features
        float32 (row, feature).
    labels
        Class of every row (row), int64, as a position in the runs' label names.
    sample
        Position of every row's sample in the run (row), int64; it never decreases.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    sample: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def of_samples(self, samples: NDArray[np.integer]) -> Self:
        """Return the rows of some samples, in their own order."""
        kept = np.isin(self.sample, samples)
        return type(self)(self.features[kept], self.labels[kept], self.sample[kept])

    def sequences(self) -> list[slice]:
        """Return where the rows of each sample lie, in their order."""
        bounds = [0, *(np.flatnonzero(np.diff(self.sample)) + 1).tolist(), len(self)]
        return [slice(first, last) for first, last in pairwise(bounds) if last > first]
