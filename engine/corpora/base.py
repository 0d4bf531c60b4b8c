"""The registry of tasks, and the corpus that every reader produces."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from biocache.engine.corpora.ner import NER
from biocache.engine.corpora.nli import NLI
from biocache.engine.corpora.task import Sample, Task

__all__ = ["SPLITS", "TASKS", "VIEWS", "Corpus"]

SPLITS = ("train", "validation", "test")

TASKS: Mapping[str, Task] = {task.name: task for task in (NER, NLI)}

VIEWS = tuple(view for task in TASKS.values() for view in task.views)


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
    labels
        The labels found in the data: ``O`` first, the others sorted.
    label_scheme
        ``type`` (IOB2 tags merged by type) or ``bio`` (tags kept); ``type`` for ``nli``, where it has no
        meaning.
    splits
        Split name to its samples, in the order of the source.
    notes
        What the reader repaired or left out, by split: ``{"train": {"repaired_tags": 2}}``. Only counts
        above zero are present.
    """

    name: str
    source: str
    task: Task
    labels: tuple[str, ...]
    label_scheme: str
    splits: Mapping[str, tuple[Sample, ...]]
    notes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def digest(self, split: str) -> str:
        """Return the SHA-256 (hexadecimal) of a split's ids, words and labels, in their order."""
        from biocache.store.digests import digest_samples

        return digest_samples(sample.row for sample in self.splits[split])
