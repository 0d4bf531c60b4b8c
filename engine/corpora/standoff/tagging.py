"""From documents with spans to sentences of words with IOB2 tags."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from biocache.engine.corpora.standoff.documents import Document, Passage, Span
from biocache.engine.corpora.standoff.offsets import UNITS
from biocache.engine.corpora.standoff.sentences import split_sentences, split_words
from biocache.engine.corpora.task import Place, Row
from biocache.store.schema import OUTSIDE

__all__ = ["FATES", "NOTES", "tagged"]

#: What becomes of a span, and how a count of such spans is written. Every span of a source has one of these fates.
FATES: Mapping[str, str] = {
    "spans_labelled": "spans labelled",
    "spans_cutting_words": "spans that cut a word labelled with the whole word",
    "spans_nested": "spans within longer ones left out",
    "spans_overlapping": "spans that share words with longer ones left out",
    "spans_discontinuous": "spans of several parts left out",
    "spans_across_sentences": "spans across sentences left out",
    "spans_mismatched": "spans whose text is not at their positions left out",
    "spans_without_words": "spans without words left out",
}

#: Everything else that is counted of standoff corpora, and how.
NOTES: Mapping[str, str] = {
    **FATES,
    "documents_with_a_used_id": "documents with the id of an earlier one",
    "documents_without_words": "documents without words left out",
    "documents_without_annotations": "documents without a file of annotations",
    "types_renamed": "types with white space in their names, written with _",
    "skipped_annotations_without_location": "annotations without a location skipped",
    "skipped_relations": "relations skipped",
    "skipped_equivalences": "equivalences skipped",
    "skipped_events": "events skipped",
    "skipped_attributes": "attributes skipped",
    "skipped_normalizations": "normalizations skipped",
    "skipped_comments": "comments skipped",
    **{f"documents_in_{unit.name}": f"documents whose positions count {unit.counts}" for unit in UNITS[1:]},
}

_TAGGED = ("spans_labelled", "spans_cutting_words")


def tagged(documents: Iterable[Document], notes: Counter[str]) -> Iterator[Row]:
    """Split documents into sentences and words, and tag the words of their spans.

    Sentences and words depend on the text alone. Where spans share words, the longest is tagged (in characters; of
    equal ones the first in the text, then the first type in alphabetical order).

    Parameters
    ----------
    documents
        The documents, in order. Two may have one id: their sentences are numbered as those of one.
    notes
        Where counts are added, by the names in `NOTES`; complete after the last row.

    Yields
    ------
    Row
        A sentence, with the fields ``words``, ``tags`` (IOB2), ``id`` (document id and number of the
        sentence in it) and ``group`` (document id).
    """
    numbers: Counter[str] = Counter()
    ids: set[str] = set()
    renamed: set[str] = set()
    for document in documents:
        notes["documents_with_a_used_id"] += document.id in ids
        ids.add(document.id)
        renamed.update(span.type for span in document.spans if span.type != _type_name(span.type))
        notes["types_renamed"] = len(renamed)
        if document.unit != UNITS[0].name:
            notes[f"documents_in_{document.unit}"] += 1
        found = list(_sentences(document))
        notes["documents_without_words"] += not found
        for sentence, own in zip(found, _tags(document, found, notes), strict=True):
            fields = {
                "words": [document.text[start:end] for start, end in sentence.words],
                "tags": own,
                "id": f"{document.id}-{numbers[document.id]}",
                "group": document.id,
            }
            numbers[document.id] += 1
            yield Row(sentence.place, fields)


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


def _tags(document: Document, sentences: list[_Sentence], notes: Counter[str]) -> list[list[str]]:
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
        notes[fate] += 1
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
