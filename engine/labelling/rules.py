"""Labels of words by rules: a regular expression, a lexicon, a property, or a function of the user's."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from biocache.engine.corpora.lines import read_lines
from biocache.store.errors import DataError, SettingError
from biocache.store.labelling import SplitText, plain_label
from biocache.store.text import one_line, shown

__all__ = ["labels_of_property", "labels_of_words", "labels_of_python"]

YES, NO = "yes", "no"


def labels_of_words(text: SplitText, rule: str) -> list[Any]:
    """Return a label for each word, by a regular expression or, if a file has that name, a lexicon.

    Raises
    ------
    SettingError
        If it is neither a file nor a regular expression.
    DataError
        If the lexicon is malformed.
    """
    if Path(rule).is_file():
        return list(_of_lexicon(text, _read_lexicon(Path(rule))))
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise SettingError(
            f"--from-words {shown(rule)} is neither a file nor a regular expression ({error}); correct it"
        ) from error
    return [_of_match(pattern.fullmatch(word)) for word, _ in text.words()]


def _of_match(match: "re.Match[str] | None") -> str:
    return NO if match is None else match.lastgroup or YES


def _read_lexicon(path: Path) -> dict[tuple[str, ...], str]:
    """Return the words of each term, without regard to case, and its class."""
    terms: dict[tuple[str, ...], str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        term, tab, name = line.partition("\t")
        words = tuple(term.lower().split())
        if not words:
            if tab:
                raise DataError(f"{path}:{number}: {shown(line)} has no term; write the term, a tab and its class")
            continue
        kind = name.strip() or YES
        if terms.setdefault(words, kind) != kind:
            raise DataError(
                f"{path}:{number}: {shown(term)} is {shown(kind)} here and {shown(terms[words])} before; keep one"
            )
    if not terms:
        raise DataError(f"{path}:1: no term in this lexicon; write one a line")
    return terms


def _of_lexicon(text: SplitText, terms: dict[tuple[str, ...], str]) -> Iterator[str]:
    """Yield the class of each word: that of the longest term that begins first and holds it."""
    longest: dict[str, int] = {}
    for term in terms:
        longest[term[0]] = max(longest.get(term[0], 0), len(term))
    for _, texts in text.samples:
        for words in texts:
            lower, at = [word.lower() for word in words], 0
            while at < len(lower):
                sizes = range(min(longest.get(lower[at], 0), len(lower) - at), 0, -1)
                size = next((n for n in sizes if tuple(lower[at : at + n]) in terms), 0)
                yield from [terms[tuple(lower[at : at + size])]] * size if size else [NO]
                at += size or 1


def labels_of_property(texts: Sequence[SplitText], name: str) -> list[list[Any]]:
    """Return a label for each word of each split by what it is like; see `LabelRequest.property`."""
    if name == "length":
        return [[float(len(word)) for word, _ in text.words()] for text in texts]
    if name == "position":
        return [[float(at) for _, own in text.samples for words in own for at in range(len(words))] for text in texts]
    if name == "capitals":
        return [[_capitals(word) for word, _ in text.words()] for text in texts]
    counts = Counter(word.lower() for text in texts for word, _ in text.words())
    return [[math.log10(counts[word.lower()]) for word, _ in text.words()] for text in texts]


def _capitals(word: str) -> str:
    letters = [character for character in word if character.isalpha()]
    if not letters:
        return "no letters"
    upper = [character.isupper() for character in letters]
    if not any(upper):
        return "lower"
    if all(upper):
        return "upper"
    return "first" if upper[0] and not any(upper[1:]) else "mixed"


def labels_of_python(text: SplitText, function: Callable[..., Any], place: str, level: str) -> list[Any]:
    """Return what a function says of each word and its text, or of the texts of each sample.

    Raises
    ------
    DataError
        If it fails, or returns what is no label; the message names the word or sample.
    """
    if level == "sample":
        return [
            _called(partial(function, *map(tuple, texts)), place, f"sample {shown(identifier)}")
            for identifier, texts in text.samples
        ]
    return [
        _called(partial(function, word, tuple(words)), place, f"word {shown(word)} of {shown(' '.join(words))}")
        for word, words in text.words()
    ]


def _called(call: Callable[[], Any], place: str, of: str) -> Any:
    try:
        return plain_label(call())
    except Exception as error:
        raise DataError(
            f"{place} failed for {of} ({type(error).__name__}: {one_line(error)}); correct the function"
        ) from error
