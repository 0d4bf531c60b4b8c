"""`biocache finetune` and `biocache ls --checkpoints`, end to end on tiny models."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from biocache.engine.corpora.request import ReadingRequest
from biocache.engine.finetuning import finetune as finetune_module
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.store.errors import SettingError

Command = Callable[..., Result]


@pytest.fixture
def job(corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path) -> list[str]:
    """Return the arguments of a short fine-tuning."""
    return [
        *("finetune", "--store", str(tmp_path / "store"), "--checkpoints", str(tmp_path / "checkpoints")),
        *("--task", "ner", "--dataset", f"demo={corpus_folder / 'ner'}"),
        *("--model", f"bert={checkpoints['bert']},gpt2={checkpoints['gpt2']}"),
        *("--training-size", "10,30", "--epochs", "1", "--device", "cpu"),
    ]


@pytest.mark.slow
def test_a_table_of_checkpoints_and_their_scores(job: list[str], command: Command, tmp_path: Path) -> None:
    made = command(*job)
    lines = made.stdout.splitlines()
    assert lines[0].split("  ")[0] == "checkpoint"
    for part in ("samples", "validation accuracy", "test macro F1", "test entity F1", "samples/s", "state"):
        assert part in lines[0]
    names = [f"ner/demo/{model}/size-{size}/seed-42" for model in ("bert", "gpt2") for size in ("010", "030")]
    assert [line.split()[0] for line in lines[1:]] == names
    assert [line.split()[1:3] for line in lines[1:]] == [["12", "1"], ["36", "3"], ["12", "1"], ["36", "3"]]
    assert {line.split()[-1] for line in lines[1:]} == {"made"}
    assert made.stderr.splitlines() == [
        f"note: demo, {model}: the training sizes differ in optimiser steps (10 %: 1, 30 %: 3), and steps alone change "
        "a model; --steps-of 30 trains all of them equally long"
        for model in ("bert", "gpt2")
    ]
    again = command(*job).stdout
    assert again.replace("found", "made ").split() == made.stdout.split()

    listed = command("ls", "--checkpoints", tmp_path / "checkpoints").stdout
    assert [line.split()[:-1] for line in made.stdout.splitlines()[1:]] == [
        line.split() for line in listed.splitlines()[1:]
    ]
    some = command("ls", "--checkpoints", tmp_path / "checkpoints", "--model", "gpt2", "--training-size", "30").stdout
    assert [line.split()[0] for line in some.splitlines()[1:]] == names[3:]

    check = ("verify", "--store", tmp_path / "store", "--checkpoints", tmp_path / "checkpoints")
    assert command(*check).stdout == "0 runs, 0 packs, 4 results, 4 checkpoints checked: no problems\n"
    weights = tmp_path / "checkpoints" / names[1] / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    told, summary = command(*check, code=1).stdout.splitlines()
    assert told.startswith(f"{weights.parent}: checkpoint {weights.parent} is not whole (model.safetensors is not what")
    assert summary == "0 runs, 0 packs, 4 results, 4 checkpoints checked: 1 problem"
    assert "is no folder of checkpoints" in command(*check[:-1], tmp_path / "x", code=1).stderr

    other = tmp_path / "checkpoints/ner/demo/bert/size-100/seed-7"
    other.mkdir(parents=True)
    (other / "config.json").write_text("{}")
    steps = [{"eval_f1": 0.5}, {"loss": 1.0}, {"eval_f1": 0.625, "eval_note": "x"}, {"loss": 0.5}]
    (other / "trainer_state.json").write_text(json.dumps({"log_history": steps}))
    list_all = ("ls", "--checkpoints", tmp_path / "checkpoints")
    told = "note: ner/demo/bert/size-100/seed-7: made by another tool, which left eval_f1 0.6250\n"
    assert told in command(*list_all).stderr
    (other / "eval_results.json").write_text(json.dumps({"epoch": 3.0, "eval_accuracy": 0.75}))
    (row,) = (row for row in json.loads(command(*list_all, "--json").stdout)["rows"] if "trainer_scores" in row)
    assert (row["folder"], row["trainer_scores"]) == (str(other), {"eval_accuracy": 0.75})
    assert "another tool" not in command(*list_all, "--model", "gpt2").stderr


@pytest.mark.slow
def test_json_holds_every_score(job: list[str], command: Command, tmp_path: Path) -> None:
    made = json.loads(command(*job, "--json").stdout)["rows"]
    assert [row["found"] for row in made] == [False] * 4
    assert set(made[0]["scores"]) == {"validation", "test"}
    assert set(made[0]["scores"]["test"]) >= {"accuracy", "macro_f1", "micro_f1", "entity_f1", "entity_recall"}
    assert made[0]["spec"]["learning_rate"] == 2e-5
    listed = json.loads(command("ls", "--checkpoints", tmp_path / "checkpoints", "--json").stdout)["rows"]
    assert listed == [{name: value for name, value in row.items() if name != "found"} for row in made]


@pytest.mark.slow
def test_extraction_takes_what_was_fine_tuned(job: list[str], command: Command) -> None:
    command(*job)
    arguments = ["extract", *job[1 : job.index("--epochs")]]
    arguments[arguments.index("10,30")] = "0,10,30"
    table = command(*arguments, "--device", "cpu").stdout
    assert table.count("complete") == 2 * 3 * 2


@pytest.mark.slow
def test_size_0_is_said_to_need_nothing(job: list[str], command: Command, tmp_path: Path) -> None:
    job[job.index("10,30")] = "0"
    result = command(*job)
    assert result.stdout == ""
    assert result.stderr.startswith("note: training size 0 is the pre-trained model: it needs no checkpoint")
    assert json.loads(command(*job, "--json").stdout)["rows"] == []
    job[job.index("0")] = "0,10"
    assert command(*job).stdout.count("made") == 2
    assert not list((tmp_path / "checkpoints").glob("*/*/*/size-000"))


@pytest.mark.slow
def test_what_flatters_the_scores_is_said(job: list[str], command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    text = (Path(job[job.index("--dataset") + 1].partition("=")[2]) / "train.conll").read_text()
    (folder / "train.conll").write_text(text)
    (folder / "test.conll").write_text("\n\n".join(text.split("\n\n")[:3]) + "\n")
    job[job.index("--dataset") + 1] = f"demo={folder}"
    job[job.index("10,30")] = "100"
    assert "3 of 3 samples of the test split are in the train split too" in command(*job, code=1).stderr
    lines = command(*job, "--max-duplicates", "1").stderr.splitlines()
    assert "note: demo, training size 100: 3 samples of the test split also in the train part, word for word" in lines


def test_the_options_are_the_settings(job: list[str], command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[FinetuneRequest] = []

    def stop(_store: Path, request: FinetuneRequest, **_: Any) -> None:
        seen.append(request)
        raise SettingError("stopped")

    monkeypatch.setattr(finetune_module, "finetune", stop)
    given = (
        "finetune --task nli --dataset d --model a,b --training-size 10 --seed 7,8 --checkpoints c --label-scheme type "
        "--epochs 2.5 --learning-rate 1e-4 --batch-size 4 --gradient-accumulation 3 --warmup 0.2 --weight-decay 0.1 "
        "--max-length 64 --limit 9 --patience 2 --compute-dtype bfloat16 --device cpu --save-steps 11 --restart "
        "--overwrite --config c --label-column 3 --id-column i --group-column g --label-type number"
    )
    command(*shlex.split(given), code=1)
    expected = FinetuneRequest(
        task="nli",
        dataset="d",
        reading=ReadingRequest(config="c", label_column="3", id_column="i", group_column="g", label_type="number"),
        models=("a", "b"),
        training_sizes=(10,),
        seeds=(7, 8),
        checkpoints=Path("c"),
        label_scheme="type",
        epochs=2.5,
        learning_rate=1e-4,
        batch_size=4,
        gradient_accumulation=3,
        warmup=0.2,
        weight_decay=0.1,
        max_length=64,
        limit=9,
        patience=2,
        compute_dtype="bfloat16",
        device="cpu",
        save_steps=11,
        restart=True,
        overwrite=True,
    )
    command("finetune", "--task", "ner", "--resume", code=1)
    assert seen == [expected, FinetuneRequest(task="ner", training_sizes=(10, 30, 50, 100))]


@pytest.mark.slow
def test_mistakes_are_one_line(job: list[str], command: Command, tmp_path: Path) -> None:
    command(*job)
    other = command(*job, "--learning-rate", "1e-3", code=1)
    assert other.stderr.startswith("Error: checkpoint ")
    assert "(learning_rate: stored 2e-05, asked for 0.001); pass --overwrite" in other.stderr
    assert other.stderr.count("\n") == 1
    assert other.stdout == ""
    assert "--warmup" in command("finetune", "--task", "ner", "--warmup", "much", code=2).stderr
    assert "not in the range" in command(*job, "--warmup", "3", code=2).stderr
    assert "have no --split" in command("ls", "--checkpoints", tmp_path, "--split", "test", code=2).stderr
    assert "nowhere is no folder" in command("ls", "--checkpoints", tmp_path / "nowhere", code=1).stderr
    nothing = command("ls", "--checkpoints", tmp_path / "store")
    assert nothing.stderr.startswith("note: no checkpoint below")


@pytest.mark.slow
def test_a_damaged_checkpoint_does_not_hide_the_others(job: list[str], command: Command, tmp_path: Path) -> None:
    command(*job)
    (tmp_path / "checkpoints/ner/demo/bert/size-010/seed-42/finetuning.json").write_text("{")
    (tmp_path / "checkpoints/ner/demo/bert/size-030/seed-42/scores.json").write_text("{")
    listed = command("ls", "--checkpoints", tmp_path / "checkpoints")
    assert len(listed.stdout.splitlines()) == 3
    assert [line[:14] for line in listed.stderr.splitlines()] == ["note: damaged:"] * 2


@pytest.mark.slow
def test_a_tilde_is_the_home_folder(
    job: list[str], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    job[job.index("--store") + 1], job[job.index("--checkpoints") + 1] = "~/store", "~/checkpoints"
    job[job.index("10,30")] = "10"
    command(*job)
    assert len(command("ls", "--checkpoints", "~/checkpoints").stdout.splitlines()) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "store"]


@pytest.mark.slow
def test_nothing_is_written_beside_the_table(job: list[str], tmp_path: Path) -> None:
    """Libraries print, log and warn in ways that only a process of its own shows."""
    job[job.index("10,30")] = "10"
    call = [sys.executable, "-c", "from biocache.cli.main import main; main()", *job, "--quiet"]
    result = subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stderr == ""
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "checkpoint",
        "ner/demo/bert/size-010/seed-42",
        "ner/demo/gpt2/size-010/seed-42",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "store"]
