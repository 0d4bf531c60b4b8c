"""What the scored samples share with those that were fitted on: whole texts, and groups such as documents."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.corpora.duplicates import are_among, text_keys
from biocache.engine.grouping import find_groups
from biocache.store.reading import Run
from biocache.store.schema import SEEN

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.grid import Cell

__all__ = ["leaks", "leaks_into_tuning", "leak_notes"]


def leaks(cell: "Cell") -> dict[str, int]:
    """Count what the scored samples of a model share with its whole train split; it is the same for all models.

    Returns
    -------
    dict
        ``scored_samples``; ``texts_in_train``, those of them whose texts are the texts of a train sample, word for
        word, whatever the ids; and where both splits have groups ``groups_in_train``, the groups of scored samples that
        train samples are of too, and ``samples_of_groups_in_train``.
    """
    scored = _scored(cell)
    known = text_keys(_digests(cell.train))
    found = {
        "scored_samples": len(scored),
        "texts_in_train": int(are_among(text_keys(_digests(cell.test)[scored]), known).sum()),
    }
    train, test = find_groups(cell.train[0]), find_groups(cell.test[0])
    if train.names and test.names:
        others = train.named(np.arange(len(train.of_sample)))
        shared = [name for name in test.named(scored) if name and name in set(others)]
        found |= {"groups_in_train": len(set(shared)), "samples_of_groups_in_train": len(shared)}
    return found


def leaks_into_tuning(cell: "Cell") -> float:
    """Return how many of the scored samples have texts that the model was fine-tuned on; NaN where not known."""
    seen: NDArray[np.int8] = cell.test[0].column(SEEN)[_scored(cell)]
    return float("nan") if (seen < 0).any() else float((seen > 0).sum())


def _scored(cell: "Cell") -> NDArray[np.int64]:
    """Return the samples that have a scored row (sample), ascending."""
    run = cell.test[0]
    return np.unique(cell.target.samples(run)[cell.target.aligned(run).known])


def _digests(runs: Sequence[Run]) -> NDArray[np.uint64]:
    """Return the digests of all texts of the samples, which views of one text have one of each (sample, text)."""
    return np.hstack([run.text_digests for run in runs])


def leak_notes(result: xr.Dataset) -> Iterator[str]:
    """Yield what the scored samples share with those that were fitted on."""
    facts = result.attrs
    if facts.get("texts_in_train"):
        yield (
            f"{facts['texts_in_train']:,} of {facts['scored_samples']:,} scored samples of the {facts['split']} split "
            "have the texts of a train sample, word for word: scores are too high; remove them from one of the splits"
        )
    if "texts_in_tuning" in result and (result.texts_in_tuning > 0).any():
        most = int(result.texts_in_tuning.max())
        yield (
            f"up to {most:,} of {facts['scored_samples']:,} scored samples have texts that a model was fine-tuned on "
            "(texts_in_tuning in the result)"
        )
    if facts.get("groups_in_train"):
        yield (
            f"{facts['samples_of_groups_in_train']:,} of {facts['scored_samples']:,} scored samples are of "
            f"{facts['groups_in_train']:,} groups that the train split has too (label set {facts['group']}), such as "
            "documents or premises: scores are those of known groups, and too high for new ones"
        )
