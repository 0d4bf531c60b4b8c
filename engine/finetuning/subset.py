"""The samples that a training size stands for, and what they share with the other splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from biocache.engine.tasks.base import Corpus, Sample, digest_samples
from biocache.engine.tasks.subsets import training_subset
from biocache.store.errors import DataError

__all__ = ["Subset", "draw_subset"]


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
        Samples of the other splits whose words stand in the subset too, by split: their scores flatter. Only counts
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

    Raises
    ------
    DataError
        If a drawn sample is also one of another split: the same id and the same words.
    """
    train = corpus.splits["train"]
    samples = tuple(train[position] for position in training_subset(train, training_size, seed))
    held_out = {name: split for name, split in corpus.splits.items() if name != "train"}
    for name, split in held_out.items():
        _refuse_shared(corpus, samples, name, split)
    texts = {sample.texts for sample in samples}
    duplicates = {name: sum(sample.texts in texts for sample in split) for name, split in held_out.items()}
    return Subset(samples, digest_samples(samples), {name: count for name, count in duplicates.items() if count})


def _refuse_shared(corpus: Corpus, drawn: Sequence[Sample], name: str, split: Sequence[Sample]) -> None:
    known = {(sample.id, sample.texts) for sample in split}
    shared = [sample.id for sample in drawn if (sample.id, sample.texts) in known]
    if shared:
        raise DataError(
            f"{corpus.source}: sample {shared[0]!r} is in the train and in the {name} split ({len(shared)} such "
            "samples), so that its score would say nothing; remove it from one of them"
        )
