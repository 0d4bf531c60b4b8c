"""Results and figures as files."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from biocache.engine import exporting
from biocache.engine.exporting import check_export, export_dataset
from biocache.engine.figures import check_figure, new_figure, save_figure
from biocache.store.errors import ResourceError, SettingError


def dataset() -> xr.Dataset:
    return xr.Dataset(
        {
            "mean": (("model", "layer"), np.array([[0.5, np.nan], [1.0, 0.25]])),
            "name": (("model",), np.array(["x", ""], dtype=object)),
        },
        {"model": np.array(["bert", "gpt2"], dtype=object), "layer": [0, 6]},
        {"metric": "cosine"},
    )


def test_a_table_has_a_row_a_combination(tmp_path: Path) -> None:
    export_dataset(dataset(), tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert table.columns.tolist() == ["model", "layer", "mean", "name"]
    assert table["mean"].tolist() == ["0.5", "", "1.0", "0.25"]
    assert table["model"].tolist() == ["bert", "bert", "gpt2", "gpt2"]


def test_json_holds_null_for_what_is_no_number(tmp_path: Path) -> None:
    export_dataset(dataset(), tmp_path / "out.json")
    held = json.loads((tmp_path / "out.json").read_text())
    assert held["data_vars"]["mean"]["data"] == [[0.5, None], [1.0, 0.25]]
    assert held["coords"]["model"]["data"] == ["bert", "gpt2"]
    assert held["attrs"] == {"metric": "cosine"}


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".NC"])
def test_xarray_reads_back_what_was_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    for _ in range(2):  # What is there is replaced.
        export_dataset(dataset(), path)
    options = {"consolidated": False} if suffix == ".zarr" else {}
    with xr.open_dataset(path, **options) as opened:
        xr.testing.assert_equal(opened.load(), dataset())
        assert opened.attrs == {"metric": "cosine"}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("check", "name"), [(check_export, "out.xlsx"), (check_export, "out"), (check_figure, "o.gif")]
)
def test_other_suffixes_are_refused(tmp_path: Path, check: object, name: str) -> None:
    assert callable(check)
    with pytest.raises(SettingError, match=rf"{name} has no suffix that says its format; end it in \.(csv|png)"):
        check(tmp_path / name)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"the folder .*nowhere does not exist"):
        export_dataset(dataset(), tmp_path / "nowhere" / "out.csv")


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.csv"
    path.write_text("earlier")

    def full(_: xr.Dataset, place: Path) -> None:
        place.write_text("half")
        raise OSError(28, os.strerror(28))

    monkeypatch.setitem(exporting._WRITERS, ".csv", full)
    with pytest.raises(ResourceError, match=r"out\.csv cannot be written .No space left"):
        export_dataset(dataset(), path)
    assert path.read_text() == "earlier"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_a_figure_is_the_same_file_every_time(tmp_path: Path, suffix: str, magic: bytes) -> None:
    written = []
    for name in ("a", "b"):
        figure = new_figure(2, 1)
        figure.subplots().plot([0, 1], [1, 0])
        save_figure(figure, tmp_path / f"{name}{suffix}")
        written.append((tmp_path / f"{name}{suffix}").read_bytes())
    assert written[0].startswith(magic)
    if suffix != ".svg":  # The ids of an SVG's clip paths are random.
        assert written[0] == written[1]
