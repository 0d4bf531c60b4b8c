"""Checkpoints and saved steps that are damaged: seen, said in one line, and made again on demand."""

import json
import re
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zarr
from finetunings import PARTIAL, PLACE, Toy, finish, interrupt, make, same, small, state
from shapes import STRANGE, places, replaced

from biocache.cli.finetune import checkpoint_facts, print_checkpoints
from biocache.engine import finetune
from biocache.engine.finetuning.checkpoint import Checkpoint
from biocache.store.errors import IntegrityError, NewerFormatError, SettingError


@pytest.fixture(scope="module")
def whole(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished fine-tuning and its store, never to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    finish(toy, folder)
    return folder


def _drop(file: Path) -> None:
    file.unlink()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _cut_by_one(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _grow(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b" ")


def _empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "scores.json"])
def test_a_checkpoint_that_is_not_whole_is_not_found_and_can_be_made_again(
    whole: Path, toy: Toy, tmp_path: Path, name: str
) -> None:
    request = small(toy, tmp_path / "checkpoints", epochs=1)
    for damage in (_drop, _cut, _empty):
        shutil.rmtree(tmp_path)
        shutil.copytree(whole, tmp_path)
        damage(tmp_path / "checkpoints" / PLACE / name)
        with pytest.raises(IntegrityError, match=rf"{PLACE}.* (is not whole|cannot be read) .*; pass overwrite"):
            finetune(tmp_path / "store", request)
        again = make(tmp_path / "store", replace(request, overwrite=True))
        assert [found for _, found in again.told] == [False]
        assert same(state(whole / "checkpoints"), state(tmp_path / "checkpoints"))


def test_a_missing_shard_of_the_weights_is_seen(whole: Path, toy: Toy, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "checkpoints" / PLACE
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(IntegrityError, match=r"model-00002-of-00002"):
        finetune(tmp_path / "store", small(toy, tmp_path / "checkpoints", epochs=1))


@pytest.mark.parametrize("named", [{}, {"a": "../../base/model.safetensors"}, {"a": "/etc/hostname"}, {"a": ""}])
def test_an_index_that_names_no_file_of_the_folder_is_refused(whole: Path, tmp_path: Path, named: Any) -> None:
    shutil.copytree(whole / "checkpoints", tmp_path, dirs_exist_ok=True)
    (tmp_path / PLACE / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    with pytest.raises(IntegrityError, match="is not whole"):
        Checkpoint.read(tmp_path / PLACE).require_whole()


def test_every_file_that_was_saved_must_be_there_as_it_was(whole: Path, tmp_path: Path) -> None:
    saved = Checkpoint.read(whole / "checkpoints" / PLACE).files
    assert {"config.json", "model.safetensors", "tokenizer_config.json"} <= set(saved)
    for name in saved:
        for damage in (_drop, _cut_by_one, _grow):
            shutil.rmtree(tmp_path / "c", ignore_errors=True)
            shutil.copytree(whole / "checkpoints", tmp_path / "c")
            damage(tmp_path / "c" / PLACE / name)
            with pytest.raises(IntegrityError, match=re.escape(name)):
                Checkpoint.read(tmp_path / "c" / PLACE).require_whole()


def test_a_checkpoint_of_a_newer_release_is_never_replaced(whole: Path, toy: Toy, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    record = tmp_path / "checkpoints" / PLACE / "finetuning.json"
    record.write_text(json.dumps({"format_version": 3, "whatever": "it has"}))
    request = small(toy, tmp_path / "checkpoints", epochs=1)
    for asked in (request, replace(request, overwrite=True)):
        with pytest.raises(NewerFormatError, match="install the newer one"):
            finetune(tmp_path / "store", asked)


@pytest.mark.parametrize("there", [True, False])
def test_checkpoints_in_a_zarr_folder_are_refused_before_the_training(toy: Toy, tmp_path: Path, there: bool) -> None:
    if there:
        zarr.create_group(tmp_path / "s.zarr", attributes={"biocache": {"format_version": 2}})
    with pytest.raises(SettingError, match="lies in the Zarr folder"):
        finetune(tmp_path / "s.zarr", small(toy, tmp_path / "s.zarr" / "checkpoints", epochs=1))
    assert (tmp_path / "s.zarr").exists() == there


@pytest.mark.slow
def test_scores_of_any_shape_are_read_or_refused(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "checkpoints", tmp_path, dirs_exist_ok=True)
    checkpoint = Checkpoint.read(tmp_path / PLACE)
    sound = json.loads((checkpoint.folder / "scores.json").read_bytes())
    seen = 0
    # The first value of a list may decide what the others must be, and they are alike.
    for place in (place for place in places(sound) if not any(isinstance(step, int) and step > 1 for step in place)):
        for strange in STRANGE:
            (checkpoint.folder / "scores.json").write_text(json.dumps(replaced(sound, place, strange)))
            with suppress(IntegrityError):
                print_checkpoints([checkpoint_facts(checkpoint)])
            seen += 1
    assert seen > 500


@pytest.mark.slow
def test_a_saved_step_of_any_shape_is_resumed_or_says_to_restart(toy: Toy, tmp_path: Path) -> None:
    request = interrupt(toy, tmp_path)
    file = tmp_path / "checkpoints" / PARTIAL / "steps/checkpoint-10/trainer_state.json"
    sound = json.loads(file.read_bytes())
    for name in ("global_step", "max_steps", "epoch", "log_history"):
        for strange in ("x", None, {}, [None], [[]]):
            if strange is None and name == "epoch":
                continue
            file.write_text(json.dumps(sound | {name: strange}))
            with pytest.raises(IntegrityError, match=r"saved step .*checkpoint-10 cannot be read .*; pass restart"):
                finetune(tmp_path / "store", request)
    file.write_text(json.dumps(sound))
    finetune(tmp_path / "store", request)
