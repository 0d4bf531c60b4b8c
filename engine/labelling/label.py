"""`label`: add a label set to the text of a store."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from biocache.engine.corpora.labels import is_number
from biocache.engine.labelling.files import files_of_splits, labels_of_file
from biocache.engine.labelling.request import LabelRequest
from biocache.engine.labelling.rules import labels_of_property, labels_of_python, labels_of_words
from biocache.engine.plugins import function_of
from biocache.engine.request import in_words_of
from biocache.engine.sources import named
from biocache.store.catalog import Store
from biocache.store.errors import AmbiguousRunError, DataError, RunNotFoundError
from biocache.store.label_sets import LabelPlace
from biocache.store.labelling import SplitText, add_labels, split_text
from biocache.store.labels import LabelSet
from biocache.store.schema import OUTSIDE
from biocache.store.span_rows import SpanRows
from biocache.store.storage import StorePlace
from biocache.store.text import shown

__all__ = ["Labelled", "label"]


@dataclass(frozen=True)
class Labelled:
    """A label set that was added.

    Attributes
    ----------
    place
        What names it.
    labels
        The set.
    remarks
        What a user should know of it.
    """

    place: LabelPlace
    labels: LabelSet
    remarks: tuple[str, ...]


@in_words_of(LabelRequest)
def label(store: StorePlace, name: str, request: LabelRequest) -> list[Labelled]:
    """Add a label set to the text that the runs of a store have read, for one or more splits.

    Labels of all splits are read and checked before the first is kept.

    Parameters
    ----------
    store
        The store.
    name
        Name of the label set.
    request
        Which text, and with what.

    Returns
    -------
    list of Labelled
        One for each split.

    Raises
    ------
    BiocacheError
        If the store has no such text, labels are malformed or of another text, or there is another set of this name.
    """
    opened = Store.open(store)
    task, dataset, splits = _text_of(opened, request)
    for split in splits:
        LabelPlace(task, dataset, split, name)
    made = _made(opened, name, request, task, dataset, splits)
    kinds = {_kind_of(_labels_in(values), request, level) for _, level, values, _ in made}
    if len(kinds) > 1:
        raise DataError(
            f"the labels are {' in one split and '.join(sorted(kinds))} in another; give all splits labels of one kind"
        )
    (kind,) = kinds
    found = []
    for text, level, values, source in made:
        own = _as_numbers(values) if kind == "numbers" else values
        kept = add_labels(
            opened.storage,
            name,
            own,
            task=task,
            dataset=dataset,
            split=text.split,
            level=level,
            iob2=kind == "IOB2 tags",
            overwrite=request.overwrite,
            source=source,
        )
        found.append(Labelled(LabelPlace(task, dataset, text.split, name), kept, tuple(_remarks(kept, kind))))
    return found


def _labels_in(values: Any) -> Sequence[Any]:
    found: Sequence[Any] = values.labels if isinstance(values, SpanRows) else values
    return found


def _as_numbers(values: Any) -> Any:
    numbers: list[Any] = [None if value is None else float(value) for value in _labels_in(values)]
    return replace(values, labels=numbers) if isinstance(values, SpanRows) else numbers


def _text_of(store: Store, request: LabelRequest) -> tuple[str, str, list[str]]:
    """Return the task, the dataset and the splits of the text."""
    datasets = named("dataset", None if request.dataset is None else [request.dataset])
    keys = store.keys(task=request.task, dataset=datasets, split=request.splits)
    if not keys:
        asked = " ".join(filter(None, [request.task, request.dataset, *(request.splits or ())])) or "any text"
        raise RunNotFoundError(
            f"{store.storage} has no run of {asked} to label; `biocache ls` lists what there is, `biocache extract` "
            "adds to it"
        )
    both = sorted({(key.task, key.dataset) for key in keys})
    if len(both) > 1:
        have = ", ".join(f"{task} of {dataset}" for task, dataset in both)
        raise AmbiguousRunError(f"{store.storage} holds runs of {have}; name one with --task and --dataset")
    there = list(dict.fromkeys(key.split for key in keys))
    absent = [split for split in request.splits or () if split not in there]
    if absent:
        raise RunNotFoundError(f"{store.storage} has no {absent[0]} run of {both[0][1]}; it has {', '.join(there)}")
    return *both[0], there


def _made(
    store: Store, name: str, request: LabelRequest, task: str, dataset: str, splits: Sequence[str]
) -> list[tuple[SplitText, str, list[Any] | SpanRows, str]]:
    """Return the text of each split, the level of its labels, the labels, and where they are from."""
    if request.file is not None:
        files = files_of_splits(request, splits)
        texts = [split_text(store.storage, task, dataset, split) for split in files]
        return [
            (text, *labels_of_file(text, path, name, request), str(path))
            for text, path in zip(texts, files.values(), strict=True)
        ]
    texts = [split_text(store.storage, task, dataset, split) for split in splits]
    if request.property is not None:
        everywhere = [
            split_text(store.storage, task, dataset, split)
            for split in dict.fromkeys(key.split for key in store.keys(task=task, dataset=dataset))
        ]
        values = labels_of_property(everywhere, request.property)
        by_split = {text.split: own for text, own in zip(everywhere, values, strict=True)}
        return [(text, "words", by_split[text.split], f"the property {request.property}") for text in texts]
    if request.from_words is not None:
        return [(text, "words", labels_of_words(text, request.from_words), request.from_words) for text in texts]
    place = request.from_python or ""
    function = function_of(place)
    level = request.level or "word"
    return [(text, f"{level}s", labels_of_python(text, function, place, level), place) for text in texts]


def _kind_of(values: Sequence[Any], request: LabelRequest, level: str) -> str:
    """Return what labels are: numbers, IOB2 tags or classes."""
    known = {value for value in values if value is not None}
    if all(isinstance(value, float | int) and not isinstance(value, bool) for value in known):
        return "numbers"
    if request.file is not None and all(is_number(value) for value in known if isinstance(value, str | float)):
        # Whole numbers are classes where a corpus has them; a label set is asked for by name, and means its numbers.
        return "numbers"
    tags = {value for value in known if isinstance(value, str)}
    spelled = {tag for tag in tags if tag[:2] in ("B-", "I-") and len(tag) > 2}
    if level == "words" and spelled and (request.iob2 or tags - spelled <= {OUTSIDE}):
        strange = sorted(tags - spelled - {OUTSIDE})
        if strange:
            raise DataError(f"tag {shown(strange[0])} is not IOB2; use O, B-TYPE or I-TYPE, or leave --iob2 out")
        return "IOB2 tags"
    if request.iob2:
        raise DataError("none of the labels is an IOB2 tag, B-TYPE or I-TYPE; leave --iob2 out")
    return "classes"


def _remarks(labels: LabelSet, kind: str) -> list[str]:
    """Say what was not labelled, and what the labels were taken for."""
    known = labels.known
    said = [f"labels are {kind}"] if kind != "classes" else []
    if missing := int((~known).sum()):
        said.append(f"{missing:,} of {len(known):,} {labels.level} have no label")
    if kind == "classes" and len(labels.names) == 1:
        said.append(f"all labels are {shown(labels.names[0])}, one class only")
    return said
