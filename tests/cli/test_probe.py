"""probe on a store of tiny models."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import Result

from biocache.cli.render import print_frame
from biocache.engine import ClassifierOptions, ProbeRequest, analysis, compare_probes, probe
from biocache.engine.analyses.probing import fitting
from biocache.engine.analyses.probing.analysis import Probing
from biocache.engine.analysis import ANALYSES
from biocache.engine.metrics import score_names
from biocache.store import Store
from biocache.store.errors import SettingError
from biocache.store.folders import Folder

Command = Callable[..., Result]

SCORE = re.compile(r"(\d\.\d{3})(?: ± \d\.\d{3})? \[(\d\.\d{3}), (\d\.\d{3})\]")


@pytest.mark.slow
def test_the_table_has_scores_intervals_and_baselines(command: Command, store: Path) -> None:
    result = command("probe", "--store", store, "--task", "ner")
    lines = result.stdout.splitlines()
    assert re.split(r"  +", lines[0]) == [
        *("model", "training size", "seed", "layer", "best", "accuracy", "macro F1", "micro F1", "merged-entity F1"),
        "V-information",
    ]
    assert [line.split()[0] for line in lines[1:]] == ["bert"] * 4 + ["gpt2"] * 4
    assert [line.split()[3] for line in lines[1:5]] == ["majority", "0", "1", "2"]
    data = probe(store, ProbeRequest(task="ner"))
    for line, layer in zip(lines[2:5], range(3), strict=True):
        found = [tuple(map(float, match.groups())) for match in SCORE.finditer(line)]
        assert len(found) in (4, 5)
        bits = data.sel(model="bert", layer=layer)
        shown = [f"{bits[f'v_information{end}'].item():.3f}" for end in ("", "_ci_low", "_ci_high")]
        assert line.endswith(f"  {shown[0]} [{shown[1]}, {shown[2]}]")
        for (value, low, high), name in zip(found[:4], score_names("type"), strict=True):
            where = {"model": "bert", "layer": layer}
            assert value == round(data[name].sel(where).item(), 3)
            assert (low, high) == tuple(
                round(data[b].sel(where).sel(score=name).item(), 3) for b in ("ci_low", "ci_high")
            )
    assert sum(" best " in line for line in lines[1:]) == 2
    notes = result.stderr.splitlines()
    strength = (
        "C is 1 in every layer, not chosen on validation: bert at training size 0 %, seed 42 has no validation run; "
        "extract it with --split=validation, or fix --C"
    )
    merged = "merged-entity F1 takes words of one type that touch"
    bits = "V-information is not above 0 in 6 of 6 places"
    said = ("intervals are over", "all runs have one seed", strength, merged, bits)
    assert len(notes) == len(said)
    assert all(note.startswith(f"note: {begin}") for note, begin in zip(notes, said, strict=True))
    again = command("probe", "--store", store, "--task", "ner", "--json")
    assert [f"note: {note}" for note in json.loads(again.stdout)["notes"]] == again.stderr.splitlines()
    assert again.stderr.splitlines()[1:] == notes


@pytest.mark.slow
def test_seeds_that_decide_nothing_are_noted(command: Command, store: Path) -> None:
    arguments = ("probe", "--store", store, "--task", "ner", "--model", "bert", "--layers", "0", "--seeds", "2")
    said = "note: the scores of logistic are the same for all --seeds"
    assert said in command(*arguments).stderr
    assert said not in command(*arguments, "--max-train-samples", "5").stderr


@pytest.mark.slow
def test_the_code_of_labels_that_a_model_has_seen_is_noted(store: Path) -> None:
    request = ProbeRequest(task="ner", models=("bert",), layers=(0,), mdl=True)
    said = "fine-tuned models have seen the train labels"
    result = probe(store, request)
    assert not any(note.startswith(said) for note in Probing().notes(result, request))
    assert any(note.startswith(said) for note in Probing().notes(result.assign_coords(training_size=[30]), request))


@pytest.mark.slow
@pytest.mark.parametrize("score", score_names("type"))
def test_the_best_layer_is_marked_by_the_score_that_is_asked_for(command: Command, store: Path, score: str) -> None:
    rows = json.loads(command("probe", "--store", store, "--task", "ner", "--score", score, "--json").stdout)["rows"]
    for model in ("bert", "gpt2"):
        mine = [row for row in rows if row["model"] == model]
        best = [row["layer"] for row in mine if row["best"]]
        assert best == [max(mine, key=lambda row: (row[score], -row["layer"]))["layer"]]


@pytest.mark.slow
def test_a_second_call_says_that_it_computes_nothing(command: Command, store: Path) -> None:
    first = command("probe", "--store", store, "--task", "ner", "--model", "bert")
    again = command("probe", "--store", store, "--task", "ner", "--model", "bert")
    assert again.stdout == first.stdout
    assert again.stderr == "note: the store has this result; --force computes it again\n" + first.stderr
    forced = command("probe", "--store", store, "--task", "ner", "--model", "bert", "--force")
    assert (forced.stdout, forced.stderr) == (first.stdout, first.stderr)


@pytest.mark.slow
def test_json_holds_all_that_the_table_does(command: Command, store: Path) -> None:
    arguments = ("--store", store, "--task", "ner", "--model", "bert", "--control", "--mdl", "--json")
    answer = json.loads(command("probe", *arguments).stdout)
    assert answer["command"] == "probe"
    assert answer["settings"]["probe"] == "logistic"
    assert answer["settings"]["control"] is True
    rows = answer["rows"]
    data = probe(store, ProbeRequest(task="ner", models=("bert",), control=True, mdl=True))
    for name in ("accuracy", "merged_entity_f1"):
        own = data.sel(score=name).squeeze()
        for column in ("control", "selectivity"):
            assert [row[f"{column}_{name}"] for row in rows] == pytest.approx(own[column].values)
        for bound in ("ci_low", "ci_high"):
            assert [row[f"selectivity_{name}_{bound}"] for row in rows] == pytest.approx(
                own[f"selectivity_{bound}"].values
            )
        assert {row[f"control_{name}_majority"] for row in rows} == {own.control_majority.item()}
    for name in ("code_length", "prior_code_length", "control_code_length", "prior_compression"):
        assert [row[name] for row in rows] == pytest.approx(data[name].values.ravel())
    assert rows[0]["accuracy_majority"] == data.majority.sel(score="accuracy").item()
    assert rows[0]["accuracy_ci_low"] == data.ci_low.sel(score="accuracy", layer=0).item()


@pytest.mark.slow
def test_seeds_have_a_spread_and_extras_a_column(command: Command, store: Path) -> None:
    arguments = ("--task", "ner", "--model", "gpt2", "--seeds", "2", "--max-train-samples", "5", "--control", "--mdl")
    result = command("probe", "--store", store, *arguments)
    header, _, *rows = result.stdout.splitlines()
    assert all(
        title in header
        for title in (
            "control accuracy",
            "control merged-entity F1",
            "selectivity accuracy",
            "selectivity merged-entity F1",
        )
    )
    assert all(title in header for title in ("prior code length", "control code length", "prior compression"))
    assert "selectivity macro F1" not in header
    assert all(len(re.findall(r" ± \d\.\d{3} \[", row)) == 4 for row in rows)
    assert all(len(re.findall(r"-?\d\.\d{3} \[", row)) == 7 for row in rows)


@pytest.mark.slow
def test_pairs_that_differ_are_listed(command: Command, store: Path) -> None:
    arguments = ("compare-probes", "--store", store, "--task", "ner", "--score", "accuracy")
    result = command(*arguments)
    said = re.findall(
        r"note: (\d) of (\d) pairs of (models|layers of \w+)(?:,| at) training size 0, seed 42, differ in accuracy "
        r"\(p < 0.05 after Holm's correction in this family\)",
        result.stderr,
    )
    assert [own for _, *own in said] == [["3", "models"], ["3", "layers of bert"], ["3", "layers of gpt2"]]
    assert "each of the 3 families has its own 5% chance of any false difference" in result.stderr
    differing = sum(int(count) for count, *_ in said)
    assert len(result.stdout.splitlines()) == (differing + 1 if differing else 0)
    rows = json.loads(command(*arguments, "--json").stdout)["rows"]
    found = compare_probes(store, ProbeRequest(task="ner", score="accuracy"))
    assert [row["p_holm"] for row in rows] == pytest.approx(found.p_holm.values)
    assert [row["difference"] for row in rows] == pytest.approx(found.difference.values)


def test_differences_show_their_sign(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"model": "bert", "difference": 0.25, "difference_ci_low": -0.125, "difference_ci_high": 0.5, "p": 0.01}
    print_frame(pd.DataFrame([row]), ANALYSES["compare-probes"].signed)
    cells = re.split(r"  +", capsys.readouterr().out.splitlines()[1])
    assert cells == ["bert", "+0.250 [-0.125, +0.500]", "0.010"]


@pytest.mark.slow
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


@pytest.mark.slow
def test_figures_are_drawn(command: Command, store: Path, tmp_path: Path) -> None:
    layers, errors = tmp_path / "layers.png", tmp_path / "errors.svg"
    command("probe", "--store", store, "--task", "ner", "--plot", layers, "--plot-confusion", errors)
    assert layers.read_bytes().startswith(b"\x89PNG")
    assert "cell_line" in errors.read_text() or errors.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--task", "nli"), 1, "no train and test runs for nli;"),
        (("--task", "ner", "--model", "biogpt"), 1, "no model biogpt"),
        (("--task", "ner", "--layers", "0,7"), 1, "layer 7 is in no run of bert, gpt2; stored are 0, 1, 2"),
        (("--task", "ner", "--output", "x.xls"), 1, "output x.xls has no suffix that says its format"),
        (("--task", "ner", "--plot", "x.gif"), 1, "plot x.gif has no suffix that says its format"),
        (("--task", "ner", "--plot-confusion", "none/x.png"), 1, "the folder none does not exist"),
        (("--task", "ner", "--max-memory", "1K"), 1, "--max-memory is 1.0 KiB; pass --max-memory="),
        (("--task", "ner", "--probe", "svc", "--mdl"), 1, "svc does not give"),
        (("--task", "ner", "--probe", "svc", "--given", "0"), 1, "--given measures bits, which need probabilities"),
        (("--task", "ner", "--given", "7"), 1, "--given 7 is no layer of run "),
        (("--task", "ner", "--train-on", "seen"), 1, "--train-on seen: no model of these was fine-tuned"),
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
    monkeypatch.setattr(fitting, "run_fit", lambda *_: pytest.fail("a fit is run"))
    result = command("probe", "--store", store, "--task", "ner", "--plot", "x.gif", code=1)
    assert "x.gif has no suffix that says its format" in result.stderr


@pytest.mark.slow
def test_solvers_that_stop_early_are_noted(command: Command, store: Path) -> None:
    result = command("probe", "--store", store, "--task", "ner", "--model", "bert", "--max-iterations", "1")
    assert (
        "note: 3 fits of the task stopped at --max-iterations before the solver converged; raise it\n" in result.stderr
    )


def handed_on(command: Command, store: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """Return what the command asks the engine for."""
    seen: list[Any] = []

    def spy(_analysis: Any, opened: Store, asked: ProbeRequest) -> None:
        seen.append(asked)
        assert opened.result_places == (opened.storage,) == (Folder(store),)
        raise SettingError("stopped")

    monkeypatch.setattr(analysis, "find", spy)
    assert command("probe", "--store", store, *arguments, code=1).stderr == "Error: stopped\n"
    return seen[0]


def test_options_are_handed_on(command: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = (
        "--task nli --dataset corpora/mednli --model bert,org/model --training-size 0,100 --trained-on jnlpba "
        "--seed 1,2 --probe mlp --layers 0-2,9 --pooling max --features separate --combine full --seeds 3 "
        "--max-train-samples 50 --train-on unseen --given 3 --control "
        "--mdl --resamples 99 --C 2 --gamma 0.5 --hidden-size 7 --epochs 8 --learning-rate 0.1 --batch-size 9 "
        "--max-iterations 10 --max-memory 2G --score macro_f1 --workers 4 --force"
    )
    asked = handed_on(command, store, monkeypatch, *line.split())
    assert asked == ProbeRequest(
        task="nli",
        dataset="corpora/mednli",
        models=("bert", "org/model"),
        training_sizes=(0, 100),
        trained_on=("jnlpba",),
        run_seeds=(1, 2),
        probe="mlp",
        options=ClassifierOptions(
            c=2.0, gamma=0.5, hidden_size=7, epochs=8, learning_rate=0.1, batch_size=9, max_iterations=10
        ),
        layers=(0, 1, 2, 9),
        pooling="max",
        features="separate",
        combine="full",
        seeds=3,
        max_train_samples=50,
        train_on="unseen",
        given=3,
        control=True,
        mdl=True,
        resamples=99,
        max_memory=2 * 2**30,
        score="macro_f1",
    )


def test_defaults_are_those_of_the_engine(command: Command, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = handed_on(command, store, monkeypatch, "--task", "ner", "--model", "bert")
    assert asked == ProbeRequest(task="ner", models=("bert",))


@pytest.mark.slow
def test_a_probe_of_ones_own_prints_to_stderr_alone(
    command: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "probe_of_mine.py").write_text(
        "from sklearn.neighbors import KNeighborsClassifier\n"
        "def make(k=1):\n    print('loud')\n    return KNeighborsClassifier(k)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    arguments = ("--store", store, "--task", "ner", "--model", "bert", "--layers", "0", "--json")
    result = command("probe", *arguments, "--probe", "probe_of_mine:make(k=3)")
    (row,) = json.loads(result.stdout)["rows"]
    request = ProbeRequest(
        task="ner", models=("bert",), layers=(0,), probe="sklearn.neighbors:KNeighborsClassifier(n_neighbors=3)"
    )
    assert row["accuracy"] == probe(store, request).accuracy.item()
    assert result.stderr.count("loud") >= 2
    assert "note: each fit of probe_of_mine:make(k=3) is assumed" in result.stderr
    del sys.modules["probe_of_mine"]
    refused = command("probe", *arguments, "--probe", "nothing", code=2)
    assert refused.stdout == ""
    assert "nor MODULE:NAME of your own code." in refused.stderr
