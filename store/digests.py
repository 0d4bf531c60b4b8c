"""What identifies a corpus and its tokens: digests of what is read, and of what the tables of a run hold."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from biocache.store.data import RunData

__all__ = ["SampleRow", "digest_encoding", "digest_samples", "sample_rows", "stored_encoding"]

#: Id, words of each text, label, and labels of the words of a sample.
SampleRow = tuple[str, Sequence[Sequence[str]], str | None, Sequence[str] | None]


def digest_samples(rows: Iterable[SampleRow]) -> str:
    """Return the SHA-256 (hexadecimal) of some samples, in their order."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode())
        sha.update(b"\n")
    return sha.hexdigest()


def digest_encoding(columns: Iterable[NDArray[np.integer]]) -> str:
    """Return the SHA-256 (hexadecimal) of what a model reads and of the word of every token.

    Parameters
    ----------
    columns
        Tokens (sample), token ids (token), token types (token; none where the model gets none), words (sample), and
        the word (token), -1 for special tokens.
    """
    sha = hashlib.sha256()
    for column in columns:
        sha.update(f"{column.size};".encode())
        sha.update(column.astype("<i4").tobytes())
    return sha.hexdigest()


def stored_encoding(run: "RunData") -> list[NDArray[Any]]:
    """Return the columns of `digest_encoding` as the tables of a run have them."""
    segment = run.token_column("tokens/segment")
    return [
        run.column("samples/token_count"),
        run.token_column("tokens/token_id"),
        segment if run.spec.token_types else segment[:0],
        run.column("samples/word_count"),
        run.token_column("tokens/word"),
    ]


def sample_rows(run: "RunData", texts: int) -> Iterator[SampleRow]:
    """Yield the samples of a run of all of a sample's texts, as its tables have them."""
    by_word = run.labelled == "words"
    names = run.spec.label_names
    words, segments = run.column("words/word_text"), run.column("words/segment")
    labels = [names[code] for code in run.column(f"{run.labelled}/label")]
    begins = run.column("samples/word_start")
    for sample, (name, begin, count) in enumerate(
        zip(run.column("samples/sample_id"), begins, run.column("samples/word_count"), strict=True)
    ):
        own = slice(int(begin), int(begin) + int(count))
        parts = [words[own][segments[own] == text].tolist() for text in range(texts)]
        yield name, parts, None if by_word else labels[sample], labels[own] if by_word else None
