"""Text to tokens with word ids, for every tokenizer family."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.base import Corpus
from biocache.engine.corpora.rows import Tokens, insert_separator, read_tokens
from biocache.engine.corpora.task import Sample, Task
from biocache.engine.corpora.tokenizers import load_tokenizer, tokenizer_digest
from biocache.engine.corpora.windows import require_stride
from biocache.engine.stages import stage
from biocache.store.digests import digest_encoding
from biocache.store.errors import DataError, ModelError, SettingError
from biocache.store.windows import context_of_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["CorpusEncoder", "Encoding", "encode"]


@dataclass(frozen=True, eq=False)
class Encoding:
    """Tokens and words of one view of one split, in flat (ragged) columns.

    A sample's tokens are consecutive, and so are its words: the first text's, then the second's.

    Attributes
    ----------
    token_count
        int32 (sample,). Tokens of a sample, special tokens included; of several windows the tokens of each.
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
    window
        int32 (token,). Number of its window in its sample; 0 where that fits `max_length`.
    word_text
        object (word,).
    word_segment
        int8 (word,). Position of the word's text in the view.
    word_token_start
        int64 (word,). Position of the first token of a word, of several windows in that of `context_of_words`; for a
        word without tokens, a position in its sample. Never decreases where samples have one window.
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
    window: NDArray[np.int32]
    word_text: NDArray[np.object_]
    word_segment: NDArray[np.int8]
    word_token_start: NDArray[np.int64]
    word_token_count: NDArray[np.int32]

    @property
    def special(self) -> NDArray[np.bool_]:
        """Whether the tokenizer's template added a token, which then belongs to no word; bool (token,)."""
        return self.word < 0

    @property
    def words(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Position of the sample, and number of tokens, of every word (word,)."""
        return np.repeat(np.arange(len(self.word_count)), self.word_count), self.word_token_count

    @property
    def notes(self) -> dict[str, int]:
        """Counts of ``samples_truncated``, which lost tokens to `max_length`, and ``words_lost``, without any token.

        Where samples have several windows also ``samples_windowed``, their number.
        """
        # Each of them has one second window, whose number begins once.
        windowed = int(np.count_nonzero((self.window[1:] == 1) & (self.window[:-1] == 0)))
        return {
            "samples_truncated": int(np.count_nonzero(self.truncated)),
            **({"samples_windowed": windowed} if windowed else {}),
            "words_lost": int(np.count_nonzero(self.word_token_count == 0)),
        }

    def digest(self) -> str:
        """Return the SHA-256 (hexadecimal) of what the model reads and of the word of every token."""
        types = np.zeros(0, np.int8) if self.token_type is None else self.token_type
        columns = (self.token_count, self.token_id, types, self.word_count, self.word)
        return digest_encoding((*columns, self.window) if self.window.any() else columns)


def encode(
    tokenizer: "PreTrainedTokenizerBase",
    samples: Sequence[Sample],
    task: Task,
    view: str,
    max_length: int,
    stride: int | None = None,
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
    stride
        Tokens by which the windows overlap into which longer samples are cut instead, at the borders of words; see
        `biocache.engine.corpora.windows.windows_of`. None to cut them from the right.

    Returns
    -------
    Encoding
        dims sample, token, word. Nothing is padded.

    Raises
    ------
    SettingError
        If the task has no such view, or `max_length` leaves no room beside the special tokens or for the stride.
    DataError
        If a sample has no tokens but special ones, or is a pair of which neither text leaves room for windows.
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

    if stride is not None:
        require_stride(stride, max_length, limit - overhead, view)
    tokens = read_tokens(tokenizer, samples, positions, limit, stride, view)
    if separator is not None:
        tokens = insert_separator(tokens, separator)
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


def _assemble(
    tokenizer: "PreTrainedTokenizerBase", tokens: Tokens, samples: Sequence[Sample], positions: tuple[int, ...]
) -> Encoding:
    lengths = np.array([[len(s.texts[i]) for i in positions] for s in samples], np.int64)
    lengths = lengths.reshape(len(samples), len(positions))
    word_count = lengths.sum(axis=1)
    # Row of the first word of every (sample, text).
    first_word = (np.cumsum(lengths) - lengths.ravel()).reshape(lengths.shape)
    rows = tokens.sample
    row = np.repeat(np.arange(len(rows)), tokens.count)
    word = np.where(tokens.word < 0, -1, first_word[rows[row], tokens.text] + tokens.word).astype(np.int32)
    first_row = np.searchsorted(rows, np.arange(len(samples)))
    token_count = np.bincount(rows, tokens.count, len(samples)).astype(np.int32)
    word_text = np.array([w for s in samples for i in positions for w in s.texts[i]], dtype=np.object_)
    word_segment = np.repeat(np.tile(np.arange(len(positions), dtype=np.int8), len(samples)), lengths.ravel())
    if len(rows) == len(samples):
        word_token_start, word_token_count = _tokens_of_words(word, word_count, token_count)
    else:
        context = context_of_words(word, row, word_segment)
        first_token = np.repeat(np.cumsum(token_count) - token_count, word_count)
        word_token_start = np.where(context.count > 0, context.start, first_token)
        word_token_count = context.count.astype(np.int32)
    distinct, inverse = np.unique(tokens.id, return_inverse=True)
    texts = np.array(tokenizer.convert_ids_to_tokens(distinct.tolist()), dtype=np.object_)
    takes_types = "token_type_ids" in tokenizer.model_input_names
    return Encoding(
        token_count=token_count,
        truncated=np.bincount(rows, tokens.truncated, len(samples)) > 0,
        word_count=word_count.astype(np.int32),
        token_id=tokens.id,
        token_type=tokens.type if takes_types else None,
        token_text=texts[inverse],
        segment=_segments(tokens, row, takes_types and len(positions) > 1),
        word=word,
        window=(np.arange(len(rows)) - first_row[rows])[row].astype(np.int32),
        word_text=word_text,
        word_segment=word_segment,
        word_token_start=word_token_start,
        word_token_count=word_token_count,
    )


def _segments(tokens: Tokens, row: NDArray[np.int64], takes_types: bool) -> NDArray[np.int8]:
    known = tokens.text >= 0
    if takes_types and np.array_equal(tokens.type[known], tokens.text[known]):
        return (tokens.type > 0).astype(np.int8)
    # Tokens of the second text before each position; those before the row are subtracted.
    second = np.concatenate([[0], np.cumsum(tokens.text == 1)])
    start = np.cumsum(tokens.count) - tokens.count
    segment: NDArray[np.int8] = (second[1:] > second[start][row]).astype(np.int8)
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


def _refuse_empty(tokens: Tokens, samples: Sequence[Sample], view: str, tokenizer: "PreTrainedTokenizerBase") -> None:
    sample = np.repeat(tokens.sample, tokens.count)
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
        self._encodings: dict[tuple[str, str, str, int, int | None], Encoding] = {}

    def encode(self, tokenizer: str, view: str, split: str, max_length: int, stride: int | None = None) -> Encoding:
        """Return the encoding of a view of a split, with the tokenizer in a folder or hub id; see `encode`."""
        loaded, digest = self.tokenizer(tokenizer)
        key = (digest, view, split, max_length, stride)
        if key not in self._encodings:
            samples = self.corpus.splits[split]
            with stage(f"tokenising {split}, {view}"):
                self._encodings[key] = encode(loaded, samples, self.corpus.task, view, max_length, stride)
        return self._encodings[key]


def _tokenizer(source: str) -> tuple["PreTrainedTokenizerBase", str]:
    tokenizer = load_tokenizer(source)
    return tokenizer, tokenizer_digest(tokenizer)
