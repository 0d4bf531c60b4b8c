"""probe on a store of tiny models."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import Result

from biocache.cli import probe as probe_module
from biocache.engine import ClassifierOptions, ProbeRequest, probe
from biocache.engine.probing import execution, request
from biocache.engine.probing import probe as engine_module
from biocache.engine.scoring import score_names

Command = Callable[..., Result]

SCORE = re.compile(r"(\d\.\d{3})(?: ± \d\.\d{3})? \[(\d\.\d{3}), (\d\.\d{3})\]")


def test_the_table_has_scores_intervals_and_baselines(command: Command, store: Path) -> None:
    result = command("probe", "--store", store, "--task", "ner")
    lines = result.stdout.splitlines()
    assert re.split(r"  +", lines[0]) == [
        *("model", "training size", "seed", "layer", "accuracy", "macro F1", "micro F1", "merged-entity F1")
    ]
    assert [line.split()[0] for line in lines[1:]] == ["bert"] * 4 + ["gpt2"] * 4
    assert [line.split()[4] for line in lines[1:5]] == ["majority", "0", "1", "2"]
    data = probe(store, ProbeRequest(task="ner"))
    for line, layer in zip(lines[2:5], range(3), strict=True):
        found = [tuple(map(float, match.groups())) for match in SCORE.finditer(line)]
        assert len(found) == 4
        for (value, low, high), name in zip(found, score_names("type"), strict=True):
            where = {"model": "bert", "layer": layer}
            assert value == round(data[name].sel(where).item(), 3)
            assert (low, high) == tuple(
                round(data[b].sel(where).sel(score=name).item(), 3) for b in ("ci_low", "ci_high")
            )
    assert sum(" best " in line for line in lines) == 2
    (note,) = result.stderr.splitlines()
    assert note.startswith("note: merged-entity F1 takes words of one type that touch for one entity")


def test_seeds_that_decide_nothing_are_noted(command: Command, store: Path) -> None:
    arguments = ("probe", "--store", store, "--task", "ner", "--model", "bert", "--layers", "0", "--seeds", "2")
    said = "note: the scores of logistic are the same for all --seeds"
    assert said in command(*arguments).stderr
    assert said not in command(*arguments, "--max-train-samples", "5").stderr


def test_the_code_of_labels_that_a_model_has_seen_is_noted(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("probe", "--store", store, "--task", "ner", "--model", "bert", "--layers", "0", "--mdl")
    said = "note: fine-tuned models have seen the train labels"
    assert said not in command(*arguments).stderr
    untuned = engine_module.find_probe(store, ProbeRequest(task="ner", models=("bert",), layers=(0,), mdl=True))
    assert untuned is not None
    tuned = untuned.assign_coords(training_size=[30])
    monkeypatch.setattr(engine_module, "find_probe", lambda *_: tuned)
    assert said in command(*arguments).stderr


@pytest.mark.parametrize("score", score_names("type"))
def test_the_best_layer_is_marked_by_the_score_that_is_asked_for(command: Command, store: Path, score: str) -> None:
    rows = json.loads(command("probe", "--store", store, "--task", "ner", "--score", score, "--json").stdout)["rows"]
    for model in ("bert", "gpt2"):
        mine = [row for row in rows if row["model"] == model and row["layer"] is not None]
        best = [row["layer"] for row in mine if row["best"]]
        assert best == [max(mine, key=lambda row: (row[score], -row["layer"]))["layer"]]


def test_a_second_call_says_that_it_computes_nothing(command: Command, store: Path) -> None:
    first = command("probe", "--store", store, "--task", "ner", "--model", "bert")
    again = command("probe", "--store", store, "--task", "ner", "--model", "bert")
    assert again.stdout == first.stdout
    assert again.stderr == "note: the store has this result; --force computes it again\n" + first.stderr
    forced = command("probe", "--store", store, "--task", "ner", "--model", "bert", "--force")
    assert (forced.stdout, forced.stderr) == (first.stdout, first.stderr)


def test_json_holds_all_that_the_table_does(command: Command, store: Path) -> None:
    answer = json.loads(
        command(
            "probe", "--store", store, "--task", "ner", "--model", "bert", "--control", "--mdl", "--compare", "--json"
        ).stdout
    )
    assert answer["settings"]["probe"] == "logistic"
    assert answer["settings"]["backend"] == "scikit-learn"
    assert answer["settings"]["control"] == "random label of each word type"
    assert answer["score"] == "merged_entity_f1"
    majority, *layers = answer["rows"]
    assert majority["baseline"] == "majority"
    data = probe(store, ProbeRequest(task="ner", models=("bert",), control=True, mdl=True))
    assert [row["selectivity"] for row in layers] == pytest.approx(data.selectivity.values.ravel())
    assert [row["code_length"] for row in layers] == pytest.approx(data.code_length.values.ravel())
    assert majority["accuracy"] == data.majority.sel(score="accuracy").item()
    assert len(answer["comparisons"]) == 3
    assert {"p", "p_holm", "difference", "layer_a", "layer_b"} <= set(answer["comparisons"][0])


def test_seeds_have_a_spread_and_extras_a_column(command: Command, store: Path) -> None:
    arguments = ("--task", "ner", "--model", "gpt2", "--seeds", "2", "--max-train-samples", "5", "--control", "--mdl")
    result = command("probe", "--store", store, *arguments)
    header, _, *rows = result.stdout.splitlines()
    assert all(title in header for title in ("control accuracy", "selectivity", "code, bits", "compression"))
    assert all(len(re.findall(r" ± \d\.\d{3} \[", row)) == 4 for row in rows)


def test_pairs_that_differ_are_listed(command: Command, store: Path) -> None:
    result = command("probe", "--store", store, "--task", "ner", "--compare", "--score", "accuracy")
    assert re.fullmatch(r"\d of 6 pairs differ \(p < 0.05 after Holm's correction\)", result.stdout.splitlines()[-1])


@pytest.mark.parametrize("suffix", [".csv", ".json", ".nc", ".zarr"])
def test_results_are_files(command: Command, store: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    command("probe", "--store", store, "--task", "ner", "--output", out)
    data = probe(store, ProbeRequest(task="ner"))
    if suffix == ".csv":
        table = pd.read_csv(out)
        assert len(table) == 6
        assert table["accuracy"].tolist() == pytest.approx(data.accuracy.values.ravel())
    elif suffix == ".json":
        assert np.array(json.loads(out.read_text())["data_vars"]["accuracy"]["data"]).shape == data.accuracy.shape
    else:
        opened = xr.open_dataset(out) if suffix == ".nc" else xr.open_zarr(out, consolidated=False)
        with opened:
            np.testing.assert_array_equal(opened.confusion, data.confusion)


def test_figures_are_drawn(command: Command, store: Path, tmp_path: Path) -> None:
    layers, errors = tmp_path / "layers.png", tmp_path / "errors.svg"
    command("probe", "--store", store, "--task", "ner", "--plot", layers, "--plot-confusion", errors)
    assert layers.read_bytes().startswith(b"\x89PNG")
    assert "cell_line" in errors.read_text() or errors.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--task", "nli"), 1, "no train and test runs for nli, view premise, hypothesis"),
        (("--task", "ner", "--model", "biogpt"), 1, "no model biogpt"),
        (("--task", "ner", "--layers", "0,7"), 1, "layer 7 is in no run of bert, gpt2; stored are 0, 1, 2"),
        (("--task", "ner", "--output", "x.xls"), 1, "output x.xls has no suffix that says its format"),
        (("--task", "ner", "--plot", "x.gif"), 1, "plot x.gif has no suffix that says its format"),
        (("--task", "ner", "--plot-confusion", "none/x.png"), 1, "the folder none does not exist"),
        (("--task", "ner", "--max-memory", "1K"), 1, "--max-memory is 1.0 KiB; pass --max-memory"),
        (("--task", "ner", "--probe", "svc", "--mdl"), 1, "svc does not give"),
        (("--task", "ner", "--workers", "1", "--scheduler-address", "tcp://x:1"), 1, "exclude each other"),
        (("--task", "ner", "--C", "0"), 2, "0 is not in the range x>0"),
        (("--task", "ner", "--probe", "forest"), 2, "'forest' is not one of"),
        ((), 2, "Missing option '--task'"),
    ],
)
def test_mistakes_are_one_line(command: Command, store: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    result = command("probe", "--store", store, *arguments, code=code)
    assert says in result.stderr
    assert result.stdout == ""
    if code == 1:
        assert result.stderr.count("\n") == 1


def test_nothing_is_fitted_for_a_file_that_cannot_be_written(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "run_fit", lambda *_: pytest.fail("a fit is run"))
    result = command("probe", "--store", store, "--task", "ner", "--plot", "x.gif", code=1)
    assert "x.gif has no suffix that says its format" in result.stderr


def test_solvers_that_stop_early_are_noted(command: Command, store: Path) -> None:
    result = command("probe", "--store", store, "--task", "ner", "--model", "bert", "--max-iterations", "1")
    assert "note: 3 fits stopped at --max-iterations before the solver converged; raise it\n" in result.stderr


def handed_on(command: Command, store: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Mapping[str, Any]:
    """Return what the command asks the engine for."""
    seen: dict[str, Any] = {}

    class Stop(Exception):  # noqa: N818
        pass

    def spy(root: Path, asked: ProbeRequest, **settings: Any) -> None:
        seen.update(store=root, request=asked, **settings)
        raise Stop

    monkeypatch.setattr(engine_module, "find_probe", lambda *_: None)
    monkeypatch.setattr(engine_module, "probe", spy)
    with pytest.raises(Stop):
        command("probe", "--store", store, *arguments)
    return seen


def test_options_are_handed_on(command: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = (
        "--task nli --dataset corpora/mednli --model bert,org/model --training-size 0,100 --seed 1,2 --probe mlp "
        "--layers 0-2,9 --pooling max --features separate --combine full --seeds 3 --max-train-samples 50 --control "
        "--mdl --resamples 99 --C 2 --gamma 0.5 --hidden-size 7 --epochs 8 --learning-rate 0.1 --batch-size 9 "
        "--max-iterations 10 --max-memory 2G --workers 4 --force"
    )
    asked = dict(handed_on(command, store, monkeypatch, *line.split()))
    assert asked.pop("store") == store
    assert asked.pop("on_progress") is not None
    expected = ProbeRequest(
        task="nli",
        dataset="mednli",
        models=("bert", "org--model"),
        training_sizes=(0, 100),
        run_seeds=(1, 2),
        probe="mlp",
        options=ClassifierOptions(
            c=2.0, gamma=0.5, hidden_size=7, epochs=8, learning_rate=0.1, batch_size=9, max_iterations=10
        ),
        layers=(0, 1, 2, 9),
        pooling="max",
        combine="full",
        seeds=3,
        max_train_samples=50,
        control=True,
        mdl=True,
        resamples=99,
        max_memory=2 * 2**30,
    )
    assert asked == {"request": expected, "workers": 4, "scheduler_address": None, "force": True}


def test_defaults_are_those_of_the_engine(command: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = handed_on(command, store, monkeypatch, "--task", "ner", "--model", "bert")
    assert asked["request"] == ProbeRequest(task="ner", models=("bert",))
    assert asked["force"] is False


def test_choices_are_those_of_the_engine() -> None:
    assert probe_module.PROBES == request.PROBES
    assert probe_module.POOLINGS == request.POOLINGS
    assert probe_module.FEATURES == request.FEATURES
    assert probe_module.COMBINES == request.COMBINES
    assert set(probe_module.SCORES) == {*score_names("type"), *score_names("bio")}
