"""The strength of the regularisation, chosen for each layer on the validation split."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.classifiers import Constant, Scaled, make_classifier, moments
from biocache.engine.analyses.probing.features import Rows
from biocache.engine.analyses.probing.request import C_GRID, ClassifierOptions

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.classifiers import Fitted

__all__ = ["fit_tuned"]


def fit_tuned(
    rows: Rows,
    held_out: Rows,
    score: Callable[[NDArray[Any]], float],
    probe: "Fitted",
    options: ClassifierOptions,
    classes: int,
    seed: int,
) -> tuple[Scaled, float]:
    """Fit a classifier with each C of `C_GRID` to the train split, and return the best on the validation split.

    Parameters
    ----------
    rows
        Rows of the train split, which alone decide the scaling. Their features are used up.
    held_out
        Rows of the validation split. Their features are used up.
    score
        Scores a prediction of `held_out` (row); higher is better.
    probe, options, classes, seed
        As `make_classifier`.

    Returns
    -------
    scaled
        The classifier with the highest score, fitted to the train split; of equals the one with the smallest C.
    c
        Its C.
    """
    mean, scale = moments(rows)
    scaling = Scaled(Constant(), mean, scale)
    rows, held_out = scaling.scaled(rows), scaling.scaled(held_out)
    best: tuple[float, float, Scaled] | None = None
    for c in C_GRID:
        classifier = make_classifier(probe, replace(options, c=c), rows.labels, classes, seed)
        classifier.fit(rows)
        found = score(classifier.predict(held_out) if len(held_out) else held_out.labels)
        # R² of one row is NaN.
        found = -np.inf if np.isnan(found) else found
        if best is None or found > best[0]:
            best = found, c, Scaled(classifier, mean, scale)
    assert best is not None
    return best[2], best[1]
