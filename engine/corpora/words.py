"""How the tokens of words that are already split are found, for every kind of tokenizer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from biocache.store.errors import ModelError
from biocache.store.text import shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Row", "Way", "running_rows", "spaced", "way_of"]

# Words as a corpus has them: some are pieces of one another, some are not letters, some often stand together.
_TRIALS = (
    ("The", "IL-2", "gene", "of", "T", "cells", "(", "NF-κB", ")", "binds", "2.5", "mg", "."),
    *(("in", "the", "cells", "of", "the", "patient", ",", "it", "is", "one", "of", "a", "few", "and", "to", "be"),),
    *(
        (
            "患者",
            "の",
            "細胞",
            "5'-end",
            "'s",
            "β-chain",
            "10",
            "000",
            "%",
            "x",
            "—",
            "y",
            "!",
            "?",
            "#",
            "a_b",
            "{",
            "}",
        ),
    ),
)


class Way(Enum):
    """How words are given to a tokenizer, so that their tokens are those of the running text."""

    #: Each by itself.
    ALONE = "alone"
    #: Each but the first of a text with a space before it.
    SPACED = "spaced"
    #: In a text, joined by spaces; the words of its tokens are found by their offsets.
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded sample, with the attributes of a `tokenizers.Encoding`."""

    ids: Sequence[int]
    type_ids: Sequence[int]
    sequence_ids: Sequence[int | None]
    word_ids: Sequence[int | None]
    overflowing: Sequence[object]

    def __len__(self) -> int:
        return len(self.ids)


_known: "WeakKeyDictionary[PreTrainedTokenizerBase, Way]" = WeakKeyDictionary()


def way_of(tokenizer: "PreTrainedTokenizerBase") -> Way:
    """Return how words are given to a tokenizer; some texts are encoded in each way to find it.

    A tokenizer that turns spaces into a mark, but puts none before a text (that of Gemma), would otherwise glue words
    together. Where what is split before tokens are looked for is more than a word, or another thing than of the word
    by itself, words are read in running text: spaces that go with the word before, are dropped at the beginning of a
    text, or are no place to split at (that of Llama).

    Parameters
    ----------
    tokenizer
        As `biocache.engine.corpora.tokenizers.load_tokenizer` returns it.

    Raises
    ------
    ModelError
        If words are encoded in another way than in running text in all ways.
    """
    if tokenizer not in _known:
        _known[tokenizer] = _way_of_fast(tokenizer) if tokenizer.is_fast else _way_of_slow(tokenizer)
    return _known[tokenizer]


def spaced(words: Sequence[str]) -> list[str]:
    """Return the words of a text as they stand in it: with a space before all but the first."""
    return [word if place == 0 else f" {word}" for place, word in enumerate(words)]


def _way_of_fast(tokenizer: "PreTrainedTokenizerBase") -> Way:
    backend = tokenizer.backend_tokenizer
    running = [backend.encode(" ".join(words), add_special_tokens=False) for words in _TRIALS]
    for way, given in ((Way.ALONE, list[str]), (Way.SPACED, spaced)):
        if all(_splits(backend, [" ".join(words)]) == _splits(backend, given(words)) for words in _TRIALS):
            split = [backend.encode(given(words), is_pretokenized=True, add_special_tokens=False) for words in _TRIALS]
            if [one.ids for one in split] == [one.ids for one in running]:
                return way
    for one, words in zip(running, _TRIALS, strict=True):
        _words_of(one, [words], tokenizer)
    return Way.RUNNING


def _splits(backend: Any, texts: Sequence[str]) -> list[str]:
    """Return the pieces that texts are split into before tokens are looked for, within each."""
    found: list[str] = []
    for text in texts:
        normal = text if backend.normalizer is None else backend.normalizer.normalize_str(text)
        pre = backend.pre_tokenizer
        found += [normal] if pre is None else [piece for piece, _ in pre.pre_tokenize_str(normal)]
    return found


def _way_of_slow(tokenizer: "PreTrainedTokenizerBase") -> Way:
    words = _TRIALS[0]
    wanted = tokenizer.tokenize(" ".join(words))
    seen = []
    for way, given in ((Way.ALONE, list(words)), (Way.SPACED, spaced(words))):
        tokens = [token for word in given for token in tokenizer.tokenize(word)]
        if tokens == wanted:
            return way
        seen.append(tokens)
    pairs = zip(seen[0], wanted, strict=False)
    place = next((n for n, (own, other) in enumerate(pairs) if own != other), min(map(len, (seen[0], wanted))))
    raise ModelError(
        f"the tokenizer of {tokenizer.name_or_path!r} ({type(tokenizer).__name__}) reads words that are already split "
        f"as {seen[0][place : place + 3]} where running text has {wanted[place : place + 3]}, and does not say where "
        "its tokens are in a text: use a checkpoint that has a tokenizer.json"
    )


def running_rows(tokenizer: "PreTrainedTokenizerBase", samples: Iterable[list[list[str]]]) -> Iterator[Row]:
    """Encode samples as running text, with the settings of the tokenizer for truncation.

    Parameters
    ----------
    tokenizer
        A fast one.
    samples
        The words of the one or two texts of each sample.

    Raises
    ------
    ModelError
        If a token is of two words.
    """
    samples = list(samples)
    inputs = [tuple(map(" ".join, texts)) if len(texts) > 1 else " ".join(texts[0]) for texts in samples]
    for one, texts in zip(tokenizer.backend_tokenizer.encode_batch(inputs), samples, strict=True):
        words = _words_of(one, texts, tokenizer)
        yield Row(one.ids, one.type_ids, one.sequence_ids, words, one.overflowing)


def _words_of(one: Any, texts: Sequence[Sequence[str]], tokenizer: "PreTrainedTokenizerBase") -> list[int | None]:
    """Return the word of each token: the one in which it begins, or that after the space in which it begins."""
    # Positions after the last character of each word, and after the space before each.
    ends = [np.cumsum([len(word) + 1 for word in words]) - 1 for words in texts]
    found: list[int | None] = []
    last = (0, 0)
    for place, (text, (begin, end)) in enumerate(zip(one.sequence_ids, one.offsets, strict=True)):
        if text is None:
            found.append(None)
            continue
        word = min(int(np.searchsorted(ends[text], begin, side="right")), len(ends[text]) - 1)
        if (text, begin) < last or end > ends[text][word] + 1:
            around = texts[text][max(0, word - 1) : word + 3]
            raise ModelError(
                f"the tokenizer of {tokenizer.name_or_path!r} has the token {shown(one.tokens[place])} in the text "
                f"{shown(' '.join(around))}, which is not of one word: biocache cannot tell which tokens are of which "
                "word; use a checkpoint with another tokenizer"
            )
        last = (text, begin)
        found.append(word)
    return found
