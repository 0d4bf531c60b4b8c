"""What a comparison of attention is asked for."""

from dataclasses import dataclass

from biocache.engine.corpora.base import SPLITS, TASKS, VIEWS
from biocache.engine.request import Request, option
from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED

__all__ = ["DEFAULT_METRICS", "METRIC_NAMES", "AttentionRequest"]

#: Names of `METRICS`, known before their compiled code is imported.
METRIC_NAMES = ("cosine", "row-cosine", "js", "hellinger", "tv", "entropy", "distance", "special-mass")
DEFAULT_METRICS = ("cosine", "js")


@dataclass(frozen=True, kw_only=True)
class AttentionRequest(Request):
    """Which runs to compare, and how.

    Parts of a run's key that are None are those of the one run that the others leave.

    Attributes
    ----------
    task, dataset, model, seed, view, split
        Parts of the runs' key.
    training_sizes
        Training sizes that are compared with the baseline; None for all that the store has besides the baseline.
    baseline
        Training size of the baseline run.
    against
        Model of the baseline run; None for the same model.
    metrics
        Names of `METRICS`.
    exclude_special
        Whether special tokens and the first position of causal models are left out, and rows scaled to the sum 1.
    by
        ``label``: means are also split by the samples' label.
    match_heads
        Whether heads of a layer are also matched one to one.
    all_pairs
        Whether every head of every layer is compared with every head of every layer, instead of with its own like.
    per_sample
        Whether the values of every sample are kept.
    resamples
        Bootstrap resamples of the samples.
    resampling_seed
        Seed of the bootstrap and of the pairing of mismatched heads.

    Raises
    ------
    SettingError
        If a value is out of its range, or two exclude each other.
    """

    task: str | None = option(None, choices=tuple(TASKS), decides=False, help="Task of the runs.")
    dataset: str | None = option(None, metavar="NAME", decides=False, help="Data set of the runs.")
    model: str | None = option(None, metavar="NAME", decides=False, help="Model that is compared.")
    training_sizes: tuple[int, ...] | None = option(
        None,
        flag="--training-size",
        low=0,
        high=100,
        decides=False,
        help="Training sizes that are compared.",
        unset="all in the store but the baseline",
    )
    seed: int | None = option(None, low=0, high=MAX_SEED, decides=False, help="Seed of the runs.")
    view: str | None = option(None, choices=VIEWS, decides=False, help="View of the runs.")
    split: str | None = option(None, choices=SPLITS, decides=False, help="Split of the runs.")
    baseline: int = option(0, low=0, high=100, decides=False, help="Training size that they are compared with.")
    against: str | None = option(
        None, metavar="NAME", decides=False, help="Model that they are compared with.", unset="the same model"
    )
    metrics: tuple[str, ...] = option(DEFAULT_METRICS, flag="--metric", choices=METRIC_NAMES, help="What is measured.")
    exclude_special: bool = option(False, help="Leave out special tokens and the first position of causal models.")
    by: str | None = option(None, choices=("label",), help="Also split means by the samples' label.")
    match_heads: bool = option(False, help="Also match the heads of each layer one to one.")
    all_pairs: bool = option(False, help="Compare every head of every layer with every other.")
    per_sample: bool = option(False, help="Also keep the values of every sample.")
    resamples: int = option(1000, low=1, help="Bootstrap resamples of the samples.")
    resampling_seed: int = option(
        0, low=0, high=MAX_SEED, help="Seed of the bootstrap and of the pairing of mismatched heads."
    )

    def check(self) -> None:
        """Refuse what excludes each other."""
        if self.exclude_special and "special-mass" in self.metrics:
            raise SettingError("--metric=special-mass is of what --exclude-special leaves out; leave one of them out")
        extras = {"--by=label": self.by, "--match-heads": self.match_heads, "--per-sample": self.per_sample}
        for option_, asked in extras.items():
            if self.all_pairs and asked:
                raise SettingError(f"--all-pairs and {option_} exclude each other; leave one of them out")
