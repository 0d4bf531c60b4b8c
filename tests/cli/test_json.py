"""`--json`: one shape for every command that writes records, with the same names for the same things."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from biocache.cli.main import COMMANDS, biocache
from biocache.engine.analysis import ANALYSES
from biocache.engine.records import records
from biocache.store import RunKey, Store

Command = Callable[..., Result]

BERT_TEST = "ner/demo/bert/size-000/seed-42/sentence/test"
GPT2_TEST = "ner/demo/gpt2/size-000/seed-42/sentence/test"
# Commands that change a store of four runs, or only read it, in an order in which each has something to do.
LINES: list[tuple[str, ...]] = [
    ("ls",),
    ("info", BERT_TEST),
    ("verify",),
    ("label", "acronym", "--from-words", "[A-Z]{2,}", "--task", "ner"),
    ("ls", "--labels"),
    ("probe", "--task", "ner", "--layers", "0"),
    ("compare-probes", "--task", "ner", "--layers", "0"),
    ("describe-attention", "--metric", "entropy"),
    ("compare-attention", "--model", "bert", "--against", "gpt2", "--metric", "js"),
    ("compare-representations", "--model", "bert", "--against", "gpt2"),
    ("export", "w.npz", "--run", BERT_TEST),
    ("copy", "s.zarr", "t.zarr", "--split", "test"),
    ("report",),
    ("config", "ls"),
    ("rm", "--labels", "acronym", "--results", "--yes"),
    ("rm", GPT2_TEST, "--yes"),
]
# Those that train or load a model; they are given its place and that of the corpus.
MODEL_LINES: list[tuple[str, ...]] = [
    ("extract", "--task", "ner", "--split", "test", "--dry-run"),
    ("extract", "--task", "ner", "--split", "test", "--store", "n.zarr"),
    ("finetune", "--task", "ner", "--training-size", "100", "--epochs", "1", "--checkpoints", "c"),
    ("ls", "--checkpoints", "c"),
    ("study", "--task", "ner", "--training-size", "0", "--store", "n.zarr", "--dry-run"),
    ("study", "--task", "ner", "--training-size", "0", "--store", "n.zarr", "--steps", "extract"),
]


@pytest.fixture
def here(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work beside a store of four runs."""
    store.rename(store.with_name("s.zarr"))
    monkeypatch.chdir(store.parent)
    monkeypatch.setenv("BIOCACHE_STORE", "s.zarr")
    return store.with_name("s.zarr")


def read(result: Result) -> dict[str, Any]:
    """Read what a command wrote; NaN and infinity are not JSON."""
    printed: dict[str, Any] = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    return printed


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and value of every number and of every record, however deep."""
    if isinstance(value, Mapping):
        yield name, value
        for inner, part in value.items():
            yield from numbers(part, inner)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def check(printed: Mapping[str, Any], result: Result, command: str) -> None:
    """Check all that is the same for every command."""
    assert list(printed)[:4] == ["command", "settings", "notes", "rows"]
    assert set(printed) <= {"command", "settings", "notes", "rows", "totals"}
    assert printed["command"] == command
    found: Any = biocache.get_command(click.Context(biocache), command)
    options = {max(param.opts, key=len).lstrip("-").replace("-", "_") for param in found.params}
    assert set(printed["settings"]) <= options | {param.name for param in found.params}
    assert printed["notes"] == [
        line.removeprefix("note: ") for line in result.stderr.splitlines() if line.startswith("note: ")
    ]
    for row in printed["rows"]:
        if row.get("run") is not None:
            assert {name: row[name] for name in RunKey.names()} == dict(RunKey.from_path(row["run"]).items())
            assert next(iter(row)) == "run"
    for name, value in numbers([printed["rows"], printed.get("totals")]):
        if isinstance(value, Mapping):
            assert not [inner for inner in value if "bytes" in inner and not inner.endswith("_bytes")]
            assert not [inner for inner in value if "seconds" in inner and not inner.endswith("seconds")]
        elif name.endswith("_bytes"):
            assert isinstance(value, int)
            assert value >= 0
        elif name in ("training_size", "seed"):
            assert isinstance(value, int)


@pytest.mark.slow
def test_every_command_writes_one_shape(command: Command, here: Path) -> None:
    runs = {run.key.path for run in Store.open(here).select()}
    for line in LINES:
        result = command(*line, "--json")
        printed = read(result)
        check(printed, result, line[0])
        assert printed["rows"] or line[0] == "verify"
        assert {row["run"] for row in printed["rows"] if "run" in row} <= runs
        if line[0] in ANALYSES and line[0] != "compare-probes":
            assert all(row["run"] is not None for row in printed["rows"])


@pytest.mark.slow
def test_every_command_of_models_writes_one_shape(
    command: Command, here: Path, corpus_folder: Path, checkpoints: Mapping[str, Path]
) -> None:
    small = ("--dataset", f"demo={corpus_folder / 'ner'}", "--model", f"bert={checkpoints['bert']}", "--limit", 4)
    for line in MODEL_LINES:
        result = command(*line, *(small if "--task" in line else ()), "--json")
        printed = read(result)
        check(printed, result, line[0])
        assert printed["rows"]


def test_no_command_is_left_out() -> None:
    context = click.Context(biocache)
    named = {line[0] for line in (*LINES, *MODEL_LINES)}
    for name in biocache.list_commands(context):
        found: Any = biocache.get_command(context, name)
        assert (name in named) == any("--json" in param.opts for param in found.params), name
    assert set(COMMANDS) | set(ANALYSES) == named | {"demo"}


def test_problems_name_their_run(command: Command, here: Path) -> None:
    (here / BERT_TEST / "packs/record/c/0").unlink()
    (problem,) = read(command("verify", "--json", code=1))["rows"]
    assert (problem["run"], problem["model"], problem["pack"]) == (BERT_TEST, "bert", 0)


def test_settings_are_named_as_the_options_are(command: Command, here: Path) -> None:
    printed = read(command("probe", "--task", "ner", "--layers", "0", "--training-size", "0", "--json"))
    asked = {name: printed["settings"][name] for name in ("task", "layers", "training_size", "store")}
    assert asked == {"task": "ner", "layers": [0], "training_size": [0], "store": "s.zarr"}
    # What was left open is shown as it was decided.
    assert printed["settings"]["probe"] == "logistic"


def test_what_is_removed_is_told_and_not_asked(command: Command, here: Path) -> None:
    refused = command("rm", GPT2_TEST, "--json", code=2)
    assert refused.stderr.splitlines()[-1] == "Error: --json cannot ask before it removes; add --yes"
    assert len(Store.open(here).keys()) == 4
    printed = read(command("rm", GPT2_TEST, "--yes", "--json"))
    (row,) = printed["rows"]
    assert row["run"] == GPT2_TEST
    assert printed["totals"] == {"removed": 1, "freed_bytes": row["freed_bytes"], "swept_bytes": 0}
    assert row["freed_bytes"] > 1000
    assert len(Store.open(here).keys()) == 3


def test_notes_are_kept_where_stderr_has_none(command: Command, here: Path) -> None:
    result = command("ls", "--seed", "1", "-q", "--json")
    assert result.stderr == ""
    assert read(result)["notes"] == ["s.zarr has no such run"]


FACTS = {"task": "ner", "dataset": "demo", "view": "sentence", "split": "test"}


def test_rows_of_several_runs_have_no_run() -> None:
    import pandas as pd

    frame = pd.DataFrame({"training_size": [0, 30], "value": [0.5, float("nan")]})
    paths = [BERT_TEST, *(BERT_TEST.replace("000", "030").replace("42", seed) for seed in ("1", "2"))]
    facts = {**FACTS, "model": "bert", "runs": ", ".join(paths), "baseline_run": f"{BERT_TEST}, {BERT_TEST}"}
    first, second = records(frame, facts)
    assert (first["run"], first["seed"], first["value"]) == (BERT_TEST, 42, 0.5)
    assert (second["run"], second["seed"], second["training_size"], second["value"]) == (None, None, 30, None)
    assert first["baseline_run"] == second["baseline_run"] == BERT_TEST


def test_rows_of_pairs_and_of_two_views_have_what_they_share() -> None:
    import pandas as pd

    (pair,) = records(pd.DataFrame({"model_a": ["bert"], "model_b": ["gpt2"]}), FACTS)
    assert pair == {**FACTS, "model_a": "bert", "model_b": "gpt2"}
    frame = pd.DataFrame({"model": ["bert"], "training_size": [0], "seed": [42]})
    (row,) = records(frame, {"task": "nli", "dataset": "d", "split": "test", "views": "premise, hypothesis"})
    assert (row["run"], row["view"], row["trained_on"]) == (None, "premise, hypothesis", "")
