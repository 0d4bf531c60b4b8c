"""The study: every step of a grid once, what is finished skipped, and a failure that stops only what needs it."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toys import ToyModels, write_toy

from biocache.engine import ProbeRequest, StudyRequest, run_study
from biocache.engine.extraction.plans import RunPlan
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.extraction.sizes import choices, compressed_bytes
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.study.request import STEPS
from biocache.engine.study.steps import Step, cells, check_study_disk, plan_study, steps
from biocache.engine.study.study import Outcome
from biocache.store import Store
from biocache.store.errors import ResourceError, SettingError, StoreFormatError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ToyModels]:
    folder = tmp_path_factory.mktemp("study")
    return write_toy(folder / "corpus", train=48, held_out=12), ToyModels(folder / "models")


def grid(material: tuple[Path, ToyModels], folder: Path, **settings: Any) -> StudyRequest:
    corpus, models = material
    defaults: dict[str, Any] = {
        "tasks": ("nli",),
        "datasets": (f"toy={corpus / 'nli'}",),
        "models": (f"bert={models['bert']}", f"gpt2={models['gpt2']}"),
        "training_sizes": (0, 50, 100),
        "checkpoints": folder / "checkpoints",
        "finetuning": FinetuneRequest(task="ner", epochs=1, device="cpu"),
        "extraction": ExtractionRequest(task="ner", device="cpu"),
        "probe": "logistic",
    }
    return StudyRequest(**(defaults | settings))


def states(outcomes: list[Outcome]) -> dict[str, str]:
    return {str(outcome.step): outcome.state for outcome in outcomes}


@pytest.mark.slow
def test_a_grid_is_done_once_and_then_found(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    request = grid(material, tmp_path)
    told: list[Step] = []
    outcomes = run_study(tmp_path / "store", request, on_step=told.append)
    expected = [
        f"{kind} nli/toy/{model} {sizes} seed 42"
        for model in ("bert", "gpt2")
        for kind, sizes in (
            ("extract", "0"),
            ("finetune", "50"),
            ("extract", "50"),
            ("finetune", "100"),
            ("extract", "100"),
            ("probe", "0,50,100"),
            ("compare-attention", "50,100"),
        )
    ]
    assert states(outcomes) == dict.fromkeys(expected, "done")
    assert told == [outcome.step for outcome in outcomes]
    store = Store.open(tmp_path / "store")
    assert len(store.keys()) == 2 * 3 * 3 * 2
    kinds = Counter(result.kind for result in store.results())
    assert (kinds["finetune"], kinds["compare-attention"]) == (4, 2)
    assert kinds["probe"] >= 2

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert states(run_study(tmp_path / "store", request)) == dict.fromkeys(expected, "found")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_failed_step_stops_only_what_needs_it(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    models = material[1]
    broken = tmp_path / "broken"
    shutil.copytree(models["gpt2"], broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    request = grid(
        material,
        tmp_path,
        models=(f"bad={broken}", f"bert={models['bert']}"),
        training_sizes=(0, 50),
        steps=("finetune", "extract", "probe"),
    )
    # Something else stands where the checkpoint of BERT belongs.
    place = tmp_path / "checkpoints/nli/toy/bert/size-050/seed-42"
    place.mkdir(parents=True)
    outcomes = run_study(tmp_path / "store", request)
    assert states(outcomes) == {
        "extract nli/toy/bad 0 seed 42": "failed",
        "finetune nli/toy/bad 50 seed 42": "failed",
        "extract nli/toy/bad 50 seed 42": "left out",
        "probe nli/toy/bad 0,50 seed 42": "left out",
        "extract nli/toy/bert 0 seed 42": "done",
        "finetune nli/toy/bert 50 seed 42": "failed",
        "extract nli/toy/bert 50 seed 42": "left out",
        "probe nli/toy/bert 0 seed 42": "done",
    }
    messages = {str(outcome.step): outcome.message for outcome in outcomes}
    assert "cannot be loaded" in messages["finetune nli/toy/bad 50 seed 42"]
    assert "was not made by `biocache finetune`" in messages["finetune nli/toy/bert 50 seed 42"]
    assert messages["extract nli/toy/bert 0 seed 42"] == ""
    # With the cause gone, the rest is done and what was there is found.
    place.rmdir()
    again = states(run_study(tmp_path / "store", replace(request, models=(f"bert={models['bert']}",))))
    assert list(again.values()) == ["found", "done", "done", "done"]


@pytest.mark.slow
def test_checkpoints_of_other_tools_are_taken_as_they_are(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    bert = material[1]["bert"]
    folder = tmp_path / "checkpoints/nli/toy/bert/size-050/seed-42"
    shutil.copytree(bert, folder)
    torch.save(load_file(bert / "model.safetensors"), tmp_path / "checkpoints/model_bert_100.bin")
    request = grid(
        material,
        tmp_path,
        models=(f"bert={bert}",),
        steps=("finetune", "extract"),
        finetuning=FinetuneRequest(task="ner", epochs=1, device="cpu", overwrite=True),
    )
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*")}
    kinds = [e.bytes_left for e in plan_study(tmp_path / "store", request) if e.step.kind == "finetune"]
    assert kinds == [0, 0]
    assert list(states(run_study(tmp_path / "store", request)).values()) == ["done", "found", "done", "found", "done"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "checkpoints").rglob("*")} == before


@pytest.mark.slow
def test_an_error_of_any_kind_is_the_fate_of_one_step(
    material: tuple[Path, ToyModels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from biocache.engine.finetuning import training

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error:\n an illegal memory access")

    monkeypatch.setattr(training.Training, "run", fail)
    request = grid(material, tmp_path, models=(f"bert={material[1]['bert']}",), training_sizes=(0, 50))
    outcomes = run_study(tmp_path / "store", request)
    assert list(states(outcomes).values()) == ["done", "failed", "left out", "done", "left out"]
    assert outcomes[1].message == "RuntimeError: CUDA error: an illegal memory access"


@pytest.mark.slow
def test_without_its_baseline_nothing_is_compared(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    request = grid(material, tmp_path, models=(f"bert={material[1]['bert']}",), training_sizes=(30, 50))
    (tmp_path / "checkpoints/nli/toy/bert/size-030/seed-42").mkdir(parents=True)
    ended = states(run_study(tmp_path / "store", replace(request, steps=("finetune", "extract", "compare-attention"))))
    assert list(ended.values()) == ["failed", "left out", "done", "done", "left out"]


def test_a_store_that_cannot_be_is_refused_before_anything_runs(
    material: tuple[Path, ToyModels], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreFormatError, match="not a biocache store and not empty"):
        run_study(tmp_path, grid(material, tmp_path / "elsewhere"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_the_plan_counts_the_bytes_that_are_written(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    request = grid(material, tmp_path, models=(f"bert={material[1]['bert']}",), steps=("finetune", "extract"))
    store = tmp_path / "store"
    planned = plan_study(store, request)
    assert [entry.step for entry in planned] == list(steps(request))
    assert not store.exists()
    by_kind = {kind: [e.bytes_left for e in planned if e.step.kind == kind] for kind in ("finetune", "extract")}
    assert len(set(by_kind["extract"])) == len(set(by_kind["finetune"])) == 1
    run_study(store, request)
    runs = Store.open(store).select(training_size=50)
    raw = sum(run.activations(name).nbytes for run in runs for name in run.spec.keep)
    assert by_kind["extract"][0] == raw
    weights = (tmp_path / "checkpoints/nli/toy/bert/size-050/seed-42/model.safetensors").stat().st_size
    assert by_kind["finetune"][0] == pytest.approx(weights, rel=0.1)
    assert [entry.bytes_left for entry in plan_study(store, request)] == [0] * 5
    assert all(e.bytes_left is None for e in plan_study(store, replace(request, steps=("probe", "compare-attention"))))


def test_a_study_that_would_not_fit_is_refused_before_anything_runs(
    material: tuple[Path, ToyModels], tmp_path: Path
) -> None:
    request = grid(material, tmp_path, max_disk=1000)
    with pytest.raises(ResourceError, match=r"the study would write .* and max_disk is 1000 B"):
        run_study(tmp_path / "store", request)
    assert list(tmp_path.iterdir()) == []
    total = sum(entry.bytes_left or 0 for entry in plan_study(tmp_path / "store", request))
    check_study_disk(plan_study(tmp_path / "store", request), total)


def test_the_requests_of_the_steps_are_those_of_the_grid(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    corpus, models = material
    request = grid(
        material,
        tmp_path,
        tasks=("ner", "nli"),
        datasets=(f"toy={corpus / 'ner'}", f"toy={corpus / 'nli'}"),
        models=(f"bert={models['bert']}",),
        seeds=(7, 8),
        probe=None,
        finetuning=FinetuneRequest(task="nli", learning_rate=1e-3, seeds=(1,), training_sizes=(3,)),
        extraction=ExtractionRequest(task="nli", layers=(0, 1), seeds=(1,)),
        training_sizes=(100, 0, 100),
    )
    ner, nli = cells(request)
    made = request.finetune_request(ner, 30, 8)
    assert (made.task, made.training_sizes, made.seeds, made.learning_rate) == ("ner", (30,), (8,), 1e-3)
    assert (made.checkpoints, made.models, made.dataset) == (request.checkpoints, request.models, ner.dataset)
    read = request.extraction_request(nli, 30, 7)
    assert (read.task, read.training_sizes, read.seeds, read.layers) == ("nli", (30,), (7,), (0, 1))
    probes = [request.probe_request(cell, (0, 100), (7, 8)) for cell in (ner, nli)]
    assert {(own.probe, own.run_seeds) for own in probes} == {(ProbeRequest(task="ner").probe, (7, 8))}
    attention = request.attention_request(nli, (100,), (7, 8))
    assert attention.seeds == (7, 8)
    assert (attention.baseline, attention.view, attention.model, attention.dataset) == (0, "pair", "bert", "toy")
    assert [str(step) for step in steps(request) if step.kind == "compare-attention"] == [
        "compare-attention ner/toy/bert 100 seed 7,8",
        "compare-attention nli/toy/bert 100 seed 7,8",
    ]


def test_every_size_has_a_step_a_seed_and_the_pre_trained_model_one(
    material: tuple[Path, ToyModels], tmp_path: Path
) -> None:
    request = grid(material, tmp_path, models=(f"bert={material[1]['bert']}",), training_sizes=(0, 50), seeds=(3, 1))
    expected = [
        "extract nli/toy/bert 0 seed 3",
        "finetune nli/toy/bert 50 seed 3",
        "extract nli/toy/bert 50 seed 3",
        "finetune nli/toy/bert 50 seed 1",
        "extract nli/toy/bert 50 seed 1",
        "probe nli/toy/bert 0,50 seed 3,1",
        "compare-attention nli/toy/bert 50 seed 3,1",
    ]
    assert list(map(str, steps(request))) == expected
    planned = plan_study(tmp_path / "store", request)
    assert [[(run.key.training_size, run.key.seed) for run in entry.runs[:1]] for entry in planned] == [
        [(0, 3)],
        [],
        [(50, 3)],
        [],
        [(50, 1)],
        [],
        [],
    ]


@pytest.mark.slow
def test_a_seed_that_failed_is_left_out_of_what_needs_it(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    request = grid(material, tmp_path, models=(f"bert={material[1]['bert']}",), training_sizes=(0, 50), seeds=(3, 1))
    place = tmp_path / "checkpoints/nli/toy/bert/size-050/seed-3"
    place.mkdir(parents=True)
    assert states(run_study(tmp_path / "store", request)) == {
        "extract nli/toy/bert 0 seed 3": "done",
        "finetune nli/toy/bert 50 seed 3": "failed",
        "extract nli/toy/bert 50 seed 3": "left out",
        "finetune nli/toy/bert 50 seed 1": "done",
        "extract nli/toy/bert 50 seed 1": "done",
        "probe nli/toy/bert 0,50 seed 1": "done",
        "compare-attention nli/toy/bert 50 seed 1": "done",
    }
    place.rmdir()
    again = states(run_study(tmp_path / "store", request))
    assert again.pop("probe nli/toy/bert 0,50 seed 3,1") == "done"
    assert again.pop("compare-attention nli/toy/bert 50 seed 3,1") == "done"
    assert again == {
        "extract nli/toy/bert 0 seed 3": "found",
        "finetune nli/toy/bert 50 seed 3": "done",
        "extract nli/toy/bert 50 seed 3": "done",
        "finetune nli/toy/bert 50 seed 1": "found",
        "extract nli/toy/bert 50 seed 1": "found",
    }
    kept = {(run.key.training_size, run.key.seed) for run in Store.open(tmp_path / "store").select()}
    assert kept == {(0, 3), (50, 1), (50, 3)}


def test_equal_updates_are_those_of_the_largest_size(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    request = grid(material, tmp_path, equal_updates=True, training_sizes=(0, 50, 80))
    cell = cells(request)[0]
    assert [request.finetune_request(cell, size, 42).steps_of for size in (50, 80)] == [80, 80]
    assert grid(material, tmp_path).finetune_request(cell, 50, 42).steps_of is None
    for settings in ({"max_steps": 3}, {"steps_of": 100}):
        with pytest.raises(SettingError, match=r"^equal_updates says how long to train: leave out max_steps and"):
            grid(material, tmp_path, equal_updates=True, finetuning=FinetuneRequest(task="ner", **settings))


def test_each_task_has_its_level(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    corpus, _ = material
    both = {"tasks": ("ner", "nli"), "datasets": (f"toy={corpus / 'ner'}", f"toy={corpus / 'nli'}")}
    for given, expected in (
        (("token",), ["token", "token"]),
        (("word",), ["word", "word"]),
        (("nli=sample", "ner=word"), ["word", "sample"]),
        (("word", "nli=sample"), ["word", "sample"]),
        (("nli=sample",), ["token", "sample"]),
    ):
        request = grid(material, tmp_path, levels=given, **both)
        cell_of = {cell.task: cell for cell in cells(request)}
        assert [request.extraction_request(cell_of[task], 0, 42).level for task in ("ner", "nli")] == expected
    for given, message in (
        (("layer",), r"levels 'layer' names no level: token, word, sample"),
        (("ner=",), r"levels 'ner=' names no level"),
        (("ner=word",), r"levels 'ner=word' is for a task that tasks does not name"),
        (("word", "token"), r"levels has two levels for all tasks; leave one of them out"),
        (("nli=word", "nli=token"), r"levels has two levels for nli; leave one of them out"),
    ):
        with pytest.raises(SettingError, match=message):
            grid(material, tmp_path, levels=given)


@pytest.mark.slow
def test_a_plan_has_the_bytes_of_every_choice(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    corpus, models = material
    settings: dict[str, Any] = {
        "tasks": ("ner", "nli"),
        "datasets": (f"toy={corpus / 'ner'}", f"toy={corpus / 'nli'}"),
        "models": (f"bert={models['bert']}",),
        "steps": ("extract",),
    }

    def runs_of(**changed: Any) -> list[RunPlan]:
        planned = plan_study(tmp_path / "s", grid(material, tmp_path, **settings | changed))
        return [run for step in planned for run in step.runs]

    found = {(one.variable, one.level, one.dtype): one.activation_bytes for one in choices(runs_of())}
    for level, dtype, attention_dtype in (("token", "float16", "uint8"), ("word", "int8", "float32")):
        extraction = ExtractionRequest(task="ner", device="cpu", dtype=dtype, attention_dtype=attention_dtype)
        own = runs_of(levels=(level,), extraction=extraction)
        total = found["hidden", level, dtype] + found["attention", "token", attention_dtype]
        assert sum(run.activation_bytes for run in own) == total
        assert 0.5 * total < compressed_bytes(own) < total


def test_one_size_has_nothing_to_be_compared_with(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    request = grid(material, tmp_path, training_sizes=(0,))
    assert {step.kind for step in steps(request)} == {"extract", "probe"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": ()}, "tasks is empty"),
        ({"models": ()}, "models is empty"),
        ({"training_sizes": ()}, "training_sizes is empty"),
        ({"steps": ()}, "steps is empty"),
        ({"steps": ("finetune", "dance")}, "steps 'dance' is not one of finetune, extract, probe, compare-attention"),
        ({"tasks": ("pos",)}, "tasks 'pos'"),
    ],
)
def test_grids_that_cannot_be(
    material: tuple[Path, ToyModels], tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        grid(material, tmp_path, **settings)


def test_two_of_one_name_are_refused(material: tuple[Path, ToyModels], tmp_path: Path) -> None:
    models = material[1]
    request = grid(material, tmp_path, models=(f"m={models['bert']}", f"m={models['gpt2']}"))
    with pytest.raises(SettingError, match="nli/toy/m is asked for twice"):
        run_study(tmp_path / "store", request)
    assert len(STEPS) == 4
