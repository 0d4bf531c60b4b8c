"""What a classifier is fed: encoded samples with the label of each token or sequence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.encoding import Encoding
from biocache.engine.corpora.task import Sample

__all__ = ["IGNORED", "Examples"]

#: Label of tokens that neither teach nor count: all but the first of each word, and special tokens.
IGNORED = -100


class Examples:
    """Samples as torch's data loaders take them: a sequence of what the model is fed for one sample.

    Parameters
    ----------
    encoding
        Tokens of the samples.
    samples
        Samples of one task.
    labels
        Names of the classes.
    order
        Positions of the samples in the order to hold them, int64 (example,); None for their own.

    Notes
    -----
    A label is a position in `labels`: of the sample, or of each token, where a word's label is at its first token and
    `IGNORED` elsewhere.
    """

    def __init__(
        self,
        encoding: Encoding,
        samples: Sequence[Sample],
        labels: Sequence[str],
        order: NDArray[np.integer] | None = None,
    ) -> None:
        self._encoding = encoding
        self._by_token = samples[0].word_labels is not None
        code = {label: position for position, label in enumerate(labels)}
        self._labels = np.array([code[label] for sample in samples for label in sample.labels], np.int64)
        if self._by_token:
            words, read = self._labels, encoding.word_token_count > 0
            self._labels = np.full(len(encoding.token_id), IGNORED, np.int64)
            self._labels[encoding.word_token_start[read]] = words[read]
        self._ends = np.cumsum(encoding.token_count, dtype=np.int64)
        self.order = np.arange(len(encoding.token_count)) if order is None else order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        sample = int(self.order[index])
        end = int(self._ends[sample])
        span = slice(end - int(self._encoding.token_count[sample]), end)
        fed: dict[str, Any] = {
            "input_ids": self._encoding.token_id[span].tolist(),
            "attention_mask": [1] * (span.stop - span.start),
            "labels": self._labels[span].tolist() if self._by_token else int(self._labels[sample]),
        }
        if self._encoding.token_type is not None:
            fed["token_type_ids"] = self._encoding.token_type[span].tolist()
        return fed
