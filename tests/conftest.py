"""Tiny models of every family and a corpus of invented sentences, made once a session, when asked for."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest


class Checkpoints(Mapping[str, Path]):
    """Family to the folder of its checkpoint, written when first looked up."""

    def __init__(self, folder: Path, texts: list[list[str]]) -> None:
        self._folder = folder
        self._texts = texts

    def __getitem__(self, family: str) -> Path:
        from biocache.engine.demo.checkpoints import FAMILIES, write_checkpoint

        if family not in FAMILIES:
            raise KeyError(family)
        folder = self._folder / family
        return folder if folder.is_dir() else write_checkpoint(family, folder, self._texts)

    def __iter__(self) -> Iterator[str]:
        from biocache.engine.demo.checkpoints import FAMILIES

        return iter(FAMILIES)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from biocache.engine.demo.corpus import write_corpus

    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path) -> Checkpoints:
    blocks = (corpus_folder / "ner" / "train.conll").read_text(encoding="utf-8").split("\n\n")
    texts = [[line.split("\t")[0] for line in block.splitlines()] for block in blocks]
    for line in (corpus_folder / "nli" / "train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        texts += [row["sentence1"].split(), row["sentence2"].split()]
    return Checkpoints(tmp_path_factory.mktemp("checkpoints"), texts)
