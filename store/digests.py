"""What identifies a corpus and its tokens: digests of what is read, and of what the tables of a run hold."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.schema import VIEW_TEXTS, WINDOW

if TYPE_CHECKING:
    from biocache.store.data import RunData

__all__ = ["SampleRow", "digest_encoding", "digest_samples", "sample_rows", "stored_encoding", "text_digests"]

#: Id, and words of each text, of a sample.
SampleRow = tuple[str, Sequence[Sequence[str]]]


def digest_samples(rows: Iterable[Sequence[object]]) -> str:
    """Return the SHA-256 (hexadecimal) of some samples, in their order: of ids, texts, and whatever else a row has."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode())
        sha.update(b"\n")
    return sha.hexdigest()


def text_digests(samples: Iterable[Sequence[Sequence[str]]]) -> NDArray[np.uint64]:
    """Return 64 bits of the BLAKE2 digest of the words of each text of some samples, one after another, uint64."""
    # No word holds white space.
    parts = (
        hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for texts in samples
        for words in texts
    )
    return np.frombuffer(b"".join(parts), "<u8").astype(np.uint64)


def digest_encoding(columns: Iterable[NDArray[np.integer]]) -> str:
    """Return the SHA-256 (hexadecimal) of what a model reads and of the word of every token.

    Parameters
    ----------
    columns
        Tokens (sample), token ids (token), token types (token; none where the model gets none), words (sample), and
        the word (token), -1 for special tokens. Where a sample has several windows, the window (token) of each.
    """
    sha = hashlib.sha256()
    for column in columns:
        sha.update(f"{column.size};".encode())
        sha.update(column.astype("<i4").tobytes())
    return sha.hexdigest()


def stored_encoding(run: "RunData") -> list[NDArray[Any]]:
    """Return the columns of `digest_encoding` as the tables of a run have them."""
    segment, window = run.token_column("tokens/segment"), run.token_column(WINDOW)
    return [
        run.column("samples/token_count"),
        run.token_column("tokens/token_id"),
        segment if run.spec.token_types else segment[:0],
        run.column("samples/word_count"),
        run.token_column("tokens/word"),
        *([window] if window.any() else []),
    ]


def sample_rows(run: "RunData") -> Iterator[SampleRow]:
    """Yield the samples of a run with the words of the texts that it read, as its tables have them."""
    texts = len(VIEW_TEXTS[run.key.view])
    samples = run.counts.samples
    # The words of a sample follow each other, and so do those of each of its texts.
    place = run.column("words/sample").astype(np.int64) * texts + run.column("words/segment")
    ends = np.cumsum(np.bincount(place, minlength=samples * texts)).tolist()
    words = run.column("words/word_text").tolist()
    parts = [words[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    for sample, name in enumerate(run.column("samples/sample_id").tolist()):
        yield name, parts[sample * texts : (sample + 1) * texts]
