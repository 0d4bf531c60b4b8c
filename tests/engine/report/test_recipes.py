"""What the page shows as the way to a result leads to it: commands find it in the store, and so do lines of Python."""

from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from click.testing import CliRunner
from report_factory import Page, add_scores, arguments_of

from biocache.cli.main import biocache
from biocache.engine import AttentionRequest, ProbeRequest, analysis
from biocache.engine.analyses.probing.request import ClassifierOptions
from biocache.engine.executor import Executor
from biocache.engine.finetuning import finetune as finetuning
from biocache.engine.report.inventory import Inventory
from biocache.engine.report.recipes import analysis_recipe, finetune_recipe
from biocache.store import Store
from biocache.store.errors import SettingError
from biocache.store.folders import Folder
from biocache.store.results import StoredResult


@pytest.fixture
def nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no call compute a result: what is not found fails."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the store was asked for another result")

    monkeypatch.setattr(Executor, "run", fail)


def shown(page: Page, beginning: str) -> list[str]:
    return [text for text in page.codes() if text.startswith(beginning)]


@pytest.mark.slow
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
    command = finetune_recipe(store, specs, Inventory([], sources, {}, {})).command
    requests = []

    def seen(_store: Path, request: Any, **_: Any) -> None:
        requests.append(request)
        raise SettingError("seen")

    monkeypatch.setattr(finetuning, "finetune", seen)
    CliRunner().invoke(biocache, arguments_of(command))
    (request,) = requests
    assert (request.task, request.dataset) == ("ner", "corpus=/data/a corpus, ours")
    assert (request.models, request.training_sizes, request.seeds) == (("bert",), (10, 100), (42,))
    for name in ("label_scheme", "batch_size", "gradient_accumulation", "weight_decay", "max_length", "compute_dtype"):
        assert getattr(request, name) == specs[0][name]
    assert {name: getattr(request, name) for name in changes} == changes


REQUESTS = [
    ("probe", ProbeRequest(task="ner", dataset="corpus", models=("bert",), run_seeds=(42,), layers=(0, 2))),
    ("probe",
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
    )),
    ("compare-probes", ProbeRequest(task="ner", score="macro_f1")),
    ("compare-attention", AttentionRequest(
        task="nli",
        dataset="corpus",
        model="gpt2",
        against="bert",
        seeds=(42, 7),
        view="pair",
        split="test",
        training_sizes=(10, 100),
        metrics=("js",),
        exclude_special=True,
        by="gold",
        per_sample=True,
        resamples=9,
        resampling_seed=3,
    )),
]  # fmt: skip


@pytest.mark.parametrize(("name", "request_"), REQUESTS)
def test_settings_reach_the_command_line(
    bare: Path, monkeypatch: pytest.MonkeyPatch, name: str, request_: ProbeRequest | AttentionRequest
) -> None:
    seen: list[Any] = []

    def stop(_analysis: Any, _store: Path, request: Any) -> None:
        seen.append(request)
        raise SettingError("seen")

    monkeypatch.setattr(analysis, "find", stop)
    dataset = xr.Dataset(attrs={"request": request_.to_json()})
    made = analysis_recipe(Store.open(bare), StoredResult(name, {}, "", (), Folder(bare), ""), dataset)
    CliRunner().invoke(biocache, arguments_of(made.command))
    assert seen == [request_]
    # These runs are not in the store.
    assert "have changed" in made.note
