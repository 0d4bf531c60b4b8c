"""Interrupted, short of memory or disk, diverged: nothing is lost, and the same call finishes."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetunings import PARTIAL, PLACE, Made, StoppedError, Toy, finish, interrupt, make, same, small, state, stop_at
from safetensors import SafetensorError
from safetensors.torch import load_file

from biocache.engine import finetune
from biocache.engine.finetuning import training
from biocache.engine.finetuning.checkpoint import Checkpoint
from biocache.engine.finetuning.finetune import FinetuneProgress
from biocache.engine.finetuning.workplace import Workplace
from biocache.store.errors import BusyError, IntegrityError, ResourceError, SpecMismatchError, TrainingError


@pytest.mark.slow
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


@pytest.mark.slow
def test_patience_goes_on_waiting_where_it_was_interrupted(toy: Toy, tmp_path: Path) -> None:
    settings = {"training_sizes": (10,), "epochs": 40, "learning_rate": 2e-2, "patience": 2}
    place = "ner/toy/bert/size-010/seed-42"
    through = make(tmp_path / "store", toy.request(tmp_path / "through", **settings))
    losses = through.scores.validation_loss.values.ravel()
    best = int(np.argmin(losses))
    assert len(losses) == best + 3 < 40
    asked = toy.request(tmp_path / "checkpoints", **settings)
    after_one_epoch_of_waiting = 3 * (best + 2) + 1

    def stop(progress: FinetuneProgress) -> None:
        if progress.steps_done == after_one_epoch_of_waiting:
            raise StoppedError

    with pytest.raises(StoppedError):
        finetune(tmp_path / "store", asked, on_progress=stop)
    resumed = make(tmp_path / "store", asked)
    np.testing.assert_array_equal(resumed.scores.validation_loss.values.ravel(), losses)
    states = [load_file(tmp_path / name / place / "model.safetensors") for name in ("through", "checkpoints")]
    assert same(*states)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"]
)
def test_a_damaged_saved_step_says_to_restart(toy: Toy, tmp_path: Path, name: str) -> None:
    request = interrupt(toy, tmp_path)
    file = tmp_path / "checkpoints" / PARTIAL / "steps/checkpoint-10" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    if name == "training_args.bin":  # Nothing needs it.
        finetune(tmp_path / "store", request)
        return
    with pytest.raises(IntegrityError, match=r"saved step .*checkpoint-10 cannot be read .*; pass restart"):
        finetune(tmp_path / "store", request)
    finetune(tmp_path / "store", replace(request, restart=True))
    assert (tmp_path / "checkpoints" / PLACE / "config.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("text", [None, "{", "[]", '{"epochs": 1}'])
def test_a_record_that_is_gone_or_torn_makes_it_begin_anew(toy: Toy, tmp_path: Path, text: str | None) -> None:
    request = interrupt(toy, tmp_path)
    record = tmp_path / "checkpoints" / PARTIAL / "finetuning.json"
    record.unlink() if text is None else record.write_text(text)
    steps: list[int] = []
    finetune(tmp_path / "store", request, on_progress=lambda progress: steps.append(progress.steps_done))
    assert steps[0] == 0


@pytest.mark.slow
def test_a_process_killed_while_it_replaced_a_checkpoint_loses_neither(toy: Toy, tmp_path: Path) -> None:
    finish(toy, tmp_path)
    before = state(tmp_path / "checkpoints")
    partial = tmp_path / "checkpoints" / PARTIAL
    aside = partial / "replaced/seed-42"
    aside.parent.mkdir(parents=True)
    (tmp_path / "checkpoints" / PLACE).rename(aside)
    # What was put aside is back in its place, even where the next training fails.
    asked = small(toy, tmp_path / "checkpoints", overwrite=True)
    with pytest.raises(StoppedError):
        finetune(tmp_path / "store", asked, on_progress=stop_at(3))
    assert same(before, state(tmp_path / "checkpoints"))
    # What a removal left behind is in nobody's way.
    shutil.copytree(tmp_path / "checkpoints" / PLACE, aside)
    finetune(tmp_path / "store", asked)
    assert not same(before, state(tmp_path / "checkpoints"))
    assert [path.name for path in partial.parent.iterdir()] == ["seed-42"]


@pytest.mark.slow
def test_what_a_process_left_that_was_killed_beside_its_checkpoint_is_removed(toy: Toy, tmp_path: Path) -> None:
    request = finish(toy, tmp_path)
    partial = tmp_path / "checkpoints" / PARTIAL
    workplace = Workplace(tmp_path / "checkpoints", Checkpoint.read(tmp_path / "checkpoints" / PLACE).spec)
    removed = partial.with_name(f".removed-{'0' * 32}")
    # Killed before the workplace was gone, and then before its bytes were freed.
    with workplace.claim():
        workplace.begin(restart=False, overwrite=False)
        workplace.steps.mkdir()
    shutil.copytree(partial, removed)
    with workplace.claim():
        finetune(tmp_path / "store", request)
        assert partial.exists()
    finetune(tmp_path / "store", request)
    assert [path.name for path in partial.parent.iterdir()] == ["seed-42"]
    # What was begun with other settings is not what that process left.
    with pytest.raises(StoppedError):
        finetune(tmp_path / "store", replace(request, epochs=2, overwrite=True), on_progress=stop_at(13))
    finetune(tmp_path / "store", request)
    assert (partial / "steps/checkpoint-10").is_dir()


@pytest.mark.slow
def test_overwrite_also_replaces_what_was_begun_with_other_settings(toy: Toy, tmp_path: Path) -> None:
    interrupt(toy, tmp_path)
    steps: list[int] = []
    request = small(toy, tmp_path / "checkpoints", overwrite=True, epochs=1)
    finetune(tmp_path / "store", request, on_progress=lambda progress: steps.append(progress.steps_done))
    assert steps[0] == 0
    # Of the same settings it goes on.
    interrupt(toy, tmp_path / "other")
    steps.clear()
    request = small(toy, tmp_path / "other/checkpoints", overwrite=True)
    finetune(tmp_path / "store", request, on_progress=lambda progress: steps.append(progress.steps_done))
    assert steps[0] == 10


def test_a_folder_that_cannot_be_made_is_one_line(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").touch()
    with pytest.raises(ResourceError, match=f"cannot write while making checkpoint {tmp_path}/checkpoints/ner/toy"):
        finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints"))


@pytest.mark.slow
def test_a_killed_process_is_resumed_too(toy: Toy, tmp_path: Path) -> None:
    request = small(toy, tmp_path / "checkpoints", epochs=400)
    # PosixPath is how the request writes its folders.
    code = f"""
from pathlib import PosixPath
import torch
from biocache.engine import FinetuneRequest, ReadingRequest, finetune
torch.set_num_threads(1)
finetune({str(tmp_path / "store")!r}, {request!r})
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    steps = tmp_path / "checkpoints" / PARTIAL / "steps"
    while not list(steps.glob("checkpoint-*/trainer_state.json")):
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


@pytest.mark.slow
def test_a_step_that_was_not_saved_whole_is_passed_over(toy: Toy, tmp_path: Path) -> None:
    request = interrupt(toy, tmp_path)
    torn = tmp_path / "checkpoints" / PARTIAL / "steps/checkpoint-12"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_st')
    steps: list[int] = []
    finetune(tmp_path / "store", request, on_progress=lambda progress: steps.append(progress.steps_done))
    assert steps[0] == 10


@pytest.mark.slow
def test_restart_begins_anew(toy: Toy, tmp_path: Path) -> None:
    interrupt(toy, tmp_path)
    steps: list[int] = []
    request = small(toy, tmp_path / "checkpoints", restart=True, epochs=1)
    finetune(tmp_path / "store", request, on_progress=lambda progress: steps.append(progress.steps_done))
    assert steps == list(range(10))


@pytest.mark.slow
def test_an_interrupted_training_of_other_settings_is_kept(toy: Toy, tmp_path: Path) -> None:
    interrupt(toy, tmp_path)
    asked = small(toy, tmp_path / "checkpoints", epochs=1, warmup=0.5)
    wanted = r"at step 10, was made with other settings \(epochs: stored 2.*; warmup: stored 0.1, .*restart"
    with pytest.raises(SpecMismatchError, match=wanted):
        finetune(tmp_path / "store", asked)
    assert (tmp_path / "checkpoints" / PARTIAL / "steps/checkpoint-10").is_dir()


@pytest.mark.slow
def test_what_was_interrupted_before_anything_was_saved_is_forgotten(toy: Toy, tmp_path: Path) -> None:
    interrupt(toy, tmp_path, step=3)
    finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints", epochs=1))
    assert (tmp_path / "checkpoints" / PLACE / "config.json").is_file()


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_and_leaves_the_earlier_checkpoint(toy: Toy, tmp_path: Path) -> None:
    finish(toy, tmp_path)
    before = state(tmp_path / "checkpoints")
    asked = small(toy, tmp_path / "checkpoints", learning_rate=1e30, overwrite=True, save_steps=1)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+: .* a smaller learning_rate"):
        finetune(tmp_path / "store", asked)
    assert same(before, state(tmp_path / "checkpoints"))
    # The remedy works at once.
    remedied = small(toy, tmp_path / "checkpoints", learning_rate=1e-4, overwrite=True, epochs=1)
    finetune(tmp_path / "store", remedied)
    assert not same(before, state(tmp_path / "checkpoints"))


@pytest.mark.slow
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
    with pytest.raises(ResourceError, match=r"does not suffice at step 7.*batch_size") as caught:
        finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints"))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_bug_is_not_called_a_full_disk(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(training.Trainer, "_save_checkpoint", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints"))


@pytest.mark.slow
@pytest.mark.parametrize("save_steps", [5, 500])
def test_a_file_limit_leaves_the_earlier_checkpoint_and_the_same_command_finishes(
    toy: Toy, tmp_path: Path, save_steps: int
) -> None:
    finish(toy, tmp_path)
    before = state(tmp_path / "checkpoints")
    asked = small(toy, tmp_path / "checkpoints", save_steps=save_steps, overwrite=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(ResourceError, match=r"disk is full or cannot be written while .*; complete checkpoints"):
            finetune(tmp_path / "store", asked)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(before, state(tmp_path / "checkpoints"))
    finetune(tmp_path / "store", asked)
    assert not same(before, state(tmp_path / "checkpoints"))


@pytest.mark.slow
def test_two_at_once_are_refused(toy: Toy, made: Made, tmp_path: Path) -> None:
    request = small(toy, tmp_path / "checkpoints")
    spec = made.told[0][0].spec
    with (
        Workplace(tmp_path / "checkpoints", spec).claim(),
        pytest.raises(BusyError, match=f"{PLACE} is being made by another process"),
    ):
        finetune(tmp_path / "store", request)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_one_line(toy: Toy, tmp_path: Path) -> None:
    finish(toy, tmp_path)
    (tmp_path / "checkpoints" / PLACE / "finetuning.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"finetuning.json of a checkpoint cannot be read .*; pass overwrite"):
        finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints", epochs=1))
