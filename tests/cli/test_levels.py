"""Runs of words and samples, from the command line."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from extractions import holdings

from biocache.store import Store

Command = Callable[..., Result]

pytestmark = pytest.mark.slow


@pytest.fixture
def asked(corpus_folder: Path, checkpoints: Mapping[str, Path]) -> Callable[..., list[Any]]:
    """Return the arguments of an extraction of sentences into a store."""

    def arguments(store: Path, *more: object) -> list[Any]:
        model = ("--model", f"bert={checkpoints['bert']}", "--dataset", f"demo={corpus_folder / 'ner'}")
        return ["extract", "--store", store, "--task", "ner", *model, "--device", "cpu", "--limit", 12, *more]

    return arguments


@pytest.mark.parametrize("level", ["word", "sample"])
def test_what_is_planned_is_kept_shown_and_copied(
    command: Command, asked: Callable[..., list[Any]], tmp_path: Path, level: str
) -> None:
    store, tokens, copy = tmp_path / "s.zarr", tmp_path / "t.zarr", tmp_path / "c.zarr"
    plan = json.loads(command(*asked(store, "--level", level, "--dry-run", "--json")).stdout)
    assert f"hidden, of each {level}" in command(*asked(store, "--level", level, "--dry-run")).stdout
    command(*asked(store, "--level", level))
    command(*asked(tokens))
    runs = Store.open(store).select()
    sizes = {
        at: sum(run.activations("hidden").nbytes for run in Store.open(place).select())
        for at, place in ((level, store), ("token", tokens))
    }
    found = {
        choice["level"]: choice["activation_bytes"]
        for choice in plan["totals"]["choices"]
        if (choice["variable"], choice["dtype"]) == ("hidden", "float16")
    }
    assert {at: found[at] for at in sizes} == sizes
    maps = sum(run.activations("attention").nbytes for run in runs if "attention" in run.spec.keep)
    assert plan["totals"]["activation_bytes"] == sizes[level] + maps
    listed = json.loads(command("ls", "--store", store, "--json").stdout)["rows"]
    assert {row["level"] for row in listed} == {level}
    assert f" {level} " in command("ls", "--store", store).stdout
    for place, shown in ((store, level), (tokens, "token")):
        (info,) = json.loads(command("info", "--store", place, "--split", "test", "--json").stdout)["rows"]
        assert info["spec"]["level"] == shown
        assert info["sizes"]["activation_bytes"] == sum(
            run.activations(name).nbytes for run in Store.open(place).select(split="test") for name in run.spec.keep
        )
    command("copy", tokens, copy, "--level", level)
    assert holdings(copy) == holdings(store)
    assert command("verify", "--store", copy, "--recompute", 12).exit_code == 0
    other = "word" if level == "sample" else "sample"
    refused = command("copy", store, tmp_path / "d.zarr", "--level", other, code=1)
    (line,) = refused.stderr.splitlines()
    assert f"keeps hidden states of each {level}, and those of each {other} are made of tokens" in line
    assert not (tmp_path / "d.zarr").exists()


def test_words_are_exported_stacked_probed_and_reported(
    command: Command, asked: Callable[..., list[Any]], tmp_path: Path
) -> None:
    store = tmp_path / "s.zarr"
    command(*asked(store, "--level", "word"))
    command(*asked(store, "--random-weights", "--level", "word"))
    chosen = ("--store", store, "--model", "bert", "--split", "test")
    command("export", tmp_path / "words.parquet", *chosen, "--layers", 1, "--pooling", "last")
    run = Store.open(store).run(model="bert", split="test")
    table = pd.read_parquet(tmp_path / "words.parquet")
    expected = run.words("last").hidden.sel(layer=1).values
    np.testing.assert_array_equal(np.stack(table["layer_1"].to_numpy()), expected)
    stacked = Store.open(store).stack("words", pooling="last", model=["bert", "bert-random"], split="test")
    np.testing.assert_array_equal(stacked.hidden.sel(model="bert", layer=1).values, expected)
    refused = command("export", tmp_path / "tokens.parquet", *chosen, "--level", "token", code=1)
    (line,) = refused.stderr.splitlines()
    assert "keeps the mean, first and last of the tokens of each word, from which tokens cannot be made" in line
    assert not (tmp_path / "tokens.parquet").exists()
    probe = ("probe", "--store", store, "--task", "ner")
    rows = command(*probe).stdout.splitlines()[1:]
    assert {row.split()[0] for row in rows} == {"bert", "bert-random"}
    refused = command(*probe, "--level", "span", "--pooling", "max", code=1)
    assert "a maximum over the tokens of spans of words cannot be made" in refused.stderr.splitlines()[-1]
    command("compare-attention", "--store", store, "--task", "ner", "--model", "bert", "--against", "bert-random")
    command("report", "--store", store, "--output", tmp_path / "r.html")
    assert "bert-random" in (tmp_path / "r.html").read_text(encoding="utf-8")
