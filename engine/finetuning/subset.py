"""The samples that a training size stands for, and what they share with the other splits."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.base import Corpus
from biocache.engine.corpora.duplicates import are_among
from biocache.engine.corpora.task import Sample
from biocache.store.digests import digest_samples
from biocache.store.errors import DataError, SettingError
from biocache.store.schema import OUTSIDE, entity_type
from biocache.store.text import shown

__all__ = ["Subset", "digest_labelled", "draw_subset", "refuse_duplicates", "strata", "training_subset"]

_LISTED = 5
# Parts of equal size that numbers fall into, so that a subset has small and large ones.
_FIFTHS = 5


@dataclass(frozen=True, eq=False)
class Subset:
    """The part of a train split that a model is fine-tuned on.

    Attributes
    ----------
    samples
        Its samples, in the order of the corpus.
    digest
        SHA-256 (hexadecimal) of their ids, words and labels.
    duplicates
        Samples of the other splits whose words are in the subset too, by split: their scores are too high. Only counts
        above zero are present.
    """

    samples: tuple[Sample, ...]
    digest: str
    duplicates: Mapping[str, int]

    @property
    def sample_ids(self) -> list[str]:
        """Ids of the samples."""
        return [sample.id for sample in self.samples]


def draw_subset(corpus: Corpus, training_size: int, seed: int) -> Subset:
    """Draw the samples to fine-tune on; see `training_subset`. They do not depend on the model.

    Parameters
    ----------
    corpus
        The corpus, with its train split.
    training_size
        Percent of the train split, 1 to 100.
    seed
        Seed of the draw.
    """
    train = corpus.splits["train"]
    samples = tuple(train[position] for position in training_subset(train, training_size, seed))
    duplicates = {name: len(_duplicates(samples, split)) for name, split in _held_out(corpus)}
    return Subset(
        samples,
        digest_labelled(samples),
        {name: count for name, count in duplicates.items() if count},
    )


def digest_labelled(samples: Sequence[Sample]) -> str:
    """Return the SHA-256 (hexadecimal) of the ids, words and labels of some samples, in their order."""
    return digest_samples(sample.labelled_row for sample in samples)


def refuse_duplicates(corpus: Corpus, share: float) -> None:
    """Refuse a corpus if too much of its validation or test split is also in its train split, whatever the ids.

    All training sizes are compared with the whole train split: smaller ones still see a part of the duplicates.

    Parameters
    ----------
    corpus
        The corpus, with its train split.
    share
        Largest share of the samples of a split whose words may be in the train split, in [0, 1].

    Raises
    ------
    DataError
        If the share is larger; the message lists some of the samples.
    """
    for name, split in _held_out(corpus):
        found = _duplicates(corpus.splits["train"], split)
        if len(found) > share * len(split):
            listed = ", ".join(shown(sample.id) for sample in found[:_LISTED])
            more = f" and {len(found) - _LISTED:,} more" if len(found) > _LISTED else ""
            raise DataError(
                f"{corpus.source}: {len(found):,} of {len(split):,} samples of the {name} split are in the train split "
                f"too, word for word ({listed}{more}), which makes scores too high; --max-duplicates allows a share of "
                f"{share:g}: remove them from one of the splits, or raise it"
            )


def _held_out(corpus: Corpus) -> list[tuple[str, Sequence[Sample]]]:
    return [(name, split) for name, split in corpus.splits.items() if name != "train"]


def _duplicates(samples: Sequence[Sample], split: Sequence[Sample]) -> list[Sample]:
    """Return the samples of a split whose texts all equal those of one of some samples."""
    found = are_among([sample.texts for sample in split], [sample.texts for sample in samples])
    return [split[place] for place in np.flatnonzero(found).tolist()]


def strata(samples: Sequence[Sample]) -> list[str]:
    """Return the stratum of each sample.

    For samples with labels it is the label, for numbers the fifth of them that the number lies in. For sentences whose
    words have labels it is the label (of entities the type) that the fewest sentences hold, so that rare ones keep
    their share, and ``O`` for a sentence without entities.

    Parameters
    ----------
    samples
        Samples of one task.

    Returns
    -------
    list of str
        One class a sample; shape (sample,).
    """
    if any(isinstance(sample.label, float | int) for sample in samples):
        numbers = np.array([sample.label for sample in samples], np.float64)
        bounds = np.quantile(numbers, np.arange(1, _FIFTHS) / _FIFTHS)
        return [str(fifth) for fifth in np.searchsorted(bounds, numbers, side="right")]
    types = [{_type(tag) for tag in sample.tags or () if tag is not None} - {OUTSIDE} for sample in samples]
    sentences = Counter(name for found in types for name in found)
    return [
        str(sample.label)
        if sample.label is not None
        else min(found, key=lambda name: (sentences[name], name), default=OUTSIDE)
        for sample, found in zip(samples, types, strict=True)
    ]


def _type(tag: str) -> str:
    """Return the entity type of an IOB2 tag, any other tag as it is."""
    return entity_type(tag) if tag[:2] in ("B-", "I-") else tag


def training_subset(samples: Sequence[Sample], training_size: int, seed: int) -> NDArray[np.int64]:
    """Draw the samples to fine-tune on.

    The subsets of one seed are nested: each holds all smaller ones. They do not depend on the model.

    Parameters
    ----------
    samples
        The train split.
    training_size
        Percent of the samples to draw, 1 to 100.
    seed
        Seed of the order within each class, 0 or more.

    Returns
    -------
    numpy.ndarray
        Positions in `samples`, ascending; int64, shape (drawn sample,). It has `training_size` percent of
        them, rounded half up and at least one, and of every class (see `strata`) its exact percentage
        rounded down or up.

    Raises
    ------
    SettingError
        If the training size is not from 1 to 100, if the seed is negative, or if there are no samples.

    Notes
    -----
    Growing the subset one percent at a time, the i-th sample of a class of n may enter once the class's exact
    percentage passes i - 1, and must have entered once it reaches i. Serving the earliest deadline first
    meets all deadlines [1]_, because no interval of sizes asks for more samples than it has room for. Ranking
    the samples by (i - 1/2) / n is simpler and not enough: ten classes of one sample beside one of 90
    would leave 45 of the 90 in a size of 45, where 40 or 41 belong.

    References
    ----------
    .. [1] G. Steiner and S. Yeomans, "Level schedules for mixed-model, just-in-time processes", Management
       Science 39(6), 1993. https://doi.org/10.1287/mnsc.39.6.728
    """
    if not 1 <= training_size <= 100:
        raise SettingError(f"training size {training_size} is not a percentage to draw; use 1 to 100")
    if seed < 0:
        raise SettingError(f"seed {seed} is negative; use 0 or more")
    if not samples:
        raise SettingError("there are no samples to draw from; pass a train split with samples")
    waiting = _windows(strata(samples), seed)
    ready: list[tuple[int, float, int]] = []
    drawn: list[int] = []
    entered = 0
    for percent in range(1, training_size + 1):
        while entered < len(waiting) and waiting[entered][0] <= percent:
            heapq.heappush(ready, waiting[entered][1:])
            entered += 1
        room = max(1, (2 * len(samples) * percent + 100) // 200) - len(drawn)
        drawn += [heapq.heappop(ready)[-1] for _ in range(room)]
    return np.sort(np.array(drawn, dtype=np.int64))


def _windows(classes: Sequence[str], seed: int) -> list[tuple[int, int, float, int]]:
    """Return (first size, last size, rank in its class, position) of every sample, by first size."""
    members: dict[str, list[int]] = {}
    for position, name in enumerate(classes):
        members.setdefault(name, []).append(position)
    windows: list[tuple[int, int, float, int]] = []
    for name, positions in members.items():
        count = len(positions)
        for i, chosen in enumerate(_stream(name, seed).permutation(count)):
            first, last = 100 * i // count + 1, -(-100 * (i + 1) // count)
            windows.append((first, last, (i + 0.5) / count, positions[chosen]))
    return sorted(windows)


def _stream(name: str, seed: int) -> np.random.Generator:
    # Keyed by the class's name, so that another class in the data does not change this order.
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, key])
