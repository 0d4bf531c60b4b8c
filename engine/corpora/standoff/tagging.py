"""From documents with spans to sentences of words with IOB2 tags."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from biocache.engine.corpora.ner import OUTSIDE
from biocache.engine.corpora.standoff.documents import Document, Passage, Span
from biocache.engine.corpora.standoff.offsets import UNITS
from biocache.engine.corpora.standoff.sentences import split_sentences, split_words
from biocache.engine.corpora.task import Place, RawSplit, Row

__all__ = ["FATES", "tagged"]

#: What becomes of a span, each in the notes of a split; every span of the source is counted once.
FATES = {
    "spans_labelled": "its words are tagged",
    "spans_cutting_words": "it begins or ends within a word, and the whole word is tagged",
    "spans_nested": "left out: within a longer span",
    "spans_overlapping": "left out: shares words with longer spans",
    "spans_discontinuous": "left out: it has several parts",
    "spans_across_sentences": "left out: it begins and ends in different sentences",
    "spans_mismatched": "left out: its text is not what is at its positions",
    "spans_without_words": "left out: nothing but white space is at its positions",
}

_TAGGED = ("spans_labelled", "spans_cutting_words")
_COLUMNS = {"words": "text", "tags": "annotations", "id": "document id", "group": "document id"}


def tagged(place: str, documents: Iterable[Document], skipped: Counter[str]) -> RawSplit:
    """Split documents into sentences and words, and tag the words of their spans.

    Sentences and words depend on the text alone. Where spans share words, the longest is tagged (in characters; of
    equal ones the first in the text, then the first type in alphabetical order).

    Parameters
    ----------
    place
        Where the split is, for messages.
    documents
        The documents, in order. Two may have one id: their sentences are numbered as those of one.
    skipped
        Counts of what the format left out; read after the last document.

    Returns
    -------
    RawSplit
        A row a sentence, with the fields ``words``, ``tags`` (IOB2), ``id`` (document id and number of the sentence)
        and ``group`` (document id). Notes hold every fate of `FATES`, what was skipped, the number of documents whose
        positions count another unit than characters, of documents without words, of documents whose id was used
        before, and of types in whose names white space became ``_``.
    """
    rows: list[Row] = []
    counts: Counter[str] = Counter(dict.fromkeys(FATES, 0))
    numbers: Counter[str] = Counter()
    ids: set[str] = set()
    renamed: set[str] = set()
    for document in documents:
        counts["documents_with_a_used_id"] += document.id in ids
        ids.add(document.id)
        renamed.update(span.type for span in document.spans if span.type != _type_name(span.type))
        if document.unit != UNITS[0].name:
            counts[f"documents_counted_in_{document.unit}"] += 1
        found = list(_sentences(document))
        counts["documents_without_words"] += not found
        tags = _tags(document, found, counts)
        for sentence, own in zip(found, tags, strict=True):
            fields = {
                "words": [document.text[start:end] for start, end in sentence.words],
                "tags": own,
                "id": f"{document.id}-{numbers[document.id]}",
                "group": document.id,
            }
            numbers[document.id] += 1
            rows.append(Row(sentence.place, fields))
    return RawSplit(place, rows, _COLUMNS, {**counts, "types_renamed": len(renamed), **skipped})


@dataclass(frozen=True, slots=True)
class _Sentence:
    words: list[tuple[int, int]]
    place: Place


def _sentences(document: Document) -> Iterator[_Sentence]:
    for passage in document.passages:
        for start, end in _borders(document.text, passage):
            if words := split_words(document.text, start, end):
                lines = document.text.count("\n", passage.start, words[0][0]) if passage.lines else 0
                yield _Sentence(words, Place(passage.place.source, passage.place.number + lines))


def _borders(text: str, passage: Passage) -> list[tuple[int, int]]:
    if passage.sentence:
        return [(passage.start, passage.end)]
    inside = split_sentences(text[passage.start : passage.end])
    return [(passage.start + start, passage.start + end) for start, end in inside]


def _tags(document: Document, sentences: list[_Sentence], counts: Counter[str]) -> list[list[str]]:
    """Return the tags of each sentence's words, and count what became of the spans."""
    words = [word for sentence in sentences for word in sentence.words]
    starts, ends = [start for start, _ in words], [end for _, end in words]
    sentence_of = [index for index, sentence in enumerate(sentences) for _ in sentence.words]
    owners: list[Span | None] = [None] * len(words)
    tags = [OUTSIDE] * len(words)
    for span in sorted(document.spans, key=lambda span: (span.start - span.end, span.start, span.type)):
        # An empty span touches no word, not even one that it is within.
        first = bisect_right(ends, span.start) if span.start < span.end else 0
        covered = slice(first, bisect_left(starts, span.end) if span.start < span.end else 0)
        fate = _fate(span, words[covered], sentence_of[covered], owners[covered])
        counts[fate] += 1
        if fate in _TAGGED:
            kind = _type_name(span.type)
            owners[covered] = [span] * len(words[covered])
            tags[covered] = [f"B-{kind}", *[f"I-{kind}"] * (len(words[covered]) - 1)]
    in_order = iter(tags)
    return [[next(in_order) for _ in sentence.words] for sentence in sentences]


def _fate(
    span: Span, words: Sequence[tuple[int, int]], sentence_of: Sequence[int], owners: Sequence[Span | None]
) -> str:
    """Return what becomes of a span, given the words that it touches and the spans that these already belong to."""
    if not span.agrees:
        return "spans_mismatched"
    if len(span.fragments) > 1:
        return "spans_discontinuous"
    if not words:
        return "spans_without_words"
    if sentence_of[0] != sentence_of[-1]:
        return "spans_across_sentences"
    if any(owner is not None for owner in owners):
        outer = owners[0]
        nested = outer is not None and outer.start <= span.start and span.end <= outer.end
        return "spans_nested" if nested else "spans_overlapping"
    whole = span.start <= words[0][0] and words[-1][1] <= span.end
    return "spans_labelled" if whole else "spans_cutting_words"


def _type_name(kind: str) -> str:
    """Write a type so that it can be part of a tag, which holds no white space."""
    return "_".join(kind.split())
