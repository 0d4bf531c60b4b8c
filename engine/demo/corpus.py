"""The corpora of the demo, one per task, and the texts that its models are pre-trained on."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from biocache.engine.demo import abstracts, notes
from biocache.engine.demo.everyday import everyday
from biocache.engine.demo.grammar import text_of
from biocache.store.errors import SettingError

__all__ = ["SIZES", "read_before", "write_corpus"]

#: Samples of each split.
SIZES: Mapping[str, int] = {"train": 120, "validation": 30, "test": 40}

_TRIES = 1000

_Row = TypeVar("_Row")


def write_corpus(
    folder: Path,
    *,
    seed: int = 42,
    ner_sizes: Mapping[str, int] = SIZES,
    nli_sizes: Mapping[str, int] = SIZES,
) -> None:
    """Write ``ner/SPLIT.conll`` and ``nli/SPLIT.jsonl`` under a folder.

    All sentences and pairs are distinct, over all splits. The same arguments give the same bytes.

    Parameters
    ----------
    folder
        Made if it does not exist; files of the same name are replaced.
    seed
        Seed of the grammar's choices.
    ner_sizes
        Split name to its number of sentences, tagged in IOB2 with protein, DNA, RNA, cell_type and cell_line.
    nli_sizes
        Split name to its number of premise/hypothesis pairs, the three labels in turn.

    Raises
    ------
    SettingError
        If the sizes are larger than the grammar can supply.
    """
    choices = random.Random(seed)
    for name, sentences in _split(lambda _: abstracts.sentence(choices), ner_sizes):
        blocks = ("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)
        _write(folder / "ner" / f"{name}.conll", "\n".join(blocks))
    for name, pairs in _split(lambda number: _pair(choices, number), nli_sizes):
        fields = ("sentence1", "sentence2", "gold_label")
        records = [
            {"pairID": f"{name}-{number}", **dict(zip(fields, pair, strict=True))} for number, pair in enumerate(pairs)
        ]
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        _write(folder / "nli" / f"{name}.jsonl", "".join(lines))


def read_before(domain: str, count: int) -> list[str]:
    """Make the texts that a model is pre-trained on: ``biomedical``, from the grammars of the corpora, or ``general``.

    The seed differs from that of the corpora, so few of their sentences occur again.

    Parameters
    ----------
    domain
        ``biomedical`` or ``general``.
    count
        Number of texts.
    """
    choices = random.Random(f"{domain} 1")
    if domain == "general":
        return [everyday(choices) for _ in range(count)]
    return [text_of(abstracts.sentence(choices)) if number % 2 else _note(choices) for number in range(count)]


def _note(choices: random.Random) -> str:
    return " ".join(notes.pair(choices, choices.choice(notes.LABELS)))


def _pair(choices: random.Random, number: int) -> tuple[str, str, str]:
    label = notes.LABELS[number % len(notes.LABELS)]
    return (*notes.pair(choices, label), label)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _split(make: Callable[[int], _Row], sizes: Mapping[str, int]) -> Iterator[tuple[str, list[_Row]]]:
    seen: set[_Row] = set()
    for name, size in sizes.items():
        rows: list[_Row] = []
        while len(rows) < size:
            fresh = (row for row in (make(len(rows)) for _ in range(_TRIES)) if row not in seen)
            row = next(fresh, None)
            if row is None:
                raise SettingError(
                    f"the demo grammar ran out of new samples after {len(rows)} of {size} for {name!r}: ask for fewer"
                )
            seen.add(row)
            rows.append(row)
        yield name, rows
