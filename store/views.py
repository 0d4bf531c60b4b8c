"""What the views of a run are made of: reduced hidden states, coordinates, attributes."""

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.data import RunData
from biocache.store.errors import RunNotFoundError, SettingError
from biocache.store.ragged import reduce_members, reduce_segments
from biocache.store.schema import GOLD, LABEL_SCHEMES
from biocache.store.text import shown

__all__ = [
    "WINDOW_POOLINGS",
    "attributes_of",
    "counted_once",
    "described",
    "encoding_of",
    "hidden_dataset",
    "label_coordinates",
    "layers_of",
    "reduced",
    "reduced_spans",
    "require_positive",
    "sample_coordinates",
    "sample_position",
    "window_coordinates",
    "window_position",
    "word_of_copies",
    "word_of_tokens",
]

#: How a word that several windows have is read.
WINDOW_POOLINGS = ("context", "mean")


def attributes_of(run: RunData, level: str, kept: schema.Activation = schema.HIDDEN) -> dict[str, Any]:
    """Return the provenance of a view, in types that every file format of xarray can hold."""
    spec, provenance = run.spec, run.provenance
    return {
        "title": f"{level} of {run.key}",
        **dict(run.key.items()),
        "model_source": provenance.model_source,
        "random_weights": int(provenance.random_weights),
        "model_digest": spec.model_digest,
        "dataset_source": provenance.dataset_source,
        "dataset_digest": spec.dataset_digest,
        "max_length": spec.max_length,
        **({} if spec.stride is None else {"stride": spec.stride}),
        "stored_dtype": spec.stored_dtype(kept),
        "compute_dtype": spec.compute_dtype,
        "created": provenance.created,
        **{f"{name}_version": version for name, version in provenance.versions.items()},
    }


def encoding_of(values: da.Array) -> dict[str, str]:
    """Return the encoding of activations in files: netCDF has no float16."""
    return {"dtype": "float32"} if values.dtype == np.float16 else {}


def described(path: str, values: NDArray[Any]) -> tuple[str, NDArray[Any], dict[str, str]]:
    """Return a column of a table as a coordinate."""
    variable = schema.variable_at(path)
    return variable.dims[0], values, {"long_name": variable.meaning}


def layers_of(run: RunData, name: str) -> tuple[str, NDArray[Any], dict[str, str]]:
    """Return the coordinate of the layers of ``hidden`` or ``attention``."""
    return described(f"{name}/layer", np.asarray(run.spec.variable_layers(name)))


def sample_coordinates(run: RunData, labels: str | Sequence[str] | None, label_scheme: str) -> dict[str, Any]:
    """Return the coordinates along ``sample``; for labels see `label_coordinates`."""
    index = np.arange(run.counts.samples)
    return {
        "sample": ("sample", index, {"long_name": "position among the samples of the run"}),
        **{
            name: described(f"samples/{name}", run.column(f"samples/{name}"))
            for name in ("sample_id", "token_count", "word_count", "truncated")
        },
        **label_coordinates(run, "sample", labels, label_scheme, samples=index),
    }


def label_coordinates(
    run: RunData,
    dim: str,
    wanted: str | Sequence[str] | None,
    scheme: str,
    *,
    samples: NDArray[np.integer],
    words: NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """Return the labels of the rows of a view as coordinates.

    Parameters
    ----------
    run
        The run.
    dim
        ``token``, ``word`` or ``sample``: what a row is.
    wanted
        Name of a label set, whose coordinate is ``label``; or several, each a coordinate of its own name; None for the
        corpus's own, where it labels such rows.
    scheme
        How IOB2 tags are shown: ``type``, merged by entity type, or ``bio``, as they are.
    samples, words
        Position of the sample, and of the word (-1 for none), of every row (row); None for rows that are samples.

    Raises
    ------
    SettingError
        If the labels of words are asked for rows that are samples, or the scheme is not known.
    RunNotFoundError, DataError, IntegrityError
        As `RunData.labels`.
    """
    if scheme not in LABEL_SCHEMES:
        raise SettingError(f"label scheme {shown(scheme)} is not one of {', '.join(LABEL_SCHEMES)}")
    named = {wanted or GOLD: "label"} if wanted is None or isinstance(wanted, str) else {name: name for name in wanted}
    found: dict[str, Any] = {}
    for name, coordinate in named.items():
        try:
            labels = run.labels(name)
        except RunNotFoundError:
            if wanted is None:
                continue
            raise
        if wanted is None and (labels.level == "words") != (words is not None):
            continue
        if labels.level in schema.SPANS:
            raise SettingError(
                f"label set {shown(name)} labels {labels.level}, which have a view of their own: "
                f"run.{labels.level}({name!r})"
            )
        places = samples if labels.level == "samples" else words
        if places is None:
            raise SettingError(
                f"label set {shown(name)} labels words, and a row of this view is a sample; the view of words has it"
            )
        shown_labels = labels.merged() if scheme == "type" else labels
        texts = shown_labels.texts
        empty = np.array([np.nan if labels.kind == "number" else ""], dtype=texts.dtype)
        found[coordinate] = (dim, np.append(texts, empty)[places], {"long_name": f"label of label set {name}"})
    return found


def require_positive(**numbers: int) -> None:
    """Refuse numbers that are not positive, by their names."""
    for name, value in numbers.items():
        if value < 1:
            raise SettingError(f"{name} {value} is not a positive number")


def hidden_dataset(
    run: RunData, level: str, hidden: da.Array, pooled: str | None, coordinates: dict[str, Any]
) -> xr.Dataset:
    """Return hidden states of a level as a Dataset with its coordinates and the provenance of the run."""
    attributes = {"long_name": "hidden state", "units": "1"}
    if pooled is not None:
        attributes["cell_methods"] = f"token: {pooled}"
    return xr.Dataset(
        {"hidden": (("layer", level, "feature"), hidden, attributes, encoding_of(hidden))},
        {"layer": layers_of(run, "hidden"), **coordinates},
        attributes_of(run, f"{level}s"),
    )


def _reduce_block(
    hidden: NDArray[np.floating],
    group: NDArray[np.integer],
    pooling: str,
    group_counts: tuple[int, ...],
    block_id: tuple[int, ...],
) -> NDArray[np.float32]:
    return reduce_segments(hidden[0], group[0, :, 0], group_counts[block_id[1]], pooling)[np.newaxis]


def reduced(run: RunData, group: NDArray[np.int64], group_pack: NDArray[np.int64], pooling: str) -> da.Array:
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
    hidden = run.activations("hidden")
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


def _reduce_spans_block(
    hidden: NDArray[np.floating],
    members: NDArray[np.int64],
    counts: NDArray[np.int64],
    pooling: str,
    spans: int,
) -> NDArray[np.float32]:
    rows = reduce_members(hidden[0], members[0, :, 0], counts[0, :, 0], pooling)
    return rows.reshape(1, len(rows) // spans, spans * hidden.shape[2])


def reduced_spans(
    run: RunData, places: NDArray[np.int64], row_pack: NDArray[np.int64], pooling: str
) -> tuple[da.Array, NDArray[np.int64]]:
    """Reduce hidden states to rows of one or more spans of words, side by side, a block of rows for each of tokens.

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
    """
    hidden = run.activations("hidden")
    word = word_of_tokens(run)
    # The words of a window may come before those of an earlier one, of another text.
    token = np.argsort(word, kind="stable")[np.count_nonzero(word < 0) :]
    begin, end = (np.searchsorted(word[token], places[..., bound]) for bound in (0, 1))
    kept = np.flatnonzero((end > begin).all(axis=1))
    first, counts = begin[kept].ravel(), (end - begin)[kept].ravel()
    members = token[np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())]
    spans, packs = places.shape[1], run.plan.pack_count
    span_pack = np.repeat(row_pack[kept], spans)
    # Positions in the pack, so that blocks are independent.
    members = members - np.repeat((np.cumsum(hidden.chunks[1]) - hidden.chunks[1])[span_pack], counts)
    member_sizes = np.bincount(np.repeat(span_pack, counts), minlength=packs)
    span_sizes = np.bincount(span_pack, minlength=packs)
    parts = [
        da.from_array(values[np.newaxis, :, np.newaxis], chunks=(1, tuple(sizes.tolist()), 1), name=False)
        for values, sizes in ((members, member_sizes), (counts, span_sizes))
    ]
    width = spans * run.spec.feature_size
    reduced_rows = da.map_blocks(
        _reduce_spans_block,
        hidden,
        *parts,
        pooling=pooling,
        spans=spans,
        chunks=(hidden.chunks[0], tuple((span_sizes // spans).tolist()), (width,)),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )
    return reduced_rows, kept


def sample_position(run: RunData, sample: int | str) -> int:
    """Return the position of a sample that is named by its position or id."""
    if isinstance(sample, str):
        found = np.flatnonzero(run.column("samples/sample_id") == sample)
        if not found.size:
            raise RunNotFoundError(f"run {run.key} has no sample {sample!r}; its ids are in run.samples().sample_id")
        return int(found[0])
    if not 0 <= sample < run.counts.samples or sample != int(sample):
        raise RunNotFoundError(f"run {run.key} has no sample {sample}; it has 0 to {run.counts.samples - 1}")
    return int(sample)


def window_position(run: RunData, sample: int, window: int) -> int:
    """Return the position, among all windows of a run, of a window of a sample that is named by its number."""
    windows = run.windows.of_sample(sample)
    if not 0 <= window < len(windows) or window != int(window):
        name = run.column("samples/sample_id")[sample]
        raise RunNotFoundError(
            f"sample {name!r} of run {run.key} has no window {window}; it has 0 to {len(windows) - 1}"
        )
    return windows.start + int(window)


def window_coordinates(run: RunData) -> dict[str, Any]:
    """Return the coordinates along ``window``: all windows of a run, one after another."""
    windows = run.windows
    number = np.arange(len(windows.sample)) - windows.first[windows.sample]
    return {
        "window": ("window", number, {"long_name": "number of the window in its sample"}),
        "window_sample": ("window", windows.sample, {"long_name": "position of the window's sample along sample"}),
    }


def word_of_tokens(run: RunData) -> NDArray[np.int64]:
    """Return the word of every token, -1 for special ones and those of windows in which a word has less context."""
    word = run.token_column("tokens/word").astype(np.int64)
    return word if run.spec.stride is None else np.where(run.context.kept, word, -1)


def word_of_copies(run: RunData, pooling: str) -> NDArray[np.int64]:
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


def counted_once(run: RunData, pooling: str) -> NDArray[np.bool_]:
    """Return which tokens a pooling of samples reads, special tokens included; see `Run.samples`."""
    windows, number = run.windows, run.token_column(schema.WINDOW)
    in_first: NDArray[np.bool_] = number == 0
    in_last: NDArray[np.bool_] = number == windows.count[windows.sample[windows.of_token]] - 1
    if pooling in {"first", "last"}:
        return in_first if pooling == "first" else in_last
    special = run.token_column("tokens/special").astype(bool)
    text = np.concatenate(([0], np.cumsum(~special)))
    before = text[1:] == text[windows.plan.tokens.dense_start[windows.of_token]]
    once: NDArray[np.bool_] = run.context.kept | (special & np.where(before, in_first, in_last))
    return once
