"""The request of a comparison of attention."""

from dataclasses import dataclass
from typing import Any

from biocache.engine.analyses.baseline import BaselineRequest
from biocache.engine.plugins import own_code
from biocache.engine.request import option
from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED
from biocache.store.text import shown

__all__ = ["CHANGES", "DEFAULT_METRICS", "METRIC_NAMES", "NORM_METRICS", "AttentionRequest"]

#: Names of `METRICS`, available without importing compiled code.
METRIC_NAMES = (
    *("cosine", "row-cosine", "js", "hellinger", "tv", "entropy", "distance", "special-mass"),
    *("norm-cosine", "norm-js"),
)
#: Those of attention times the norms of values.
NORM_METRICS = ("norm-cosine", "norm-js")
#: Those of a change of a property of single maps.
CHANGES = ("entropy", "distance", "special-mass")
DEFAULT_METRICS = ("cosine", "js")


@dataclass(frozen=True, kw_only=True)
class AttentionRequest(BaselineRequest):
    """Which runs to compare, and how.

    Attributes
    ----------
    task, dataset, model, trained_on, training_sizes, seeds, view, split, baseline, against
        As of `BaselineRequest`.
    metrics
        Names of `METRICS`, or functions of your own: the place, ``module:function``, or the function. It takes two maps
        of a sample, float64 (query, key), whose rows sum to 1 or are zeros, as those of queries that see one key are,
        and returns a number, NaN for nothing to measure, or one for each row, which are averaged.
    exclude_special
        Whether special tokens and the first position of causal models are left out, and rows scaled to the sum 1.
    by
        Name of a label set, such as ``gold``: means are also split by its classes. Of samples, or of words (IOB2 tags
        merged by type): then runs are compared by word, and metrics that are means over the rows of a map are means
        over the rows of the words of a class; a word without label is of none.
    match_heads
        Whether heads of a layer are also matched one to one.
    all_pairs
        Whether every head of every layer is compared with every head of every layer, instead of equal positions.
    per_sample
        Whether the values of every sample are kept.
    resamples
        Bootstrap resamples of groups of samples, where there are more than `FEW_GROUPS`.
    resampling_seed
        Seed of the bootstrap.

    Raises
    ------
    SettingError
        If a value is out of its range, or two settings exclude each other.
    """

    metrics: tuple[str | Any, ...] = option(
        DEFAULT_METRICS,
        flag="--metric",
        choices=METRIC_NAMES,
        check=own_code,
        help="Metrics; MODULE:NAME is a function of your own of two maps.",
    )
    exclude_special: bool = option(False, help="Leave out special tokens and the first position of causal models.")
    by: str | None = option(
        None,
        metavar="NAME",
        help="Also split means by the classes of this label set, such as gold: of samples, or of words that attend.",
    )
    match_heads: bool = option(False, help="Also match the heads of each layer one to one.")
    all_pairs: bool = option(False, help="Compare every head of every layer with every other.")
    per_sample: bool = option(False, help="Also keep the values of every sample.")
    resamples: int = option(1000, low=1, help="Bootstrap resamples, where there are more than 50 groups of samples.")
    resampling_seed: int = option(0, low=0, high=MAX_SEED, help="Seed of the bootstrap.")

    def check(self) -> None:
        """Refuse settings that exclude each other."""
        if self.exclude_special and "special-mass" in self.metrics:
            raise SettingError(
                "--metric=special-mass measures what --exclude-special leaves out; leave one of them out"
            )
        names = [str(metric) for metric in self.metrics]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise SettingError(f"two metrics are called {shown(twice)}; give each function a name of its own")
        extras = {"--by": self.by, "--match-heads": self.match_heads, "--per-sample": self.per_sample}
        for option_, asked in extras.items():
            if self.all_pairs and asked:
                raise SettingError(f"--all-pairs and {option_} exclude each other; leave one of them out")
