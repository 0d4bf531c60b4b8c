"""Control tasks: labels without information about the text, which a probe can only memorise."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.features import row_labels
from biocache.store.reading import Run

__all__ = ["CONTROLS", "control_labels", "permuted_labels", "word_type_labels"]

#: What is labelled, words or samples, to the name of its control. The labels of samples are permuted in each split, so
#: that nothing learned in train holds in test: the control accuracy is at chance by construction, and does not show
#: what a probe memorises.
CONTROLS = {"words": "random label of each word type", "samples": "permuted labels, at chance in test by construction"}


def control_labels(run: Run, train: Run, seed: int) -> NDArray[np.int64]:
    """Return the control's class of every word or sample of a run (row).

    Parameters
    ----------
    run
        Run of the train or the test split.
    train
        Run of the train split, whose labels give the distribution.
    seed
        Seed of the control.
    """
    if run.labelled == "samples":
        # Each split has its own stream, or splits of one length would be permuted alike.
        return permuted_labels(row_labels(run), [seed, run.key.split == "test"])
    share = np.bincount(row_labels(train), minlength=len(train.spec.label_names)) / train.counts.words
    return word_type_labels(run.column("words/word_text"), share, seed)


def word_type_labels(words: NDArray[np.object_], share: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Give each word type one random class, the same wherever it stands [1]_.

    Parameters
    ----------
    words
        Texts (word).
    share
        Share of every class (class); they sum to 1.
    seed
        Seed of the assignment, which does not depend on the other words, so that train and test agree.

    Returns
    -------
    numpy.ndarray
        Classes (word), int64.

    References
    ----------
    .. [1] J. Hewitt and P. Liang, "Designing and interpreting probes with control tasks", EMNLP-IJCNLP 2019.
       https://doi.org/10.18653/v1/D19-1275
    """
    types, place = np.unique(words.astype(str), return_inverse=True)
    uniform = np.array([_uniform(f"{seed}:{text}") for text in types.tolist()])
    # The last bound is 1 but for rounding.
    classes = np.searchsorted(np.cumsum(share)[:-1], uniform, side="right")
    return classes[place].astype(np.int64)


def permuted_labels(labels: NDArray[np.int64], seed: int | list[int]) -> NDArray[np.int64]:
    """Permute the labels of samples (sample): a pair of texts has no type that could be labelled."""
    return np.random.default_rng(seed).permutation(labels)


def _uniform(text: str) -> float:
    """Return a number in [0, 1) that is drawn from a text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2.0**64
