"""What the views of a run are made of: coordinates, attributes, and the map of a sample."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.data import RunData
from biocache.store.errors import RunNotFoundError, SettingError
from biocache.store.schema import GOLD, LABEL_SCHEMES
from biocache.store.text import shown

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

__all__ = [
    "WINDOW_POOLINGS",
    "attention_dataset",
    "attributes_of",
    "described",
    "encoding_of",
    "hidden_dataset",
    "label_coordinates",
    "layers_of",
    "map_of_sample",
    "norm_dataset",
    "require_positive",
    "sample_coordinates",
    "token_coordinates",
    "window_coordinates",
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


def encoding_of(values: "da.Array") -> dict[str, str]:
    """Return the encoding of activations in files: netCDF has no float16."""
    return {"dtype": "float32"} if values.dtype == np.float16 else {}


def described(path: str, values: NDArray[Any]) -> tuple[str, NDArray[Any], dict[str, str]]:
    """Return a column of a table as a coordinate."""
    variable = schema.variable_at(path)
    return variable.dims[0], values, {"long_name": variable.meaning}


def layers_of(run: RunData, name: str) -> tuple[str, NDArray[Any], dict[str, str]]:
    """Return the coordinate of the layers of a variable."""
    return described(f"{name}/layer", np.asarray(run.spec.variable_layers(name)))


def _heads_of(run: RunData) -> tuple[str, NDArray[Any], dict[str, str]]:
    """Return the coordinate of the heads of maps and norms."""
    return "head", np.arange(run.spec.head_count), {"long_name": "attention head, from 0"}


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


def token_coordinates(run: RunData, labels: str | Sequence[str] | None, label_scheme: str) -> dict[str, Any]:
    """Return the coordinates along ``token``; for labels see `label_coordinates`."""
    tokens = run.plan.tokens
    sample = np.repeat(np.arange(run.counts.samples), tokens.count)
    index = np.arange(len(sample))
    columns = [variable for variable in schema.columns() if variable.group == "tokens"]
    words = run.token_column("tokens/word")
    return {
        "token": ("token", index, {"long_name": "position among the tokens of the run"}),
        "sample": ("token", sample, {"long_name": "position among the samples of the run"}),
        "position": ("token", index - tokens.dense_start[sample], {"long_name": "position in the sample"}),
        **{variable.name: described(variable.path, run.token_column(variable.path)) for variable in columns},
        **label_coordinates(run, "token", labels, label_scheme, samples=sample, words=words),
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
    run: RunData, level: str, hidden: "da.Array", pooled: str | None, coordinates: dict[str, Any]
) -> "xr.Dataset":
    """Return hidden states of a level as a Dataset with its coordinates and the provenance of the run."""
    import xarray as xr

    attributes = {"long_name": "hidden state", "units": "1"}
    if pooled is not None:
        attributes["cell_methods"] = f"token: {pooled}"
    return xr.Dataset(
        {"hidden": (("layer", level, "feature"), hidden, attributes, encoding_of(hidden))},
        {"layer": layers_of(run, "hidden"), **coordinates},
        attributes_of(run, f"{level}s"),
    )


def attention_dataset(run: RunData, labels: str | Sequence[str] | None, label_scheme: str) -> "xr.Dataset":
    """Return all attention maps as a contiguous ragged array; see `Run.attention`."""
    import xarray as xr

    attributes = {"long_name": schema.ATTENTION.meaning, "units": "1", "causal": int(run.spec.causal)}
    maps = run.activations("attention")
    row_size = {"long_name": "entries of a map", "sample_dimension": "entry"}
    unit = "sample" if run.spec.stride is None else "window"
    return xr.Dataset(
        {
            "attention": (schema.ATTENTION.dims(), maps, attributes, encoding_of(maps)),
            "row_size": (unit, run.windows.plan.entries.count, row_size),
        },
        {
            "layer": layers_of(run, "attention"),
            "head": _heads_of(run),
            **sample_coordinates(run, labels, label_scheme),
            **({} if unit == "sample" else window_coordinates(run)),
        },
        attributes_of(run, "attention maps", schema.ATTENTION),
    )


def norm_dataset(run: RunData, labels: str | Sequence[str] | None, label_scheme: str) -> "xr.Dataset":
    """Return the norms of value vectors by token; see `Run.norms`."""
    import xarray as xr

    norms = run.activations("norms")
    attributes = {"long_name": schema.NORMS.meaning, "units": "1"}
    return xr.Dataset(
        {"value_norm": (schema.NORMS.dims(), norms, attributes, encoding_of(norms))},
        {"layer": layers_of(run, "norms"), "head": _heads_of(run), **token_coordinates(run, labels, label_scheme)},
        attributes_of(run, "norms of value vectors", schema.NORMS),
    )


def map_of_sample(run: RunData, sample: int | str, window: int | None) -> "xr.DataArray":
    """Return the attention maps of a sample, or of one of its windows; see `Run.attention_map`."""
    import xarray as xr

    place = _sample_position(run, sample)
    tokens, begin = run.plan.tokens, 0
    first, count = tokens.start[place], tokens.count[place]
    if window is None:
        maps = run.read_sample("attention", place)
    else:
        number = _window_position(run, place, window)
        own, maps = run.windows.plan.tokens, run.read_window("attention", number)
        begin, first, count = int(own.start[number] - first), own.start[number], own.count[number]
    texts = run.column("tokens/token_text")[first : first + count]
    index = np.arange(begin, begin + len(texts))
    return xr.DataArray(
        maps.astype(np.float32),
        dims=("layer", "head", "query", "key"),
        coords={
            "layer": layers_of(run, "attention"),
            "head": ("head", np.arange(run.spec.head_count)),
            "query": ("query", index, {"long_name": "position of the attending token"}),
            "key": ("key", index, {"long_name": "position of the token attended to"}),
            "query_token": ("query", texts),
            "key_token": ("key", texts),
            "sample": place,
            "sample_id": ((), np.array(run.column("samples/sample_id")[place], dtype=object)),
        },
        name="attention",
        attrs={
            "long_name": "attention probability",
            "units": "1",
            **attributes_of(run, "attention map", schema.ATTENTION),
        },
    )


def _sample_position(run: RunData, sample: int | str) -> int:
    """Return the position of a sample that is named by its position or id."""
    if isinstance(sample, str):
        found = np.flatnonzero(run.column("samples/sample_id") == sample)
        if not found.size:
            raise RunNotFoundError(f"run {run.key} has no sample {sample!r}; its ids are in run.samples().sample_id")
        return int(found[0])
    if not 0 <= sample < run.counts.samples or sample != int(sample):
        raise RunNotFoundError(f"run {run.key} has no sample {sample}; it has 0 to {run.counts.samples - 1}")
    return int(sample)


def _window_position(run: RunData, sample: int, window: int) -> int:
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
