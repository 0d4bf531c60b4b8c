"""Exact duplicates of samples, inside a split and between splits: equal texts, whatever the ids."""

from collections.abc import Collection, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.task import ReadSplit, Sample
from biocache.store.digests import text_digests

__all__ = ["are_among", "count_duplicates", "text_digests_of", "text_keys"]


def are_among(texts: Sequence[Hashable], others: Collection[Hashable]) -> NDArray[np.bool_]:
    """Return which samples have all their texts in common with one of some others, bool (sample).

    Parameters
    ----------
    texts, others
        The texts of each sample: `Sample.texts`, or `text_keys` where the store has them alone. Both of one kind.
    """
    known = set(others)
    return np.fromiter((own in known for own in texts), np.bool_, len(texts))


def text_digests_of(samples: Sequence[Sample]) -> NDArray[np.uint64]:
    """Return digests of the texts of samples of one task, uint64 (sample, text); see `RunData.text_digests`."""
    return text_digests(sample.texts for sample in samples).reshape(len(samples), -1 if samples else 1)


def text_keys(digests: NDArray[np.uint64]) -> list[str]:
    """Return one text for the digests of all texts of each sample (sample, text), 16 hexadecimal digits for each."""
    return [row.astype(">u8").tobytes().hex() for row in digests]


def count_duplicates(read: Mapping[str, ReadSplit]) -> None:
    """Count in the notes of each split the samples whose texts are those of another, word for word.

    ``duplicates`` are those of an earlier sample of the split; ``also_in_SPLIT`` those of an earlier split.

    Parameters
    ----------
    read
        The splits.
    """
    known: dict[str, set[tuple[tuple[str, ...], ...]]] = {}
    for split, part in read.items():
        own = {one.texts for one in part.samples}
        part.notes["duplicates"] = len(part.samples) - len(own)
        for earlier, others in known.items():
            part.notes[f"also_in_{earlier}"] = int(are_among([one.texts for one in part.samples], others).sum())
        known[split] = own
