"""Named-entity recognition: IOB2-tagged sentences, checked and repaired."""

import re
from collections.abc import Sequence

from biocache.engine.corpora.task import Place, RawSplit, ReadSplit, Row, Sample, Task
from biocache.store.errors import DataError
from biocache.store.schema import OUTSIDE, entity_type
from biocache.store.text import shown

__all__ = ["NER", "read_sentences", "repair_iob2"]

# A type named O would be merged with the class of words outside of entities.
_TAG = re.compile(r"O|[BI]-(?!O\Z)\S+")


def repair_iob2(tags: Sequence[str]) -> tuple[list[str], int]:
    """Make every entity of a sentence begin with a ``B-`` tag.

    Parameters
    ----------
    tags
        Tags of one sentence, each ``O``, ``B-X`` or ``I-X``; shape (word,).

    Returns
    -------
    repaired
        The tags, in which every ``I-X`` follows a ``B-X`` or ``I-X`` of its own type; shape (word,).
    count
        Number of ``I-X`` that became ``B-X``.
    """
    repaired = list(tags)
    count = 0
    inside = OUTSIDE
    for position, tag in enumerate(tags):
        current = entity_type(tag)
        if tag[0] == "I" and current != inside:
            repaired[position] = f"B-{current}"
            count += 1
        inside = current
    return repaired, count


def read_sentences(split: str, raw: RawSplit) -> ReadSplit:
    """Check the rows of a split and make samples of them.

    Parameters
    ----------
    split
        The split's name, the stem of its samples' ids: ``train-0``, ``train-1``, ...
    raw
        Rows with the fields ``words`` and ``tags``. A row with neither is left out and counted, as
        repeated blank lines are in a file.

    Returns
    -------
    ReadSplit
        One sample a sentence; its notes count ``repaired_tags`` and ``empty_sentences``.

    Raises
    ------
    DataError
        If words or tags are not text, differ in number, if a word is empty or holds white space, if a tag
        is not IOB2, or if there is no sentence.
    """
    samples: list[Sample] = []
    places: list[Place] = []
    repairs = empty = 0
    tags_seen: set[str] = set()
    for row in raw.rows:
        words, tags = _text_list(row, "words"), _text_list(row, "tags")
        if not words and not tags:
            empty += 1
            continue
        _check_words(row.place, words, tags)
        _check_tags(row.place, words, tags, tags_seen)
        repaired, count = repair_iob2(tags)
        repairs += count
        samples.append(Sample(f"{split}-{len(samples)}", (tuple(words),), tags=tuple(repaired)))
        places.append(row.place)
    if not samples:
        raise DataError(f"{raw.place}: no sentence in the {split} split; give it at least one tagged sentence")
    notes = {**raw.notes, "repaired_tags": repairs, "empty_sentences": empty}
    return ReadSplit(tuple(samples), tuple(places), notes)


NER = Task(
    name="ner",
    views={"sentence": (0,)},
    labelled="words",
    read=read_sentences,
    columns={"words": ("tokens", "words"), "tags": ("tags", "ner_tags", "labels")},
    label_column="tags",
    files=("{}.conll",),
    expected_files="train.conll, validation.conll, test.conll",
    iob2=True,
    default_dataset="tner/bionlp2004",
)


def _text_list(row: Row, name: str) -> list[str]:
    values = row.fields[name]
    if not isinstance(values, list):
        raise DataError(f"{row.place.at()}: {name} are {shown(values)}, not a list; list one a word")
    for offset, value in enumerate(values):
        if not isinstance(value, str):
            place = row.place.at(offset)
            raise DataError(f"{place}: {shown(value)} among the {name} is not text; give {name} as strings")
    return values


def _check_words(place: Place, words: list[str], tags: list[str]) -> None:
    if len(words) != len(tags):
        raise DataError(f"{place.at()}: {len(words)} words but {len(tags)} tags; give every word one tag")
    # Fast path: one split checks all words of a sentence.
    if " ".join(words).split() == words:
        return
    for offset, word in enumerate(words):
        if not word:
            raise DataError(f"{place.at(offset)}: empty word; write the word, or remove the row")
        if word.split() != [word]:
            problem = f"word {shown(word)} holds white space"
            raise DataError(f"{place.at(offset)}: {problem}; split it into words or remove the character")


def _check_tags(place: Place, words: list[str], tags: list[str], seen: set[str]) -> None:
    if seen.issuperset(tags):
        return
    for offset, tag in enumerate(tags):
        if not _TAG.fullmatch(tag):
            problem = f"tag {shown(tag)} of word {shown(words[offset])} is not IOB2"
            raise DataError(f"{place.at(offset)}: {problem}; use O, B-TYPE or I-TYPE")
    seen.update(tags)
