"""Runs with value norms, from the command line."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import Result

from biocache.store import Store

pytestmark = pytest.mark.slow


def test_norms_are_planned_kept_shown_and_asked_for(
    command: Callable[..., Result], corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path
) -> None:
    asked = ["extract", "--task", "ner", "--dataset", f"demo={corpus_folder / 'ner'}", "--device", "cpu", "--limit", 6]
    asked += ["--model", f"bert={checkpoints['bert']}", "--store", tmp_path / "s.zarr"]
    keep = ["--keep", "hidden,attention,norms"]
    plan = json.loads(command(*asked, *keep, "--dry-run", "--json").stdout)
    shown = command(*asked, *keep, "--dry-run").stdout
    command(*asked, *keep)
    runs = {run.key.split: run for run in Store.open(tmp_path / "s.zarr").select()}
    # Norms go with attention.
    assert runs["train"].spec.keep == ("hidden",)
    assert runs["test"].spec.keep == ("hidden", "attention", "norms")
    size = runs["test"].activations("norms").nbytes
    norms = [choice for choice in plan["totals"]["choices"] if choice["variable"] == "norms"]
    assert {choice["dtype"]: choice["activation_bytes"] for choice in norms} == {"float16": size, "float32": 2 * size}
    assert "norms, of each token" in shown
    whole = sum(run.activations(name).nbytes for run in runs.values() for name in run.spec.keep)
    assert plan["totals"]["activation_bytes"] == whole
    store = ["--store", tmp_path / "s.zarr"]
    assert "of a head's spread at most" in command("info", *store, "--split", "test").stdout
    assert set(json.loads(command("info", *store, "--split", "test", "--json").stdout)["rows"][0]["rounding"]) == {
        *("hidden", "attention", "norms")
    }
    command("verify", *store, "--recompute", 3)
    command("copy", tmp_path / "s.zarr", tmp_path / "copy.zarr", "--split", "test", "--keep", "norms")
    (copied,) = Store.open(tmp_path / "copy.zarr").select()
    assert copied.spec.keep == ("norms",)
    asked[-1] = tmp_path / "plain.zarr"
    command(*asked)
    assert Store.open(tmp_path / "plain.zarr").run(split="test").spec.keep == ("hidden", "attention")
    compared = ["compare-attention", "--store", asked[-1], "--model", "bert", "--against", "bert", "--training-size", 0]
    refusal = command(*compared, "--metric", "norm-js", code=1).stderr
    assert "keeps no value norms, which --metric=norm-js needs; extract it again with `biocache extract" in refusal
    assert "--keep hidden,attention,norms --overwrite`" in refusal
    assert command(*compared[:2], *store[1:], *compared[3:], "--metric", "norm-js").stdout
