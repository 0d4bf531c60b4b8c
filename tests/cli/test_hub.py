"""Commands on a store on the Hugging Face hub, against a double of it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hub import Hub

from biocache.store import Store

pytestmark = [
    pytest.mark.slow,
    # huggingface_hub's use of its HTTP client.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]

Command = Callable[..., Result]

URL = "hf://datasets/me/features"
TEST = "ner/demo/bert/size-000/seed-42/sentence/test"


def options(hub: Hub) -> list[str]:
    return [text for name, value in hub.options.items() for text in ("--storage-option", f"{name}={value}")]


def words(store: Path) -> np.ndarray:
    return np.asarray(Store.open(store).run(model="bert", split="test").words().hidden.compute().values)


def test_a_store_is_shared_read_and_copied_back(command: Command, hub: Hub, extracted: Path, tmp_path: Path) -> None:
    at, store = options(hub), ("--store", URL)
    stdout = command("copy", extracted, URL, "--model", "bert", *at).stdout
    assert stdout.count("1/1") == 2
    # A run a commit, and the card has both.
    assert len(hub.repos["me/features"].commits) == 3
    assert hub.text("me/features").count("| ner/demo/bert/") == 2
    assert TEST in command("ls", *store, *at).stdout
    assert TEST in command("info", TEST, *store, *at).stdout
    assert command("verify", *store, *at).stdout.startswith("2 runs, 2 packs, 2 label sets checked: no problems\n")
    command("copy", URL, tmp_path / "back", f"{URL}/{TEST}", *at)
    np.testing.assert_array_equal(words(tmp_path / "back"), words(extracted))
    result = command("probe", "--task", "ner", *store, *at)
    assert "majority" in result.stdout
    kept = command("probe", "--task", "ner", "--results", tmp_path / "results", *store, *at)
    assert kept.stdout == result.stdout
    assert len(hub.repos["me/features"].commits) == 3


def test_other_commands_write_nothing_there(
    command: Command,
    hub: Hub,
    extracted: Path,
    corpus_folder: Path,
    checkpoints: Mapping[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = ("--store", URL, *options(hub))
    command("copy", extracted, URL, TEST, *options(hub))

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("computed before the place was refused")

    monkeypatch.setattr("biocache.engine.extraction.planning.plan_extraction", fail)
    monkeypatch.setattr("biocache.engine.finetuning.finetune.Material", fail)
    of = ("--task", "ner", "--dataset", f"demo={corpus_folder / 'ner'}", "--model", f"bert={checkpoints['bert']}")
    for arguments in (
        ("extract", *of),
        ("extract", *of, "--overwrite"),
        ("finetune", *of),
        ("study", *of),
        ("rm", "--all", "--yes"),
        ("rm", TEST, "--yes"),
        ("verify", "--repair"),
    ):
        stderr = command(*arguments, *at, code=1).stderr
        assert "where only copies of runs are written to" in stderr
        assert "share it with `biocache copy`" in stderr
        assert stderr.count("\n") == 1
    assert len(hub.repos["me/features"].commits) == 2


def test_mistakes_are_one_line(command: Command, hub: Hub, extracted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, told in (
        (("ls", "--store", "hf://me/features"), "is no place on the Hugging Face hub for stores"),
        (("ls", "--store", URL, *options(hub)), "me/features is not there, or is private"),
        (("copy", extracted, "hf://models/me/features"), "is no place on the Hugging Face hub for stores"),
        (
            ("copy", extracted, extracted.parent / "x", *options(hub)),
            "--storage-option is for object stores and the hub",
        ),
        (("ls", "--store", URL, "--storage-option", "region=x"), "is not one of the Hugging Face hub"),
    ):
        stderr = command(*arguments, code=1).stderr
        assert told in stderr
        assert stderr.count("\n") == 1
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in command("copy", extracted, URL, *options(hub), code=1).stderr
    assert hub.repos == {}
