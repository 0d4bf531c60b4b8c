"""The request of `biocache label`."""

from dataclasses import dataclass
from pathlib import Path

from biocache.engine.corpora.base import SPLITS, TASKS
from biocache.engine.request import Request, option
from biocache.engine.selection import selector
from biocache.store.errors import SettingError

__all__ = ["LEVELS", "PROPERTIES", "LabelRequest"]

LEVELS = ("word", "sample", "span", "relation")
#: What words are like without anybody's annotation.
PROPERTIES = ("length", "position", "frequency", "capitals")
_SOURCES = ("file", "from_words", "from_python", "property")


@dataclass(frozen=True, kw_only=True)
class LabelRequest(Request):
    """Which text to label, and with what.

    Attributes
    ----------
    task, dataset, splits
        Of the runs whose text is labelled; None for the only task and dataset of the store, and for all splits that it
        has. A file that is one split's needs that split.
    file
        A file, or a folder with a file for each split: tagged words of the same text; or a table with labels by sample
        id, by sample id and position of the word, or beside the texts themselves. Of spans a table with the columns
        ``sample_id``, ``start``, ``end`` and ``label``, of relations between two spans with ``sample_id``, ``start1``,
        ``end1``, ``start2``, ``end2`` and ``label``: first word, and the one after the last, in the sample from 0.
    level
        ``word``, ``sample``, ``span`` or ``relation``; None for words or samples, as the file tells.
    column
        Column of the labels: its name, or its number from 1; None for its usual name, or the last.
    id_column
        Column of the ids of samples; None for its usual name.
    from_words
        A regular expression: the words that it matches as a whole are ``yes``, others ``no``, or what the group that
        matched is called. Or a file that is a lexicon: a term a line, and after a tab its class.
    from_python
        ``module:function``, a function of a word and of all words of its text, or at the level of samples of the words
        of all its texts, that returns a label: text, a number, or None.
    property
        One of `PROPERTIES`: the number of a word's characters; its position in its text, from 0; the logarithm to base
        10 of how often it occurs in all splits, without regard to case; how it is capitalised.
    iob2
        Whether the labels of a file are IOB2 tags; None where they tell it.
    overwrite
        Whether to replace a set of this name that says something else.

    Raises
    ------
    SettingError
        If there is no source of labels, or more than one.
    """

    task: str | None = selector(choices=tuple(TASKS), help="Task of the runs.", unset="the only one")
    dataset: str | None = selector(metavar="NAME", help="Dataset of the runs.", unset="the only one")
    splits: tuple[str, ...] | None = selector(flag="--split", choices=SPLITS, help="Splits.", unset="all in the store")
    file: Path | None = option(None, help="File of labels, or a folder with a file for each split.")
    level: str | None = option(
        None,
        choices=LEVELS,
        help="What is labelled; spans and relations need a --file.",
        unset="word or sample, as the labels tell",
    )
    column: str | None = option(None, metavar="NAME|N", help="Column of the labels.", unset="by its name")
    id_column: str | None = option(None, metavar="NAME|N", help="Column of the samples' ids.", unset="by its name")
    from_words: str | None = option(
        None, metavar="REGEX|LEXICON", help="Label words by a regular expression, or by a file of terms."
    )
    from_python: str | None = option(
        None, metavar="MODULE:FUNCTION", help="Label by a function of the word and its sentence."
    )
    property: str | None = option(None, choices=PROPERTIES, help="Label words by what they are like.")
    iob2: bool = option(False, help="Labels are IOB2 tags, also where some do not fit.")
    overwrite: bool = option(False, help="Replace a label set of this name.")

    def check(self) -> None:
        """Refuse none or several sources of labels, and what does not go with them."""
        given = [f"--{name.replace('_', '-')}" for name in _SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in _SOURCES)
            raise SettingError(f"labels come from {' and '.join(given) or 'nowhere'}; give one of {flags}")
        for name in ("column", "id_column"):
            if getattr(self, name) is not None and self.file is None:
                raise SettingError(f"--{name.replace('_', '-')} is for a --file; leave it out")
        if self.level not in (None, "word") and (self.from_words or self.property):
            raise SettingError(f"{given[0]} labels words, and --level is {self.level}; leave it out")
        if self.level in ("span", "relation") and self.from_python:
            raise SettingError(
                f"{given[0]} labels words or samples, and --level is {self.level}; give a --file of them"
            )
