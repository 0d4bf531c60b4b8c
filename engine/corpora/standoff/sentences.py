"""Sentences and words of a text, as positions: every character that is no white space is in exactly one of each.

Both depend on the text alone and never on what is annotated in it, so that two annotations of a text have the same
words.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

__all__ = ["split_sentences", "split_words"]

# Line breaks, with the white space behind the first.
_LINE_BREAKS = re.compile(r"(?:\r\n?|[\n\u2028\u2029])(\s*)")

# A run of letters, digits and combining marks is a word, and so is every other character. BioCreative, BioNLP and the
# MTL-Bioinformatics and BLURB versions of biomedical corpora have these words: IL - 2, 0 . 5, i . v .
# (\s of regex lacks four characters that str.split takes for white space.)
_WORD = r"[\p{L}\p{N}\p{M}]+|[^\s\x1c-\x1f]"

# Lower case and without the last dot, as Punkt keeps them. Abbreviations that often end a sentence (min., h., mg.) are
# not among them.
_ABBREVIATIONS = """
    e.g i.e i.v i.p i.m i.a i.d i.n i.t i.c.v s.c p.o p.r b.i.d t.i.d q.i.d q.d r.p.m a.m p.m s.d s.e s.e.m u.s u.k
    fig figs tab suppl eq eqs ref refs sect ch chap chr vol no nos p pp ed eds
    al et vs cf ca viz approx resp incl excl
    dr drs mr mrs ms prof st jr co corp inc ltd lab labs dept univ
    sp spp ssp subsp var cv temp wt mol
    biol chem clin exp immunol med virol natl acad sci proc
"""

# Words that begin sentences and are in lower case elsewhere: after "NF-kappa B." or "i.v." they show a new sentence,
# where a name, as in "E. Coli" or "J. Virol.", does not.
_OPENERS = """
    the these this those we our they their it its there here he she his her i you if each both all no none an in on at
    by for from with to when while after although as however thus therefore hence moreover furthermore additionally
    finally
"""

_RUN = re.compile(r"\S+")
_ENDS = (".", "?", "!")
_CLOSERS = ")]}\"'*\u201d\u2019\u00bb"
_LONGEST = 100


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Split a text into sentences, with nltk's Punkt and a list of biomedical abbreviations.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    list of tuple of int
        Start and end of each sentence, in order, without white space around it; none is empty. A blank line ends
        a sentence, and so does a line break unless the next line goes on in lower case, as wrapped text does.

    References
    ----------
    .. [1] Kiss and Strunk, Unsupervised multilingual sentence boundary detection, Computational Linguistics 2006,
           https://doi.org/10.1162/coli.2006.32.4.485
    """
    borders = [0, *(match.end() for match in _LINE_BREAKS.finditer(text) if _ends_sentence(match)), len(text)]
    return [sentence for start, end in pairwise(borders) for sentence in _in_line(text, start, end)]


def split_words(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Split a text into words: runs of letters and digits, and every other character by itself.

    Parameters
    ----------
    text
        Any text.
    start, end
        The part of it to split; None for its end.

    Returns
    -------
    list of tuple of int
        Start and end of each word in the text, in order.
    """
    return [match.span() for match in _word_pattern().finditer(text, start, len(text) if end is None else end)]


def _ends_sentence(breaks: re.Match[str]) -> bool:
    blank_line = _LINE_BREAKS.search(breaks[1]) is not None
    return blank_line or not breaks.string[breaks.end() : breaks.end() + 1].islower()


def _in_line(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the sentences of a part of a text in which line breaks are nothing but white space."""
    first: re.Match[str] | None = None
    previous: re.Match[str] | None = None
    for run in _RUN.finditer(text, start, end):
        if first is not None and previous is not None and _is_border(previous[0], run[0]):
            yield first.start(), previous.end()
            first = None
        first, previous = first or run, run
    if first is not None and previous is not None:
        yield first.start(), previous.end()


def _is_border(before: str, after: str) -> bool:
    """Return whether a sentence ends between two runs of characters with white space between."""
    if not before.rstrip(_CLOSERS).endswith(_ENDS):
        return False
    # Punkt is asked about two words at a time: it refuses texts that take it more than some seconds.
    return bool(_punkt().text_contains_sentbreak(f"{before[-_LONGEST:]} {after[:_LONGEST]}"))


@lru_cache(maxsize=1)
def _punkt() -> Any:
    from nltk.tokenize import punkt

    parameters = punkt.PunktParameters()
    parameters.abbrev_types.update(_ABBREVIATIONS.split())
    for word in _OPENERS.split():
        parameters.add_ortho_context(word, punkt._ORTHO_LC)
    return punkt.PunktSentenceTokenizer(parameters)


@lru_cache(maxsize=1)
def _word_pattern() -> Any:
    import regex

    return regex.compile(_WORD)
