"""The texts of an invented corpus, from which the tokenizers of tiny models learn."""

import json
from pathlib import Path


def corpus_texts(folder: Path) -> list[list[str]]:
    """Return the words of all train texts that `write_corpus` wrote below a folder."""
    blocks = (folder / "ner" / "train.conll").read_text(encoding="utf-8").split("\n\n")
    texts = [[line.split("\t")[0] for line in block.splitlines()] for block in blocks]
    for line in (folder / "nli" / "train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts += [row["sentence1"].split(), row["sentence2"].split()]
    return texts
