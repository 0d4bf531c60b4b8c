"""The xarray views of a run: tokens, words, samples and attention maps, labelled and lazy."""

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.data import RunData
from biocache.store.errors import RunNotFoundError, SettingError
from biocache.store.ragged import POOLINGS, reduce_segments

__all__ = ["attention_map", "attention_view", "samples_view", "tokens_view", "words_view"]

WORD_POOLINGS = ("mean", "first", "last")


def _attributes(run: RunData, level: str) -> dict[str, Any]:
    """Provenance of a view, in types that every file format of xarray can hold."""
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
        "stored_dtype": spec.dtype,
        "compute_dtype": spec.compute_dtype,
        "created": provenance.created,
        **{f"{name}_version": version for name, version in provenance.versions.items()},
    }


def _require(run: RunData, name: str) -> None:
    run.require_complete()
    run.require_kept(name)


def _encoding(dtype: str) -> dict[str, str]:
    """Return how files keep activations: netCDF has no 16-bit floating-point numbers."""
    return {"dtype": "float32"} if dtype == "float16" else {}


def _described(path: str, values: NDArray[Any]) -> tuple[str, NDArray[Any], dict[str, str]]:
    variable = schema.variable_at(path)
    return variable.dims[0], values, {"long_name": variable.meaning}


def _labels(run: RunData, table: str, rows: Any = slice(None)) -> dict[str, Any]:
    """Return the coordinate of labels; nothing where the rows of a table have none."""
    if run.labelled != table:
        return {}
    names = np.array([*run.spec.label_names, ""], dtype=object)
    labels = names[run.column(f"{table}/label")][rows]
    return {"label": (table.removesuffix("s"), labels, {"long_name": "label in the corpus"})}


def _layers(run: RunData, name: str) -> tuple[str, NDArray[Any], dict[str, str]]:
    variable = schema.variable_at(f"{name}/layer")
    return "layer", np.asarray(run.spec.variable_layers(name)), {"long_name": variable.meaning}


def _hidden_dataset(
    run: RunData, level: str, hidden: da.Array, pooled: str | None, coordinates: dict[str, Any]
) -> xr.Dataset:
    attributes = {"long_name": "hidden state", "units": "1"}
    if pooled is not None:
        attributes["cell_methods"] = f"token: {pooled}"
    variable = xr.Variable(("layer", level, "feature"), hidden, attributes, _encoding(str(hidden.dtype)))
    return xr.Dataset(
        {"hidden": variable}, {"layer": _layers(run, "hidden"), **coordinates}, _attributes(run, f"{level}s")
    )


def tokens_view(run: RunData) -> xr.Dataset:
    """Return the token-level view; see `Run.tokens`."""
    _require(run, "hidden")
    hidden = run.activations("hidden")
    plan = run.plan
    sample = np.repeat(np.arange(run.counts.samples), plan.tokens.count)
    start = np.cumsum(plan.tokens.count) - plan.tokens.count
    index = np.arange(len(sample))
    coordinates: dict[str, Any] = {
        "token": ("token", index, {"long_name": "position among the tokens of the run"}),
        "sample": ("token", sample, {"long_name": "position among the samples of the run"}),
        "position": ("token", index - start[sample], {"long_name": "position in the sample"}),
    }
    for variable in schema.columns(run.key.task):
        if variable.group == "tokens":
            coordinates[variable.name] = _described(variable.path, run.token_column(variable.path))
    return _hidden_dataset(run, "token", hidden, None, coordinates)


def _reduce_block(
    hidden: NDArray[np.floating],
    group: NDArray[np.integer],
    pooling: str,
    group_counts: tuple[int, ...],
    block_id: tuple[int, ...],
) -> NDArray[np.float32]:
    return reduce_segments(hidden[0], group[0, :, 0], group_counts[block_id[1]], pooling)[np.newaxis]


def _reduced(run: RunData, group: NDArray[np.int64], group_pack: NDArray[np.int64], pooling: str) -> da.Array:
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
    # Positions in the pack, so that a block knows nothing of the others. The last row is of tokens of no group.
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


def words_view(run: RunData, pooling: str) -> xr.Dataset:
    """Return the word-level view; see `Run.words`."""
    if pooling not in WORD_POOLINGS:
        raise SettingError(f"pooling {pooling!r} of words is not one of {', '.join(WORD_POOLINGS)}")
    _require(run, "hidden")
    word = run.token_column("tokens/word").astype(np.int64)
    kept = np.unique(word[word >= 0])
    sample = run.column("words/sample")[kept]
    # A word's rank among those that have tokens; the last entry is of tokens of no word.
    rank = np.full(run.counts.words + 1, -1)
    rank[kept] = np.arange(len(kept))
    hidden = _reduced(run, rank[word], run.plan.sample_pack[sample], pooling)
    coordinates: dict[str, Any] = {
        "word": ("word", kept, {"long_name": "position among all words of the run, lost ones counted"}),
        "sample": _described("words/sample", sample),
        "text": _described("words/word_text", run.column("words/word_text")[kept]),
        "segment": _described("words/segment", run.column("words/segment")[kept]),
        "token_count": _described("words/token_count", run.column("words/token_count")[kept]),
    }
    coordinates |= _labels(run, "words", kept)
    dataset = _hidden_dataset(run, "word", hidden, pooling, coordinates)
    return dataset.assign_attrs(words_lost=run.counts.words - len(kept))


def _sample_coordinates(run: RunData) -> dict[str, Any]:
    index = np.arange(run.counts.samples)
    coordinates: dict[str, Any] = {
        "sample": ("sample", index, {"long_name": "position among the samples of the run"}),
        **{
            name: _described(f"samples/{name}", run.column(f"samples/{name}"))
            for name in ("sample_id", "token_count", "word_count", "truncated")
        },
    }
    return coordinates | _labels(run, "samples")


def samples_view(run: RunData, pooling: str, special_tokens: bool) -> xr.Dataset:
    """Return the sample-level view; see `Run.samples`."""
    if pooling not in POOLINGS:
        raise SettingError(f"pooling {pooling!r} of samples is not one of {', '.join(POOLINGS)}")
    _require(run, "hidden")
    plan = run.plan
    group = np.repeat(np.arange(run.counts.samples), plan.tokens.count)
    if not special_tokens:
        group[run.token_column("tokens/special")] = -1
    hidden = _reduced(run, group, plan.sample_pack, pooling)
    return _hidden_dataset(run, "sample", hidden, pooling, _sample_coordinates(run))


def attention_view(run: RunData) -> xr.Dataset:
    """Return all attention maps; see `Run.attention`."""
    _require(run, "attention")
    attributes = {
        "long_name": schema.ATTENTION.meaning,
        "units": "1",
        "causal": int(run.spec.causal),
    }
    row_size = ("sample", run.plan.entries.count, {"long_name": "entries of a map", "sample_dimension": "entry"})
    return xr.Dataset(
        {
            "attention": xr.Variable(
                schema.ATTENTION.dims, run.activations("attention"), attributes, _encoding(run.spec.dtype)
            ),
            "row_size": row_size,
        },
        {
            "layer": _layers(run, "attention"),
            "head": ("head", np.arange(run.spec.head_count), {"long_name": "attention head, from 0"}),
            **_sample_coordinates(run),
        },
        _attributes(run, "attention maps"),
    )


def attention_map(run: RunData, sample: int | str) -> xr.DataArray:
    """Return the attention maps of one sample; see `Run.attention_map`."""
    _require(run, "attention")
    place = _sample_position(run, sample)
    plan = run.plan
    tokens = slice(int(plan.tokens.start[place]), int(plan.tokens.start[place] + plan.tokens.count[place]))
    texts = run.column("tokens/token_text")[tokens]
    index = np.arange(len(texts))
    return xr.DataArray(
        run.read_sample("attention", place).astype(np.float32),
        dims=("layer", "head", "query", "key"),
        coords={
            "layer": _layers(run, "attention"),
            "head": ("head", np.arange(run.spec.head_count)),
            "query": ("query", index, {"long_name": "position of the attending token"}),
            "key": ("key", index, {"long_name": "position of the token attended to"}),
            "query_token": ("query", texts),
            "key_token": ("key", texts),
            "sample": place,
            "sample_id": ((), np.array(run.column("samples/sample_id")[place], dtype=object)),
        },
        name="attention",
        attrs={"long_name": "attention probability", "units": "1", **_attributes(run, "attention map")},
    )


def _sample_position(run: RunData, sample: int | str) -> int:
    if isinstance(sample, str):
        found = np.flatnonzero(run.column("samples/sample_id") == sample)
        if not found.size:
            raise RunNotFoundError(f"run {run.key} has no sample {sample!r}; its ids are in run.samples().sample_id")
        return int(found[0])
    if not 0 <= sample < run.counts.samples or sample != int(sample):
        raise RunNotFoundError(f"run {run.key} has no sample {sample}; it has 0 to {run.counts.samples - 1}")
    return int(sample)
