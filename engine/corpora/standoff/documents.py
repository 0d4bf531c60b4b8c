"""The common form of standoff corpora: a text, its passages, and the spans that are annotated in it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from biocache.engine.corpora.standoff.offsets import UNITS, Layout
from biocache.engine.corpora.task import Place
from biocache.store.errors import DataError
from biocache.store.text import shown

__all__ = ["Block", "Document", "Mention", "Passage", "Span", "assembled", "whole_number"]

# Longer numbers are no positions in a text, and Python refuses to read numbers of thousands of digits.
_WHOLE_NUMBER = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Mention:
    """An annotation as its source gives it, unchecked.

    Attributes
    ----------
    id
        The source's name of it; empty where it has none.
    type
        Its entity type.
    fragments
        Start and end of each part, in the source's own count.
    text
        What the source says is written there; None where it says nothing.
    place
        Where the annotation is, for messages.
    block
        Index of the block that holds the annotation; None where its positions alone say which one.
    """

    id: str
    type: str
    fragments: tuple[tuple[int, int], ...]
    text: str | None
    place: Place
    block: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """An annotated part of a document's text.

    Attributes
    ----------
    start, end
        Its first character and the one after its last; for a span that does not agree, the source's own numbers.
    type
        Its entity type, as the source writes it.
    id
        The source's name of it; empty where it has none.
    fragments
        Start and end of each part, in order, without white space around it; parts with nothing but white space
        between them are one, and a span of white space alone is empty.
    agrees
        Whether the document has the span's text at its positions.
    """

    start: int
    end: int
    type: str
    id: str
    fragments: tuple[tuple[int, int], ...]
    agrees: bool = True


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document's text that no sentence leaves: a title, an abstract, a paragraph.

    Attributes
    ----------
    start, end
        Its first character and the one after its last.
    place
        Where it begins, for messages.
    lines
        Whether the line breaks of the text are those of the source, so that they count in the place of a sentence.
    sentence
        Whether the source says that it is one sentence.
    """

    start: int
    end: int
    place: Place
    lines: bool = False
    sentence: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of text with a position of its own in the source's count.

    Attributes
    ----------
    offset
        Position of its first character, as the source counts.
    text
        Its text.
    passages
        Its passages, with positions in this text.
    """

    offset: int
    text: str
    passages: tuple[Passage, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a standoff corpus.

    Attributes
    ----------
    id
        Its name in the source.
    text
        Its text; positions are those of its characters (Unicode code points).
    passages
        Its passages in the order of the text; what is between them is white space.
    spans
        All annotated spans of the source, in its order.
    place
        Where the document begins, for messages.
    unit
        What the source counts positions in; a name in `UNITS`.
    """

    id: str
    text: str
    passages: tuple[Passage, ...]
    spans: tuple[Span, ...]
    place: Place
    unit: str = UNITS[0].name


def assembled(name: str, blocks: Sequence[Block], mentions: Sequence[Mention], place: Place) -> Document:
    """Make a document of blocks of text and of mentions in the source's own count.

    Parameters
    ----------
    name
        The document's id.
    blocks
        Its texts, in order.
    mentions
        Its annotations.
    place
        Where the document begins.

    Returns
    -------
    Document
        Its text is that of the blocks with a line break between two. Positions are read as characters, or as
        another unit of `UNITS` where more mentions then agree with the text.

    Raises
    ------
    DataError
        If the id or a type is empty, if a text cannot be encoded as UTF-8, or if a mention ends before it starts.
    """
    if not name.strip():
        raise DataError(f"{place.at()}: the document has no id; give every document one")
    _check_encodable(name, place)
    for block in blocks:
        _check_encodable(block.text, block.passages[0].place)
    for mention in mentions:
        _check_mention(mention)
    layout = Layout([block.text for block in blocks], [block.offset for block in blocks])
    spans: list[Span] = []
    unit = UNITS[0].name
    for candidate in UNITS:
        found = [_located(layout, mention, candidate.name) for mention in mentions]
        if not spans or _agreeing(found) > _agreeing(spans):
            spans, unit = found, candidate.name
        if _agreeing(spans) == len(mentions):
            break
    passages = tuple(
        replace(passage, start=base + passage.start, end=base + passage.end)
        for base, block in zip(layout.bases, blocks, strict=False)
        for passage in block.passages
    )
    return Document(name.strip(), layout.text, passages, tuple(spans), place, unit)


def whole_number(value: object) -> int | None:
    """Return a position in a text that is a whole number or the digits of one; None if it is neither."""
    if isinstance(value, str):
        value = value.strip()
        return int(value) if _WHOLE_NUMBER.fullmatch(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15 else None


def _check_mention(mention: Mention) -> None:
    for text in (mention.id, mention.type, mention.text or ""):
        _check_encodable(text, mention.place)
    if not mention.type.strip():
        raise DataError(f"{mention.place.at()}: annotation {shown(mention.id)} has no type; give it one")
    for start, end in mention.fragments:
        if end < start:
            problem = f"annotation {shown(mention.id)} ends at {end}, before its start at {start}"
            raise DataError(f"{mention.place.at()}: {problem}; correct its positions")


def _check_encodable(text: str, place: Place) -> None:
    # JSON can escape half of a surrogate pair, which no tokenizer accepts.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        problem = f"the text holds half a character, {text[error.start]!a}"
        raise DataError(f"{place.at()}: {problem}; replace the broken escape") from None


def _agreeing(spans: Iterable[Span]) -> int:
    return sum(span.agrees for span in spans)


def _located(layout: Layout, mention: Mention, unit: str) -> Span:
    parts = [layout.located(start, end, unit, mention.block) for start, end in mention.fragments]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not parts or not _says(layout.text, known, mention.text):
        starts, ends = zip(*mention.fragments or [(0, 0)], strict=True)
        return Span(min(starts), max(ends), mention.type, mention.id, mention.fragments, agrees=False)
    merged = _merged(layout.text, known)
    return Span(merged[0][0], merged[-1][1], mention.type, mention.id, merged)


def _says(text: str, parts: Sequence[tuple[int, int]], mention: str | None) -> bool:
    """Return whether a mention is what is written: of its parts as they are given, or from the first to the last."""
    if mention is None:
        return True
    wanted = "".join(mention.split())
    if wanted == "".join("".join(text[start:end] for start, end in parts).split()):
        return True
    first, last = min(start for start, _ in parts), max(end for _, end in parts)
    return len(parts) > 1 and wanted == "".join(text[first:last].split())


def _merged(text: str, parts: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Join the parts that overlap or have nothing but white space between them; leave out the white space around."""
    ordered = sorted(parts)
    merged = [ordered[0]]
    for start, end in ordered[1:]:
        first, last = merged[-1]
        if text[last:start].strip():
            merged.append((start, end))
        else:
            merged[-1] = (first, max(last, end))
    filled = tuple(_stripped(text, start, end) for start, end in merged if text[start:end].strip())
    return filled or ((merged[0][0], merged[0][0]),)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    body = text[start:end]
    begin = start + len(body) - len(body.lstrip())
    return begin, begin + len(body.strip())
