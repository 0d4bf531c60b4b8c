"""Where the spans of a label set lie: checked against the words of the samples, and joined to those of a run."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biocache.store.schema import SPANS, VIEW_TEXTS

if TYPE_CHECKING:
    from biocache.store.data import RunData

__all__ = ["places_in_run", "places_problem", "text_of_spans"]


def text_of_spans(places: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the text, among those of its sample, that the first word of each span is in (row, span).

    Parameters
    ----------
    places
        First word and the one after the last, among the words of the sample (row, span, bound).
    counts
        Words of each text of the sample of a row (row, text).
    """
    ends = np.cumsum(counts, axis=1)
    found: NDArray[np.int64] = (places[:, :, :1] >= ends[:, np.newaxis, :]).sum(axis=-1)
    return found


def places_problem(level: str, places: NDArray[np.int64], counts: NDArray[np.int64]) -> str:
    """Return what is wrong with the places of the rows of a label set; empty for nothing.

    Parameters
    ----------
    level
        One of `SPANS`.
    places, counts
        As of `text_of_spans`.
    """
    if places.shape != (len(counts), SPANS[level], 2):
        return f"its places are {places.shape}"
    first, end = places[..., 0], places[..., 1]
    ends = np.cumsum(counts, axis=1)
    if ((first < 0) | (first >= end) | (end > ends[:, -1:])).any():
        return "a span is empty, or ends after its sample"
    text = text_of_spans(places, counts)
    if (end > np.take_along_axis(ends, text, axis=1)).any():
        return "a span goes on in another text"
    return ""


def places_in_run(
    places: NDArray[np.int64], counts: NDArray[np.int64], sample: NDArray[np.int64], run: "RunData"
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return places among all words of a run, and which rows have all their words in it.

    Parameters
    ----------
    places, counts
        As of `text_of_spans`, of the texts of the split.
    sample
        Position of the sample in the run (row).
    run
        The run, whose view may have one of several texts.

    Returns
    -------
    places
        int64 (row, span, bound).
    held
        bool (row).
    """
    texts = list(VIEW_TEXTS[run.key.view])
    held = np.zeros(counts.shape, np.bool_)
    held[:, texts] = True
    # Words before each text: in the sample as the split has it, and as the run has it.
    before = np.cumsum(counts, axis=1) - counts
    kept = np.where(held, counts, 0)
    shift = np.cumsum(kept, axis=1) - kept - before
    text = text_of_spans(places, counts)
    begin = run.column("samples/word_start")[sample].astype(np.int64)
    moved = np.take_along_axis(shift, text, axis=1) + begin[:, np.newaxis]
    lost = np.take_along_axis(~held, text, axis=1).sum(axis=1)
    return places + moved[..., np.newaxis], lost == 0
