"""Online code length: the bits needed to send the labels to a receiver of the features."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.classifiers import fit_scaled
from biocache.engine.analyses.probing.features import Rows
from biocache.engine.analyses.probing.request import ClassifierOptions

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.classifiers import Fitted

__all__ = ["PORTIONS", "OnlineCode", "label_bits", "mixed_bits", "online_code", "portion_bounds"]

#: Percents of the train split after which the probe is fitted anew.
PORTIONS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.25, 12.5, 25.0, 50.0, 100.0)


class OnlineCode(NamedTuple):
    """The online code of some labels, block by block, and the codes of the same labels without features.

    Attributes
    ----------
    bits
        Bits of every block, float64 (block).
    prior_bits
        Bits of every block in the code of the label frequencies of the blocks before, float64 (block).
    labels
        Labels of every block, int64 (block). The uniform code takes ``labels.sum() * log2(classes)`` bits.
    converged
        Whether the solvers of all probes reached their tolerance.
    """

    bits: NDArray[np.float64]
    prior_bits: NDArray[np.float64]
    labels: NDArray[np.int64]
    converged: bool


def portion_bounds(samples: int) -> list[int]:
    """Return the samples after which the probe is fitted anew: the standard portions, rounded up, each once."""
    return sorted({int(np.ceil(samples * percent / 100)) for percent in PORTIONS})


def online_code(rows: Rows, probe: "Fitted", options: ClassifierOptions, classes: int, seed: int) -> OnlineCode:
    r"""Send the labels of a train split in portions, each coded with a probe fitted on the portions before [1]_.

    With the rows in blocks 1..S the code takes

    .. math:: L = t_1 \log_2 K - \sum_{i=1}^{S-1} \log_2 p_i(y_{t_i+1:t_{i+1}} | x_{t_i+1:t_{i+1}})

    bits, :math:`t_i` being the labels up to block i, K the classes, and :math:`p_i` the probe fitted on the first
    :math:`t_i`. To be able to send a class that has not occurred yet, :math:`p_i` is mixed with the uniform code as
    :math:`(t_i p + 1) / (t_i + K)`, or as :math:`(t_i p + K^{-n}K) / (t_i + K)` for the n labels of a sentence at once.

    The prior code needs no features: its :math:`p_i` are the frequencies of the first :math:`t_i` labels, which the
    same mixture makes Laplace's estimate. A probe whose code is not shorter has read nothing from the features.

    Parameters
    ----------
    rows
        Rows of the train split, not scaled. Portions are of whole samples, in a random order.
    probe, options
        The classifier; it must give probabilities.
    classes
        K.
    seed
        Seed of the order and of the classifier.

    Returns
    -------
    OnlineCode

    References
    ----------
    .. [1] E. Voita and I. Titov, "Information-theoretic probing with minimum description length", EMNLP 2020.
       https://doi.org/10.18653/v1/2020.emnlp-main.14
    """
    order = np.random.default_rng(seed).permutation(np.unique(rows.sample))
    bounds = portion_bounds(len(order))
    bits, prior_bits, labels, converged = [], [], [], True
    for known, (first, last) in enumerate(zip([0, *bounds[:-1]], bounds, strict=True)):
        block = rows.of_samples(order[first:last])
        labels.append(len(block))
        if not known:
            bits.append(len(block) * np.log2(classes))
            prior_bits.append(bits[0])
            continue
        past = rows.of_samples(order[:first])
        prior = label_bits(np.bincount(past.labels, minlength=classes))
        prior_bits.append(float(prior[block.labels].sum()))
        fitted = fit_scaled(past, probe, options, classes, seed)
        converged &= fitted.classifier.converged
        bits.append(float(mixed_bits(fitted.log_probability(block), block, len(past), classes).sum()))
    return OnlineCode(np.array(bits), np.array(prior_bits), np.array(labels, np.int64), converged)


def label_bits(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the bits of a label of each class by the frequencies of some labels, mixed as `mixed_bits` (class)."""
    bits: NDArray[np.float64] = -np.log2((counts + 1) / (counts.sum() + len(counts)))
    return bits


def mixed_bits(log_probability: NDArray[np.float64], rows: Rows, known: int, classes: int) -> NDArray[np.float64]:
    """Return the bits of the labels of some rows, probabilities mixed with the uniform code's as in `online_code`.

    Parameters
    ----------
    log_probability
        Natural logarithms, of each row (row) or of each sentence that is coded at once (sequence).
    rows
        The rows.
    known
        Labels that the classifier was fitted to.
    classes
        Number of classes, which is the weight of the uniform code in labels.

    Returns
    -------
    numpy.ndarray
        Bits (row), float64; the words of a sentence that is coded at once have equal parts of its bits.
    """
    at_once = len(log_probability) != len(rows)
    labels = (
        np.array([part.stop - part.start for part in rows.sequences()]) if at_once else np.ones(len(rows), np.int64)
    )
    uniform = np.log(classes) * (1.0 - labels)
    mixed = np.logaddexp(np.log(known) + log_probability, uniform) - np.log(known + classes)
    return np.repeat(-mixed / np.log(2) / labels, labels)
