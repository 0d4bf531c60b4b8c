"""Text to tokens with word ids, for every tokenizer family."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.base import Corpus
from biocache.engine.corpora.task import Sample, Task
from biocache.engine.corpora.tokenizers import load_tokenizer, tokenizer_digest
from biocache.engine.corpora.words import Row, Way, running_rows, spaced, way_of
from biocache.engine.models.shape import quiet_transformers
from biocache.store.digests import digest_encoding
from biocache.store.errors import DataError, ModelError, SettingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["CorpusEncoder", "Encoding", "encode"]

# Samples tokenised at a time: the tokenizer's own objects take some hundred bytes a token, arrays 20.
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Encoding:
    """Tokens and words of one view of one split, in flat (ragged) columns.

    A sample's tokens are consecutive, and so are its words: the first text's, then the second's.

    Attributes
    ----------
    token_count
        int32 (sample,). Tokens of a sample, special tokens included.
    truncated
        bool (sample,). True where tokens were cut to fit `max_length`.
    word_count
        int32 (sample,). Source words of a sample, with or without tokens.
    token_id
        int32 (token,).
    token_type
        int8 (token,). What the model is fed as ``token_type_ids``; None for a model that takes none.
    token_text
        object (token,). The tokenizer's own spelling of a token.
    segment
        int8 (token,). 0 in the first text, 1 in the second. A special token has the segment of the text it
        closes, or of the first text where it opens one.
    word
        int32 (token,). Row of the word a token is part of; -1 for special tokens.
    word_text
        object (word,).
    word_segment
        int8 (word,). Position of the word's text in the view.
    word_token_start
        int64 (word,). Position of the first token of a word. Never decreases; for a word without tokens, a
        position in its sample.
    word_token_count
        int32 (word,). Tokens of a word; 0 where all were cut or the tokenizer's normaliser left nothing.
    """

    token_count: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    word_count: NDArray[np.int32]
    token_id: NDArray[np.int32]
    token_type: NDArray[np.int8] | None
    token_text: NDArray[np.object_]
    segment: NDArray[np.int8]
    word: NDArray[np.int32]
    word_text: NDArray[np.object_]
    word_segment: NDArray[np.int8]
    word_token_start: NDArray[np.int64]
    word_token_count: NDArray[np.int32]

    @property
    def special(self) -> NDArray[np.bool_]:
        """Whether the tokenizer's template added a token, which then belongs to no word; bool (token,)."""
        return self.word < 0

    @property
    def notes(self) -> dict[str, int]:
        """Counts of ``samples_truncated``, which lost tokens to `max_length`, and ``words_lost``, without any token."""
        return {
            "samples_truncated": int(np.count_nonzero(self.truncated)),
            "words_lost": int(np.count_nonzero(self.word_token_count == 0)),
        }

    def digest(self) -> str:
        """Return the SHA-256 (hexadecimal) of what the model reads and of the word of every token."""
        types = np.zeros(0, np.int8) if self.token_type is None else self.token_type
        return digest_encoding((self.token_count, self.token_id, types, self.word_count, self.word))


@dataclass(frozen=True, eq=False)
class _Tokens:
    """Tokens of some samples; `text` and `word` (counted from the start of its text) are -1 for specials."""

    count: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    id: NDArray[np.int32]
    type: NDArray[np.int8]
    text: NDArray[np.int8]
    word: NDArray[np.int32]


# The samples of a chunk: for each, the words of its one or two texts.
_Texts = list[list[list[str]]]


def encode(
    tokenizer: "PreTrainedTokenizerBase", samples: Sequence[Sample], task: Task, view: str, max_length: int
) -> Encoding:
    """Encode one view of some samples, keeping track of the word every token came from.

    Ids equal those of ``tokenizer(words, is_split_into_words=True, truncation="longest_first",
    max_length=max_length)``, for pairs with the second text's words as its second argument; where a tokenizer reads
    split words in another way than running text, those of the words joined by single spaces. Where the
    tokenizer's template puts nothing between two texts (GPT-2), its separator or end-of-text token is put
    there.

    Parameters
    ----------
    tokenizer
        As `biocache.engine.corpora.tokenizers.load_tokenizer` returns it.
    samples
        The samples of a split, in their order.
    task
        The task that the samples were read for.
    view
        One of the task's views.
    max_length
        Most tokens a sample may have, special tokens included; what is beyond is cut from the right, for
        pairs from the longer text first.

    Returns
    -------
    Encoding
        dims sample, token, word. Nothing is padded.

    Raises
    ------
    SettingError
        If the task has no such view, or `max_length` leaves no room beside the special tokens.
    DataError
        If a sample has no tokens but special ones.
    ModelError
        If two texts need a separator and the tokenizer has none, or a token is of two words.
    """
    if view not in task.views:
        known = ", ".join(task.views)
        raise SettingError(f"view {view!r} is not one of task {task.name!r}: choose from {known}")
    positions = task.views[view]
    separator = _separator(tokenizer) if len(positions) > 1 else None
    limit = max_length - (separator is not None)
    overhead = int(tokenizer.num_special_tokens_to_add(pair=len(positions) > 1))
    if limit <= overhead:
        least = overhead + 1 + max_length - limit
        raise SettingError(
            f"max_length {max_length} leaves no room for text in view {view!r}: "
            f"{least - 1} special tokens are added; give {least} or more"
        )

    # One chunk at least: without samples the columns are empty.
    chunks = (samples[start : start + _CHUNK] for start in range(0, max(1, len(samples)), _CHUNK))
    texts = ([[list(sample.texts[i]) for i in positions] for sample in chunk] for chunk in chunks)
    read = _encode_fast if tokenizer.is_fast else _encode_slow
    parts = [_columns_of(rows, limit) for rows in read(tokenizer, texts, limit)]
    tokens = _Tokens(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(_Tokens)))
    if separator is not None:
        tokens = _insert_separator(tokens, separator)
    _refuse_empty(tokens, samples, view, tokenizer)
    return _assemble(tokenizer, tokens, samples, positions)


def _separator(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    if tokenizer.num_special_tokens_to_add(pair=True) > 0:
        return None
    for found in (tokenizer.sep_token_id, tokenizer.eos_token_id):
        if found is not None:
            return int(found)
    raise ModelError(
        f"tokenizer {tokenizer.name_or_path!r} has neither a separator nor an end-of-text token to put "
        "between the texts of a pair: set its eos_token, or encode the view premise or hypothesis"
    )


def _encode_fast(tokenizer: "PreTrainedTokenizerBase", chunks: Iterator[_Texts], limit: int) -> Iterator[Sequence[Any]]:
    backend = tokenizer.backend_tokenizer
    way = way_of(tokenizer)
    backend.encode_special_tokens = tokenizer.split_special_tokens
    # Otherwise truncation and padding saved in a tokenizer.json would apply silently.
    backend.no_padding()
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


def _encode_slow(tokenizer: "PreTrainedTokenizerBase", chunks: Iterator[_Texts], limit: int) -> Iterator[Sequence[Any]]:
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


def _build_row(tokenizer: Any, texts: list[list[tuple[int, int]]], limit: int) -> Row:
    """Cut texts of (token id, word of the text) to the limit and put the special tokens around them."""
    excess = sum(map(len, texts)) + tokenizer.num_special_tokens_to_add(pair=len(texts) > 1) - limit
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


def _columns_of(encoded: Sequence[Any], limit: int) -> _Tokens:
    count = np.array([len(one) for one in encoded], np.int32)
    size = int(count.sum())

    def column(name: str, dtype: type[np.generic]) -> NDArray[Any]:
        values = itertools.chain.from_iterable(getattr(one, name) for one in encoded)
        return np.fromiter((-1 if value is None else value for value in values), dtype, size)

    return _Tokens(
        count=count,
        # Only a sample of `limit` tokens can be truncated; reading the overflow is slow.
        truncated=np.array([len(one) == limit and len(one.overflowing) > 0 for one in encoded], np.bool_),
        id=column("ids", np.int32),
        type=column("type_ids", np.int8),
        text=column("sequence_ids", np.int8),
        word=column("word_ids", np.int32),
    )


def _insert_separator(tokens: _Tokens, separator: int) -> _Tokens:
    start = np.cumsum(tokens.count) - tokens.count
    sample = np.repeat(np.arange(tokens.count.size), tokens.count)
    place = start + np.bincount(sample[tokens.text == 0], minlength=tokens.count.size)
    return _Tokens(
        count=tokens.count + np.int32(1),
        truncated=tokens.truncated,
        id=np.insert(tokens.id, place, separator),
        type=np.insert(tokens.type, place, 0),
        text=np.insert(tokens.text, place, -1),
        word=np.insert(tokens.word, place, -1),
    )


def _assemble(
    tokenizer: "PreTrainedTokenizerBase", tokens: _Tokens, samples: Sequence[Sample], positions: tuple[int, ...]
) -> Encoding:
    lengths = np.array([[len(s.texts[i]) for i in positions] for s in samples], np.int64)
    lengths = lengths.reshape(len(samples), len(positions))
    word_count = lengths.sum(axis=1)
    # Row of the first word of every (sample, text).
    first_word = (np.cumsum(lengths) - lengths.ravel()).reshape(lengths.shape)
    sample = np.repeat(np.arange(len(samples)), tokens.count)
    word = np.where(tokens.word < 0, -1, first_word[sample, tokens.text] + tokens.word).astype(np.int32)
    word_text = np.array([w for s in samples for i in positions for w in s.texts[i]], dtype=np.object_)
    word_token_start, word_token_count = _tokens_of_words(word, word_count, tokens.count)
    distinct, inverse = np.unique(tokens.id, return_inverse=True)
    texts = np.array(tokenizer.convert_ids_to_tokens(distinct.tolist()), dtype=np.object_)
    takes_types = "token_type_ids" in tokenizer.model_input_names
    word_segment = np.tile(np.arange(len(positions), dtype=np.int8), len(samples))
    return Encoding(
        token_count=tokens.count,
        truncated=tokens.truncated,
        word_count=word_count.astype(np.int32),
        token_id=tokens.id,
        token_type=tokens.type if takes_types else None,
        token_text=texts[inverse],
        segment=_segments(tokens, sample, takes_types and len(positions) > 1),
        word=word,
        word_text=word_text,
        word_segment=np.repeat(word_segment, lengths.ravel()),
        word_token_start=word_token_start,
        word_token_count=word_token_count,
    )


def _segments(tokens: _Tokens, sample: NDArray[np.int64], takes_types: bool) -> NDArray[np.int8]:
    known = tokens.text >= 0
    if takes_types and np.array_equal(tokens.type[known], tokens.text[known]):
        return (tokens.type > 0).astype(np.int8)
    # Tokens of the second text before each position; those before the sample are subtracted.
    second = np.concatenate([[0], np.cumsum(tokens.text == 1)])
    start = np.cumsum(tokens.count) - tokens.count
    segment: NDArray[np.int8] = (second[1:] > second[start][sample]).astype(np.int8)
    return segment


def _tokens_of_words(
    word: NDArray[np.int32], word_count: NDArray[np.int64], token_count: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    place = np.flatnonzero(word >= 0)
    rows = np.arange(word_count.sum())
    left = np.searchsorted(word[place], rows, side="left")
    right = np.searchsorted(word[place], rows, side="right")
    last = np.repeat(np.cumsum(token_count) - 1, word_count)
    return np.minimum(np.append(place, word.size)[left], last), (right - left).astype(np.int32)


def _refuse_empty(tokens: _Tokens, samples: Sequence[Sample], view: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    sample = np.repeat(np.arange(len(samples)), tokens.count)
    content = np.bincount(sample[tokens.word >= 0], minlength=len(samples))
    empty = np.flatnonzero(content == 0)
    if empty.size:
        raise DataError(
            f"sample {samples[empty[0]].id!r} has no tokens in view {view!r} with tokenizer "
            f"{tokenizer.name_or_path!r} ({empty.size} such samples): remove it from the dataset"
        )


class CorpusEncoder:
    """Encodes a corpus, each view of a split once per tokenizer: the training sizes of a model share theirs.

    Parameters
    ----------
    corpus
        The corpus.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        #: Return the digest of a split of the corpus.
        self.digest = cache(corpus.digest)
        #: Return the tokenizer in a folder or hub id, and its digest.
        self.tokenizer = cache(_tokenizer)
        self._encodings: dict[tuple[str, str, str, int], Encoding] = {}

    def encode(self, tokenizer: str, view: str, split: str, max_length: int) -> Encoding:
        """Return the encoding of a view of a split, with the tokenizer in a folder or hub id."""
        loaded, digest = self.tokenizer(tokenizer)
        key = (digest, view, split, max_length)
        if key not in self._encodings:
            self._encodings[key] = encode(loaded, self.corpus.splits[split], self.corpus.task, view, max_length)
        return self._encodings[key]


def _tokenizer(source: str) -> tuple["PreTrainedTokenizerBase", str]:
    tokenizer = load_tokenizer(source)
    return tokenizer, tokenizer_digest(tokenizer)
