"""What the page shows as the way to a result leads to it: commands find it in the store, and so do lines of Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from click.testing import CliRunner
from report_factory import Page, add_scores, arguments_of

from biocache.cli.main import biocache
from biocache.engine import AttentionRequest, ProbeRequest
from biocache.engine.attention import comparison
from biocache.engine.finetuning import finetune as finetuning
from biocache.engine.probing import probe as probing
from biocache.engine.probing.request import ClassifierOptions
from biocache.engine.report.recipes import (
    attention_recipe,
    attention_request,
    finetune_recipe,
    probe_recipe,
    probe_request,
)
from biocache.store import Store
from biocache.store.errors import SettingError
from biocache.store.results import StoredResult


@pytest.fixture
def nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no call compute a result: what is not found fails."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the store was asked for another result")

    monkeypatch.setattr(probing, "fitted", fail)
    monkeypatch.setattr(comparison, "_compute", fail)


def shown(page: Page, beginning: str) -> list[str]:
    return [text for text in page.codes() if text.startswith(beginning)]


@pytest.mark.usefixtures("nothing_is_computed")
def test_commands_of_the_page_find_what_it_shows(page: Page) -> None:
    commands = [*shown(page, "biocache probe "), *shown(page, "biocache compare-attention ")]
    assert len(commands) == 6
    for command in commands:
        result = CliRunner().invoke(biocache, arguments_of(command))
        assert result.exit_code == 0, (command, result.output, result.exception)
        assert result.stdout


@pytest.mark.usefixtures("nothing_is_computed")
def test_lines_of_python_find_what_it_shows(page: Page) -> None:
    lines = shown(page, "from biocache.engine import ")
    assert len(lines) == 6
    for text in lines:
        names: dict[str, Any] = {}
        exec(text, names)
        assert isinstance(names["result"], xr.Dataset)


def test_scores_of_fine_tuning_are_read_by_the_lines_shown(page: Page, full: Path) -> None:
    (text,) = shown(page, "from biocache.store import ")
    names: dict[str, Any] = {}
    exec(text, names)
    assert set(names["scores"]) == {("bert", 10, 42), ("bert", 100, 42)}
    first = Store.open(full).results("finetune")[0]
    assert names["scores"]["bert", first.inputs["checkpoint"]["training_size"], 42].identical(first.load())


def test_the_command_of_fine_tuning_has_all_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, Any] = {"epochs": 2.5, "learning_rate": 1e-3, "patience": 2, "limit": 50, "warmup": 0.0}
    for size in (10, 100):
        add_scores(tmp_path, training_size=size, **changes)
    store = Store.open(tmp_path)
    specs = [result.inputs["checkpoint"] for result in store.results("finetune")]
    sources = {
        ("dataset", "ner", "corpus"): "/data/a corpus, ours",
        ("dataset", "nli", "corpus"): "/data/another",
        ("model", "ner", "bert"): "bert",
    }
    command = finetune_recipe(store, specs, sources).command
    requests = []

    def seen(_store: Path, request: Any, **_: Any) -> None:
        requests.append(request)
        raise SettingError("seen")

    monkeypatch.setattr(finetuning, "finetune", seen)
    CliRunner().invoke(biocache, arguments_of(command))
    (request,) = requests
    assert (request.task, request.dataset) == ("ner", "corpus=/data/a corpus, ours")
    assert (request.models, request.training_sizes, request.seed) == (("bert",), (10, 100), 42)
    for name in ("label_scheme", "batch_size", "gradient_accumulation", "weight_decay", "max_length", "compute_dtype"):
        assert getattr(request, name) == specs[0][name]
    assert {name: getattr(request, name) for name in changes} == changes


PROBES = [
    ProbeRequest(task="ner", dataset="corpus", models=("bert",), training_sizes=(0,), run_seeds=(42,), layers=(0, 2)),
    ProbeRequest(
        task="nli",
        dataset="corpus",
        models=("gpt2", "bert"),
        training_sizes=(0, 10),
        run_seeds=(1, 42),
        layers=(0, 1),
        features="pair",
        probe="mlp",
        options=ClassifierOptions(hidden_size=8, epochs=3, learning_rate=0.5, batch_size=7),
        pooling="max",
        seeds=3,
        max_train_samples=9,
        control=True,
        mdl=True,
        resamples=7,
    ),
]


@pytest.mark.parametrize("request_", PROBES, ids=["small", "all settings"])
def test_a_request_is_read_from_what_a_probe_was_kept_under(request_: ProbeRequest) -> None:
    assert probe_request(probe_inputs(request_)) == request_


def probe_inputs(request: ProbeRequest) -> dict[str, Any]:
    """Return the inputs that a result has of the runs that a request names."""

    def runs(model: str, size: int, seed: int, split: str) -> list[dict[str, str]]:
        path = f"{request.task}/{request.dataset}/{model}/size-{size:03d}/seed-{seed}/{request.views[0]}/{split}"
        return [{"run": path, "spec": "0"}]

    names = ("pooling", "combine", "seeds", "max_train_samples", "control", "mdl", "resamples", "probe")
    return {
        **{name: getattr(request, name) for name in names},
        "options": request.options.used_by(request.probe),
        "cells": [
            {
                "train": runs(model, size, seed, "train"),
                "test": runs(model, size, seed, "test"),
                "layers": list(request.layers or ()),
            }
            for model in request.models or ()
            for size in request.training_sizes or ()
            for seed in request.run_seeds or ()
        ],
    }


def attention_inputs(**changes: Any) -> Mapping[str, Any]:
    path = "nli/corpus/{}/size-{}/seed-42/pair/test"
    return {
        "baseline": {"run": path.format("bert", "000")},
        "runs": [{"run": path.format("gpt2", "010")}, {"run": path.format("gpt2", "100")}],
        "metrics": ["js"],
        **dict.fromkeys(("exclude_special", "by_label", "match_heads", "all_pairs", "per_sample"), False),
        **{"replicates": 1000, "resampling_seed": 0},
        **changes,
    }


def test_a_request_is_read_from_what_a_comparison_was_kept_under() -> None:
    request = attention_request(attention_inputs(exclude_special=True, by_label=True, replicates=9, resampling_seed=3))
    assert request == AttentionRequest(
        task="nli",
        dataset="corpus",
        model="gpt2",
        against="bert",
        seed=42,
        view="pair",
        split="test",
        training_sizes=(10, 100),
        metrics=("js",),
        exclude_special=True,
        by_label=True,
        replicates=9,
        resampling_seed=3,
    )


@pytest.mark.parametrize("recipe", ["probe", "attention"])
def test_settings_reach_the_command_line(bare: Path, monkeypatch: pytest.MonkeyPatch, recipe: str) -> None:
    seen: list[Any] = []

    def stop(_store: Path, request: Any, **_: Any) -> None:
        seen.append(request)
        raise SettingError("seen")

    monkeypatch.setattr(probing, "find_probe", stop)
    monkeypatch.setattr(comparison, "compare_attention", stop)
    store = Store.open(bare)
    if recipe == "probe":
        wanted: Any = PROBES[1]
        made = probe_recipe(store, StoredResult("probe", probe_inputs(PROBES[1]), "", bare, (), ""))
    else:
        inputs = attention_inputs(exclude_special=True, by_label=True, per_sample=True, replicates=9, resampling_seed=3)
        wanted = attention_request(inputs)
        made = attention_recipe(store, StoredResult("attention", inputs, "", bare, (), ""))
    CliRunner().invoke(biocache, arguments_of(made.command))
    assert seen == [wanted]
    # These runs are not in the store.
    assert "have changed" in made.note
