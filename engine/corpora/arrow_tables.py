"""Parquet and Arrow files, and datasets of the `datasets` library: read a batch of records at a time."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from biocache.engine.corpora.table import Table
from biocache.engine.corpora.task import Place
from biocache.store.errors import DataError
from biocache.store.text import printable

__all__ = ["open_arrow", "open_parquet", "table_of"]

_BATCH = 1000
_REASON_CHARACTERS = 160

Batches = Callable[[Sequence[str]], Iterator[Any]]


def open_parquet(path: Path) -> Table:
    """Return the records of a Parquet file as a table.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    import pyarrow.parquet as pq

    def batches(wanted: Sequence[str]) -> Iterator[Any]:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_BATCH, columns=list(wanted))

    return _file_table(path, lambda: pq.read_schema(path), batches)


def open_arrow(path: Path) -> Table:
    """Return the records of an Arrow file or stream as a table.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    import pyarrow as pa

    def reader(source: Any) -> Any:
        with path.open("rb") as file:
            begin = file.read(6)
        return pa.ipc.open_file(source) if begin == b"ARROW1" else pa.ipc.open_stream(source)

    def schema() -> Any:
        with pa.memory_map(str(path)) as source:
            return reader(source).schema

    def batches(wanted: Sequence[str]) -> Iterator[Any]:
        with pa.memory_map(str(path)) as source:
            opened = reader(source)
            numbered = hasattr(opened, "num_record_batches")
            whole = map(opened.get_batch, range(opened.num_record_batches)) if numbered else opened
            for batch in whole:
                kept = batch.select(list(wanted))
                for begin in range(0, kept.num_rows, _BATCH):
                    yield kept.slice(begin, _BATCH)

    return _file_table(path, schema, batches)


def table_of(dataset: Any, place: str) -> Table:
    """Return a split of the `datasets` library as a table.

    Parameters
    ----------
    dataset
        A ``datasets.Dataset``.
    place
        Its name for messages, such as ``hub_id[split]``.
    """

    def batches(wanted: Sequence[str]) -> Iterator[Any]:
        return iter(dataset.select_columns(list(wanted)).with_format("arrow").iter(_BATCH))

    names = {name: _names(feature) for name, feature in dataset.features.items()}
    return _table(place, tuple(dataset.column_names), batches, {name: each for name, each in names.items() if each})


def _table(place: str, columns: tuple[str, ...], batches: Batches, class_names: Mapping[str, Sequence[str]]) -> Table:
    """Return batches of Arrow records as a table, whose rows are numbered from 0."""
    source = f"{place.removesuffix(':1')} row "

    def rows(wanted: Sequence[str]) -> Iterator[tuple[Place, Sequence[object]]]:
        number = 0
        distinct = tuple(dict.fromkeys(wanted))
        try:
            for batch in batches(distinct):
                # Offsets of a damaged file would be followed out of the memory.
                batch.validate(full=True)
                values = {name: _values(batch.column(name)) for name in distinct}
                for row in zip(*(values[name] for name in wanted), strict=True):
                    yield Place(source, number), row
                    number += 1
        # Damaged bytes give many kinds of errors: of Arrow, of the system, of a decoder.
        except Exception as error:
            _refuse(place, number, error)

    return Table(place, columns, rows, class_names=class_names)


def _values(column: Any) -> list[Any]:
    """Return the values of a column of a batch, each distinct word of lists of words once."""
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = whole.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not (
        pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)
    ):
        values: list[Any] = whole.to_pylist()
        return values
    coded = whole.flatten().dictionary_encode()
    words = coded.dictionary.to_pylist()
    # The last stands for what is null.
    distinct = np.array([*map(sys.intern, words), None], object)
    flat = distinct[coded.indices.fill_null(len(words)).to_numpy()].tolist()
    ends = whole.value_lengths().fill_null(0).to_numpy().cumsum().tolist()
    filled = whole.is_valid().to_pylist()
    begins = [0, *ends[:-1]]
    return [flat[begin:end] if valid else None for begin, end, valid in zip(begins, ends, filled, strict=True)]


def _file_table(path: Path, schema: Callable[[], Any], batches: Batches) -> Table:
    try:
        known = schema()
        names, class_names = tuple(known.names), _class_names(known)
    except Exception as error:
        _refuse(f"{path}:1", 0, error)
    return _table(f"{path}:1", names, batches, class_names)


def _refuse(place: str, row: int, error: Exception) -> NoReturn:
    place = place.removesuffix(":1")
    if isinstance(error, OSError) and error.strerror and error.errno:
        raise DataError(f"{place}:1: cannot be read ({error.strerror}); check the file's permissions") from None
    reason = printable(" ".join(str(error).split()))[:_REASON_CHARACTERS] or type(error).__name__
    raise DataError(f"{place} row {row}: cannot be read ({reason}); copy, download or save it again") from None


def _class_names(schema: Any) -> dict[str, Sequence[str]]:
    """Return the class names that the `datasets` library wrote into a schema."""
    try:
        whole = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = whole.get("info", {}).get("features", {})
        found = {name: _names_of_json(feature) for name, feature in features.items()}
    except (ValueError, AttributeError):
        return {}
    return {name: names for name, names in found.items() if names}


def _names_of_json(feature: Any) -> Sequence[str]:
    """Return the class names of a feature as JSON, or of the items of a list."""
    if isinstance(feature, list):
        return _names_of_json(feature[0]) if feature else ()
    if not isinstance(feature, dict):
        return ()
    names = feature.get("names")
    if feature.get("_type") == "ClassLabel" and isinstance(names, list):
        return tuple(map(str, names))
    return _names_of_json(feature["feature"]) if "feature" in feature else ()


def _names(feature: Any) -> Sequence[str]:
    """Return the class names of a feature of the library, or of the items of a list."""
    inner = getattr(feature, "feature", feature)
    if isinstance(inner, list) and inner:
        inner = inner[0]
    return tuple(getattr(inner, "names", None) or ())
