"""Results and figures as files."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from store_factory import synthetic

from biocache.engine import exporting
from biocache.engine.exporting import check_export, export_dataset
from biocache.engine.figures import check_figure, check_places, new_figure, save_figure
from biocache.store import Store
from biocache.store.errors import ResourceError, SettingError, StoreFormatError


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
        assert {name: value for name, value in opened.attrs.items() if name != "biocache"} == {"metric": "cosine"}
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("check", "name"), [(check_export, "out.xlsx"), (check_export, "out"), (check_figure, "o.gif")]
)
def test_other_suffixes_are_refused(tmp_path: Path, check: object, name: str) -> None:
    assert callable(check)
    with pytest.raises(SettingError, match=rf"{name} has no suffix that says its format; end it in \.(csv|png)"):
        check(tmp_path / name)


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r", "\uff1d1", "'=1", '"=1', '=HYPERLINK("http://x")']


def test_text_that_a_spreadsheet_would_compute_is_made_text(tmp_path: Path) -> None:
    texts = [*FORMULAS, "IL-2", "a=b", "", "'s", "β"]
    data = xr.Dataset({"=cost": ("x", np.arange(len(texts)) - 1.0)}, {"x": np.array(texts, dtype=object)})
    export_dataset(data, tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False, dtype=str)
    assert table.columns.tolist() == ["x", "'=cost"]
    escaped = [text.replace("\t", r"\t").replace("\r", r"\r") for text in FORMULAS]
    assert table["x"].tolist() == [f"'{text}" for text in escaped] + texts[len(FORMULAS) :]
    # A number that is negative is one.
    assert table["'=cost"].tolist()[0] == "-1.0"


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TARGETS = ["out.csv", "out.json", "out.nc", "out.zarr", "out.png", "out.svg", "out.pdf"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("kind", ["folder", "store", "run", "zarr of others", "array", "link to a folder", "pipe"])
def test_what_is_not_a_result_stays_where_it_is(tmp_path: Path, name: str, kind: str) -> None:
    target = tmp_path / name
    run = synthetic().write_all(tmp_path / "s.zarr")
    made = {"store": tmp_path / "s.zarr", "run": run.path}
    if kind in made:
        shutil.copytree(made[kind], target)
    elif kind == "zarr of others":
        dataset().to_zarr(target, zarr_format=3, consolidated=False)
    elif kind == "array":
        zarr.create_array(target, shape=(1,), dtype="int8")
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        folder = tmp_path / "thesis" if kind.startswith("link") else target
        folder.mkdir()
        (folder / "thesis.tex").write_text("years of work")
        if kind.startswith("link"):
            target.symlink_to(folder)
    before = tree(tmp_path)
    check, write = (
        (check_figure, lambda: save_figure(new_figure(1, 1), target))
        if target.suffix in (".png", ".svg", ".pdf")
        else (check_export, lambda: export_dataset(dataset(), target))
    )
    with pytest.raises(SettingError, match=rf"{name} is a.*; choose another place|{name} is no regular file"):
        check(target)
    with pytest.raises(SettingError):
        write()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_written_into_a_store(tmp_path: Path, name: str) -> None:
    run = synthetic().write_all(tmp_path / "s.zarr")
    before = tree(tmp_path)
    check = check_figure if name.endswith(("png", "svg", "pdf")) else check_export
    (tmp_path / "link").symlink_to(run.path)
    for folder in (tmp_path / "s.zarr", run.path, run.path / "hidden/hidden/c", tmp_path / "link"):
        with pytest.raises(SettingError, match=r"lies in the Zarr folder .*s\.zarr; choose a place outside of it"):
            check(folder / name)
    with pytest.raises(SettingError, match="lies in the Zarr folder"):
        check_export(tmp_path / "s.zarr" / "zarr.json")
    assert tree(tmp_path) == before


def test_a_file_is_no_place_for_a_zarr_result(tmp_path: Path) -> None:
    (tmp_path / "out.zarr").write_text("x")
    with pytest.raises(SettingError, match=r"out\.zarr is a file"):
        check_export(tmp_path / "out.zarr")


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("earlier")
    (tmp_path / "out.csv").symlink_to("real.csv")
    export_dataset(dataset(), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("model,layer")


@pytest.mark.parametrize("paths", [("a.png", "a.png"), ("a.png", "./a.png"), ("a.png", "link/a.png")])
def test_two_results_are_not_written_to_one_place(tmp_path: Path, paths: tuple[str, str]) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SettingError, match="is to hold two results; name two files"):
        check_places(None, *(tmp_path / path for path in paths))
    check_places(tmp_path / "a.csv", tmp_path / "a.png", tmp_path / "b.png", None)


def test_a_zarr_result_whose_successor_cannot_be_put_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_dataset(dataset(), tmp_path / "out.zarr")
    before = tree(tmp_path)

    def refusing(_path: Path, _target: Path) -> Path:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", refusing)
    with pytest.raises(ResourceError, match=r"out\.zarr cannot be written"):
        export_dataset(dataset(), tmp_path / "out.zarr")
    assert tree(tmp_path) == before


def test_an_exported_result_is_no_store(tmp_path: Path) -> None:
    export_dataset(dataset(), tmp_path / "out.zarr")
    with pytest.raises(StoreFormatError, match="is not a biocache store"):
        Store.open(tmp_path / "out.zarr")


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


@pytest.mark.slow
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
