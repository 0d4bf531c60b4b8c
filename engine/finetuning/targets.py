"""What a head is trained to predict: classes of words or samples, or a number of each sample."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.base import Corpus
from biocache.engine.corpora.task import Sample
from biocache.store.errors import DataError
from biocache.store.labels import ordered
from biocache.store.schema import OUTSIDE, entity_type
from biocache.store.text import shown

__all__ = ["NO_LABEL", "Targets", "labelled"]

#: Code of a word or sample without label, which the losses of transformers ignore.
NO_LABEL = -100


def labelled(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Return the samples that have a label, or a word with one."""
    return tuple(s for s in samples if s.label is not None or any(tag is not None for tag in s.tags or ()))


def _labels(samples: Iterable[Sample], *, by_word: bool) -> list[str | float | None]:
    """Return the label of every word, or of every sample."""
    if not by_word:
        return [sample.label for sample in samples]
    return [tag for sample in samples for tag in sample.tags or (None,) * sum(map(len, sample.texts))]


@dataclass(frozen=True)
class Targets:
    """Labels of a corpus, as a head predicts them.

    Attributes
    ----------
    by_word
        Whether each word has a label, else each sample.
    names
        Names of the classes; none where labels are numbers.
    scheme
        ``bio``: the classes are the corpus's own tags; ``type``: IOB2 tags are merged by entity type.
    iob2
        Whether the corpus has IOB2 tags.
    """

    by_word: bool
    names: tuple[str, ...]
    scheme: str
    iob2: bool

    @classmethod
    def of(cls, corpus: Corpus, scheme: str) -> Self:
        """Read the classes of a corpus from its train split.

        Raises
        ------
        DataError
            If the train split has no label, its labels are partly numbers and partly text, or another split has a
            class that it lacks.
        """
        task = corpus.task
        known = {
            split: set(_labels(samples, by_word=task.labels_words)) - {None} for split, samples in corpus.splits.items()
        }
        train, kinds = known["train"], {isinstance(label, str) for found in known.values() for label in found}
        if not train:
            raise DataError(f"{corpus.source}: no sample of the train split has a label to fine-tune on; add labels")
        if len(kinds) > 1:
            raise DataError(f"{corpus.source}: some labels are text and others numbers; write all in one way")
        own = cls(task.labels_words, (), scheme if task.iob2 else "type", task.iob2)
        if kinds == {False}:
            return own
        names = ordered({own._named(label) for label in train} | ({OUTSIDE} if task.iob2 else set()))
        for split, found in known.items():
            strange = sorted({own._named(label) for label in found} - set(names))
            if strange:
                raise DataError(
                    f"{corpus.source}: label {shown(strange[0])} of the {split} split is not in the train split, which "
                    f"has {', '.join(map(shown, names))}; correct it, or add such samples to the train split"
                )
        return cls(own.by_word, names, own.scheme, own.iob2)

    @property
    def numeric(self) -> bool:
        """Whether the labels are numbers."""
        return not self.names

    def values(self, samples: Sequence[Sample]) -> NDArray[np.generic]:
        """Return the label of every word or sample of some samples (row): int64 codes, `NO_LABEL`; or float32."""
        labels = _labels(samples, by_word=self.by_word)
        if self.numeric:
            return np.array([np.nan if label is None else label for label in labels], np.float32)
        code = {name: place for place, name in enumerate(self.names)}
        return np.array([NO_LABEL if one is None else code[self._named(one)] for one in labels], np.int64)

    def usual(self, samples: Sequence[Sample]) -> int:
        """Return the most frequent class of some samples, ``O`` where there is one: of words that were cut off."""
        if OUTSIDE in self.names:
            return self.names.index(OUTSIDE)
        codes = self.values(samples)
        return int(np.bincount(codes[codes != NO_LABEL].astype(np.int64)).argmax())

    def _named(self, label: object) -> str:
        return entity_type(str(label)) if self.iob2 and self.scheme == "type" else str(label)
