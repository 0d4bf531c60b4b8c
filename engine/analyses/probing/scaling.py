"""Scaling that knows the train split only."""

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.classifiers import Classifier, make_classifier
from biocache.engine.analyses.probing.request import ClassifierOptions
from biocache.engine.analyses.probing.rows import Rows

__all__ = ["Scaled", "fit_scaled"]

# Rows whose moments are taken at once: float64 copies of as many are in memory.
_BLOCK = 4096


class Scaled:
    """A classifier of standardised features: mean 0 and variance 1 on the rows that it was fitted to.

    A feature that is constant there is only centred.
    """

    def __init__(self, classifier: Classifier, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
        self.classifier = classifier
        self.mean = mean
        self.scale = scale

    def predict(self, rows: Rows) -> NDArray[np.int64]:
        """Return the class of every row (row). The features of the rows are used up."""
        return self.classifier.predict(self._scaled(rows))

    def log_probability(self, rows: Rows) -> NDArray[np.float64]:
        """Return the natural logarithm of the probability of labels. The features of the rows are used up."""
        return self.classifier.log_probability(self._scaled(rows))

    def _scaled(self, rows: Rows) -> Rows:
        # In place: the features of a large corpus are most of a fit's memory. As scikit-learn does it, to the last bit.
        np.subtract(rows.features, self.mean, out=rows.features, casting="same_kind")
        np.divide(rows.features, self.scale, out=rows.features, casting="same_kind")
        return rows


def fit_scaled(rows: Rows, probe: str, options: ClassifierOptions, classes: int, seed: int) -> Scaled:
    """Fit a classifier and its scaling.

    Parameters
    ----------
    rows
        Rows of the train split. Their features are used up.
    probe, options, classes, seed
        As `make_classifier`.
    """
    from sklearn.preprocessing import StandardScaler

    moments = StandardScaler()
    for first in range(0, len(rows), _BLOCK):
        moments.partial_fit(rows.features[first : first + _BLOCK])
    scaled = Scaled(
        make_classifier(probe, options, rows.labels, classes, seed),
        moments.mean_,
        moments.scale_,
    )
    scaled.classifier.fit(scaled._scaled(rows))
    return scaled
