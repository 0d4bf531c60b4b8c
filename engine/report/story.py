"""What was found: plain sentences on a study, made from its numbers, each saying no more than its interval."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field

from biocache.engine.finetuning.updates import unequal_steps
from biocache.engine.grouping import ONE_SEED

__all__ = [
    "GLOSSARY",
    "Number",
    "Statement",
    "Study",
    "ToldStudy",
    "changed",
    "listed",
    "moved",
    "shared_limits",
    "state_of",
    "told",
    "unlike",
]

#: Terms of the sentences and their meaning, for a reader of the page alone.
GLOSSARY = (
    ("training size", "percent of the train split that a model was fine-tuned on; 0 % is the model before that."),
    ("layer", "one step of the model; layer 0 holds the tokens without their context."),
    ("probe", "a simple classifier that reads the labels from the features of one layer, scored on the test split."),
    ("head", "one of the attention maps of a layer: how much each token attends to each other one."),
    ("chance", "the value for heads, or samples, that do not belong together."),
    (
        "best layer",
        "that of the highest score on the test split: chosen there, so its interval is a little favourable.",
    ),
    ("interval", "95 % confidence interval over test samples; of several seeds one that holds those of all."),
    ("not told apart", "intervals overlap, or there are none: these data do not say which number is larger."),
)

# More others than these are counted, not named.
_MOST_NAMED = 3


@dataclass(frozen=True)
class Number:
    """A value with its interval; the bounds are NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def over(cls, numbers: "Sequence[Number]") -> "Number":
        """Return the mean over seeds of the training, with an interval that holds those of all seeds."""
        lows, highs = [own.low for own in numbers], [own.high for own in numbers]
        known = all(math.isfinite(bound) for bound in (*lows, *highs))
        value = math.fsum(own.value for own in numbers) / len(numbers)
        return cls(value, min(lows) if known else math.nan, max(highs) if known else math.nan)

    @property
    def has_interval(self) -> bool:
        """Whether both bounds are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def is_apart(self, other: "Number | float") -> bool:
        """Return whether the interval does not overlap with that of another number, or does not hold a fixed one."""
        low, high = (other.low, other.high) if isinstance(other, Number) else (other, other)
        # Of an unknown bound no comparison holds.
        return self.has_interval and (self.low > high or self.high < low)

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})" if self.has_interval else f"{self.value:.3f}"


@dataclass(frozen=True, order=True)
class Study:
    """What sentences are about: a model of a task and dataset.

    Attributes
    ----------
    task, dataset, model
        As in the keys of the runs.
    trained_on
        The dataset that it was fine-tuned on; empty where it is the one that it reads.
    """

    task: str
    dataset: str
    model: str
    trained_on: str = ""

    @property
    def title(self) -> str:
        """Heading of the study."""
        elsewhere = f", fine-tuned on {self.trained_on}" if self.trained_on else ""
        return f"{self.model} for {self.task} on {self.dataset}{elsewhere}"


@dataclass(frozen=True)
class Statement:
    """A sentence or two on one aspect of a study.

    Attributes
    ----------
    study
        The study.
    order, lead
        Its place among the statements of the study, and the words that it begins with.
    text
        What was found.
    rank
        How much of the study its numbers hold, such as how many training sizes. Of statements of one study and lead the
        first with the highest rank is shown.
    seeds
        Seeds of the fine-tuned models.
    steps
        Training size to optimiser steps, where they are known.
    """

    study: Study
    order: int
    lead: str
    text: str
    rank: tuple[int, ...] = ()
    seeds: frozenset[int] = frozenset()
    steps: Mapping[int, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ToldStudy:
    """A study with its statements, each with the name of its figure, and what limits them."""

    study: Study
    statements: Sequence[tuple[str, Statement]]
    limits: Sequence[str]


def told(statements: Iterable[tuple[str, Statement]]) -> list[ToldStudy]:
    """Choose and order what is said of each study.

    Parameters
    ----------
    statements
        All statements, each with the name of its figure.
    """
    chosen: dict[tuple[Study, int, str], tuple[str, Statement]] = {}
    for name, own in statements:
        place = (own.study, own.order, own.lead)
        if place not in chosen or own.rank > chosen[place][1].rank:
            chosen[place] = (name, own)
    studies: dict[Study, list[tuple[str, Statement]]] = {}
    # Another release may have kept names of any type.
    for place in sorted(chosen, key=lambda place: (*map(str, astuple(place[0])), place[1], place[2])):
        studies.setdefault(place[0], []).append(chosen[place])
    return [ToldStudy(study, own, _limits([each for _, each in own])) for study, own in studies.items()]


def shared_limits(studies: Sequence[ToldStudy]) -> list[str]:
    """Return the limits that all studies have."""
    first = studies[0].limits if studies else ()
    return [line for line in first if all(line in own.limits for own in studies)]


def _limits(statements: Sequence[Statement]) -> list[str]:
    """Say what the intervals do not hold, and what else than the data differs between training sizes."""
    seeds = frozenset[int]().union(*(own.seeds for own in statements))
    steps: dict[int, float | None] = {}
    for own in statements:
        steps |= own.steps
    found = [ONE_SEED] if len(seeds) == 1 else []
    unequal = unequal_steps(steps)
    return [f"{line[0].upper()}{line[1:]}." for line in (*found, *([unequal] if unequal else []))]


def state_of(size: int, task_head: str = "") -> str:
    """Name a model at a training size in a sentence.

    Parameters
    ----------
    size
        Percent of the train split.
    task_head
        The trained head that the configuration of the model at training size 0 names; empty for none.
    """
    if size:
        return f"fine-tuned on {size} %"
    return f"as it was loaded (0 %; it has a trained {task_head})" if task_head else "before fine-tuning (0 %)"


def listed(names: Sequence[object], what: str) -> str:
    """Name a few things, such as ``layers 1 and 2``; of more say how many they are."""
    if len(names) > _MOST_NAMED:
        return f"{len(names)} other {what}s"
    *most, last = map(str, names)
    return f"{what}s {', '.join(most)} and {last}" if most else f"{what} {last}"


def unlike(best: Number, others: Mapping[str, Number], what: str) -> str:
    """Say which others are not told apart from one, as the end of a clause; empty for none."""
    close = [name for name, other in others.items() if not best.is_apart(other)]
    if not close:
        return ""
    named = f"the other {what}s" if len(close) == len(others) > 1 else listed(close, what)
    return f"; {named} {'is' if len(close) == 1 else 'are'} not told apart from it"


def changed(what: str, before: Number, after: Number) -> str:
    """Say by how much a number changed, as a clause: only where the intervals do not overlap did it."""
    if not before.is_apart(after):
        return f"the two are not told apart by these data (difference {after.value - before.value:+.3f})"
    return f"{what} {'rose' if after.value > before.value else 'fell'} by {abs(after.value - before.value):.3f}"


def moved(number: Number, identity: float, chance: float) -> str:
    """Say what a similarity or distance is to be read against, as the end of a sentence."""
    text = f"; {identity:g} is unchanged" + (f", {chance:.3f} chance" if math.isfinite(chance) else "")
    if not number.is_apart(identity):
        return f"{text}. It is not told apart from unchanged."
    return f"{text}. It is not told apart from chance." if not number.is_apart(chance) else f"{text}."
