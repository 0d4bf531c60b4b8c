"""Label sets: named labels of what a split holds, joined to the runs that read the same text.

They are of its words or samples, or of spans of words: entity mentions, or relations between two of them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from biocache.store.digests import text_digests
from biocache.store.errors import DataError, SettingError
from biocache.store.placed import places_in_run, places_problem
from biocache.store.ragged import ranges
from biocache.store.schema import KINDS, OUTSIDE, SPANS, VIEW_TEXTS, entity_type
from biocache.store.text import shown

if TYPE_CHECKING:
    from biocache.store.data import RunData

__all__ = [
    "LabelSet",
    "Labels",
    "ordered",
    "refuse_name",
]


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of classes in their order: ``O`` first, the others sorted."""
    return tuple(sorted(set(names), key=lambda name: (name != OUTSIDE, name)))


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of the words, samples, spans or relations of one run, in their order.

    Attributes
    ----------
    name
        Name of the label set.
    level
        What a row is: ``words``, ``samples``, ``spans`` or ``relations``.
    kind
        One of `KINDS`.
    names
        Names of the classes; none where labels are numbers.
    values
        int64 (row), positions in `names`, -1 for a row without label; or float64 (row), NaN for one.
    places
        Where the spans of a row lie: first word, and the word after the last, among all words of the run; int64
        (row, span, bound). None for words and samples.
    """

    name: str
    level: str
    kind: str
    names: tuple[str, ...]
    values: NDArray[Any]
    places: NDArray[np.int64] | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether a row has a label (row)."""
        return np.isfinite(self.values) if self.kind == "number" else self.values >= 0

    @property
    def texts(self) -> NDArray[Any]:
        """The labels as a view shows them (row): text, empty for none; or float64, NaN for none."""
        return self.values if self.kind == "number" else np.array([*self.names, ""], dtype=object)[self.values]

    def merged(self) -> Self:
        """Return IOB2 tags merged by entity type; labels of other kinds as they are."""
        if self.kind != "iob2":
            return self
        return replace(self.recoded(ordered(map(entity_type, self.names)), entity_type), kind="class")

    def recoded(self, names: tuple[str, ...], change: Any = str) -> Self:
        """Return classes as positions in other names, which have all of them after a change."""
        place = {name: position for position, name in enumerate(names)}
        codes = np.array([*(place[change(name)] for name in self.names), -1], np.int64)
        return replace(self, names=names, values=codes[self.values])

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the labels of these rows: what decides the numbers that are computed from them."""
        sha = hashlib.sha256("\0".join((self.level, self.kind, *self.names)).encode("utf-8", "surrogatepass"))
        sha.update(self.values.astype("<f8" if self.kind == "number" else "<i8").tobytes())
        if self.places is not None:
            sha.update(self.places.astype("<i8").tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Named labels of the words, samples, spans or relations of a split, whatever runs there are.

    Attributes
    ----------
    name
        Its name.
    level, kind, names, values
        As of `Labels`, for all rows of the split; a sample's words are those of its texts in their order.
    sample_ids
        object (sample).
    text_digests
        uint64 (sample, text), by which labels are joined to runs of the same text only.
    word_counts
        int64 (sample, text).
    source
        Where they came from, for people.
    places
        As of `Labels`, but among the words of the sample; the rows of a sample are in their order.
    row_counts
        Spans or relations of every sample, int64 (sample); None for words and samples.
    """

    name: str
    level: str
    kind: str
    names: tuple[str, ...]
    values: NDArray[Any]
    sample_ids: NDArray[Any]
    text_digests: NDArray[np.uint64]
    word_counts: NDArray[np.int64]
    source: str
    places: NDArray[np.int64] | None = None
    row_counts: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        rows = int(self.sample_rows.sum())
        known = self.level in ("words", "samples", *SPANS) and self.kind in KINDS
        if not known or self.values.shape != (rows,) or len(self.sample_rows) != len(self.sample_ids):
            raise ValueError(f"label set {self.name} has {self.values.shape} labels of {rows:,} {self.level}")
        if (self.level in SPANS) != (self.places is not None):
            raise ValueError(f"label set {self.name} of {self.level} does not say where they lie")
        if self.places is not None:
            counts = np.repeat(self.word_counts, self.sample_rows, axis=0)
            problem = places_problem(self.level, self.places, counts)
            if problem:
                raise ValueError(f"label set {self.name}: {problem}")
        if self.kind != "number" and self.values.size and not -1 <= self.values.min() <= self.values.max() < self.size:
            raise ValueError(f"label set {self.name} has labels without a name")
        if len(set(self.sample_ids)) < len(self.sample_ids):
            raise ValueError(f"label set {self.name} names a sample twice")

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether a word or sample has a label (row)."""
        return Labels(self.name, self.level, self.kind, self.names, self.values).known

    @property
    def size(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def sample_rows(self) -> NDArray[np.int64]:
        """Rows of every sample, int64 (sample)."""
        if self.row_counts is not None:
            return self.row_counts
        words: NDArray[np.int64] = self.word_counts.sum(axis=1)
        return np.ones(len(self.sample_ids), np.int64) if self.level == "samples" else words

    @classmethod
    def make(
        cls,
        name: str,
        level: str,
        labels: Sequence[str | float | None],
        samples: Iterable[tuple[str, Sequence[Sequence[str]]]],
        *,
        iob2: bool = False,
        source: str = "",
        places: NDArray[np.int64] | None = None,
        row_counts: NDArray[np.int64] | None = None,
    ) -> Self:
        """Make a label set.

        Parameters
        ----------
        name, level, source, places, row_counts
            As the attributes.
        labels
            Label of every row; None for none. Texts are classes; whole and other numbers are numbers.
        samples
            Id and words of each text of every sample.
        iob2
            Whether texts are IOB2 tags.

        Raises
        ------
        DataError
            If some labels are text and others numbers, or a number is not finite.
        """
        rows = list(samples)
        kind, names, values = _coded(name, labels, iob2=iob2)
        texts = max((len(parts) for _, parts in rows), default=1)
        counts = np.array([[len(words) for words in parts] for _, parts in rows], np.int64).reshape(len(rows), texts)
        return cls(
            name=name,
            level=level,
            kind=kind,
            names=names,
            values=values,
            sample_ids=np.array([identifier for identifier, _ in rows], dtype=object),
            text_digests=text_digests(parts for _, parts in rows).reshape(len(rows), texts),
            word_counts=counts,
            source=source,
            places=places,
            row_counts=row_counts,
        )

    def of_run(self, run: "RunData") -> Labels:
        """Return the labels of a run; words and samples that the set does not have are without label.

        Of spans and relations there are those whose words are all in the run.

        Raises
        ------
        DataError
            If the run read another text; the message names the first sample.
        """
        positions = VIEW_TEXTS[run.key.view]
        ids = run.column("samples/sample_id")
        place = self._places(ids)
        found = place >= 0
        if found.any():
            own = run.text_digests
            other = self.text_digests[place[found]][:, list(positions)]
            unlike = np.flatnonzero((own[found] != other).any(axis=1))
            if unlike.size:
                sample = ids[found][unlike[0]]
                raise DataError(
                    f"label set {shown(self.name)} of {run.key.task} {run.key.dataset} {run.key.split} is of another "
                    f"text than run {run.key}: sample {shown(sample)} differs; make the label set again for this text "
                    "with `biocache label`, or extract the run again"
                )
        if self.places is not None:
            return self._placed(run, self.places, place)
        empty = np.nan if self.kind == "number" else -1
        if self.level == "samples":
            values = np.append(self.values, empty)[place]
        else:
            values = np.append(self.values, empty)[self._word_rows(run, place, positions)]
        return Labels(self.name, self.level, self.kind, self.names, values)

    def _places(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """Return the position of each id in the set (sample), -1 for none."""
        if len(ids) <= len(self.sample_ids) and np.array_equal(ids, self.sample_ids[: len(ids)]):
            return np.arange(len(ids))
        known = self._known
        return np.array([known.get(identifier, -1) for identifier in ids], np.int64)

    @cached_property
    def _known(self) -> dict[str, int]:
        return {identifier: place for place, identifier in enumerate(self.sample_ids)}

    def _word_rows(self, run: "RunData", place: NDArray[np.int64], positions: Sequence[int]) -> NDArray[np.int64]:
        """Return the row in the set of each word of a run, -1 for words of samples that it does not have."""
        ends = np.cumsum(self.word_counts.ravel()).reshape(self.word_counts.shape)
        begins = ends - self.word_counts
        # One word at least for every sample that is not there: their own count.
        counts = np.where((place >= 0)[:, np.newaxis], self.word_counts[place][:, list(positions)], 0)
        lost = run.column("samples/word_count").astype(np.int64) * (place < 0)
        starts = begins[place][:, list(positions)]
        sizes = np.column_stack([counts, lost]).ravel()
        firsts = np.column_stack([starts, np.zeros(len(place), np.int64)]).ravel()
        missing = np.repeat(np.tile([False] * len(positions) + [True], len(place)), sizes)
        rows = ranges(firsts, sizes)
        return np.where(missing, -1, rows)

    def _placed(self, run: "RunData", places: NDArray[np.int64], place: NDArray[np.int64]) -> Labels:
        """Return the spans or relations of a run, in the order of its samples."""
        known = np.flatnonzero(place >= 0)
        own = self._rows_of_samples()
        parts = [np.arange(own[at].start, own[at].stop) for at in place[known].tolist()]
        rows = np.concatenate([np.empty(0, np.int64), *parts])
        sample = np.repeat(known, [len(part) for part in parts])
        found, held = places_in_run(places[rows], self.word_counts[place[sample]], sample, run)
        return Labels(self.name, self.level, self.kind, self.names, self.values[rows][held], found[held])

    def joined(self, other: Self) -> Self | None:
        """Return the set with the samples of another that it lacks; None where the two disagree on a sample."""
        if (self.level, self.kind) != (other.level, other.kind) or self.word_counts.shape[1:] != (
            other.word_counts.shape[1:]
        ):
            return None
        place = self._places(other.sample_ids)
        names = ordered({*self.names, *other.names}) if self.kind != "number" else ()
        mine, theirs = (one._values_in(names) for one in (self, other))
        shared = place >= 0
        if (self.text_digests[place[shared]] != other.text_digests[shared]).any():
            return None
        own, their = self._rows_of_samples(), other._rows_of_samples()
        for at, (here, old) in enumerate(zip(shared, place, strict=True)):
            if here and not (
                np.array_equal(mine[own[old]], theirs[their[at]], equal_nan=self.kind == "number")
                and _same_places(self.places, other.places, own[old], their[at])
            ):
                return None
        new = np.flatnonzero(~shared)
        if not new.size:
            return self
        added = [their[at] for at in new]

        def both(mine: NDArray[Any] | None, theirs: NDArray[Any] | None, rows: list[Any]) -> Any:
            return None if mine is None or theirs is None else np.concatenate([mine, *(theirs[each] for each in rows)])

        return replace(
            self,
            names=names,
            values=both(mine, theirs, added),
            sample_ids=both(self.sample_ids, other.sample_ids, [new]),
            text_digests=both(self.text_digests, other.text_digests, [new]),
            word_counts=both(self.word_counts, other.word_counts, [new]),
            places=both(self.places, other.places, added),
            row_counts=both(self.row_counts, other.row_counts, [new]),
        )

    def _values_in(self, names: tuple[str, ...]) -> NDArray[Any]:
        if self.kind == "number":
            return self.values
        return Labels(self.name, self.level, self.kind, self.names, self.values).recoded(names).values

    def _rows_of_samples(self) -> list[slice]:
        """Return where the labels of each sample lie."""
        sizes = self.sample_rows.tolist()
        return [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _same_places(first: Any, second: Any, own: slice, their: slice) -> bool:
    return first is None or np.array_equal(first[own], second[their])


def _coded(name: str, labels: Sequence[str | float | None], *, iob2: bool) -> tuple[str, tuple[str, ...], NDArray[Any]]:
    """Return kind, names and values of labels."""
    texts = {label for label in labels if isinstance(label, str)}
    number = next((label for label in labels if label is not None and not isinstance(label, str)), None)
    if texts and number is not None:
        raise DataError(
            f"label set {shown(name)} holds text ({shown(min(texts))}) and numbers ({shown(number)}); write all labels "
            "as text, or all as numbers"
        )
    if number is not None:
        values = np.array([np.nan if label is None else label for label in labels], np.float64)
        if np.isinf(values).any():
            raise DataError(f"label set {shown(name)} holds a number that is not finite; leave such labels empty")
        return "number", (), values
    names = ordered(texts)
    code: dict[Any, int] = {None: -1} | {text: place for place, text in enumerate(names)}
    return "iob2" if iob2 else "class", names, np.fromiter((code[label] for label in labels), np.int64, len(labels))


# What the views of a run call their own coordinates and dimensions.
_TAKEN = frozenset(
    chain(
        ("layer", "head", "feature", "entry", "token", "word", "sample", "hidden", "attention", "row_size", "label"),
        ("text", "segment", "position", "token_count", "word_count", "token_id", "token_text", "special", "sample_id"),
        ("truncated", "model", "trained_on", "training_size", "seed", "split", "view", "task", "dataset", "value_norm"),
    )
)


def refuse_name(name: str) -> None:
    """Refuse a name that a coordinate of a view has already.

    Raises
    ------
    SettingError
        If it is such a name.
    """
    if name in _TAKEN:
        raise SettingError(f"{shown(name)} is a coordinate of every view; give the label set another name")
