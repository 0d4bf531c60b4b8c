"""Corpora on the disk for tests of their reading, and the one line that every malformed one gets."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from biocache.engine.corpora.base import Corpus
from biocache.engine.corpora.readers import read_corpus
from biocache.engine.corpora.request import ReadingRequest
from biocache.store.errors import BiocacheError, DataError

__all__ = ["in_splits", "message", "pair", "read", "write"]


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write files by their names; those that end with ``.gz`` compressed."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def in_splits(pattern: str, content: str | bytes, names: Sequence[str] = ("train", "dev", "test")) -> dict[str, Any]:
    """Return the same content for each split."""
    return {pattern.format(name): content for name in names}


def pair(premise: object = "A b.", hypothesis: object = "C.", label: object = "neutral", **more: object) -> str:
    """Return a line of MedNLI."""
    return json.dumps({"sentence1": premise, "sentence2": hypothesis, "gold_label": label, **more}) + "\n"


def read(task: str, dataset: object, splits: Sequence[str] | None = None, **settings: Any) -> Corpus:
    """Read a corpus with settings of `ReadingRequest`."""
    return read_corpus(task, str(dataset), splits=splits, reading=ReadingRequest(**settings))


def message(
    task: str, dataset: object, kind: type[BiocacheError] = DataError, limit: int | None = None, **settings: Any
) -> str:
    """Return the message of a corpus that is refused, after checking that it is one line with a next step."""
    splits = settings.pop("splits", None)
    with pytest.raises(kind) as caught:
        read_corpus(
            task,
            None if dataset is None else str(dataset),
            splits=splits,
            limit=limit,
            reading=ReadingRequest(**settings),
        )
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    assert ";" in text, f"no next step: {text}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return text
