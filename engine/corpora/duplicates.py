"""Exact duplicates of samples, inside a split and between splits."""

from collections.abc import Mapping

from biocache.engine.corpora.task import ReadSplit

__all__ = ["count_duplicates"]


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
            part.notes[f"also_in_{earlier}"] = sum(one.texts in others for one in part.samples)
        known[split] = own
