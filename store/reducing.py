"""Reducing: lazy hidden states of words, samples and spans, from what a run keeps, a block for each pack."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biocache.store.coding import Coded
from biocache.store.data import RunData
from biocache.store.levels import refuse_level, require_tokens, rows_of_samples, rows_of_words
from biocache.store.ragged import ranges, reduce_members, reduce_segments

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["reduced_samples", "reduced_spans", "reduced_words", "require_words"]


def reduced_words(run: RunData, pooling: str, *, over_windows: bool) -> "tuple[NDArray[np.int64], da.Array]":
    """Return the words that have tokens, and their hidden states.

    Parameters
    ----------
    run
        The run.
    pooling
        ``mean``, ``first`` or ``last``.
    over_windows
        Whether to take the mean over the windows that have a word, instead of the one in which it has most context.

    Returns
    -------
    kept
        Positions of the words, ascending, int64 (word).
    hidden
        float32 (layer, word, feature).

    Raises
    ------
    SettingError
        If the run keeps too little of its tokens.
    """
    require_words(run, "words", pooling)
    if over_windows:
        require_tokens(run, "a mean over windows")
    sample = run.column("words/sample")
    if run.spec.level == "word":
        kept, rows, counts, _ = rows_of_words(run, pooling)
        return kept, _reduced_members(run, rows, counts, run.plan.sample_pack[sample[kept]], pooling)
    word = _word_of_copies(run, pooling) if over_windows else _word_of_tokens(run)
    kept = np.unique(word[word >= 0])
    # A word's rank among those that have tokens; the last entry is for tokens of no word.
    rank = np.full(run.counts.words + 1, -1)
    rank[kept] = np.arange(len(kept))
    return kept, _reduced(run, rank[word], run.plan.sample_pack[sample[kept]], "mean" if over_windows else pooling)


def require_words(run: RunData, wanted: str, pooling: str) -> None:
    """Refuse a run that keeps samples, and a maximum over tokens of one that keeps words.

    Raises
    ------
    SettingError
        If it is such a run.
    """
    if run.spec.level == "sample":
        raise refuse_level(run, wanted, "word")
    if pooling == "max":
        require_tokens(run, f"a maximum over the tokens of {wanted}")


def reduced_samples(run: RunData, pooling: str, *, special_tokens: bool) -> "da.Array":
    """Return hidden states of samples, float32 (layer, sample, feature); see `Run.samples`.

    Raises
    ------
    SettingError
        If the run keeps too little of its tokens.
    """
    plan, samples = run.plan, run.counts.samples
    if run.spec.level == "sample":
        there, rows = rows_of_samples(run, pooling, special_tokens=special_tokens)
        return _reduced_members(run, rows[there], there.astype(np.int64), plan.sample_pack, "first")
    if run.spec.level == "word":
        require_words(run, "samples", pooling)
        if special_tokens:
            require_tokens(run, "samples with special tokens")
        if pooling == "mean":
            word, rows = _members(run, pooling)
        else:
            word, rows = _ends_of_samples(run, pooling)
        counts = np.bincount(run.column("words/sample")[word], minlength=samples)
        return _reduced_members(run, rows, counts, plan.sample_pack, pooling)
    group = np.repeat(np.arange(samples), plan.tokens.count)
    if run.spec.stride is not None:
        group[~run.counted_once(pooling)] = -1
    if not special_tokens:
        group[run.token_column("tokens/special")] = -1
    return _reduced(run, group, plan.sample_pack, pooling)


def _ends_of_samples(run: RunData, pooling: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, of a run of words, the first or last word of each sample that has tokens, and its row (kept sample)."""
    counted = np.flatnonzero(run.counted_once(pooling) & ~run.token_column("tokens/special").astype(bool))
    sample = np.repeat(np.arange(run.counts.samples), run.plan.tokens.count)[counted]
    edge = np.ones(len(counted), np.bool_)
    edge[slice(1, None) if pooling == "first" else slice(-1)] = np.diff(sample) != 0
    token = counted[edge]
    word = run.token_column("tokens/word")[token].astype(np.int64)
    context = run.context
    end = context.start[word] + (0 if pooling == "first" else context.count[word] - 1)
    if not np.array_equal(end, token):
        # A text that is whole in each window: a word of it is read from another window than the sample.
        require_tokens(run, f"the {pooling} token of samples in windows")
    kept, rows, _, _ = rows_of_words(run, pooling)
    return word, rows[np.searchsorted(kept, word)]


def _members(run: RunData, pooling: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what is kept of the tokens of all words, ordered by word: the word of each, and its row (member).

    Of a run of words it is a row of each word, for ``mean`` its rows as often as it has tokens: their mean is that of
    the tokens.
    """
    if run.spec.level == "word":
        kept, rows, counts, tokens = rows_of_words(run, pooling)
        return np.repeat(kept, tokens), np.repeat(rows, np.repeat(tokens // counts, counts))
    word = _word_of_tokens(run)
    # The words of a window may come before those of an earlier one, of another text.
    token = np.argsort(word, kind="stable")[np.count_nonzero(word < 0) :]
    return word[token], token


def reduced_spans(
    run: RunData, places: NDArray[np.int64], row_pack: NDArray[np.int64], pooling: str
) -> "tuple[da.Array, NDArray[np.int64]]":
    """Reduce hidden states to rows of one or more spans of words, side by side, a block of rows for each pack.

    Parameters
    ----------
    run
        The run.
    places
        First word and the one after the last of each span, among all words of the run (row, span, bound).
    row_pack
        Pack of every row (row); it never decreases.
    pooling
        How the tokens of a span are reduced.

    Returns
    -------
    hidden
        float32 (layer, kept row, span and feature).
    kept
        Rows whose spans all have tokens, ascending, int64 (kept row).

    Raises
    ------
    SettingError
        If the run keeps too little of its tokens.
    """
    require_words(run, "spans of words", pooling)
    word, member = _members(run, pooling)
    begin, end = (np.searchsorted(word, places[..., bound]) for bound in (0, 1))
    kept = np.flatnonzero((end > begin).all(axis=1))
    first, counts = begin[kept].ravel(), (end - begin)[kept].ravel()
    members = member[ranges(first, counts)]
    return _reduced_members(run, members, counts, row_pack[kept], pooling, spans=places.shape[1]), kept


def _reduce_members_block(
    hidden: NDArray[np.floating] | Coded,
    members: NDArray[np.int64],
    counts: NDArray[np.int64],
    pooling: str,
    spans: int,
) -> NDArray[np.float32]:
    rows = reduce_members(hidden, members[0, :, 0], counts[0, :, 0], pooling)
    return rows.reshape(1, len(rows) // spans, spans * hidden.shape[1])


def _reduced_members(
    run: RunData,
    members: NDArray[np.int64],
    counts: NDArray[np.int64],
    row_pack: NDArray[np.int64],
    pooling: str,
    *,
    spans: int = 1,
) -> "da.Array":
    """Reduce what a run keeps to rows of one or more spans, side by side, a block for each pack.

    Parameters
    ----------
    run
        The run.
    members
        What each span is reduced from, as positions among all rows that the run keeps, one span after another (member).
    counts
        Members of every span (row and span).
    row_pack
        Pack of every row (row); it never decreases.
    pooling
        How a span is reduced.
    spans
        Spans of a row.
    """
    import dask.array as da

    hidden, packs = _rows(run), run.plan.pack_count
    span_pack = np.repeat(row_pack, spans)
    # Positions in the pack, so that blocks are independent.
    members = members - np.repeat((np.cumsum(hidden.chunks[1]) - hidden.chunks[1])[span_pack], counts)
    member_sizes = np.bincount(np.repeat(span_pack, counts), minlength=packs)
    span_sizes = np.bincount(span_pack, minlength=packs)
    parts = [
        da.from_array(values[np.newaxis, :, np.newaxis], chunks=(1, tuple(sizes.tolist()), 1), name=False)
        for values, sizes in ((members, member_sizes), (counts, span_sizes))
    ]
    width = spans * run.spec.feature_size
    return da.map_blocks(
        _reduce_members_block,
        hidden,
        *parts,
        pooling=pooling,
        spans=spans,
        chunks=(hidden.chunks[0], tuple((span_sizes // spans).tolist()), (width,)),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )


def _rows(run: RunData) -> "da.Array":
    """Return what a run keeps of hidden states, lazy; see `Chunks.lazy_rows`."""
    run.require("hidden")
    return run.chunks("hidden").lazy_rows()


def _reduce_block(
    hidden: NDArray[np.floating] | Coded,
    group: NDArray[np.integer],
    pooling: str,
    group_counts: tuple[int, ...],
    block_id: tuple[int, ...],
) -> NDArray[np.float32]:
    return reduce_segments(hidden, group[0, :, 0], group_counts[block_id[1]], pooling)[np.newaxis]


def _reduced(run: RunData, group: NDArray[np.int64], group_pack: NDArray[np.int64], pooling: str) -> "da.Array":
    """Reduce hidden states to groups, a block of groups for each block of tokens.

    Parameters
    ----------
    run
        The run.
    group
        Group of every token (token), -1 for none.
    group_pack
        Pack of every group (group); it never decreases.
    pooling
        How a group is reduced.
    """
    import dask.array as da

    hidden = _rows(run)
    group_counts = np.bincount(group_pack, minlength=run.plan.pack_count)
    first = np.cumsum(group_counts) - group_counts
    # Positions in the pack, so that blocks are independent. The last entry is for tokens of no group.
    within = np.append(np.arange(len(group_pack)) - first[group_pack], -1)[group]
    counts = tuple(group_counts.tolist())
    return da.map_blocks(
        _reduce_block,
        hidden,
        da.from_array(within[np.newaxis, :, np.newaxis], chunks=(1, hidden.chunks[1], 1), name=False),
        pooling=pooling,
        group_counts=counts,
        chunks=(hidden.chunks[0], counts, hidden.chunks[2]),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )


def _word_of_tokens(run: RunData) -> NDArray[np.int64]:
    """Return the word of every token, -1 for special ones and those of windows in which a word has less context."""
    word = run.token_column("tokens/word").astype(np.int64)
    return word if run.spec.stride is None else np.where(run.context.kept, word, -1)


def _word_of_copies(run: RunData, pooling: str) -> NDArray[np.int64]:
    """Return the word of every token whose mean over all windows is the mean over windows of a pooled word; else -1.

    A window has all tokens of a word or none.
    """
    word = run.token_column("tokens/word").astype(np.int64)
    if pooling == "mean":
        return word
    # A step in either is the border of a word in one window.
    apart = (np.diff(word) != 0) | (np.diff(run.windows.of_token) != 0)
    edge = np.concatenate(([True], apart) if pooling == "first" else (apart, [True]))
    return np.where(edge, word, -1)
