"""Standoff corpora in every format, written from one description; and what becomes of spans, by plain loops."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from biocache.engine.corpora.standoff.sentences import split_sentences, split_words
from biocache.engine.corpora.table import Table
from biocache.engine.corpora.task import Place


@dataclass(frozen=True)
class Written:
    """A document: a title, an abstract, and spans of parts in the text of both with one character between."""

    id: str
    title: str
    abstract: str
    spans: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]

    @property
    def text(self) -> str:
        return f"{self.title} {self.abstract}"

    def mention(self, parts: Sequence[tuple[int, int]]) -> str:
        return " ".join(self.text[start:end] for start, end in parts)


def write_pubtator(path: Path, documents: Sequence[Written]) -> Path:
    lines: list[str] = []
    for document in documents:
        lines += [f"{document.id}|t|{document.title}", f"{document.id}|a|{document.abstract}"]
        for kind, parts in document.spans:
            ((start, end),) = parts
            lines.append("\t".join((document.id, str(start), str(end), document.mention(parts), kind, "D000001")))
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _passages(document: Written) -> list[tuple[int, str]]:
    return [(0, document.title), (len(document.title) + 1, document.abstract)]


def write_bioc_xml(path: Path, documents: Sequence[Written]) -> Path:
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<!DOCTYPE collection SYSTEM "BioC.dtd">', "<collection>"]
    lines.append("<source>PubMed</source><date>2020</date><key>k</key>")
    for document in documents:
        lines.append(f"<document><id>{escape(document.id)}</id>")
        for offset, text in _passages(document):
            lines.append(f'<passage><infon key="type">p</infon><offset>{offset}</offset><text>{escape(text)}</text>')
            for number, (kind, parts) in enumerate(document.spans):
                if offset <= parts[0][0] and (offset or parts[0][0] <= len(text)):
                    lines.append(f'<annotation id="{number}"><infon key="type">{escape(kind)}</infon>')
                    lines += [
                        f'<location offset="{start}" length={quoteattr(str(end - start))}/>' for start, end in parts
                    ]
                    lines.append(f"<text>{escape(document.mention(parts))}</text></annotation>")
            lines.append("</passage>")
        lines.append("</document>")
    lines.append("</collection>")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def bioc_objects(documents: Sequence[Written]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for document in documents:
        annotations = [
            {
                "id": str(number),
                "infons": {"type": kind},
                "text": document.mention(parts),
                "locations": [{"offset": start, "length": end - start} for start, end in parts],
            }
            for number, (kind, parts) in enumerate(document.spans)
        ]
        passages = [
            {"offset": offset, "infons": {}, "text": text, "sentences": [], "annotations": [], "relations": []}
            for offset, text in _passages(document)
        ]
        found.append(
            {"id": document.id, "infons": {}, "passages": passages, "annotations": annotations, "relations": []}
        )
    return found


def write_bioc_json(path: Path, documents: Sequence[Written]) -> Path:
    collection = {"source": "", "date": "", "key": "", "infons": {}, "documents": bioc_objects(documents)}
    path.write_text(json.dumps(collection, indent=1), encoding="utf-8")
    return path


def write_brat(folder: Path, documents: Sequence[Written]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for document in documents:
        (folder / f"{document.id}.txt").write_text(
            f"{document.title}\n{document.abstract}", encoding="utf-8", newline=""
        )
        lines = [
            f"T{number}\t{kind} {';'.join(f'{start} {end}' for start, end in parts)}\t{document.mention(parts)}\n"
            for number, (kind, parts) in enumerate(document.spans, start=1)
        ]
        (folder / f"{document.id}.ann").write_text("".join(lines), encoding="utf-8", newline="")
    return folder


@dataclass(frozen=True)
class Split:
    """The rows of a table with all of its columns, their places, and its notes."""

    rows: list[dict[str, Any]]
    places: list[Place]
    notes: dict[str, int]


def split_of(open_table: Callable[[Path], Table], path: Path) -> Split:
    """Read a table, twice: what is read and counted is the same each time."""
    table = open_table(path)
    found = list(table.rows(table.columns))
    notes = dict(table.notes)
    assert list(table.rows(table.columns)) == found
    assert dict(table.notes) == notes
    rows = [dict(zip(table.columns, values, strict=True)) for _, values in found]
    return Split(rows, [place for place, _ in found], notes)


def fates(split: Split) -> dict[str, int]:
    return {name.removeprefix("spans_"): n for name, n in split.notes.items() if name.startswith("spans_") and n}


def stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out the white space around a span."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def by_loops(document: Written) -> tuple[list[list[str]], list[list[str]], Counter[str]]:
    """Return the words and the tags of every sentence, and what becomes of spans that agree, character by character."""
    text, border = document.text, len(document.title) + 1
    sentences = split_sentences(document.title)
    sentences += [(border + start, border + end) for start, end in split_sentences(document.abstract)]
    sentence_of = {at: n for n, (start, end) in enumerate(sentences) for at in range(start, end)}
    words = [[(start, end) for start, end in split_words(text, *sentence)] for sentence in sentences]
    word_at = {at: word for sentence in words for word in sentence for at in range(*word)}
    painted: dict[int, tuple[int, int, str]] = {}
    counts: Counter[str] = Counter()
    spans = [(kind, stripped(text, *parts[0])) for kind, parts in document.spans]
    for kind, (start, end) in sorted(spans, key=lambda span: (span[1][0] - span[1][1], span[1][0], span[0])):
        solid = [at for at in range(start, end) if not text[at].isspace()]
        whole = {at for touched in solid for at in range(*word_at[touched])}
        others = {painted[at] for at in whole if at in painted}
        if not solid:
            counts["without_words"] += 1
        elif sentence_of[solid[0]] != sentence_of[solid[-1]]:
            counts["across_sentences"] += 1
        elif others:
            nested = any(first <= start and end <= last for first, last, _ in others)
            counts["nested" if nested else "overlapping"] += 1
        else:
            counts["labelled" if whole == set(solid) else "cutting_words"] += 1
            painted |= dict.fromkeys(whole, (start, end, kind))
    tags = [["O"] * len(sentence) for sentence in words]
    begun: set[tuple[int, int, str]] = set()
    for row, sentence in zip(tags, words, strict=True):
        for place, (start, _) in enumerate(sentence):
            if start in painted:
                row[place] = f"{'I' if painted[start] in begun else 'B'}-{painted[start][2]}"
                begun.add(painted[start])
    return (
        [[text[start:end] for start, end in sentence] for sentence in words if sentence],
        [t for t in tags if t],
        counts,
    )
