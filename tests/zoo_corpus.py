"""The zoo's corpus: few samples of many lengths, with words that tokenizers split in different ways."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

_TEXT = """IL-2 activates NF-\u03baB in T cells of the \u03b2-chain receptor , and p53 binds a promoter at 5'-end ;
na\u00efve CD4+CD25+ lymphocytes express TNF-\u03b1 (12.5%) while HIV-1 Tat represses c-fos/c-jun transcription in
interleukin-6-treated B cells and the transcription of the promoter"""
_WORDS = _TEXT.split()
# Words of each sample; none is alike so that batches hold samples of different lengths.
_COUNTS = {
    "train": (1, 3, 9, 2, 14, 5, 1, 7, 11, 4, 16, 6, 2, 8),
    "test": (2, 1, 13, 4, 6, 3, 10, 1, 5, 15, 7, 2, 12, 9),
}


Samples = dict[str, list[list[str]]]


def samples() -> Samples:
    """Return the words of every sample, by split."""
    return {split: _cut(0 if split == "train" else 7, counts) for split, counts in _COUNTS.items()}


def _cut(start: int, counts: Iterable[int]) -> list[list[str]]:
    found = []
    for count in counts:
        found.append([_WORDS[(start + place) % len(_WORDS)] for place in range(count)])
        start += count + 3
    return found


def samples_of_fours(length: Callable[[list[str]], int], most: int = 6) -> Samples:
    """Return samples whose numbers of tokens are different multiples of four."""
    chosen: dict[int, list[str]] = {}
    for start in range(len(_WORDS)):
        for words in _cut(start, range(1, 14)):
            if length(words) % 4 == 0:
                chosen.setdefault(length(words), words)
    rows = [chosen[size] for size in sorted(chosen)][:most]
    return dict.fromkeys(_COUNTS, rows)


def counted() -> Counter[str]:
    """Count the words that tokenizers learn from: not all, so that some fall apart."""
    return Counter(word for rows in samples().values() for words in rows for word in words if word.isascii())


def texts_of(chosen: Samples, task: str, split: str) -> list[tuple[list[str], ...]]:
    """Return the texts of every sample: for ``nli`` the samples and the ones after them are pairs."""
    rows = chosen[split]
    return [(words,) for words in rows] if task == "ner" else list(zip(rows, [*rows[1:], rows[0]], strict=True))


def write_corpus(folder: Path, chosen: Samples, task: str) -> Path:
    """Write samples as a folder of a task; return the folder above it."""
    (folder / task).mkdir(parents=True, exist_ok=True)
    for split in chosen:
        rows = texts_of(chosen, task, split)
        if task == "ner":
            blocks = ["\n".join(f"{word}\t{_tag(word)}" for word in words) for (words,) in rows]
            (folder / task / f"{split}.conll").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
        else:
            lines = [
                {"pairID": str(n), "sentence1": " ".join(one), "sentence2": " ".join(two), "gold_label": "neutral"}
                for n, (one, two) in enumerate(rows)
            ]
            (folder / task / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in lines))
    return folder


def _tag(word: str) -> str:
    return "B-protein" if word[0].isupper() else "O"
