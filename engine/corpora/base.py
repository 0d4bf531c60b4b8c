"""The registry of tasks, and the corpus that every reader produces."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from biocache.engine.corpora.ner import NER
from biocache.engine.corpora.nli import NLI
from biocache.engine.corpora.task import SPLITS, Sample, Task
from biocache.engine.corpora.text import TEXT
from biocache.engine.corpora.tokens import TOKENS
from biocache.store.schema import GOLD, GROUP

if TYPE_CHECKING:
    from biocache.store.labels import LabelSet

__all__ = ["SPLITS", "TASKS", "VIEWS", "Corpus"]

TASKS: Mapping[str, Task] = {task.name: task for task in (NER, TOKENS, NLI, TEXT)}

VIEWS = tuple(dict.fromkeys(view for task in TASKS.values() for view in task.views))


@dataclass(frozen=True)
class Corpus:
    """A named corpus, read and checked.

    Attributes
    ----------
    name
        The dataset's name in run keys.
    source
        Where it was read from: a folder or a hub id.
    task
        The task it was read for.
    splits
        Split name to its samples, in the order of the source.
    notes
        What the reader repaired or left out, by split: ``{"train": {"repaired_tags": 2}}``. Only counts
        above zero are present.
    remarks
        What a user should know of the reading, a line each: columns that were guessed, tags that were converted, files
        that were not read, samples that were left out.
    """

    name: str
    source: str
    task: Task
    splits: Mapping[str, tuple[Sample, ...]]
    notes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def digest(self, split: str) -> str:
        """Return the SHA-256 (hexadecimal) of a split's ids and words, in their order; labels do not count."""
        from biocache.store.digests import digest_samples

        return digest_samples(sample.row for sample in self.splits[split])

    def label_sets(self, split: str) -> "dict[str, LabelSet]":
        """Return what labels the samples of a split: the corpus's own labels, and groups; only those that it has."""
        from biocache.store.labels import LabelSet

        samples, by_word = self.splits[split], self.task.labels_words
        own: list[str | float | None]
        if by_word:
            own = [tag for one in samples for tag in one.tags or (None,) * sum(map(len, one.texts))]
        else:
            own = [one.label for one in samples]
        groups: list[str | float | None] = [one.group for one in samples]
        found = {
            GOLD: ("words" if by_word else "samples", own, self.task.iob2),
            GROUP: ("samples", groups, False),
        }
        return {
            name: LabelSet.make(
                name, level, labels, (one.row for one in samples), iob2=iob2, source=f"the corpus, {self.source}"
            )
            for name, (level, labels, iob2) in found.items()
            if any(label is not None for label in labels)
        }
