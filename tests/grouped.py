"""Groups of the samples of a synthetic run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from store_factory import Synthetic

from biocache.store.label_sets import LabelPlace, keep_labels
from biocache.store.labels import LabelSet


def keep_groups(root: Path, run: Synthetic, groups: Sequence[str | None]) -> None:
    """Name the groups of the samples of a run."""
    labels = run.labels
    rows = [
        (name, [["w"] * count for count in counts])
        for name, counts in zip(labels.sample_ids, labels.word_counts, strict=True)
    ]
    made = LabelSet.make("group", "samples", groups, rows, iob2=False, source="the test")
    keep_labels(root, LabelPlace.of_run(run.spec.key, "group"), replace(made, text_digests=labels.text_digests))
