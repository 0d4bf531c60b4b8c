"""Samples as rows of tokens: encoded, cut to a length or into windows, and joined in flat columns."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.task import Sample
from biocache.engine.corpora.windows import windows_of
from biocache.engine.corpora.words import Row, Way, running_rows, spaced, way_of
from biocache.engine.models.shape import quiet_transformers
from biocache.store.errors import ModelError
from biocache.store.ragged import ranges

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Tokens", "insert_separator", "read_tokens"]

# Samples tokenised at a time: the tokenizer's own objects take some hundred bytes a token, arrays 20.
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of rows, in flat columns: a row is a sample, or a window of one that is longer than the model.

    Attributes
    ----------
    sample
        Sample of every row, never decreasing, int64 (row).
    count
        Tokens of every row, int32 (row).
    truncated
        Whether it lost tokens, bool (row).
    id, type
        Id and token type of every token (token).
    text, word
        Text of every token, and its word counted from the start of that; -1 for special tokens (token).
    """

    sample: NDArray[np.int64]
    count: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    id: NDArray[np.int32]
    type: NDArray[np.int8]
    text: NDArray[np.int8]
    word: NDArray[np.int32]


# The samples of a chunk: for each, the words of its one or two texts.
_Texts = list[list[list[str]]]


def read_tokens(
    tokenizer: "PreTrainedTokenizerBase",
    samples: Sequence[Sample],
    positions: tuple[int, ...],
    limit: int,
    stride: int | None,
    view: str,
) -> Tokens:
    """Encode some texts of samples as rows of at most `limit` tokens, special tokens included.

    Parameters
    ----------
    tokenizer
        The tokenizer.
    samples
        The samples.
    positions
        Positions of their texts that are read.
    limit
        Most tokens of a row.
    stride
        Tokens by which the windows of longer samples overlap; None to cut them.
    view
        Name of the view, for messages.

    Raises
    ------
    DataError
        As `windows_of`.
    """
    tokens = _joined(_columns_of(rows, limit) for rows in _read(tokenizer, samples, positions, limit))
    tokens = replace(tokens, sample=np.arange(len(samples)))
    if stride is None or not tokens.truncated.any():
        return tokens
    long = [samples[place] for place in np.flatnonzero(tokens.truncated).tolist()]
    whole = itertools.chain.from_iterable(_read(tokenizer, long, positions, None))
    cut = [windows_of(row, limit, stride, one.id, view) for row, one in zip(whole, long, strict=True)]
    return _with_windows(tokens, cut)


def _read(
    tokenizer: "PreTrainedTokenizerBase", samples: Sequence[Sample], positions: tuple[int, ...], limit: int | None
) -> Iterator[Sequence[Any]]:
    """Yield the encoded samples of one chunk after another, cut to a limit."""
    # One chunk at least: without samples the columns are empty.
    chunks = (samples[start : start + _CHUNK] for start in range(0, max(1, len(samples)), _CHUNK))
    texts = ([[list(sample.texts[i]) for i in positions] for sample in chunk] for chunk in chunks)
    return (_encode_fast if tokenizer.is_fast else _encode_slow)(tokenizer, texts, limit)


def _joined(parts: Iterable[Tokens]) -> Tokens:
    columns = zip(*([getattr(part, each.name) for each in fields(Tokens)] for part in parts), strict=True)
    return Tokens(*(np.concatenate(column) for column in columns))


def _with_windows(tokens: Tokens, cut: list[list[Row]]) -> Tokens:
    """Put windows in the places of the samples that were truncated."""
    long = np.flatnonzero(tokens.truncated)
    windows = _columns_of([row for rows in cut for row in rows], None)
    joined = _joined([tokens, replace(windows, sample=np.repeat(long, [len(rows) for rows in cut]))])
    order = np.argsort(joined.sample, kind="stable")
    order = order[~np.isin(order, long)]
    count = joined.count[order]
    start = (np.cumsum(joined.count) - joined.count)[order]
    place = ranges(start, count)
    by_row = ("sample", "count", "truncated")
    return Tokens(*(getattr(joined, f.name)[order if f.name in by_row else place] for f in fields(Tokens)))


def _encode_fast(
    tokenizer: "PreTrainedTokenizerBase", chunks: Iterator[_Texts], limit: int | None
) -> Iterator[Sequence[Any]]:
    backend = tokenizer.backend_tokenizer
    way = way_of(tokenizer)
    backend.encode_special_tokens = tokenizer.split_special_tokens
    # Otherwise truncation and padding saved in a tokenizer.json would apply silently.
    backend.no_padding()
    backend.no_truncation()
    if limit is not None:
        backend.enable_truncation(limit, stride=0, strategy="longest_first", direction="right")
    try:
        for chunk in chunks:
            if way is Way.RUNNING:
                yield list(running_rows(tokenizer, chunk))
                continue
            given = [[spaced(words) for words in texts] for texts in chunk] if way is Way.SPACED else chunk
            inputs = [tuple(texts) if len(texts) > 1 else texts[0] for texts in given]
            yield backend.encode_batch(inputs, is_pretokenized=True)
    finally:
        backend.no_truncation()


def _encode_slow(
    tokenizer: "PreTrainedTokenizerBase", chunks: Iterator[_Texts], limit: int | None
) -> Iterator[Sequence[Any]]:
    ids = cache(lambda word: tokenizer.convert_tokens_to_ids(tokenizer.tokenize(word)))
    given = spaced if way_of(tokenizer) is Way.SPACED else list[str]
    for chunk in chunks:
        # It warns of every pair that it cuts.
        with quiet_transformers():
            placed = (
                [[(token, place) for place, word in enumerate(given(text)) for token in ids(word)] for text in texts]
                for texts in chunk
            )
            rows = [_build_row(tokenizer, texts, limit) for texts in placed]
        yield rows


def _build_row(tokenizer: Any, texts: list[list[tuple[int, int]]], limit: int | None) -> Row:
    """Cut texts of (token id, word of the text) to the limit and put the special tokens around them."""
    whole = sum(map(len, texts)) + tokenizer.num_special_tokens_to_add(pair=len(texts) > 1)
    excess = 0 if limit is None else whole - limit
    kept = tokenizer.truncate_sequences(*texts, num_tokens_to_remove=excess)[: len(texts)]
    ids = [[token for token, _ in text] for text in kept]
    row = tokenizer.build_inputs_with_special_tokens(*ids)
    special = tokenizer.get_special_tokens_mask(*ids)
    owners = [(number, place) for number, text in enumerate(kept) for _, place in text]
    if len(special) != len(row) or special.count(0) != len(owners):
        raise ModelError(
            f"tokenizer {tokenizer.name_or_path!r} ({type(tokenizer).__name__}) does not say which of its "
            "tokens are special: use a checkpoint that has a tokenizer.json"
        )
    following = iter(owners)
    placed = [(None, None) if each else next(following) for each in special]
    return Row(
        ids=row,
        type_ids=tokenizer.create_token_type_ids_from_sequences(*ids),
        sequence_ids=[text for text, _ in placed],
        word_ids=[word for _, word in placed],
        overflowing=[None] * max(0, excess),
    )


def _columns_of(encoded: Sequence[Any], limit: int | None) -> Tokens:
    count = np.array([len(one) for one in encoded], np.int32)
    size = int(count.sum())

    def column(name: str, dtype: type[np.generic]) -> NDArray[Any]:
        values = itertools.chain.from_iterable(getattr(one, name) for one in encoded)
        return np.fromiter((-1 if value is None else value for value in values), dtype, size)

    return Tokens(
        sample=np.arange(len(encoded)),
        count=count,
        # Only a sample of `limit` tokens can be truncated; reading the overflow is slow.
        truncated=np.array([limit in (None, len(one)) and len(one.overflowing) > 0 for one in encoded], np.bool_),
        id=column("ids", np.int32),
        type=column("type_ids", np.int8),
        text=column("sequence_ids", np.int8),
        word=column("word_ids", np.int32),
    )


def insert_separator(tokens: Tokens, separator: int) -> Tokens:
    """Put a token between the two texts of every row."""
    start = np.cumsum(tokens.count) - tokens.count
    row = np.repeat(np.arange(tokens.count.size), tokens.count)
    place = start + np.bincount(row[tokens.text == 0], minlength=tokens.count.size)
    return Tokens(
        sample=tokens.sample,
        count=tokens.count + np.int32(1),
        truncated=tokens.truncated,
        id=np.insert(tokens.id, place, separator),
        type=np.insert(tokens.type, place, 0),
        text=np.insert(tokens.text, place, -1),
        word=np.insert(tokens.word, place, -1),
    )
