"""The request of a comparison of representations."""

from dataclasses import dataclass

from biocache.engine.analyses.baseline import BaselineRequest
from biocache.engine.request import option
from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED
from biocache.store.schema import POOLINGS

__all__ = ["DEFAULT_METRICS", "LEVELS", "METRICS", "RepresentationRequest"]

#: Metrics whose sums stream over all units, then those of pairs of drawn units.
METRICS = ("cka", "procrustes", "rsa", "knn")
#: The one that the field compares layers by, which follows the features with most variance, and one that does not: the
#: nearest neighbours of each unit.
DEFAULT_METRICS = ("cka", "knn")
LEVELS = ("word", "sample")
#: Of fewer units debiased CKA is not defined.
LEAST_UNITS = 4


@dataclass(frozen=True, kw_only=True)
class RepresentationRequest(BaselineRequest):
    """Which runs to compare, and how.

    Attributes
    ----------
    task, dataset, model, trained_on, training_sizes, seeds, view, split, baseline, against
        As of `BaselineRequest`.
    metrics
        ``cka``, linear CKA; ``procrustes``, the orthogonal Procrustes distance; ``rsa``, Spearman's correlation of
        correlation distances; ``knn``, the share of mutual nearest neighbours by cosine similarity.
    level
        What is represented, ``word`` or ``sample``; None for words of tasks that label words, and of runs that keep
        them, else samples. Words that a run lost are left out of all.
    pooling
        How the tokens of a word (``mean``, ``first`` or ``last``) or sample (``max`` as well) become one row.
    layers
        Layers of both runs; None for all.
    biased
        Whether CKA is the published statistic of Kornblith et al., which grows as features outnumber units.
    units
        Maximum number of words or samples that CKA and Procrustes are computed from, drawn at random; None for all.
    sample
        Maximum number of these that RSA and nearest neighbours are computed from, drawn at random.
    neighbours
        Number of nearest neighbours.
    blocks
        Maximum number of blocks of whole groups that intervals are computed from: each is left out once.
    sampling_seed
        Seed of the draws, and of the shuffling that is the chance level of Procrustes.
    max_memory
        Memory of all running tasks in bytes; None for half of the machine's. With more, layers are read fewer times. On
        a running cluster it limits one task.

    Raises
    ------
    SettingError
        If a value is out of its range, or two settings exclude each other.
    """

    metrics: tuple[str, ...] = option(
        DEFAULT_METRICS, flag="--metric", choices=METRICS, help="Metrics: similarities, and the Procrustes distance."
    )
    level: str | None = option(
        None,
        choices=LEVELS,
        help="What is represented: words or samples.",
        unset="word where the task labels words, else sample",
    )
    pooling: str = option("mean", choices=POOLINGS, help="How the tokens of a row become one; max is for samples.")
    layers: tuple[int, ...] | None = option(
        None, form="ranges", low=0, help="Layers of both runs, such as 0,6,12 or 0-12.", unset="all"
    )
    biased: bool = option(False, help="Compute CKA as published, which grows as features outnumber units.")
    units: int | None = option(
        None,
        low=LEAST_UNITS,
        help="Maximum number of words or samples for CKA and Procrustes, drawn at random.",
        unset="all",
    )
    sample: int = option(
        1000, low=LEAST_UNITS, high=5000, help="Maximum number of these for RSA and nearest neighbours."
    )
    neighbours: int = option(10, low=1, help="Number of nearest neighbours.")
    blocks: int = option(
        20, low=2, high=100, help="Maximum number of blocks of groups (documents) that intervals leave out in turn."
    )
    sampling_seed: int = option(0, low=0, high=MAX_SEED, help="Seed of the draws and of shuffled units.")
    max_memory: int | None = option(
        None,
        low=1,
        form="bytes",
        decides=False,
        help="Memory of all tasks at once, such as 8G.",
        unset="half of the machine's",
    )

    def check(self) -> None:
        """Refuse settings that exclude each other."""
        if self.biased and "cka" not in self.metrics:
            raise SettingError("--biased is for cka, which --metric does not name; add it, or leave --biased out")
        if self.level == "word" and self.pooling == "max":
            raise SettingError("--pooling=max is for samples, not for --level=word; name another, such as mean")
        if "knn" in self.metrics and self.neighbours > self.sample - 2:
            raise SettingError(
                f"--neighbours={self.neighbours} of --sample={self.sample} are nearly all others; name fewer "
                "--neighbours, or a larger --sample"
            )
