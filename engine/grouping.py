"""Groups of samples that are not independent: sentences of a document, texts with one premise, notes of a patient.

The label set ``group`` names them, where the corpus does. Intervals and tests resample whole groups; without names each
sample is its own, and they say that samples are taken as independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.statistics import FEW_GROUPS
from biocache.store.errors import RunNotFoundError
from biocache.store.labels import Labels
from biocache.store.reading import Run
from biocache.store.schema import GROUP

__all__ = ["ONE_SEED", "Groups", "find_groups", "interval_note", "seed_note"]

#: What intervals of runs of one seed do not hold.
ONE_SEED = (
    "all runs have one seed: the intervals hold what other samples would change, and not what another seed of the "
    "training would"
)


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of the samples of a run.

    Attributes
    ----------
    of_sample
        Group of every sample, int64 (sample); numbers may be unused.
    name
        Name of the label set that names them; ``samples`` where each sample is its own group.
    digest
        Digest of these labels; None as above.
    names
        Names of the groups from 0; none as above.
    """

    of_sample: NDArray[np.int64]
    name: str
    digest: str | None
    names: tuple[str, ...] = ()

    def named(self, sample: NDArray[np.integer]) -> list[str]:
        """Return the name of the group of some samples (sample); empty for a sample without group."""
        return [self.names[number] if 0 <= number < len(self.names) else "" for number in self.of_sample[sample]]

    def numbered(self, sample: NDArray[np.integer]) -> tuple[NDArray[np.int64], int]:
        """Return the groups of some rows (row), numbered from 0 as they first appear, and how many there are.

        Parameters
        ----------
        sample
            Sample of every row (row).
        """
        _, first, inverse = np.unique(self.of_sample[sample], return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        return rank[inverse], len(first)


def find_groups(run: Run) -> Groups:
    """Return the groups of the samples of a run; a sample without label is a group of its own."""
    try:
        labels: Labels | None = run.labels(GROUP)
    except RunNotFoundError:
        labels = None
    if labels is None or labels.level != "samples" or labels.kind == "number":
        return Groups(np.arange(run.counts.samples), "samples", None)
    alone = -1 - np.arange(len(labels.values))
    return Groups(
        np.where(labels.known, labels.values, alone).astype(np.int64), labels.name, labels.digest, labels.names
    )


def interval_note(facts: Mapping[str, Any]) -> str:
    """Say what intervals resample, and how.

    Parameters
    ----------
    facts
        Attributes of a result: ``groups``, their number, and ``group``, as `Groups.name`.
    """
    count, alone = int(facts["groups"]), facts["group"] == "samples"
    if count < 2:
        return f"there are no intervals: {'there is one sample' if alone else 'all samples are of one group'}"
    if alone:
        what = f"intervals are over {count:,} samples, taken as independent: the dataset names no groups of them"
    else:
        what = f"intervals are over {count:,} groups of samples (label set {facts['group']})"
    return f"{what}; with so few, by the jackknife and Student's t" if count <= FEW_GROUPS else what


def seed_note(counts: Mapping[int, int]) -> str:
    """Say whether intervals hold the seeds of the training.

    Parameters
    ----------
    counts
        Training size to the number of seeds that its numbers are means over.
    """
    seeds = set(counts.values())
    if seeds <= {1}:
        return ONE_SEED
    over = f"{min(seeds)} seeds"
    if len(seeds) > 1:
        over = ", ".join(f"{count} seed{'' if count == 1 else 's'} at {size} %" for size, count in counts.items())
    note = f"means are over {over} of the training: intervals hold what other samples and other seeds would change"
    return f"{note}, but of one seed alone what other samples would" if 1 in seeds else note
