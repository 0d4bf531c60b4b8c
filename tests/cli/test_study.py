"""`biocache study`, end to end on tiny models."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from biocache.engine.corpora.request import ReadingRequest
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.study import study as engine_module
from biocache.engine.study.request import Cell, StudyRequest
from biocache.store.errors import SettingError

Command = Callable[..., Result]


@pytest.fixture
def job(corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path) -> list[str]:
    return [
        *("study", "--store", str(tmp_path / "store"), "--checkpoints", str(tmp_path / "checkpoints")),
        *("--task", "nli", "--dataset", f"demo={corpus_folder / 'nli'}", "--model", f"bert={checkpoints['bert']}"),
        *("--training-size", "0,30", "--epochs", "1", "--device", "cpu", "--probe", "logistic"),
    ]


@pytest.mark.slow
def test_a_table_of_steps(job: list[str], command: Command) -> None:
    planned = command(*job, "--dry-run").stdout.splitlines()
    assert planned[0].split("  ")[0] == "step"
    assert any(line.startswith("bytes to write, before compression") for line in planned)
    assert any(line.split()[:4] == ["hidden,", "of", "each", "word"] for line in planned)
    made = command(*job)
    rows = [line.split() for line in made.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["extract", "finetune", "extract", "probe", "compare-attention"]
    assert [row[:6] for row in rows] == [line.split()[:6] for line in planned[1:6]]
    assert {row[-1] for row in rows} == {"done"}
    assert made.stderr == ""
    again = json.loads(command(*job, "--json").stdout)["rows"]
    assert [step["state"] for step in again] == ["found"] * 5
    assert (again[3]["training_sizes"], again[3]["seeds"]) == ([0, 30], [42])
    plan = json.loads(command(*job, "--dry-run", "--json").stdout)
    assert plan["totals"]["left_bytes"] == 0 < plan["totals"]["compressed_bytes"] < plan["totals"]["activation_bytes"]


@pytest.mark.slow
def test_what_is_guessed_of_a_corpus_is_said_once(job: list[str], command: Command, tmp_path: Path) -> None:
    rows = [f"{at}\tthe gene {at} binds\tit moves {at}\t{'yes' if at % 2 else 'no'}\n" for at in range(12)]
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name in ("train", "test"):
        lines = "".join(rows).replace("the gene", f"the {name}")
        (folder / f"SICK_{name}.txt").write_text("pair_ID\tsentence_A\tsentence_B\tentailment_judgment\n" + lines)
    job[job.index("--dataset") + 1] = f"sick={folder}"
    said = "note: sick: read premise, hypothesis and label from sentence_A, sentence_B, entailment_judgment"
    assert command(*job, "--steps", "finetune,extract").stderr.splitlines() == [said]
    fine_tuning = ["finetune", *job[1:], "--overwrite"]
    for option in ("--probe", "--training-size"):
        at = fine_tuning.index(option)
        del fine_tuning[at : at + 2]
    assert command(*fine_tuning, "--training-size", "50").stderr.splitlines() == [said]


@pytest.mark.slow
def test_a_failure_is_reported_at_the_end_with_exit_code_1(job: list[str], command: Command, tmp_path: Path) -> None:
    place = tmp_path / "checkpoints/nli/demo/bert/size-030/seed-42"
    place.mkdir(parents=True)
    result = command(*job, code=1)
    assert [line.split()[-1] for line in result.stdout.splitlines()[1:]] == ["done", "failed", "out", "done", "out"]
    (line,) = result.stderr.splitlines()
    assert line.startswith("note: finetune nli/demo/bert 30 seed 42 failed: ")
    assert "was not made by `biocache finetune`" in line


def test_the_options_are_the_settings(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[StudyRequest] = []

    def stop(_store: Path, request: StudyRequest, **_: Any) -> None:
        seen.append(request)
        raise SettingError("stopped")

    monkeypatch.setattr(engine_module, "run_study", stop)
    given = (
        "study --task ner,nli --dataset a,b --model x,y --training-size 0,50 --seed 3,4 --checkpoints c "
        "--steps extract,probe --epochs 5 --learning-rate 1e-4 --batch-size 2 --max-length 99 --limit 7 --restart "
        "--keep hidden --layers 1-2 --split test --level word,nli=sample --stride 8 --dtype float32 "
        "--attention-dtype uint8 --max-memory 1G --probe mlp "
        "--max-train-samples 9 --metric js --max-disk 2G "
        "--device cpu --overwrite --tag-column 4 --pair-columns A,B --split-files test=x"
    )
    command(*shlex.split(given), code=1)
    both = {"max_length": 99, "limit": 7, "device": "cpu", "overwrite": True}
    expected = StudyRequest(
        tasks=("ner", "nli"),
        datasets=("a", "b"),
        reading=ReadingRequest(tag_column="4", pair_columns=("A", "B"), split_files=("test=x",)),
        models=("x", "y"),
        training_sizes=(0, 50),
        seeds=(3, 4),
        checkpoints=Path("c"),
        steps=("extract", "probe"),
        finetuning=FinetuneRequest(
            task="ner",
            epochs=5.0,
            learning_rate=1e-4,
            batch_size=2,
            restart=True,
            **both,  # type: ignore[arg-type]
        ),
        extraction=ExtractionRequest(
            task="ner",
            keep=("hidden",),
            layers=(1, 2),
            splits=("test",),
            stride=8,
            dtype="float32",
            attention_dtype="uint8",
            max_memory=2**30,
            **both,  # type: ignore[arg-type]
        ),
        levels=("word", "nli=sample"),
        probe="mlp",
        max_train_samples=9,
        metrics=("js",),
        max_disk=2**31,
    )
    command("study", code=1)
    assert seen == [expected, StudyRequest()]
    cells = [Cell("ner", "a", "a", "x", "x"), Cell("nli", "b", "b", "x", "x")]
    readings = [expected.extraction_request(cell, 0, 3).reading for cell in cells]
    assert readings == [expected.finetune_request(cell, 0, 3).reading for cell in cells]
    assert readings == [
        ReadingRequest(tag_column="4", split_files=("test=x",)),
        ReadingRequest(pair_columns=("A", "B"), split_files=("test=x",)),
    ]
    refused = command("study", "--task", "nli", "--dataset", "a", "--tag-column", "4", code=1)
    assert refused.stderr == "Error: --tag-column is for ner and tokens, and --task is nli; leave it out\n"


def test_a_corpus_for_each_task(command: Command) -> None:
    assert "--dataset names 1 and --task 2" in command("study", "--task", "ner,nli", "--dataset", "a", code=1).stderr


@pytest.mark.parametrize(
    ("given", "noted"),
    [
        ("--training-size 10", True),
        ("", False),
        ("--training-size 10 --steps extract,probe", False),
        ("--training-size 10 --equal-updates", False),
        ("--training-size 10 --max-steps 3", False),
        ("--training-size 10 --steps-of 10", False),
    ],
)
def test_sizes_that_will_differ_in_steps_are_said(
    job: list[str], command: Command, monkeypatch: pytest.MonkeyPatch, given: str, noted: bool
) -> None:
    def two_steps(*_: object, on_step: Callable[[object], None], **__: object) -> list[object]:
        on_step(None)
        on_step(None)
        return []

    monkeypatch.setattr(engine_module, "run_study", two_steps)
    # Sizes that are given in two options add up.
    said = command(*job, *shlex.split(given)).stderr
    assert said.count("--equal-updates trains all of them equally long") == noted
