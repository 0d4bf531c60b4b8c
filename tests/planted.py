"""Synthetic stores to probe: labels written into the states of a layer, or into none."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from by_hand import of_sample, words_by_hand
from numpy.typing import NDArray
from store_factory import Synthetic, synthetic

from biocache.store import Run, Store

Change = Callable[[Synthetic], Synthetic]

TRAIN = tuple(int(length) for length in np.random.default_rng(1).integers(4, 12, 60))
TEST = tuple(int(length) for length in np.random.default_rng(2).integers(4, 12, 30))
SPLITS = {"train": TRAIN, "test": TEST}


def same(source: Synthetic) -> Synthetic:
    return source


def split_runs(
    split: str,
    *,
    lengths: Sequence[int] | None = None,
    capacity: int = 64,
    planted: int | None = 1,
    strength: float = 8.0,
    seed: int = 0,
    **changes: Any,
) -> Synthetic:
    """Make up one run of a split, with the labels written into layer `planted`."""
    changes = {"keep": ("hidden",), "max_length": 64, **changes}
    lengths = SPLITS[split] if lengths is None else lengths
    source = synthetic(lengths, capacity, seed + (split == "test"), split=split, **changes)
    return source if planted is None else plant(source, planted, strength)


def plant(source: Synthetic, layer: int, strength: float = 8.0) -> Synthetic:
    """Add, in one layer, to the feature that has the number of a token's label."""
    hidden = [states.copy() for states in source.hidden]
    for sample, states in enumerate(hidden):
        for token, label in enumerate(token_labels(source, sample)):
            if label >= 0:
                states[layer, token, label] += strength
    return replace(source, hidden=hidden)


def token_labels(source: Synthetic, sample: int) -> list[int]:
    """Return the label of every token of a sample: its word's, or the sample's; -1 for special tokens."""
    if source.spec.key.task == "ner":
        labels = source.columns["words/label"]
        return [int(labels[word]) if word >= 0 else -1 for word in of_sample(source, "word", sample)]
    label = int(source.columns["samples/label"][sample])
    return [-1 if special else label for special in of_sample(source, "special", sample)]


def relabelled(source: Synthetic, labels: NDArray[Any]) -> Synthetic:
    """Give a run other labels; its states stay."""
    column = "words/label" if source.spec.key.task == "ner" else "samples/label"
    assert len(labels) == len(source.columns[column])
    return replace(source, columns={**source.columns, column: labels})


def write(root: Path, sources: Iterable[Synthetic]) -> Store:
    for source in sources:
        source.write_labelled(root)
    return Store.open(root)


def ner_store(root: Path, *, change: dict[str, Change] | None = None, **settings: Any) -> Store:
    """Write a train and a test run; `change` is made to the run of a split before it is written."""
    change = change or {}
    return write(root, [change.get(split, same)(split_runs(split, **settings)) for split in SPLITS])


def nli_store(
    root: Path, views: Sequence[str] = ("premise", "hypothesis"), *, change: Change = same, **settings: Any
) -> Store:
    """Write train and test runs of pairs; views of a split have the same labels."""
    settings = {"label_names": ("contradiction", "entailment", "neutral"), "iob2": False, **settings}
    planted, strength = settings.pop("planted", 1), settings.pop("strength", 8.0)
    sources = []
    for split in SPLITS:
        labels = None
        for number, view in enumerate(views):
            made = split_runs(split, task="nli", view=view, planted=None, seed=10 * number, **settings)
            labels = made.columns["samples/label"] if labels is None else labels
            source = relabelled(made, labels)
            sources.append(change(source if planted is None else plant(source, planted, strength)))
    return write(root, sources)


def word_rows(source: Synthetic, layer: int) -> tuple[NDArray[np.float32], NDArray[np.int64], list[int]]:
    """Return features, labels and positions of the words that have tokens, in loops."""
    words = words_by_hand(source, "mean")
    position = sorted(words)
    features = np.array([words[word][layer] for word in position], np.float32)
    return features, source.columns["words/label"][position].astype(np.int64), position


def runs_of(store: Store, **selection: Any) -> tuple[Run, Run]:
    """Return the train and the test run."""
    return store.run(split="train", **selection), store.run(split="test", **selection)


def ceiling(store: Store) -> float:
    """Return the accuracy of a probe that knows all words that have tokens, and takes the majority for the others."""
    train, test = runs_of(store)
    seen = train.column("words/token_count") > 0
    usual = np.bincount(train.labels().values[seen]).argmax()
    labels, lost = test.labels().values, test.column("words/token_count") == 0
    assert lost.any()
    return float(np.where(lost, labels == usual, True).mean())
