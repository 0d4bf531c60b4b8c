"""Interrupted, short of memory or disk, diverged: nothing is lost, and the same call finishes."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from finetunings import Made, Toy, make
from safetensors import SafetensorError
from safetensors.torch import load_file

from biocache.engine import FinetuneRequest, finetune
from biocache.engine.finetuning import training
from biocache.engine.finetuning.checkpoint import Workplace
from biocache.engine.finetuning.finetune import FinetuneProgress
from biocache.store.errors import BusyError, IntegrityError, ResourceError, SpecMismatchError, TrainingError

PLACE = "ner/toy/bert/size-030/seed-42"
PARTIAL = "ner/toy/bert/size-030/.seed-42.partial"


class StoppedError(Exception):
    """What a test throws in the middle of a training."""


def stop_at(step: int):
    def on_progress(progress: FinetuneProgress) -> None:
        assert progress.checkpoint == PLACE
        if progress.steps_done == step:
            raise StoppedError

    return on_progress


def small(toy: Toy, checkpoints: Path, **settings) -> FinetuneRequest:
    return toy.request(checkpoints, **({"training_sizes": (30,), "save_steps": 5} | settings))


def state(checkpoints: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints / PLACE / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def interrupt(toy: Toy, folder: Path, step: int = 13, **settings) -> FinetuneRequest:
    request = small(toy, folder / "checkpoints", **settings)
    with pytest.raises(StoppedError):
        finetune(folder / "store", request, on_progress=stop_at(step))
    assert not (folder / "checkpoints" / PLACE).exists()
    return request


@pytest.mark.parametrize("patience", [None, 3])
def test_a_resumed_training_ends_bit_for_bit_as_one_that_ran_through(
    toy: Toy, tmp_path: Path, patience: int | None
) -> None:
    through = make(tmp_path / "store", small(toy, tmp_path / "through", patience=patience))
    request = interrupt(toy, tmp_path, patience=patience)
    steps: list[int] = []
    finetune(tmp_path / "store", request, on_progress=lambda progress: steps.append(progress.steps_done))
    # By steps what was saved last is step 10; by epochs, of 9 steps each, step 9.
    assert steps[0] == (10 if patience is None else 9)
    assert steps[-1] == through.scores.step.values.max() == 18
    assert same(state(tmp_path / "through"), state(tmp_path / "checkpoints"))
    assert not (tmp_path / "checkpoints" / PARTIAL).exists()


def test_a_killed_process_is_resumed_too(toy: Toy, tmp_path: Path) -> None:
    request = small(toy, tmp_path / "checkpoints", epochs=400)
    # PosixPath is how the request writes its folders.
    code = f"""
from pathlib import PosixPath
import torch
from biocache.engine import FinetuneRequest, finetune
torch.set_num_threads(1)
finetune({str(tmp_path / "store")!r}, {request!r})
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    steps = tmp_path / "checkpoints" / PARTIAL / "steps"
    deadline = time.monotonic() + 120
    while not list(steps.glob("checkpoint-*/trainer_state.json")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    with pytest.raises(BusyError, match="is being made by another process"):
        finetune(tmp_path / "store", request)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first: list[int] = []

    def once(progress: FinetuneProgress) -> None:
        first.append(progress.steps_done)
        raise StoppedError

    with pytest.raises(StoppedError):
        finetune(tmp_path / "store", request, on_progress=once)
    assert first[0] >= 5
    assert first[0] % 5 == 0


def test_a_step_that_was_not_saved_whole_is_passed_over(toy: Toy, tmp_path: Path) -> None:
    request = interrupt(toy, tmp_path)
    torn = tmp_path / "checkpoints" / PARTIAL / "steps/checkpoint-12"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_st')
    steps: list[int] = []
    finetune(tmp_path / "store", request, on_progress=lambda progress: steps.append(progress.steps_done))
    assert steps[0] == 10


def test_restart_begins_anew(toy: Toy, tmp_path: Path) -> None:
    interrupt(toy, tmp_path)
    steps: list[int] = []
    request = small(toy, tmp_path / "checkpoints", restart=True, epochs=1)
    finetune(tmp_path / "store", request, on_progress=lambda progress: steps.append(progress.steps_done))
    assert steps == list(range(10))


def test_an_interrupted_training_of_other_settings_is_kept(toy: Toy, tmp_path: Path) -> None:
    interrupt(toy, tmp_path)
    asked = small(toy, tmp_path / "checkpoints", epochs=1, warmup=0.5)
    wanted = r"at step 10, was made with other settings \(epochs: stored 2.*; warmup: stored 0.1, .*--restart"
    with pytest.raises(SpecMismatchError, match=wanted):
        finetune(tmp_path / "store", asked)
    assert (tmp_path / "checkpoints" / PARTIAL / "steps/checkpoint-10").is_dir()


def test_what_was_interrupted_before_anything_was_saved_is_forgotten(toy: Toy, tmp_path: Path) -> None:
    interrupt(toy, tmp_path, step=3)
    finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints", epochs=1))
    assert (tmp_path / "checkpoints" / PLACE / "config.json").is_file()


def test_a_loss_that_is_no_number_stops_and_leaves_the_earlier_checkpoint(toy: Toy, tmp_path: Path) -> None:
    make(tmp_path / "store", small(toy, tmp_path / "checkpoints", epochs=1))
    before = state(tmp_path / "checkpoints")
    asked = small(toy, tmp_path / "checkpoints", learning_rate=1e30, overwrite=True, save_steps=1)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+: .* a smaller --learning-rate"):
        finetune(tmp_path / "store", asked)
    assert same(before, state(tmp_path / "checkpoints"))
    # The remedy works at once.
    remedied = small(toy, tmp_path / "checkpoints", learning_rate=1e-4, overwrite=True, epochs=1)
    finetune(tmp_path / "store", remedied)
    assert not same(before, state(tmp_path / "checkpoints"))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\n GPU 0"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_one_line_with_the_step_and_the_remedy(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    plain = training.Trainer.training_step

    def fail(self, *arguments, **options):
        if self.state.global_step == 7:
            raise error
        return plain(self, *arguments, **options)

    monkeypatch.setattr(training.Trainer, "training_step", fail)
    with pytest.raises(ResourceError, match=r"does not suffice at step 7.*--batch-size") as caught:
        finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, os.strerror(28)),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/1: x"),
    ],
)
def test_whatever_a_full_disk_makes_the_libraries_say_is_one_line(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(training.Trainer, "_save_checkpoint", fail)
    with pytest.raises(ResourceError, match=r"disk is full .* saving a step at step 5 .*the same command again"):
        finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints"))


def test_a_bug_is_not_called_a_full_disk(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(training.Trainer, "_save_checkpoint", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints"))


@pytest.mark.parametrize("save_steps", [5, 500])
def test_a_file_limit_leaves_the_earlier_checkpoint_and_the_same_command_finishes(
    toy: Toy, tmp_path: Path, save_steps: int
) -> None:
    make(tmp_path / "store", small(toy, tmp_path / "checkpoints", epochs=1))
    before = state(tmp_path / "checkpoints")
    asked = small(toy, tmp_path / "checkpoints", save_steps=save_steps, overwrite=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(ResourceError, match=r"disk is full or cannot be written while .*; checkpoints that are"):
            finetune(tmp_path / "store", asked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(before, state(tmp_path / "checkpoints"))
    finetune(tmp_path / "store", asked)
    assert not same(before, state(tmp_path / "checkpoints"))


def test_two_at_once_are_refused(toy: Toy, made: Made, tmp_path: Path) -> None:
    request = small(toy, tmp_path / "checkpoints")
    spec = made.told[0][0].spec
    with (
        Workplace(tmp_path / "checkpoints", spec).claim(),
        pytest.raises(BusyError, match=f"{PLACE} is being made by another process"),
    ):
        finetune(tmp_path / "store", request)


def test_a_damaged_checkpoint_is_one_line(toy: Toy, tmp_path: Path) -> None:
    make(tmp_path / "store", small(toy, tmp_path / "checkpoints", epochs=1))
    (tmp_path / "checkpoints" / PLACE / "finetuning.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"finetuning.json of a checkpoint cannot be read .* fine-tune again"):
        finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints", epochs=1))
