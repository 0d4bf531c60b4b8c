"""Inputs of a classifier: encoded samples with the label of each token or sequence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.encoding import Encoding
from biocache.engine.corpora.task import Sample
from biocache.engine.finetuning.targets import NO_LABEL, Targets

__all__ = ["Examples"]


class Examples:
    """Samples for the data loaders of torch: a sequence of the model's inputs for each sample.

    Parameters
    ----------
    encoding
        Tokens of the samples.
    samples
        Samples of one task.
    targets
        What the labels are.
    order
        Positions of the samples in the order to hold them, int64 (example,); None for their own.

    Notes
    -----
    A label is a class or number of the sample, or a class of each token, where a word's label is at its first token and
    `NO_LABEL` elsewhere.
    """

    def __init__(
        self,
        encoding: Encoding,
        samples: Sequence[Sample],
        targets: Targets,
        order: NDArray[np.integer] | None = None,
    ) -> None:
        self._encoding = encoding
        self._by_token = targets.by_word
        self._labels = targets.values(samples)
        if self._by_token:
            words, read = self._labels, encoding.word_token_count > 0
            self._labels = np.full(len(encoding.token_id), NO_LABEL, np.int64)
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
            "labels": self._labels[span].tolist() if self._by_token else self._labels[sample].item(),
        }
        if self._encoding.token_type is not None:
            fed["token_type_ids"] = self._encoding.token_type[span].tolist()
        return fed
