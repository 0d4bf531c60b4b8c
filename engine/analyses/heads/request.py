"""The request of a description of attention heads."""

from dataclasses import dataclass
from typing import Any

from biocache.engine.request import Setting, option
from biocache.engine.selection import RunsRequest
from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED
from biocache.store.text import shown

__all__ = ["LEVELS", "METRIC_NAMES", "NEIGHBOURS", "PAIR_TARGETS", "TARGET", "HeadsRequest"]

#: Metrics of the key beside the query, to where it is: before it, the query itself, or after it.
NEIGHBOURS = {"previous-mass": -1, "next-mass": 1, "self-mass": 0}
#: Metrics without a target that is named.
METRIC_NAMES = ("entropy", "distance", "special-mass", *NEIGHBOURS)
#: What a metric begins with that names its target.
TARGET = "mass:"
#: Targets of pairs of texts.
PAIR_TARGETS = ("premise", "hypothesis", "other-text")
LEVELS = ("token", "word")


def _metric(setting: Setting, value: Any) -> str:
    """Return a metric; a target is looked up in the runs."""
    text = value if isinstance(value, str) else ""
    named, _, last = text.removeprefix(TARGET).partition("=")
    complete = bool(named) and (bool(last) or "=" not in text)
    if text in METRIC_NAMES or (text.startswith(TARGET) and complete):
        return text
    raise SettingError(
        f"{setting.flag} {shown(value)} is not one of {', '.join(METRIC_NAMES)}, nor {TARGET}TARGET, where "
        f"TARGET is entities, punctuation, {', '.join(PAIR_TARGETS)}, the name of a label set of words, or "
        "NAME=CLASS for one of its classes"
    )


@dataclass(frozen=True, kw_only=True)
class HeadsRequest(RunsRequest):
    """Which runs to describe, and how.

    Attributes
    ----------
    tasks, datasets, models, trained_on, training_sizes, run_seeds, views, splits
        Parts of the keys of the runs, which read the same samples; None for all. Of several splits, test is taken.
    metrics
        ``entropy``, ``distance``, ``special-mass``, ``previous-mass``, ``next-mass``, ``self-mass``, or
        ``mass:TARGET``. A target is ``entities`` (words with any class but O of the label set ``gold``),
        ``punctuation``, ``premise``, ``hypothesis`` and ``other-text`` of pairs, the name of a label set of words (any
        class but O), or ``NAME=CLASS``. By default all without a target, without ``special-mass`` where special tokens
        are left out.
    level
        ``token`` or ``word``; None for tokens where all runs have the same ones and queries are not split by words,
        else words.
    exclude_special
        Whether special tokens and the first position of causal models are left out, and rows scaled to the sum 1.
    by
        Name of a label set, such as ``gold``: means are also split by its classes, of samples, or of the words that
        attend (IOB2 tags merged by type).
    rollout
        Whether maps are rolled out: averaged over heads, and multiplied over the layers up to each.
    resamples
        Bootstrap resamples of groups of samples, where there are more than `FEW_GROUPS`.
    resampling_seed
        Seed of the bootstrap.

    Raises
    ------
    SettingError
        If a value is out of its range, or two settings exclude each other.
    """

    metrics: tuple[str, ...] = option(
        METRIC_NAMES,
        flag="--metric",
        check=_metric,
        metavar=f"{'|'.join(METRIC_NAMES)}|{TARGET}TARGET,...",
        help="What is measured; a TARGET is entities, punctuation, premise, hypothesis, other-text, or a label set.",
    )
    level: str | None = option(
        None,
        choices=LEVELS,
        help="What attends and is attended to.",
        unset="token where all runs have the same tokens, else word",
    )
    exclude_special: bool = option(False, help="Leave out special tokens and the first position of causal models.")
    by: str | None = option(
        None,
        metavar="NAME",
        help="Also split means by the classes of this label set, such as gold: of samples, or of words that attend.",
    )
    rollout: bool = option(False, help="Average maps over heads and multiply them over layers (attention rollout).")
    resamples: int = option(1000, low=1, help="Bootstrap resamples, where there are more than 50 groups of samples.")
    resampling_seed: int = option(0, low=0, high=MAX_SEED, help="Seed of the bootstrap.")

    def check(self) -> None:
        """Refuse settings that exclude each other."""
        if not self.exclude_special or "special-mass" not in self.metrics:
            return
        if self.metrics != METRIC_NAMES:
            raise SettingError(
                "--metric=special-mass measures what --exclude-special leaves out; leave one of them out"
            )
        object.__setattr__(self, "metrics", tuple(name for name in METRIC_NAMES if name != "special-mass"))
