"""Sentences of words with a tag each: rows checked, and samples made of them."""

import ast
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

from biocache.engine.corpora.labels import UNLABELLED
from biocache.engine.corpora.samples import Collector, encodable
from biocache.engine.corpora.task import Place, RawSplit, ReadSplit, Row
from biocache.store.errors import DataError
from biocache.store.text import counted, shown

__all__ = ["TAG_COLUMNS", "WORD_COLUMNS", "parsed_list", "read_sentences"]

_Text = TypeVar("_Text", str, str | None)

WORD_COLUMNS = ("tokens", "words", "token", "word", "form", "text", "sentence")
TAG_COLUMNS = ("tags", "nertags", "labels", "ner", "tag", "nertag", "label", "entity", "entities", "bio", "iob")


def read_sentences(raw: RawSplit) -> ReadSplit:
    """Check the rows of a split and make samples of them.

    Parameters
    ----------
    raw
        Rows with the field ``words`` and perhaps ``tags``, each a list with a text a word. A row without words is
        skipped and counted.

    Returns
    -------
    ReadSplit
        One sample a sentence, with the tags as they are written, without the white space around them; None for a word
        without a tag.

    Raises
    ------
    DataError
        If words or tags are not text, differ in number, if a word is empty or holds white space, or if there is no
        sentence.
    """
    collector, reader, known = Collector(raw), _TagReader(), dict[str, str]()
    for row in raw.rows:
        words = _items(row, "words", raw)
        tags = _items(row, "tags", raw) if row.fields.get("tags") is not None else None
        if tags is not None and len(tags) != len(words):
            problem = f"{counted(len(words), 'word')} but {counted(len(tags), 'tag')}"
            raise DataError(f"{row.place.at()}: {problem}; give every word one tag")
        kept = _looked_up(known, words)
        if kept is None:
            # A new word is checked, and from then on in memory once.
            _check_words(row, words)
            kept = tuple(known.setdefault(word, word) for word in words)
        collector.add(row, (kept,), tags=None if tags is None else reader.read(row.place, tags))
    read = collector.finish(Counter())
    read.first = reader.first
    return read


def _looked_up(known: Mapping[str, _Text], texts: Sequence[str]) -> tuple[_Text, ...] | None:
    """Return what is known of some texts; None where one is new, or is no text: it may have no hash."""
    try:
        return tuple(map(known.__getitem__, texts))
    except (KeyError, TypeError):
        return None


def _items(row: Row, field: str, raw: RawSplit) -> list[str]:
    """Return the words or tags of a row."""
    values = row.fields.get(field)
    if isinstance(values, list):
        return values
    column = raw.columns.get(field, field)
    if field not in row.fields:
        raise DataError(f"{row.place.at()}: field {column} is missing; add it to this row")
    if values is None and field == "words":
        return []
    raise DataError(f"{row.place.at()}: {column} are {shown(values)}, not a list; list one a word")


def parsed_list(text: str) -> object:
    """Return the list that a text holds, as JSON or as Python writes it; else its parts between white space."""
    stripped = text.strip()
    if not stripped.startswith("["):
        return text.split()
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(stripped)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text.split()


# Sequences of tags that are looked up: those of short sentences, and of sentences without entities, repeat.
_SEQUENCES = 1 << 16


class _TagReader:
    """Reads the tags of sentences; sequences of tags repeat, and each is checked and kept once."""

    def __init__(self) -> None:
        self.first: dict[str, str] = {}
        self._known: dict[str, str | None] = {}
        self._sequences: dict[tuple[str | None, ...], tuple[str | None, ...]] = {}

    def read(self, place: Place, tags: list[str]) -> tuple[str | None, ...] | None:
        """Return the tags of a sentence; None where no word has one."""
        kept = _looked_up(self._known, tags)
        if kept is None:
            kept = tuple(self._tag(tag, at, place) for at, tag in enumerate(tags))
        if not any(kept):
            return None
        if len(self._sequences) < _SEQUENCES:
            return self._sequences.setdefault(kept, kept)
        return self._sequences.get(kept, kept)

    def _tag(self, tag: object, offset: int, place: Place) -> str | None:
        """Return a tag without white space around it, None for none; and note the first place of each."""
        if tag is None or (not isinstance(tag, str) and tag in (-1, -100)):
            return None
        if isinstance(tag, int):
            problem = f"class {tag} is a plain number and nothing names the classes"
            raise DataError(
                f"{place.at(offset)}: {problem}; name them in a file labels.txt beside it, one a line from 0"
            )
        if not isinstance(tag, str):
            raise DataError(f"{place.at(offset)}: {shown(tag)} among the tags is not text; give tags as strings")
        if tag in self._known:
            return self._known[tag]
        stripped = tag.strip()
        kept = None if stripped in UNLABELLED or stripped in ("-1", "-100") else stripped
        if kept is not None:
            self.first.setdefault(kept, place.at(offset))
        self._known[tag] = kept
        return kept


def _check_words(row: Row, words: Sequence[str]) -> None:
    # Fast path: one split checks all words of a sentence.
    try:
        if " ".join(words).split() == words:
            _check_encodable(row, words)
            return
    except TypeError:
        pass
    for offset, word in enumerate(words):
        place = row.place.at(offset)
        if not isinstance(word, str):
            raise DataError(f"{place}: {shown(word)} among the words is not text; give words as strings")
        if not word:
            raise DataError(f"{place}: empty word; write the word, or remove the row")
        if word.split() != [word]:
            problem = f"word {shown(word)} holds white space"
            raise DataError(f"{place}: {problem}; split it into words or remove the character")


def _check_encodable(row: Row, words: Sequence[str]) -> None:
    joined = "".join(words)
    if not joined.isascii():
        for word in words:
            encodable(row, word)
