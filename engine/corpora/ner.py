"""Named-entity recognition: sentences whose tags spell entities, in IOB2 whatever they were written in."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from biocache.engine.corpora.sentences import TAG_COLUMNS, WORD_COLUMNS, read_sentences
from biocache.engine.corpora.tag_schemes import (
    Trigrams,
    count_repairs,
    recognise,
    to_iob2,
    trigrams_of,
    with_prefixes,
)
from biocache.engine.corpora.task import ReadSplit, Task
from biocache.store.errors import DataError
from biocache.store.schema import OUTSIDE
from biocache.store.text import shown

__all__ = ["NER", "settle_entities"]


def settle_entities(read: Mapping[str, ReadSplit], _kind: str | None = None) -> list[str]:
    """Convert the tags of all splits to IOB2, from the scheme that fits them together.

    Parameters
    ----------
    read
        The splits, whose samples are replaced; their notes count ``repaired_tags``, which are against the scheme.

    Returns
    -------
    list of str
        What a user should know of it: the scheme, where it is not IOB2.

    Raises
    ------
    DataError
        If a tag is of no scheme, or no scheme has the prefixes of all tags.
    """
    first = {tag: place for part in reversed([*read.values()]) for tag, place in part.first.items()}
    written, lacks = with_prefixes(first)
    by_split = {split: _trigrams(part, written) for split, part in read.items()}
    scheme = recognise(sum(map(Counter, by_split.values()), Counter()))
    if not scheme:
        by_prefix = {str(written[tag])[0]: tag for tag in reversed([*first]) if tag != OUTSIDE}
        prefix, tag = max(by_prefix.items())
        problem = f"tag {shown(tag)}: no scheme has {prefix} beside {', '.join(sorted(by_prefix.keys() - {prefix}))}"
        raise DataError(f"{first[tag]}: {problem}; write O, B-TYPE or I-TYPE")
    for split, part in read.items():
        repairs = count_repairs(by_split[split], scheme)
        if scheme != "IOB2" or lacks or repairs:
            _convert(part, written)
        part.notes["repaired_tags"] = repairs
    said = [f"tags have {lacks}"] if lacks else []
    return said if scheme == "IOB2" else [f"tags are {scheme}, converted to IOB2", *said]


def _trigrams(part: ReadSplit, written: Mapping[str | None, str | None]) -> Trigrams:
    """Return the tags of a split with their neighbours, with prefixes and types, and how often each is there."""
    found: Counter[tuple[str | None, str | None, str | None]] = Counter()
    read = trigrams_of(one.tags for one in part.samples if one.tags is not None)
    for (before, tag, after), count in read.items():
        found[written[before], written[tag], written[after]] += count
    return found


def _convert(part: ReadSplit, written: Mapping[str | None, str | None]) -> None:
    """Write the tags of a split in IOB2; equal sequences of tags are one object."""
    known: dict[tuple[str | None, ...], tuple[str | None, ...]] = {}
    for at, one in enumerate(part.samples):
        if one.tags is not None:
            tags = known.get(one.tags)
            if tags is None:
                tags = known[one.tags] = tuple(to_iob2([written[tag] for tag in one.tags]))
            part.samples[at] = replace(one, tags=tags)


NER = Task(
    name="ner",
    views={"sentence": (0,)},
    labelled="words",
    texts=("words",),
    columns={"words": WORD_COLUMNS, "tags": TAG_COLUMNS},
    label_field="tags",
    read=read_sentences,
    settle=settle_entities,
    expected_files="train.conll, validation.conll, test.conll",
    iob2=True,
    default_dataset="tner/bionlp2004",
)
