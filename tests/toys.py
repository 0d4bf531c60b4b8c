"""A toy corpus that small models learn in seconds, and tiny models whose tokenizers know its words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"protein": ("IL-2", "p53", "NFkB"), "DNA": ("promoter", "exon", "enhancer")}
OUTSIDE = ("the", "of", "binds", "in", "was", "seen", "cells", ",")
#: The word of a hypothesis that decides the pair's label.
CUES = {"entailment": "indeed", "contradiction": "never", "neutral": "perhaps"}


def sentence(rng: np.random.Generator) -> list[tuple[str, str]]:
    """Make a sentence with one or two entities; a word's tag follows from the word and the one before."""
    words = [(str(word), "O") for word in rng.choice(OUTSIDE, int(rng.integers(1, 4)))]
    for _ in range(int(rng.integers(1, 3))):
        kind = str(rng.choice(list(TYPES)))
        names = rng.choice(TYPES[kind], int(rng.integers(1, 3)))
        tagged = [(str(name), f"{'I' if place else 'B'}-{kind}") for place, name in enumerate(names)]
        words += [*tagged, (str(rng.choice(OUTSIDE)), "O")]
    return words


def write_toy(folder: Path, *, train: int = 240, held_out: int = 32, seed: int = 0) -> Path:
    """Write the corpora of both tasks below a folder, one a task; no sentence of one split is in another."""
    rng = np.random.default_rng(seed)
    counts = {"train": train, "validation": held_out, "test": held_out}
    seen: set[str] = set()
    for task in ("ner", "nli"):
        (folder / task).mkdir(parents=True)
        for split, count in counts.items():
            rows: list[str] = []
            while len(rows) < count:
                row = _tagged(rng) if task == "ner" else _pair(rng, split, len(rows))
                key = row.partition('"sentence1"')[2] or row
                if key not in seen:
                    seen.add(key)
                    rows.append(row)
            name = f"{split}.conll" if task == "ner" else f"{split}.jsonl"
            (folder / task / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


def _tagged(rng: np.random.Generator) -> str:
    return "".join(f"{word}\t{tag}\n" for word, tag in sentence(rng))


def _pair(rng: np.random.Generator, split: str, number: int) -> str:
    label = list(CUES)[number % len(CUES)]
    premise, hypothesis = ([str(word) for word in rng.choice(OUTSIDE, count)] for count in rng.integers(1, 4, 2))
    hypothesis.insert(int(rng.integers(0, len(hypothesis) + 1)), CUES[label])
    row = {"pairID": f"{split}-{number}", "sentence1": " ".join(premise), "sentence2": " ".join(hypothesis)}
    return json.dumps(row | {"gold_label": label})


class ToyModels(Mapping[str, Path]):
    """Family to the folder of a tiny model that knows the words of the toy corpus, written when first looked up."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getitem__(self, family: str) -> Path:
        from biocache.engine.demo.checkpoints import FAMILIES, write_checkpoint

        if family not in FAMILIES:
            raise KeyError(family)
        texts = [[*OUTSIDE, *CUES.values(), *(name for names in TYPES.values() for name in names)]] * 9
        folder = self._folder / family
        return folder if folder.is_dir() else write_checkpoint(family, folder, texts, max_positions=64)

    def __iter__(self) -> Any:
        return iter(("bert", "gpt2", "biogpt"))

    def __len__(self) -> int:
        return 3
