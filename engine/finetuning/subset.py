"""The samples that a training size stands for, and what they share with the other splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biocache.engine.corpora.base import Corpus, digest_samples
from biocache.engine.corpora.subsets import training_subset
from biocache.engine.corpora.task import Sample
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["Subset", "draw_subset", "refuse_duplicates"]

_LISTED = 5


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
    return Subset(samples, digest_samples(samples), {name: count for name, count in duplicates.items() if count})


def refuse_duplicates(corpus: Corpus, share: float) -> None:
    """Refuse a corpus of whose validation or test split too much is in its train split, whatever the ids.

    The whole train split is looked at: of a smaller training size a part of them would still be seen.

    Parameters
    ----------
    corpus
        The corpus, with its train split.
    share
        Largest share of the samples of a split whose words may be in the train split, in [0, 1].

    Raises
    ------
    DataError
        If it is more; the message lists some of them.
    """
    for name, split in _held_out(corpus):
        found = _duplicates(corpus.splits["train"], split)
        if len(found) > share * len(split):
            listed = ", ".join(shown(sample.id) for sample in found[:_LISTED])
            more = f" and {len(found) - _LISTED:,} more" if len(found) > _LISTED else ""
            raise DataError(
                f"{corpus.source}: {len(found):,} of {len(split):,} samples of the {name} split are in the train split "
                f"too, word for word ({listed}{more}), so that its score would be one of seen text; that is more than "
                f"the share of {share:g} that --max-duplicates allows: remove them from one of the splits, or raise it"
            )


def _held_out(corpus: Corpus) -> list[tuple[str, Sequence[Sample]]]:
    return [(name, split) for name, split in corpus.splits.items() if name != "train"]


def _duplicates(samples: Sequence[Sample], split: Sequence[Sample]) -> list[Sample]:
    """Return the samples of a split whose texts, all of them, are those of one of some samples."""
    texts = {sample.texts for sample in samples}
    return [sample for sample in split if sample.texts in texts]
