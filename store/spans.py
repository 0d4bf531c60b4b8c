"""Spans and relations: entity mentions and pairs of them, each with its words, label and text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.store.data import RunData
from biocache.store.errors import SettingError
from biocache.store.labels import Labels
from biocache.store.reducing import reduced_spans
from biocache.store.schema import OUTSIDE, POOLINGS, entity_type
from biocache.store.text import shown
from biocache.store.views import hidden_dataset

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Spans", "relation_labels", "relation_view", "sample_of", "span_labels", "span_texts", "span_view"]

# What a place of a relation is called in its view.
_ENDS = ("first", "second")


@dataclass(frozen=True, eq=False)
class Spans:
    """Rows of spans that have tokens, in their order, with their hidden states.

    Attributes
    ----------
    hidden
        float32 (layer, row, span and feature), lazy.
    kept
        Position of every row among those of the labels, int64 (row).
    sample
        Position of its sample, int64 (row).
    first, count
        Position of the first word among all words of the run, and number of words, of its spans; int64 (row, span).
    text
        Their words, joined by blanks, object (row, span).
    """

    hidden: Any
    kept: NDArray[np.int64]
    sample: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    text: NDArray[np.object_]


def span_labels(run: RunData, name: str) -> Labels:
    """Return the spans of a run, each with its type: those of a set of spans, or those that labels of words spell.

    IOB2 tags begin one with ``B-X``, or with an ``I-X`` that continues nothing, as the CoNLL shared tasks read them; of
    classes, a stretch of words of one class, but for ``O``, is a span. None goes on in another text.

    Raises
    ------
    SettingError
        If the set labels something else, or words with numbers.
    RunNotFoundError, DataError, IntegrityError
        As `RunData.labels`.
    """
    found = run.labels(name)
    if found.level == "spans":
        return found
    if found.level != "words" or found.kind == "number":
        what = found.level if found.level != "words" else "words with numbers"
        raise SettingError(f"label set {shown(name)} labels {what}, and spans are made of tags or classes of words")
    kind, begins = _kinds(found)
    sample, segment = run.column("words/sample").astype(np.int64), run.column("words/segment")
    inside = kind >= 0
    starts = np.ones(len(kind), np.bool_)
    starts[1:] = (kind[1:] != kind[:-1]) | (sample[1:] != sample[:-1]) | (segment[1:] != segment[:-1])
    starts = (starts | begins) & inside
    first = np.flatnonzero(starts)
    # A span ends where the next begins, or the first word outside of all.
    bounds = np.append(np.flatnonzero(starts | ~inside), len(kind))
    end = bounds[np.searchsorted(bounds, first, side="right")]
    places = np.stack([first, end], axis=-1)[:, np.newaxis]
    return Labels(name, "spans", "class", tuple(_types(found)), kind[first], places)


def relation_labels(run: RunData, name: str) -> Labels:
    """Return the relations of a run, of a set of them.

    Raises
    ------
    SettingError
        If the set labels something else.
    RunNotFoundError, DataError, IntegrityError
        As `RunData.labels`.
    """
    found = run.labels(name)
    if found.level != "relations":
        raise SettingError(f"label set {shown(name)} labels {found.level}, not relations between spans of words")
    return found


def _types(labels: Labels) -> list[str]:
    return sorted({_type(labels, name) for name in labels.names} - {OUTSIDE})


def _type(labels: Labels, name: str) -> str:
    return entity_type(name) if labels.kind == "iob2" else name


def _kinds(labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the type of every word, as a position in the sorted types, -1 for none, and whether its tag begins one."""
    types = _types(labels)
    codes = [types.index(_type(labels, name)) if _type(labels, name) != OUTSIDE else -1 for name in labels.names]
    starts = [labels.kind == "iob2" and name.startswith("B-") for name in labels.names]
    return np.array([*codes, -1], np.int64)[labels.values], np.array([*starts, False], np.bool_)[labels.values]


def sample_of(run: RunData, labels: Labels) -> NDArray[np.int64]:
    """Return the position of the sample of each row of spans (row)."""
    if labels.places is None:
        raise ValueError(f"labels of {labels.level} have no places")
    return run.column("words/sample")[labels.places[:, 0, 0]].astype(np.int64)


def span_texts(run: RunData, labels: Labels) -> NDArray[np.object_]:
    """Return the words of each span, joined by blanks, object (row, span)."""
    if labels.places is None:
        raise ValueError(f"labels of {labels.level} have no places")
    words = run.column("words/word_text").tolist()
    bounds = labels.places.reshape(-1, 2).tolist()
    texts = [" ".join(words[first:end]) for first, end in bounds]
    return np.array(texts, dtype=object).reshape(labels.places.shape[:2])


def _spans(run: RunData, labels: Labels, pooling: str) -> Spans:
    if labels.places is None:
        raise ValueError(f"labels of {labels.level} have no places")
    sample = sample_of(run, labels)
    hidden, kept = reduced_spans(run, labels.places, run.plan.sample_pack[sample], pooling)
    first, end = labels.places[kept, :, 0], labels.places[kept, :, 1]
    return Spans(hidden, kept, sample[kept], first, end - first, span_texts(run, labels)[kept])


def _require_pooling(pooling: str, of: str) -> None:
    if pooling not in POOLINGS:
        raise SettingError(f"pooling {pooling!r} of {of} is not one of {', '.join(POOLINGS)}")


def span_view(run: RunData, name: str, pooling: str) -> "xr.Dataset":
    """Return hidden states by span; see `Run.spans`."""
    _require_pooling(pooling, "spans")
    run.require("hidden")
    labels = span_labels(run, name)
    spans = _spans(run, labels, pooling)
    coordinates: dict[str, Any] = {
        "span": ("span", spans.kept, {"long_name": "position among all spans of the run, lost ones counted"}),
        "sample": ("span", spans.sample, {"long_name": "position of the span's sample along sample"}),
        "word": ("span", spans.first[:, 0], {"long_name": "position of the span's first word along word"}),
        "word_count": ("span", spans.count[:, 0], {"long_name": "words of the span"}),
        "type": ("span", labels.texts[spans.kept], {"long_name": f"type of the span in label set {name}"}),
        "text": ("span", spans.text[:, 0], {"long_name": "words of the span, joined by blanks"}),
    }
    dataset = hidden_dataset(run, "span", spans.hidden, pooling, coordinates)
    return dataset.assign_attrs(spans_lost=len(labels.values) - len(spans.kept))


def relation_view(run: RunData, name: str, layers: Sequence[int] | None, pooling: str) -> "xr.Dataset":
    """Return hidden states by relation; see `Run.relations`."""
    _require_pooling(pooling, "relations")
    run.require("hidden")
    missing = [layer for layer in layers or () if layer not in run.spec.layers]
    if missing:
        raise SettingError(
            f"layer {missing[0]} is not stored in run {run.key}; it has {', '.join(map(str, run.spec.layers))}"
        )
    labels = relation_labels(run, name)
    spans = _spans(run, labels, pooling)
    coordinates: dict[str, Any] = {
        "relation": (
            "relation",
            spans.kept,
            {"long_name": "position among all relations of the run, lost ones counted"},
        ),
        "sample": ("relation", spans.sample, {"long_name": "position of the relation's sample along sample"}),
        "label": ("relation", labels.texts[spans.kept], {"long_name": f"label of label set {name}"}),
    }
    for place, end in enumerate(_ENDS):
        coordinates |= {
            f"{end}_word": (
                "relation",
                spans.first[:, place],
                {"long_name": f"position of the {end} span's first word along word"},
            ),
            f"{end}_word_count": ("relation", spans.count[:, place], {"long_name": f"words of the {end} span"}),
            f"{end}_text": ("relation", spans.text[:, place], {"long_name": f"words of the {end} span"}),
        }
    dataset = hidden_dataset(run, "relation", spans.hidden, pooling, coordinates)
    chosen = dataset if layers is None else dataset.sel(layer=list(layers))
    return chosen.assign_attrs(relations_lost=len(labels.values) - len(spans.kept))
