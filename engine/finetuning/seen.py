"""Which samples a model was fine-tuned on, as its runs keep it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.duplicates import are_among, text_digests_of, text_keys
from biocache.engine.corpora.task import Sample
from biocache.engine.finetuning.checkpoint import own_checkpoint
from biocache.engine.models.sources import ModelSource

__all__ = ["seen_samples"]


def seen_samples(source: ModelSource, samples: Sequence[Sample]) -> NDArray[np.int8]:
    """Return whether a model was fine-tuned on the texts of samples, whatever their ids and their split, int8 (sample).

    1 for those that it was fine-tuned on, 0 for others, and -1 for all where that is not known: its weights are of
    another tool, or of a release that kept no texts.

    Parameters
    ----------
    source
        Where the weights are.
    samples
        The samples of a split.
    """
    if not source.training_size:
        return np.zeros(len(samples), np.int8)
    own = None if source.checkpoint is None else own_checkpoint(source.checkpoint)
    if own is None or not own.texts:
        return np.full(len(samples), -1, np.int8)
    return are_among(text_keys(text_digests_of(samples)), own.texts).astype(np.int8)
