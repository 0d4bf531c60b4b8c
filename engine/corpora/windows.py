"""Texts that are longer than a model, cut into windows that overlap and begin and end between words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.corpora.words import Row
from biocache.store.errors import DataError, SettingError

__all__ = ["cut_words", "require_stride", "windows_of"]


def require_stride(stride: int, max_length: int, room: int, view: str) -> None:
    """Refuse windows that overlap by all tokens of text that fit one.

    Raises
    ------
    SettingError
        If `stride` is not below `room`.
    """
    if stride >= room:
        raise SettingError(
            f"--stride {stride} is not below {room}, the tokens of text that fit --max-length {max_length} in view "
            f"{view!r} beside the special tokens; pass --stride={room - 1} or less"
        )


def cut_words(sizes: Sequence[int], room: int, stride: int) -> list[range]:
    """Cut the words of a text into windows, each as long as it can be.

    A window begins with the last word from which on at least `stride` tokens of the one before are repeated; later,
    where the first word that is new would not fit otherwise.

    Parameters
    ----------
    sizes
        Tokens of every word, from 1 to `room`.
    room
        Most tokens of a window.
    stride
        Tokens by which windows overlap, below `room`.

    Returns
    -------
    list of range
        The words of each window.
    """
    start = np.concatenate(([0], np.cumsum(sizes)))
    windows: list[range] = []
    begin = 0
    while True:
        end = int(np.searchsorted(start, start[begin] + room, side="right")) - 1
        windows.append(range(begin, end))
        if end == len(sizes):
            return windows
        overlapping = int(np.searchsorted(start, start[end] - stride, side="right")) - 1
        fitting = int(np.searchsorted(start, start[end + 1] - room, side="left"))
        begin = max(overlapping, fitting)


def windows_of(row: Any, limit: int, stride: int, identifier: str, view: str) -> list[Row]:
    """Cut an encoded sample into its windows, each with the special tokens of the whole.

    Of a pair the longer text is cut, of equal ones the first, and the other is whole in each window. A word of the cut
    text that is longer than a window loses its last tokens.

    Parameters
    ----------
    row
        The sample, whole, with the attributes of a `tokenizers.Encoding`.
    limit
        Most tokens of a window, special tokens included.
    stride
        Tokens of the cut text by which its windows overlap.
    identifier, view
        Id of the sample and name of its view, for messages.

    Returns
    -------
    list of Row
        The windows; where a word lost tokens, the first says so by what is overflowing.

    Raises
    ------
    DataError
        If the other text of a pair leaves no room for such windows.
    """
    text = np.array([-1 if one is None else one for one in row.sequence_ids])
    long = int(np.count_nonzero(text == 1) > np.count_nonzero(text == 0))
    place = np.flatnonzero(text == long)
    room = limit - (len(text) - len(place))
    if stride >= room:
        raise DataError(
            f"sample {identifier!r} does not fit windows in view {view!r}: beside its shorter text, of "
            f"{np.count_nonzero(text == 1 - long)} tokens, {max(0, room)} fit, and --stride is {stride}; pass a "
            "smaller --stride or a larger --max-length, remove the sample, or leave --stride out to cut both texts"
        )
    words = np.array([row.word_ids[at] for at in place])
    first = np.flatnonzero(np.diff(words, prepend=-1))
    size = np.diff(np.append(first, len(words)))
    fits = np.minimum(size, room)
    before, after = np.arange(place[0]), np.arange(place[-1] + 1, len(text))
    rows = []
    for number, window in enumerate(cut_words(fits.tolist(), room, stride)):
        own = [place[first[word] : first[word] + fits[word]] for word in window]
        lost = [None] * int((size - fits).sum()) if number == 0 else []
        rows.append(_taken(row, np.concatenate([before, *own, after]), lost))
    return rows


def _taken(row: Any, places: NDArray[np.int64], lost: list[None]) -> Row:
    def column(values: Sequence[Any]) -> list[Any]:
        return [values[place] for place in places.tolist()]

    return Row(
        ids=column(row.ids),
        type_ids=column(row.type_ids),
        sequence_ids=column(row.sequence_ids),
        word_ids=column(row.word_ids),
        overflowing=lost,
    )
