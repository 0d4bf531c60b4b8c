"""Labels of spans and relations, row by row: each checked against the text that it is of."""

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.errors import DataError
from biocache.store.schema import SPANS
from biocache.store.text import shown

if TYPE_CHECKING:
    from biocache.store.labelling import Label, SplitText

__all__ = ["SPAN_COLUMNS", "SpanRows"]

#: Level -> the columns that say where the spans of a row lie: first word, and the word after the last, of each.
SPAN_COLUMNS = {"spans": ("start", "end"), "relations": ("start1", "end1", "start2", "end2")}


@dataclass(eq=False)
class SpanRows:
    """Labels of spans or relations of a split, in any order.

    Attributes
    ----------
    text
        The text of the split.
    level
        One of `SPANS`.
    labels
        Label of every row.
    places
        Position of its sample, then first word and the one after the last of each span, among the words of the sample.
    """

    text: "SplitText"
    level: str
    labels: "list[Label]" = field(default_factory=list)
    places: list[tuple[int, ...]] = field(default_factory=list)
    _seen: set[tuple[int, ...]] = field(default_factory=set)

    def add(self, at: str, identifier: Any, bounds: list[Any], label: "Label") -> None:
        """Add a row.

        Parameters
        ----------
        at
            Where it came from, for messages.
        identifier
            Id of its sample.
        bounds
            First word and the one after the last of each span, from 0, as numbers or their digits.
        label
            Its label.

        Raises
        ------
        DataError
            If there is no such sample or word, a span is empty or goes on in another text, or the row came before.
        """
        sample = self.text.places.get(identifier)
        if sample is None:
            some = ", ".join(shown(name) for name, _ in self.text.samples[:3])
            raise DataError(
                f"{at}: {self.text.name} has no sample {shown(identifier)} (its ids are {some}, ...); correct the id"
            )
        found = [_position(at, bound) for bound in bounds]
        for first, end in zip(found[::2], found[1::2], strict=True):
            self._require_words(at, sample, first, end)
        place = (sample, *found)
        if place in self._seen:
            raise DataError(
                f"{at}: this {self.level.removesuffix('s')} of sample {shown(identifier)} has a label already; keep one"
            )
        self._seen.add(place)
        self.places.append(place)
        self.labels.append(label)

    def _require_words(self, at: str, sample: int, first: int, end: int) -> None:
        identifier, texts = self.text.samples[sample]
        count = self.text.word_counts[sample]
        span = f"span {first} to {end}"
        if first >= end:
            raise DataError(f"{at}: {span} has no word; its end is the word after its last")
        if first < 0 or end > count:
            raise DataError(
                f"{at}: {span} is not in sample {shown(identifier)}, whose words are 0 to {count - 1}; its end is the "
                "word after its last"
            )
        if any(first < bound < end for bound in accumulate(map(len, texts))):
            sizes = " and ".join(str(len(words)) for words in texts)
            raise DataError(
                f"{at}: {span} of sample {shown(identifier)} goes on in another text; its texts have {sizes} words"
            )

    def arranged(self) -> "tuple[list[Label], NDArray[np.int64], NDArray[np.int64]]":
        """Return labels, places (row, span, bound) and rows of each sample (sample), ordered by sample and place."""
        order = sorted(range(len(self.places)), key=self.places.__getitem__)
        rows = np.array([self.places[row] for row in order], np.int64).reshape(len(order), 1 + 2 * SPANS[self.level])
        counts = np.bincount(rows[:, 0], minlength=len(self.text.samples))
        return [self.labels[row] for row in order], rows[:, 1:].reshape(len(order), -1, 2), counts


def _position(at: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or (not isinstance(value, str) and number != value):
        raise DataError(f"{at}: {shown(value)} is not the position of a word, from 0; correct it")
    return number
