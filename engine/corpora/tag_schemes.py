"""Schemes of entity tags: recognised from a corpus's tags, and converted to IOB2.

Each scheme writes the spans of a sentence as one tag a word; the reverse is one function, because no two schemes give
one sequence of tags different spans: an entity begins where a prefix says so, where the type changes, after ``O``, and
after a prefix that ends an entity. A scheme is recognised by writing the spans again in it: the one with the fewest
differences is the corpus's own, and what differs in that one was written against its rules.

References
----------
Ramshaw, Marcus 1995: Text Chunking using Transformation-Based Learning, https://aclanthology.org/W95-0107
Ratinov, Roth 2009: Design Challenges and Misconceptions in Named Entity Recognition, https://aclanthology.org/W09-1119
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count, islice
from typing import NoReturn

from biocache.store.errors import DataError
from biocache.store.schema import OUTSIDE
from biocache.store.text import shown

__all__ = [
    "SCHEMES",
    "UNNAMED_TYPE",
    "Span",
    "Tags",
    "Trigrams",
    "count_repairs",
    "recognise",
    "spans_of",
    "to_iob2",
    "trigrams_of",
    "with_prefixes",
    "write_tags",
]

#: The type of entities whose tags name none, such as ``B`` and ``I``.
UNNAMED_TYPE = "entity"

_PREFIXES = "BIMESLU"
# A type named O would be merged with the class of words outside of entities.
_PREFIXED = re.compile(rf"[{_PREFIXES}]-(?!O\Z)\S+")
# Not a prefix that no scheme has, nor one without its type.
_TYPE = re.compile(rf"(?![A-Za-z]-|[{_PREFIXES}]-?\Z)\S+")

# What the prefix of an entity's only, first, middle and last word is.
_Prefixes = tuple[str, str, str, str]

#: Scheme to the prefixes of an entity's only, first, middle and last word; ``IOB1`` and ``IOE1`` have ``B`` or ``E``
#: only between two entities of one type. The first of those that fit equally well is taken.
SCHEMES: Mapping[str, _Prefixes] = {
    "IOB2": ("B", "B", "I", "I"),
    "IO": ("I", "I", "I", "I"),
    "IOB1": ("I", "I", "I", "I"),
    "IOBES": ("S", "B", "I", "E"),
    "BILOU": ("U", "B", "I", "L"),
    "BMES": ("S", "B", "M", "E"),
    "IOE2": ("E", "I", "I", "E"),
    "IOE1": ("I", "I", "I", "I"),
}
_ALPHABETS = {name: {*prefixes} for name, prefixes in SCHEMES.items()} | {"IOB1": {*"IB"}, "IOE1": {*"IE"}}

# Sentences that are counted at once.
_AT_ONCE = 1 << 13

Span = tuple[str, int, int]
Tags = tuple[str | None, ...]
#: Tags with the one before and the one after, None at the ends of a sentence, and how often each is there.
Trigrams = Mapping[tuple[str | None, str | None, str | None], int]


def spans_of(tags: Sequence[str | None]) -> list[Span]:
    """Return (type, begin, end) of the entities of a sentence, whatever the scheme of its tags; shape (word,)."""
    spans: list[Span] = []
    inside, ended = "", True
    for position, tag in enumerate(tags):
        if tag is None or tag == OUTSIDE:
            inside = ""
            continue
        prefix, kind = tag[0], tag[2:]
        if kind != inside or ended or prefix in "BSU":
            spans.append((kind, position, position + 1))
        else:
            spans[-1] = (kind, spans[-1][1], position + 1)
        inside, ended = kind, prefix in "ESLU"
    return spans


def write_tags(spans: Iterable[Span], length: int, scheme: str) -> list[str]:
    """Return the tags of a sentence of `length` words in a scheme; ``IO`` writes touching spans of a type as one."""
    only, first, middle, last = SCHEMES[scheme]
    tags = [OUTSIDE] * length
    before: Span = ("", -1, -1)
    for kind, begin, end in spans:
        inner = [f"{middle}-{kind}"] * (end - begin - 2)
        tags[begin:end] = [f"{only}-{kind}"] if end - begin == 1 else [f"{first}-{kind}", *inner, f"{last}-{kind}"]
        if before[0] == kind and before[2] == begin:
            if scheme == "IOB1":
                tags[begin] = f"B-{kind}"
            elif scheme == "IOE1":
                tags[begin - 1] = f"E-{kind}"
        before = (kind, begin, end)
    return tags


def to_iob2(tags: Sequence[str | None]) -> list[str | None]:
    """Return the tags of a sentence in IOB2; None stays None, and ends an entity; shape (word,)."""
    converted: list[str | None] = [None if tag is None else OUTSIDE for tag in tags]
    for kind, begin, end in spans_of(tags):
        converted[begin:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - begin - 1)]
    return converted


def trigrams_of(sentences: Iterable[Tags]) -> Trigrams:
    """Count the tags of some sentences with their neighbours, which decide how a scheme writes a tag."""
    import numpy as np

    codes: defaultdict[str | None, int] = defaultdict(count().__next__)
    found: Counter[tuple[str | None, str | None, str | None]] = Counter()
    left = iter(sentences)
    while some := list(islice(left, _AT_ONCE)):
        # None between sentences: what is not known ends an entity, as the end of a sentence does.
        flat = chain((None,), *((*tags, None) for tags in some))
        code = np.fromiter(map(codes.__getitem__, flat), np.int64)
        base, tags = len(codes), [*codes]
        both, numbers = np.unique((code[:-2] * base + code[1:-1]) * base + code[2:], return_counts=True)
        for trigram, number in zip(both.tolist(), numbers.tolist(), strict=True):
            rest, after = divmod(trigram, base)
            found[tags[rest // base], tags[rest % base], tags[after]] += number
    return found


def recognise(trigrams: Trigrams) -> str:
    """Return the scheme of some sentences: the first of `SCHEMES` with the fewest tags against its rules.

    Parameters
    ----------
    trigrams
        Their tags with their neighbours, from `trigrams_of`, each ``O``, None or a prefix, ``-`` and a type.

    Returns
    -------
    str
        Name of the scheme; empty where no scheme has all the prefixes.
    """
    used = {tag[0] for _, tag, _ in trigrams if tag is not None and tag != OUTSIDE}
    found, fewest = "", -1
    for scheme, alphabet in _ALPHABETS.items():
        if used <= alphabet:
            repairs = count_repairs(trigrams, scheme)
            if not found or repairs < fewest:
                found, fewest = scheme, repairs
            if not repairs:
                break
    return found


def count_repairs(trigrams: Trigrams, scheme: str) -> int:
    """Return how many tags of some sentences are against the rules of a scheme, which would write them otherwise."""
    return sum(number for tags, number in trigrams.items() if _differs(tags, scheme))


def _differs(tags: tuple[str | None, str | None, str | None], scheme: str) -> bool:
    """Return whether a scheme writes a tag otherwise between its neighbours."""
    if tags[1] is None or tags[1] == OUTSIDE:
        return False
    return write_tags(spans_of(tags), 3, scheme)[1] != tags[1]


def with_prefixes(first: Mapping[str, str]) -> tuple[dict[str | None, str | None], str]:
    """Return how the tags of a corpus are written with a prefix and a type.

    Parameters
    ----------
    first
        Each tag of the corpus, and the place of its first word, for messages.

    Returns
    -------
    written
        Each tag, ``O`` and None to the same with a prefix, ``-`` and a type. Where no tag has a prefix, each is the
        type of an entity; where none has a type, the type is ``entity``.
    what
        What the tags lack, for a note; empty where they lack nothing.

    Raises
    ------
    DataError
        If a tag is of no scheme.
    """
    tags = [tag for tag in first if tag != OUTSIDE]
    written: dict[str | None, str | None] = {None: None, OUTSIDE: OUTSIDE}
    if not tags or any(map(_PREFIXED.fullmatch, tags)):
        for tag in tags:
            if not _PREFIXED.fullmatch(tag):
                _refuse(tag, first[tag])
        return written | {tag: tag for tag in tags}, ""
    if all(tag in _PREFIXES for tag in tags):
        return written | {tag: f"{tag}-{UNNAMED_TYPE}" for tag in tags}, f"no type: it is named {UNNAMED_TYPE}"
    for tag in tags:
        if OUTSIDE not in first or not _TYPE.fullmatch(tag):
            _refuse(tag, first[tag])
    return written | {tag: f"I-{tag}" for tag in tags}, "no prefix: each run of one tag is an entity"


def _refuse(tag: str, place: str) -> NoReturn:
    wanted = "write O, B-TYPE or I-TYPE, name another --tag-column, or pass --task=tokens, which takes any tag"
    raise DataError(f"{place}: tag {shown(tag)} is not an entity tag; {wanted}")
