"""What a classifier is fed: encoded samples with the label of each token or sequence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.encoding import Encoding
from biocache.engine.corpora.task import Sample

__all__ = ["IGNORED", "Examples", "encode_labels"]

#: Label of tokens that neither teach nor count: all but the first of each word, and special tokens.
IGNORED = -100


def encode_labels(samples: Sequence[Sample], encoding: Encoding, labels: Sequence[str]) -> NDArray[np.int64]:
    """Return what the classifier is to say.

    Parameters
    ----------
    samples
        Samples of one task.
    encoding
        Their tokens.
    labels
        Names of the classes.

    Returns
    -------
    numpy.ndarray
        int64, positions in `labels`. For ``nli`` one a sample, shape (sample,). For ``ner`` one a token, shape
        (token,): a word's label at its first token, `IGNORED` elsewhere.
    """
    code = {label: position for position, label in enumerate(labels)}
    items = np.array([code[label] for sample in samples for label in sample.labels], np.int64)
    if samples[0].word_labels is None:
        return items
    spread = np.full(len(encoding.token_id), IGNORED, np.int64)
    read = encoding.word_token_count > 0
    spread[encoding.word_token_start[read]] = items[read]
    return spread


class Examples:
    """Samples as torch's data loaders take them: a sequence of what the model is fed for one sample.

    Parameters
    ----------
    encoding
        Tokens of the samples.
    labels
        As `encode_labels` returns them.
    order
        Positions of the samples to hold, int64 (example,); None for all in their order.
    """

    def __init__(self, encoding: Encoding, labels: NDArray[np.int64], order: NDArray[np.integer] | None = None) -> None:
        self._encoding = encoding
        self._labels = labels
        self._ends = np.cumsum(encoding.token_count, dtype=np.int64)
        self.order = np.arange(len(encoding.token_count)) if order is None else order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        sample = int(self.order[index])
        end = int(self._ends[sample])
        span = slice(end - int(self._encoding.token_count[sample]), end)
        by_token = self._encoding.view == "sentence"
        fed: dict[str, Any] = {
            "input_ids": self._encoding.token_id[span].tolist(),
            "attention_mask": [1] * (span.stop - span.start),
            "labels": self._labels[span].tolist() if by_token else int(self._labels[sample]),
        }
        if self._encoding.token_type is not None:
            fed["token_type_ids"] = self._encoding.token_type[span].tolist()
        return fed
