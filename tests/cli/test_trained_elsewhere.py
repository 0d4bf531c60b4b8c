"""What models were fine-tuned on, where it is not what they read, on the command line."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import Result
from elsewhere import Elsewhere, write_elsewhere

from biocache.store import Store

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path, checkpoints: Mapping[str, Path]) -> Elsewhere:
    return write_elsewhere(tmp_path_factory.mktemp("elsewhere"), corpus_folder, checkpoints["bert"])


@pytest.mark.slow
def test_commands_select_by_what_models_were_trained_on(command: Command, made: Elsewhere, tmp_path: Path) -> None:
    listed = json.loads(command("ls", "--store", made.both, "--trained-on", "first,nli/pairs", "--json").stdout)["rows"]
    assert {(row["trained_on"], row["split"]) for row in listed} == {
        (name, split) for name in ("first", "nli/pairs") for split in ("train", "test")
    }
    chosen = ("--trained-on", "first", "--split", "test")
    (facts,) = json.loads(command("info", "--store", made.both, *chosen, "--json").stdout)["rows"]
    assert facts["trained_on"] == "first"
    assert facts["provenance"]["trained_on_source"] == "ner/first"
    command("copy", made.both, tmp_path / "s", *chosen)
    (_,) = json.loads(command("ls", "--store", tmp_path / "s", "--json").stdout)["rows"]
    path = "ner/ner/tiny/trained-on-first,size-030/seed-42/sentence/test"
    assert path in command("ls", "--store", tmp_path / "s").stdout
    assert json.loads(command("info", path, "--store", tmp_path / "s", "--json").stdout)["rows"][0]["run"] == path
    command("export", tmp_path / "words.npz", "--store", tmp_path / "s", "--trained-on", "first")
    assert (tmp_path / "words.npz").stat().st_size > 1000
    checked = command("verify", "--store", tmp_path / "s", "--trained-on", "first", "--recompute", 2).stdout
    assert "no problems" in checked
    assert "no run" in command("rm", "--store", tmp_path / "s", "--trained-on", "ner", "--yes", code=1).stderr
    command("rm", "--store", tmp_path / "s", "--trained-on", "first", "--yes")
    assert json.loads(command("ls", "--store", tmp_path / "s", "--json").stdout)["rows"] == []
    folder = ("--checkpoints", made.checkpoints)
    assert "checkpoints have no --trained-on" in command("ls", *folder, "--trained-on", "first", code=2).stderr


@pytest.mark.slow
def test_extract_takes_the_dataset_trained_on(
    command: Command, made: Elsewhere, corpus_folder: Path, tmp_path: Path
) -> None:
    options = ("extract", "--store", tmp_path / "s", "--dataset", f"demo={corpus_folder / 'ner'}", "--task", "ner")
    options = (*options, "--model", f"tiny={made.base}", "--checkpoints", made.checkpoints, "--limit", 2)
    options = (*options, "--split", "test", "--training-size", "0,30", "--trained-on", "first")
    plan = json.loads(command(*options, "--dry-run", "--json").stdout)
    assert [run["run"] for run in plan["rows"]] == [
        "ner/demo/tiny/size-000/seed-42/sentence/test",
        "ner/demo/tiny/trained-on-first,size-030/seed-42/sentence/test",
    ]
    assert [model["trained_on"] for model in plan["totals"]["models"]] == ["", "first"]
    assert "tiny at 30 % of first" in command(*options, "--dry-run").stdout
    command(*options)
    assert Store.open(tmp_path / "s").run(trained_on="first").key.dataset == "demo"
