"""Concept erasure as its paper writes it, in a few lines of NumPy (Belrose et al. 2023, theorem 4.2)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]


def plain_eraser(features: Values, concept: Values) -> Callable[[Values], Values]:
    """Return r(x) = x - W+ P W (x - mean), with the covariance as it is."""
    x = features.astype(np.float64)
    z = concept - concept.mean(axis=0)
    mean = x.mean(axis=0)
    centred = x - mean
    covariance, shared = centred.T @ centred / len(x), centred.T @ z / len(x)
    variance, axes = np.linalg.eigh(covariance)
    variance[variance < variance.max() * len(variance) * np.finfo(float).eps] = 0
    with np.errstate(divide="ignore"):
        whitening = axes @ np.diag(np.where(variance > 0, variance**-0.5, 0)) @ axes.T
    back = axes @ np.diag(np.sqrt(variance)) @ axes.T
    read = whitening @ shared
    change = back @ read @ np.linalg.pinv(read, rcond=1e-9) @ whitening
    return lambda values: values - (values.astype(np.float64) - mean) @ change.T
