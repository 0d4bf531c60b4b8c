"""Control tasks: random labels, which a probe can only memorise."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.target import Target
from biocache.store.reading import Run
from biocache.store.spans import span_texts

__all__ = ["CONTROLS", "control_labels", "permuted_labels", "word_type_labels"]

#: What is labelled to the name of its control. The labels of samples are permuted in each split, so
#: that nothing learned in train holds in test: the control accuracy is at chance by construction, and does not show
#: what a probe memorises.
CONTROLS = {
    "words": "random label of each word type",
    "samples": "permuted labels, at chance in test by construction",
    "spans": "random label of each mention text",
    "relations": "random label of each pair of mention texts",
}


def control_labels(target: Target, run: Run, train: Run, seed: int) -> NDArray[Any]:
    """Return the control's label of every row of a run (row); rows without label have none.

    Parameters
    ----------
    target
        What is predicted.
    run
        Run of the train or the scored split.
    train
        Run of the train split, whose labels are drawn from.
    seed
        Seed of the control.
    """
    own = target.aligned(run)
    made = own.values.copy()
    if target.level == "samples":
        # Each split has its own stream; otherwise splits of one length would have the same permutation.
        made[own.known] = permuted_labels(own.values[own.known], [seed, run.key.split != "train"])
        return made
    labels = target.aligned(train)
    texts = run.column("words/word_text") if own.places is None else _keys(span_texts(run, own))
    made[own.known] = word_type_labels(texts[own.known], np.sort(labels.values[labels.known]), seed)
    return made


def _keys(texts: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return one text for the texts of the spans of each row (row, span)."""
    return np.array(["\n".join(row) for row in texts.tolist()], dtype=object)


def word_type_labels(words: NDArray[np.object_], pool: NDArray[Any], seed: int) -> NDArray[Any]:
    """Give each word type one random label, the same wherever it stands [1]_.

    Parameters
    ----------
    words
        Texts, of words or mentions (word).
    pool
        The labels to draw from, ascending, each as often as it is (label).
    seed
        Seed of the assignment, which does not depend on the other words, so that train and test agree.

    Returns
    -------
    numpy.ndarray
        Labels (word), of the data type of `pool`.

    References
    ----------
    .. [1] J. Hewitt and P. Liang, "Designing and interpreting probes with control tasks", EMNLP-IJCNLP 2019.
       https://doi.org/10.18653/v1/D19-1275
    """
    types, place = np.unique(words.astype(str), return_inverse=True)
    uniform = np.array([_uniform(f"{seed}:{text}") for text in types.tolist()])
    drawn: NDArray[Any] = pool[(uniform * len(pool)).astype(np.int64)]
    return drawn[place]


def permuted_labels(labels: NDArray[Any], seed: int | list[int]) -> NDArray[Any]:
    """Permute the labels of samples (sample): a pair of texts has no type that could be labelled."""
    return np.random.default_rng(seed).permutation(labels)


def _uniform(text: str) -> float:
    """Return a number in [0, 1) from the hash of a text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2.0**64
