"""`biocache compare-representations` end to end on made-up runs, and what it writes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from attention_factory import source
from click.testing import Result

from biocache.engine import RepresentationRequest, compare_representations

Command = Callable[..., Result]
ARGUMENTS = ("--metric", "cka,procrustes,rsa,knn", "--neighbours", 3)
REQUEST = RepresentationRequest(metrics=("cka", "procrustes", "rsa", "knn"), neighbours=3)


@pytest.fixture(scope="session")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of a model at three training sizes, and another model with one more layer."""
    root = tmp_path_factory.mktemp("sizes") / "biocache.zarr"
    for size in (0, 10, 30):
        source(training_size=size, maps=size, keep=("hidden",)).write_all(root)
    source(training_size=0, tokens=5, model="other", keep=("hidden",), layers=(0, 1, 2, 3)).write_all(root)
    return root


@pytest.fixture
def tuned(sizes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sizes, tmp_path / "biocache.zarr"))


@pytest.mark.slow
def test_the_table_has_equal_layers_and_the_nearest(command: Command, tuned: Path) -> None:
    result = command("compare-representations", "--store", tuned, "--model", "tiny", *ARGUMENTS)
    head, *lines = result.stdout.splitlines()
    assert head.split("  ")[0] == "training size"
    assert "procrustes by chance" in head
    assert "nearest by cka" in head
    assert len(lines) == 2 * 3
    found = compare_representations(tuned, RepresentationRequest(model="tiny", metrics=REQUEST.metrics, neighbours=3))
    value = found["value"].sel(metric="cka", training_size=30, layer=2, other_layer=2).item()
    assert f"{value:.3f} [" in lines[-1]
    assert "note: values are of 43 words" in result.stderr
    assert "8 samples, taken as independent, in 8 blocks; so few give a rough interval" in result.stderr
    again = command("compare-representations", "--store", tuned, "--model", "tiny", *ARGUMENTS)
    assert again.stdout == result.stdout
    assert "the store has this result" in again.stderr


@pytest.mark.slow
def test_files_have_what_python_returns(command: Command, tuned: Path, tmp_path: Path) -> None:
    arguments = ("compare-representations", "--store", tuned, "--model", "other", "--against", "tiny", *ARGUMENTS)
    places = {suffix: tmp_path / f"r{suffix}" for suffix in (".csv", ".json", ".nc", ".zarr")}
    printed = json.loads(command(*arguments, "--json").stdout)
    for place in places.values():
        command(*arguments, "--output", place)
    request = RepresentationRequest(model="other", against="tiny", metrics=REQUEST.metrics, neighbours=3)
    found = compare_representations(tuned, request)
    assert found.sizes == {"metric": 4, "training_size": 1, "layer": 3, "other_layer": 4}
    assert len(printed["rows"]) == 4 * 3 * 4
    assert printed["rows"][0]["value"] == found["value"].values.flat[0]
    frame = pd.read_csv(places[".csv"])
    np.testing.assert_allclose(frame["value"], found["value"].values.ravel())
    for opened in (xr.open_dataset(places[".nc"]), xr.open_zarr(places[".zarr"], consolidated=False)):
        xr.testing.assert_equal(opened.compute()["value_ci_low"], found["value_ci_low"])
    written = json.loads(places[".json"].read_text(encoding="utf-8"))
    assert written["attrs"]["units"] == found.attrs["units"]


@pytest.mark.slow
def test_figures_are_drawn(command: Command, tuned: Path, tmp_path: Path) -> None:
    figures = ("--plot", tmp_path / "layers.png", "--plot-curves", tmp_path / "curves.svg")
    command("compare-representations", "--store", tuned, "--model", "tiny", *ARGUMENTS, *figures)
    assert (tmp_path / "layers.png").read_bytes()[:4] == b"\x89PNG"
    assert "training size" in (tmp_path / "curves.svg").read_text(encoding="utf-8")


def test_mistakes_are_one_line(command: Command, tuned: Path) -> None:
    begin = ("compare-representations", "--store", tuned, "--model", "tiny")
    assert "is not one of 'cka'" in command(*begin, "--metric", "cca", code=2).stderr
    wrong = command(*begin, "--layers", "0,9", code=1).stderr
    assert wrong.startswith("Error: --layers 9 is not stored in run")
    assert command(*begin, "--biased", "--metric", "rsa", code=1).stderr == (
        "Error: --biased is for cka, which --metric does not name; add it, or leave --biased out\n"
    )
    assert not list(tuned.glob("results/*/*"))
