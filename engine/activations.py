"""Exporting hidden states with their labels: Parquet, Hugging Face datasets, safetensors, NumPy; pack by pack."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.exporting import check_target, plain_value, replacing
from biocache.store.errors import SettingError
from biocache.store.reading import Run
from biocache.store.stacking import view_options
from biocache.store.text import shown

__all__ = ["FORMATS", "Exported", "export_activations"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path
        The file or folder.
    rows
        Tokens, words or samples.
    layers
        The layers, in their order.
    features
        Length of a hidden state.
    """

    path: Path
    rows: int
    layers: tuple[int, ...]
    features: int


def export_activations(
    run: Run,
    output: Path,
    *,
    level: str = "words",
    pooling: str | None = None,
    layers: tuple[int, ...] | None = None,
    labels: Sequence[str] | None = None,
    on_block: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write the hidden states of a run by token, word or sample, with their labels and texts, for other tools.

    A pack is in memory at a time, so that a run may be larger than memory.

    Parameters
    ----------
    run
        The run.
    output
        Where to, by its suffix: ``.parquet``: a row a token, word or sample, with a column ``layer_K`` of lists of
        float32 for each layer; ``.hf``: a folder that ``datasets.load_from_disk`` opens, of the same columns;
        ``.safetensors``: a tensor ``layer_K`` (row, feature) float32 for each layer, the other columns as JSON in the
        metadata of the file; ``.npz``: the same, each column an array (text as fixed-length unicode).
    level
        ``tokens``, ``words`` or ``samples``.
    pooling
        As of `Run.words` and `Run.samples`; None for their default.
    layers
        The layers; None for all.
    labels
        Names of label sets, each a column of its own name, empty or NaN (in safetensors null) where a row has none; a
        set of samples also labels their words and tokens. None for the corpus's own, as ``label``, where it labels such
        rows.
    on_block
        Called after each pack with (rows done, rows to write).

    Returns
    -------
    Exported
        What was written.

    Raises
    ------
    SettingError
        If the suffix, the level or the pooling is not known, a layer is not stored, the rows cannot have the labels of
        a set, or the place cannot be written to.
    IncompleteRunError, RunNotFoundError, DataError, IntegrityError
        As the views of a run.
    """
    check_target(output, tuple(FORMATS), "output")
    options: dict[str, Any] = {**view_options(level, pooling), "labels": labels if labels is None else list(labels)}
    view: xr.Dataset = getattr(run, level)(**options)
    chosen = tuple(int(layer) for layer in view.layer.values) if layers is None else layers
    missing = [layer for layer in chosen if layer not in view.layer]
    if missing:
        raise SettingError(
            f"layer {missing[0]} is not stored in run {run.key}; it has {', '.join(map(str, view.layer.values))}"
        )
    taken = next((name for name in labels or () if name in ("layers", *(f"layer_{layer}" for layer in chosen))), None)
    if taken is not None:
        raise SettingError(
            f"--labels {shown(taken)} is the name of what else is written; add the labels under another name with "
            "`biocache label`"
        )
    rows = _Rows(view.sel(layer=list(chosen)), level.removesuffix("s"), on_block or (lambda *_: None))
    with replacing(output) as made:
        FORMATS[output.suffix.lower()](rows, made)
    return Exported(output, rows.count, chosen, int(view.sizes["feature"]))


class _Rows:
    """The rows of a view, a pack at a time."""

    def __init__(self, view: xr.Dataset, dim: str, tell: Callable[[int, int], None]) -> None:
        self.view = view
        self.dim = dim
        self.count = int(view.sizes[dim])
        self.layers = [int(layer) for layer in view.layer.values]
        self.features = int(view.sizes["feature"])
        self._tell = tell

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """Labels, texts and places of all rows."""
        return {str(name): array.to_numpy() for name, array in self.view.coords.items() if array.dims == (self.dim,)}

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield rows and their hidden states (layer, row, feature)."""
        ends = np.cumsum(self.view.hidden.data.chunks[1]).tolist()
        for begin, end in zip([0, *ends], ends, strict=False):
            if end > begin:
                part = self.view.hidden.isel({self.dim: slice(begin, end)})
                yield slice(begin, end), part.compute().to_numpy().astype(np.float32, copy=False)
                self._tell(end, self.count)


def _tables(rows: _Rows) -> Iterator[Any]:
    """Yield Arrow tables, one a pack."""
    import pyarrow as pa

    columns = rows.columns
    for where, hidden in rows.blocks():
        table = {name: pa.array(values[where].tolist()) for name, values in columns.items()}
        for layer, values in zip(rows.layers, hidden, strict=True):
            flat = pa.array(np.ascontiguousarray(values).ravel())
            table[f"layer_{layer}"] = pa.FixedSizeListArray.from_arrays(flat, rows.features)
        yield pa.table(table)


def _write_parquet(rows: _Rows, path: Path) -> None:
    import pyarrow.parquet as pq

    writer = None
    try:
        for table in _tables(rows):
            # Constant groups of rows bound the memory of readers, too.
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _write_datasets(rows: _Rows, path: Path) -> None:
    import pyarrow as pa
    from datasets import Dataset

    file = path.with_name("rows.arrow")
    writer = None
    with pa.OSFile(str(file), "wb") as sink:
        for table in _tables(rows):
            writer = writer or pa.ipc.new_stream(sink, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
    Dataset.from_file(str(file)).save_to_disk(str(path))


def _write_safetensors(rows: _Rows, path: Path) -> None:
    shape = [rows.count, rows.features]
    size = 4 * rows.count * rows.features
    columns = {name: json.dumps(plain_value(values.tolist())) for name, values in rows.columns.items()}
    header: dict[str, Any] = {"__metadata__": columns | {"layers": json.dumps(rows.layers)}}
    for place, layer in enumerate(rows.layers):
        header[f"layer_{layer}"] = {"dtype": "F32", "shape": shape, "data_offsets": [place * size, (place + 1) * size]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # The format is a length, a header of JSON and the bytes: written here, since its library takes whole tensors only.
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        begin = file.tell()
        file.truncate(begin + size * len(rows.layers))
        for where, hidden in rows.blocks():
            for place, values in enumerate(hidden):
                file.seek(begin + place * size + where.start * rows.features * 4)
                file.write(np.ascontiguousarray(values, "<f4").tobytes())


def _write_npz(rows: _Rows, path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, values in rows.columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values.astype(str) if values.dtype == object else values)
        for place, layer in enumerate(rows.layers):
            with archive.open(f"layer_{layer}.npy", "w", force_zip64=True) as file:
                shape = {"descr": "<f4", "fortran_order": False, "shape": (rows.count, rows.features)}
                np.lib.format.write_array_header_2_0(file, shape)
                one = _Rows(rows.view.isel(layer=[place]), rows.dim, rows._tell)
                for _, hidden in one.blocks():
                    file.write(np.ascontiguousarray(hidden[0], "<f4").tobytes())


FORMATS: dict[str, Callable[[_Rows, Path], None]] = {
    ".parquet": _write_parquet,
    ".hf": _write_datasets,
    ".safetensors": _write_safetensors,
    ".npz": _write_npz,
}
