"""Control tasks: a random label of each type, which a probe can only memorise."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.probing.target import Target
from biocache.store.reading import Run
from biocache.store.spans import span_texts

__all__ = ["CONTROLS", "control_labels", "seen_types", "word_type_labels"]

#: What is labelled to the name of its control.
CONTROLS = {
    "words": "random label of each word type",
    "samples": "random label of each last word of a sample",
    "spans": "random label of each mention text",
    "relations": "random label of each pair of mention texts",
}


def control_labels(target: Target, runs: Sequence[Run], train: Sequence[Run], seed: int) -> NDArray[Any]:
    """Return the control's label of every row of a split (row); rows without label have none.

    Each type has one random label, in train as in test, so that what a probe has memorised holds in test where a type
    comes again; see `seen_types`. The type of a word is its text, that of a span or relation the texts of its mentions.
    Texts hardly come again as wholes: the type of a sample is its last word, of a pair that of the second text,
    without punctuation and capitals.

    Parameters
    ----------
    target
        What is predicted.
    runs
        Runs of the train or the scored split, one a view.
    train
        Runs of the train split, whose labels are drawn from.
    seed
        Seed of the control.
    """
    own, labels = target.aligned(runs[0]), target.aligned(train[0])
    made = own.values.copy()
    types = _types(target, runs)
    made[own.known] = word_type_labels(types[own.known], np.sort(labels.values[labels.known]), seed)
    return made


def seen_types(target: Target, runs: Sequence[Run], train: Sequence[Run]) -> float:
    """Return the share of the rows with a label, in [0, 1], whose type is among those of the train split."""
    own, fitted = (_types(target, each)[target.aligned(each[0]).known].astype(str) for each in (runs, train))
    return float(np.isin(own, fitted).mean())


def _types(target: Target, runs: Sequence[Run]) -> NDArray[np.object_]:
    """Return the type of every row of a split (row)."""
    if target.level == "samples":
        return _last_words(runs[-1])
    own = target.aligned(runs[0])
    return runs[0].column("words/word_text") if own.places is None else _keys(span_texts(runs[0], own))


def _last_words(run: Run) -> NDArray[np.object_]:
    """Return the last word with a letter or digit of each sample; empty for none (sample)."""
    found = np.full(run.counts.samples, "", dtype=object)
    for sample, text in zip(run.column("words/sample").tolist(), run.column("words/word_text").tolist(), strict=True):
        word = "".join(filter(str.isalnum, text)).casefold()
        if word:
            found[sample] = word
    return found


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


def _uniform(text: str) -> float:
    """Return a number in [0, 1) from the hash of a text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2.0**64
