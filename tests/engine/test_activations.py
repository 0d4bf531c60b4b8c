"""Exported hidden states, read again by the tools that they are for, against the views."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from store_factory import synthetic

from biocache.engine.activations import FORMATS, export_activations
from biocache.store import Run
from biocache.store.errors import IntegrityError, SettingError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return synthetic([3, 4, 9, 2, 1, 2, 5], 10).write_all(tmp_path_factory.mktemp("store"))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the layers (row, feature) and the other columns of an exported file."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        columns = pq.read_table(path).to_pydict()
    elif path.suffix == ".hf":
        from datasets import load_from_disk

        columns = load_from_disk(str(path)).to_dict()
    elif path.suffix == ".npz":
        columns = dict(np.load(path))
    else:
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            columns = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            columns |= {name: json.loads(text) for name, text in file.metadata().items() if name != "layers"}
    layers = {name: np.asarray(values, np.float32) for name, values in columns.items() if name.startswith("layer_")}
    return layers, {name: list(values) for name, values in columns.items() if name not in layers}


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@pytest.mark.parametrize(
    ("level", "pooling"), [("tokens", None), ("words", None), ("words", "first"), ("samples", "max")]
)
def test_what_is_exported_is_what_the_view_has(
    run: Run, tmp_path: Path, suffix: str, level: str, pooling: str | None
) -> None:
    told: list[tuple[int, int]] = []
    settings = {} if pooling is None else {"pooling": pooling}
    made = export_activations(
        run,
        tmp_path / f"rows{suffix}",
        level=level,
        layers=(2, 0),
        on_block=lambda *done: told.append(done),
        **settings,
    )
    view: xr.Dataset = getattr(run, level)(**settings)
    layers, columns = read(made.path)
    dim = level.removesuffix("s")
    assert list(layers) == ["layer_2", "layer_0"] if suffix != ".safetensors" else set(layers) == {"layer_2", "layer_0"}
    for layer in (0, 2):
        np.testing.assert_array_equal(layers[f"layer_{layer}"], view.hidden.sel(layer=layer).compute().values)
    expected = {name: array.values.tolist() for name, array in view.coords.items() if array.dims == (dim,)}
    assert columns == expected
    assert (made.rows, made.layers, made.features) == (view.sizes[dim], (2, 0), 6)
    assert told[-1] == (made.rows, made.rows)
    assert [path.name for path in tmp_path.iterdir()] == [f"rows{suffix}"]


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("x.csv", {}, "has no suffix that says its format"),
        ("x.npz", {"level": "word"}, "level 'word' is not one of tokens, words, samples"),
        ("x.npz", {"layers": (0, 7)}, "layer 7 is not stored in run .*; it has 0, 1, 2"),
        ("x.npz", {"level": "tokens", "pooling": "mean"}, "pooling 'mean' reduces words or samples"),
        ("x.npz", {"pooling": "max"}, "pooling 'max' of words"),
        ("none/x.npz", {}, "does not exist"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    run: Run, tmp_path: Path, name: str, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingError, match=told):
        export_activations(run, tmp_path / name, **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_a_file_is_replaced_only_by_a_whole_one(tmp_path: Path, suffix: str) -> None:
    run = synthetic().write_all(tmp_path / "store")
    path = tmp_path / f"rows{suffix}"
    if suffix != ".hf":
        path.write_bytes(b"before")
    (run.path / run.chunks("hidden").path(1, 2)).unlink()
    with pytest.raises(IntegrityError):
        export_activations(run, path, level="tokens")
    assert path.read_bytes() == b"before" if suffix != ".hf" else not path.exists()
    assert not list(tmp_path.glob(".*"))
