"""Sentences with any tag a word: parts of speech, morphology, chunks, or no tags at all."""

from collections.abc import Mapping

from biocache.engine.corpora.sentences import TAG_COLUMNS, WORD_COLUMNS, read_sentences
from biocache.engine.corpora.task import ReadSplit, Task

__all__ = ["TOKENS", "settle_tags"]


def settle_tags(_read: Mapping[str, ReadSplit], _kind: str | None = None) -> list[str]:
    """Leave the tags of all splits as they are: each is a class."""
    return []


TOKENS = Task(
    name="tokens",
    views={"sentence": (0,)},
    labelled="words",
    texts=("words",),
    columns={
        "words": WORD_COLUMNS,
        "tags": (
            "tags",
            "postags",
            "upos",
            "pos",
            "xpos",
            "chunktags",
            *(name for name in TAG_COLUMNS if name != "tags"),
        ),
    },
    label_field="tags",
    read=read_sentences,
    settle=settle_tags,
    expected_files="train.conllu, dev.conllu, test.conllu, or train.conll, ...",
    no_default="task tokens has no default dataset; pass --dataset=FOLDER, or the id of one on the hub",
)
