"""`biocache describe-attention` end to end on made-up runs, and what it writes."""

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

from biocache.engine import HeadsRequest, describe_attention

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of a model at two training sizes, with entities."""
    root = tmp_path_factory.mktemp("sizes") / "biocache.zarr"
    for size in (0, 30):
        made = source(training_size=size, maps=size, keep=("attention",))
        made.columns["words/label"][:10:4] = 1
        made.write_labelled(root)
    return root


@pytest.fixture
def tuned(sizes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sizes, tmp_path / "biocache.zarr"))


@pytest.mark.slow
def test_the_table_has_a_row_a_layer_and_the_highest_head(command: Command, tuned: Path) -> None:
    arguments = ("describe-attention", "--store", tuned, "--metric", "distance,mass:entities")
    result = command(*arguments)
    head, *lines = result.stdout.splitlines()
    titles = [title.strip() for title in head.split("  ") if title]
    assert titles == ["metric", "model", "training size", "layer", "mean of heads", "even attention", "highest head"]
    assert len(lines) == 2 * 2 * 2
    assert lines[0].startswith("distance (token)")
    found = describe_attention(tuned, HeadsRequest(metrics=("distance", "mass:entities")))
    last = found.sel(metric="mass:entities", layer=2).isel(run=1)
    assert f"{last['layer_mean'].item():.3f} [{last['layer_ci_low'].item():.3f}, " in lines[-1]
    assert f"  {last['even'].item():.3f}  " in lines[-1]
    assert f"{int(last['mean'].values.argmax())}: {last['mean'].max().item():.3f} [" in lines[-1]
    assert "note: intervals are over 8 samples" in result.stderr
    assert "note: mass:entities is measured on " in result.stderr
    again = command(*arguments)
    assert again.stdout == result.stdout
    assert "the store has this result" in again.stderr


@pytest.mark.slow
def test_files_have_what_python_returns(command: Command, tuned: Path, tmp_path: Path) -> None:
    arguments = ("describe-attention", "--store", tuned, "--by", "gold", "--training-size", "30")
    places = {suffix: tmp_path / f"r{suffix}" for suffix in (".csv", ".json", ".nc", ".zarr")}
    printed = json.loads(command(*arguments, "--json").stdout)
    for place in places.values():
        command(*arguments, "--output", place)
    found = describe_attention(tuned, HeadsRequest(by="gold", training_sizes=(30,)))
    assert found.sizes == {"metric": 6, "run": 1, "label": 3, "layer": 2, "head": 2}
    assert len(printed["rows"]) == int((found["count"] > 0).sum())
    assert printed["rows"][0]["mean"] == found["mean"].values.flat[0]
    frame = pd.read_csv(places[".csv"])
    np.testing.assert_allclose(frame["mean"], found["mean"].values[found["count"].values > 0])
    for opened in (xr.open_dataset(places[".nc"]), xr.open_zarr(places[".zarr"], consolidated=False)):
        xr.testing.assert_equal(opened.compute()["ci_low"], found["ci_low"])
    table = command(*arguments).stdout.splitlines()
    assert "queries" in table[0]
    assert {line.split()[3] for line in table[1:] if not line.startswith("distance")} == {"all", "O", "protein"}


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--rollout",)])
def test_figures_are_drawn(command: Command, tuned: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    command("describe-attention", "--store", tuned, "--plot", tmp_path / "heads.svg", *more)
    text = (tmp_path / "heads.svg").read_text(encoding="utf-8")
    assert "tiny 30 %" in text
    assert "previous-mass" in text
    table = command("describe-attention", "--store", tuned, *more).stdout
    assert ("highest head" in table.splitlines()[0]) == (not more)


@pytest.mark.slow
def test_a_mistake_is_one_line(command: Command, tuned: Path) -> None:
    begin = ("describe-attention", "--store", tuned)
    failed = command(*begin, "--metric", "mass:other-text", code=1).stderr
    assert failed.startswith("Error: --metric=mass:other-text needs pairs of texts")
    assert failed.count("\n") == 1
    assert "--metric 'cosine' is not one of entropy" in command(*begin, "--metric", "cosine", code=1).stderr
