"""Adding labels to the text of a split: by sample, word, span or relation, or in the order of the corpus."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from biocache.store.catalog import Store
from biocache.store.digests import SampleRow, sample_rows
from biocache.store.errors import DataError, RunNotFoundError, SettingError
from biocache.store.label_sets import LabelPlace, keep_labels
from biocache.store.labels import LabelSet
from biocache.store.reading import Run
from biocache.store.schema import GOLD, SPANS, VIEW_TEXTS, WHOLE_VIEWS
from biocache.store.span_rows import SPAN_COLUMNS, SpanRows
from biocache.store.storage import Storage, StorePlace, open_storage
from biocache.store.text import counted, shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SplitText", "add_labels", "plain_label", "split_text"]

#: A label: a class, a number, or nothing.
Label = str | float | None
_LEVELS = ("words", "samples")
_COLUMNS = ("sample_id", "word", "label")


@dataclass(frozen=True, eq=False)
class SplitText:
    """The text of a split, as the runs of a store have it.

    Attributes
    ----------
    task, dataset, split
        Of the runs.
    samples
        Id and words of each text of every sample, in their order.
    """

    task: str
    dataset: str
    split: str
    samples: tuple[SampleRow, ...]

    @cached_property
    def places(self) -> dict[str, int]:
        """Position of each sample, by its id."""
        return {identifier: place for place, (identifier, _) in enumerate(self.samples)}

    @cached_property
    def word_counts(self) -> list[int]:
        """Words of every sample, those of all its texts."""
        return [sum(map(len, texts)) for _, texts in self.samples]

    def words(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield each word with all words of its text, in their order."""
        for _, texts in self.samples:
            for text in texts:
                for word in text:
                    yield word, text

    @property
    def name(self) -> str:
        """The split, as messages name it."""
        return f"{self.task} {self.dataset} {self.split}"


def split_text(storage: Storage, task: str, dataset: str, split: str) -> SplitText:
    """Return the text of a split: that of the run with the most samples.

    Raises
    ------
    RunNotFoundError
        If no run, or not the runs of all texts of a sample, have it.
    """
    runs = Store(storage).select(task=task, dataset=dataset, split=split)
    by_text: dict[tuple[int, ...], Run] = {}
    for run in runs:
        texts = VIEW_TEXTS[run.key.view]
        if texts not in by_text or run.counts.samples > by_text[texts].counts.samples:
            by_text[texts] = run
    whole = next((run for run in by_text.values() if run.key.view in WHOLE_VIEWS), None)
    if whole is not None:
        return SplitText(task, dataset, split, tuple(sample_rows(whole)))
    if (0,) in by_text and (1,) in by_text:
        second = dict(sample_rows(by_text[1,]))
        both = ((name, [*texts, *second[name]]) for name, texts in sample_rows(by_text[0,]) if name in second)
        return SplitText(task, dataset, split, tuple(both))
    raise RunNotFoundError(
        f"{storage} has no run that holds all text of {task} {dataset} {split}; `biocache ls` lists what there is, "
        "`biocache extract` adds to it"
    )


def plain_label(value: Any) -> Label:
    """Return a label as text, number or None; NaN, None and empty text are no label.

    Raises
    ------
    DataError
        If it is something else.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, str):
        return value
    # What pandas has for a missing value is equal to nothing.
    if value != value:
        return None
    raise DataError(f"label {shown(value)} is neither text nor a number; give a class, a number or None")


def add_labels(
    store: StorePlace,
    name: str,
    labels: "pd.DataFrame | Mapping[str, Any] | Iterable[Any] | SpanRows",
    *,
    task: str,
    dataset: str,
    split: str,
    level: str | None = None,
    iob2: bool = False,
    overwrite: bool = False,
    source: str = "Python",
) -> LabelSet:
    """Add a label set to the text of a split.

    Parameters
    ----------
    store
        The store; it has a run of the split.
    name
        Name of the label set; `gold` is that of the corpus.
    labels
        By sample: a mapping of ids to a label, or to a label for each word; or a frame with the columns ``sample_id``
        and ``label``, and for labels of words ``word``, the position in the sample from 0. In the order of the corpus:
        a label for each word or sample, or a sequence of the labels of its words for each sample. A label is text, a
        number, or None (NaN, empty) for none; a sample or word that is not named has none. Labels of spans are a frame
        with the columns ``sample_id``, ``start``, ``end`` and ``label``, those of relations between two spans with
        ``sample_id``, ``start1``, ``end1``, ``start2``, ``end2`` and ``label``: the first word of a span, and the one
        after its last, positions in the sample from 0.
    task, dataset, split
        Of the runs.
    level
        ``words``, ``samples``, ``spans`` or ``relations``; None for words or samples, as the labels tell.
    iob2
        Whether labels are IOB2 tags.
    overwrite
        Whether to replace a set of this name that says something else.
    source
        Where they came from, for people.

    Returns
    -------
    LabelSet
        The set as the store has it now.

    Raises
    ------
    SettingError
        If the name or the level cannot be used.
    DataError
        If labels are not of what this text has, or are neither text nor numbers.
    RunNotFoundError
        If the store has no run of the split.
    SpecMismatchError
        If there is another set of this name.
    """
    storage = open_storage(store)
    place = LabelPlace(task, dataset, split, name)
    if level not in (None, *_LEVELS, *SPANS):
        raise SettingError(f"level {shown(level)} of labels is not one of {', '.join((*_LEVELS, *SPANS))}")
    text = split_text(storage, task, dataset, split)
    if level in SPANS:
        made = _of_spans(name, _span_rows(text, labels, level, iob2=iob2), source)
    else:
        found, values = _arranged(text, labels, level)
        made = LabelSet.make(name, found, values, text.samples, iob2=iob2, source=source)
    if not made.known.any():
        raise DataError(
            f"label set {shown(name)} labels no {made.level.removesuffix('s')} of {text.name}; check its ids"
        )
    return keep_labels(storage, place, made, overwrite=overwrite)


def _of_spans(name: str, rows: SpanRows, source: str) -> LabelSet:
    if name == GOLD:
        raise SettingError(f"label set {GOLD} is the dataset's own; give a set of {rows.level} another name")
    labels, places, counts = rows.arranged()
    return LabelSet.make(name, rows.level, labels, rows.text.samples, source=source, places=places, row_counts=counts)


def _span_rows(text: SplitText, labels: Any, level: str, *, iob2: bool) -> SpanRows:
    """Return the labels of spans or relations, each row checked."""
    if iob2:
        raise SettingError(f"IOB2 tags are of words, and level says {level}; leave iob2 out")
    if isinstance(labels, SpanRows):
        return labels
    wanted = ("sample_id", *SPAN_COLUMNS[level], "label")
    missing = [name for name in wanted if name not in getattr(labels, "columns", ())]
    if missing:
        has = f"it has {', '.join(map(str, labels.columns))}" if hasattr(labels, "columns") else "it is no frame"
        raise DataError(
            f"the frame of labels of {level} has no column {missing[0]!r} ({has}); name its columns {', '.join(wanted)}"
        )
    rows = SpanRows(text, level)
    for number, (identifier, *bounds, label) in enumerate(
        zip(*(labels[name].tolist() for name in wanted), strict=True)
    ):
        rows.add(f"row {number}", identifier, bounds, plain_label(label))
    return rows


def _arranged(text: SplitText, labels: Any, level: str | None) -> tuple[str, list[Label]]:
    """Return the level, and a label for each word or sample of a text."""
    if hasattr(labels, "columns"):
        return _of_frame(text, labels, level)
    if isinstance(labels, Mapping):
        return _of_mapping(text, labels, level)
    if hasattr(labels, "to_numpy"):
        labels = labels.to_numpy()
    values = list(labels)
    if values and all(_is_sequence(value) for value in values):
        ids = [identifier for identifier, _ in text.samples]
        _require_count(text, len(values), len(ids), "samples")
        return _of_mapping(text, dict(zip(ids, values, strict=True)), level)
    counts = {"words": sum(text.word_counts), "samples": len(text.samples)}
    fitting = [each for each in _LEVELS if counts[each] == len(values) and level in (None, each)]
    if len(fitting) > 1:
        raise SettingError(
            f"{len(values):,} labels may be of the words or of the samples of {text.name}, which has as many of both; "
            "say which with level"
        )
    if not fitting:
        raise DataError(
            f"{len(values):,} labels are neither one for each of the {counts['samples']:,} samples of {text.name} nor "
            f"for each of its {counts['words']:,} words; give them by sample id"
        )
    return fitting[0], list(map(plain_label, values))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)


def _require_count(text: SplitText, found: int, expected: int, what: str) -> None:
    if found != expected:
        raise DataError(f"there are labels for {found:,} {what}, and {text.name} has {expected:,}; give one for each")


def _of_mapping(text: SplitText, labels: Mapping[Any, Any], level: str | None) -> tuple[str, list[Label]]:
    by_word = [_is_sequence(value) for value in labels.values()]
    if any(by_word) != all(by_word):
        raise DataError("some samples have one label and others a label a word; give all of them in one way")
    own = "words" if any(by_word) else "samples"
    if level not in (None, own):
        raise SettingError(f"the labels are of {own}, and level says {level}; leave it out")
    _refuse_unknown(text, labels)
    if own == "samples":
        return own, [plain_label(labels.get(identifier)) for identifier, _ in text.samples]
    values: list[Label] = []
    for (identifier, _), count in zip(text.samples, text.word_counts, strict=True):
        given = labels.get(identifier)
        if given is None:
            values += [None] * count
            continue
        if len(given) != count:
            raise DataError(
                f"sample {shown(identifier)} of {text.name} has {counted(count, 'word')} and "
                f"{counted(len(given), 'label')}; give one a word"
            )
        values += map(plain_label, given)
    return own, values


def _refuse_unknown(text: SplitText, ids: Iterable[Any]) -> None:
    strange = next((identifier for identifier in ids if identifier not in text.places), None)
    if strange is not None:
        some = ", ".join(shown(identifier) for identifier, _ in text.samples[:3])
        raise DataError(f"{text.name} has no sample {shown(strange)} (its ids are {some}, ...); correct the id")


def _of_frame(text: SplitText, frame: Any, level: str | None) -> tuple[str, list[Label]]:
    missing = [name for name in ("sample_id", "label") if name not in frame.columns]
    if missing:
        raise DataError(
            f"the frame of labels has no column {missing[0]!r} (it has {', '.join(map(str, frame.columns))}); name its "
            f"columns {', '.join(_COLUMNS)}"
        )
    own = "words" if "word" in frame.columns else "samples"
    if level not in (None, own):
        raise SettingError(
            f"the frame of labels is of {own}, and level says {level}; "
            + ("add the column 'word'" if level == "words" else "drop the column 'word'")
        )
    ids, labels = frame["sample_id"].tolist(), frame["label"].tolist()
    _refuse_unknown(text, ids)
    sizes = text.word_counts if own == "words" else [1] * len(text.samples)
    begins = np.cumsum([0, *sizes])
    words = frame["word"].tolist() if own == "words" else [0] * len(ids)
    values: list[Label] = [None] * int(begins[-1])
    taken = [False] * len(values)
    for row, (identifier, label) in enumerate(zip(ids, labels, strict=True)):
        place = text.places[identifier]
        word = words[row]
        if isinstance(word, str) or int(word) != word or not 0 <= word < sizes[place]:
            raise DataError(
                f"row {row}: sample {shown(identifier)} of {text.name} has no word {shown(word)}; its words are 0 to "
                f"{sizes[place] - 1}"
            )
        at = int(begins[place]) + int(word)
        if taken[at]:
            raise DataError(f"row {row}: a label for this {own.removesuffix('s')} came before; keep one of them")
        taken[at], values[at] = True, plain_label(label)
    return own, values
