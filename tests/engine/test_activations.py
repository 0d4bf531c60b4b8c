"""Exported hidden states, read again by the tools that they are for, against the views."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from store_factory import synthetic

from biocache.engine.activations import FORMATS, export_activations
from biocache.store import Run, Store
from biocache.store.errors import BiocacheError, IntegrityError, SettingError


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


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run with label sets of words and samples, in which some rows have no label."""
    root = tmp_path_factory.mktemp("labelled")
    run = synthetic([3, 4, 9, 2, 1, 2, 5], 10).write_labelled(root)
    where = {"task": "ner", "dataset": "corpus", "split": "test"}
    words, ids, store = run.counts.words, run.column("samples/sample_id").tolist(), Store.open(root)
    store.add_labels("length", [None, *map(float, range(1, words))], **where, level="words")
    store.add_labels("kind", ["ab"[n % 2] if n else None for n in range(words)], **where, level="words")
    store.add_labels("topic", {name: f"t{place}" for place, name in enumerate(ids[:-1])}, **where)
    store.add_labels("year", {name: 1990.0 + place for place, name in enumerate(ids[1:])}, **where)
    store.add_labels("layer_1", ["x"] * words, **where, level="words")
    spans = pd.DataFrame([(ids[2], 0, 1, "a")], columns=["sample_id", "start", "end", "label"])
    store.add_labels("spans", spans, **where, level="spans")
    return Run.open(root, run.key)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@pytest.mark.parametrize(
    ("level", "labels"),
    [("words", ("gold", "length", "kind", "topic")), ("samples", ("topic", "year")), ("tokens", ("year", "kind"))],
)
def test_each_label_set_is_a_column(
    labelled: Run, tmp_path: Path, suffix: str, level: str, labels: tuple[str, ...]
) -> None:
    made = export_activations(labelled, tmp_path / f"rows{suffix}", level=level, labels=labels)
    _, columns = read(made.path)
    assert "label" not in columns
    # By hand: the rows' words or samples, and what the sets say of them.
    view = getattr(labelled, level)(labels=())
    word = view.word.values if level != "samples" else None
    for name in labels:
        own = labelled.labels(name).merged()
        place = view["sample"].values if own.level == "samples" else word
        expected = [own.texts[at] if at >= 0 else (np.nan if own.kind == "number" else "") for at in place.tolist()]
        if own.kind == "number":
            found = np.array([np.nan if value is None else value for value in columns[name]], float)
            np.testing.assert_array_equal(found, expected)
            assert np.isnan(expected).any()
        else:
            assert columns[name] == expected
            assert "" in expected or name == "gold"
    if suffix == ".safetensors":
        with (tmp_path / "rows.safetensors").open("rb") as file:
            header = file.read(int.from_bytes(file.read(8), "little")).decode()
        assert "NaN" not in header


def test_labels_that_cannot_be_columns_are_refused(labelled: Run, tmp_path: Path) -> None:
    for settings, says in (
        (
            {"labels": ("kind",), "level": "samples"},
            "label set 'kind' labels words, and a row of this view is a sample",
        ),
        ({"labels": ("spans",)}, "label set 'spans' labels spans, which have a view of their own"),
        ({"labels": ("none",)}, "no label set 'none' for ner corpus test"),
        ({"labels": ("kind", "layer_1")}, "labels 'layer_1' is the name of what else is written"),
    ):
        with pytest.raises(BiocacheError, match=says):
            export_activations(labelled, tmp_path / "x.npz", **settings)
    assert list(tmp_path.iterdir()) == []


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
