"""What a comparison of attention is asked for."""

from dataclasses import dataclass

from biocache.engine.attention.metrics import METRICS
from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED

__all__ = ["DEFAULT_METRICS", "AttentionRequest"]

DEFAULT_METRICS = ("cosine", "js")


@dataclass(frozen=True, kw_only=True)
class AttentionRequest:
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
    by_label
        Whether means are also split by the samples' label.
    match_heads
        Whether heads of a layer are also matched one to one.
    all_pairs
        Whether every head of every layer is compared with every head of every layer, instead of with its own like.
    per_sample
        Whether the values of every sample are kept.
    replicates
        Replicates of the bootstrap.
    resampling_seed
        Seed of the bootstrap and of the pairing of mismatched heads.

    Raises
    ------
    SettingError
        If a value is out of its range, or two exclude each other.
    """

    task: str | None = None
    dataset: str | None = None
    model: str | None = None
    seed: int | None = None
    view: str | None = None
    split: str | None = None
    training_sizes: tuple[int, ...] | None = None
    baseline: int = 0
    against: str | None = None
    metrics: tuple[str, ...] = DEFAULT_METRICS
    exclude_special: bool = False
    by_label: bool = False
    match_heads: bool = False
    all_pairs: bool = False
    per_sample: bool = False
    replicates: int = 1000
    resampling_seed: int = 0

    def __post_init__(self) -> None:
        self._check_metrics()
        self._check_sizes()
        if self.replicates < 1:
            raise SettingError(f"{self.replicates} replicates of the bootstrap give no interval; pass 1 or more")
        if not 0 <= self.resampling_seed <= MAX_SEED:
            raise SettingError(f"resampling seed {self.resampling_seed} is not a whole number from 0 to {MAX_SEED}")
        extras = {
            "--by label": self.by_label,
            "--match-heads": self.match_heads,
            "--per-sample": self.per_sample,
        }
        for option, asked in extras.items():
            if self.all_pairs and asked:
                raise SettingError(f"--all-pairs and {option} exclude each other; leave one of them out")

    def _check_sizes(self) -> None:
        sizes = self.training_sizes
        if sizes is not None and not sizes:
            raise SettingError("training sizes are empty: name at least one, or none to compare all")
        if sizes is not None and len(set(sizes)) < len(sizes):
            raise SettingError(f"training sizes {', '.join(map(str, sizes))} name one twice")
        for size in (*(sizes or ()), self.baseline):
            if not 0 <= size <= 100:
                raise SettingError(f"training size {size} is not a percentage from 0 to 100")

    def _check_metrics(self) -> None:
        if not self.metrics:
            raise SettingError(f"no metric is asked for; name one of {', '.join(METRICS)}")
        for name in self.metrics:
            if name not in METRICS:
                raise SettingError(f"metric {name!r} is not one of {', '.join(METRICS)}")
        if len(set(self.metrics)) < len(self.metrics):
            raise SettingError(f"metrics {', '.join(self.metrics)} name one twice")
        if self.exclude_special and "special-mass" in self.metrics:
            raise SettingError("metric special-mass is of what --exclude-special leaves out; leave one of them out")
