"""Stores moved, thinned, exported, repaired, read-only and in object stores, by the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import Result
from store_factory import chunk_file, opened_archive

from biocache.engine import recompute
from biocache.store import Store
from biocache.store.folders import Folder
from biocache.store.integrity import Problem
from biocache.store.results import save_result
from biocache.store.storage import open_storage

Command = Callable[..., Result]
TEST = "ner/demo/bert/size-000/seed-42/sentence/test"


def words(store: Any) -> np.ndarray[Any, Any]:
    run = Store.open(store).run(model="bert", split="test")
    return np.asarray(run.words().hidden.sel(layer=2).compute(scheduler="synchronous").values)


@pytest.mark.slow
def test_copy_thins_and_finds_what_it_copied(command: Command, extracted: Path, tmp_path: Path) -> None:
    arguments = (
        "copy",
        extracted,
        tmp_path / "thin",
        "--model",
        "bert",
        "--layers",
        "1-2",
        "--keep",
        "hidden",
        "--json",
    )
    reports = json.loads(command(*arguments).stdout)["rows"]
    assert [(report["packs_copied"], report["packs_done"]) for report in reports] == [(1, 1), (1, 1)]
    np.testing.assert_array_equal(words(tmp_path / "thin"), words(extracted))
    assert [report["packs_copied"] for report in json.loads(command(*arguments).stdout)["rows"]] == [0, 0]
    listed = json.loads(command("ls", "--store", tmp_path / "thin", "--json").stdout)["rows"]
    assert [(row["layers"], row["keep"]) for row in listed] == [(2, ["hidden"])] * 2
    command("verify", "--store", tmp_path / "thin")
    other = command("copy", extracted, tmp_path / "thin", TEST, code=1).stderr
    assert f"has another run {TEST}" in other
    assert other.count("\n") == 1


@pytest.mark.slow
def test_copy_to_an_object_store_and_back(command: Command, extracted: Path, tmp_path: Path) -> None:
    url = f"memory://cli/{tmp_path.name}"
    stdout = command("copy", extracted, url).stdout
    assert stdout.count("1/1") == 4
    assert command("verify", "--store", url).stdout.startswith("4 runs, 4 packs, 2 label sets checked: no problems\n")
    command("copy", url, tmp_path / "back", TEST)
    np.testing.assert_array_equal(words(tmp_path / "back"), words(extracted))
    assert TEST in command("info", TEST, "--store", url).stdout
    command("rm", "--store", url, "--all", "--yes")
    # Label sets stay: what people annotated is no run.
    left = set(open_storage(url).sizes(""))
    assert {path for path in left if not path.startswith("labels/")} == {"zarr.json"}


@pytest.mark.slow
def test_results_go_with_the_runs_that_they_were_computed_from(command: Command, store: Path, tmp_path: Path) -> None:
    first, second = Store.open(store).run(model="bert", split="test"), Store.open(store).run(model="gpt2", split="test")
    for number, runs in enumerate(([first], [first, second], [])):
        inputs = {"number": number, "runs": [run.identity for run in runs]}
        save_result(store, "probe", inputs, xr.Dataset({"x": ("y", [float(number)])}))
    arguments = ("copy", store, tmp_path / "some", TEST, "--results")
    told = command(*arguments).stderr
    assert f"note: 1 result left out: not all of its runs are in {tmp_path / 'some'} as they are in {store}\n" in told
    assert ", 2 results\n" in told
    assert sorted(result.load().x.item() for result in Store.open(tmp_path / "some").results()) == [0.0, 2.0]
    assert ", 0 results\n" in command(*arguments).stderr
    assert "left out" not in command("copy", store, tmp_path / "some", "--results").stderr
    command("verify", "--store", tmp_path / "some")
    assert len(Store.open(tmp_path / "some").results()) == 3
    # Of a thinner run the numbers are not those of this one.
    thin = command("copy", store, tmp_path / "thin", "--layers", "1", "--keep", "hidden", "--results").stderr
    assert "2 results left out" in thin
    (damaged,) = (result for result in Store.open(store).results() if result.inputs["number"] == 2)
    damaged.path.write_bytes(damaged.path.read_bytes()[:-1])
    assert "cannot be read" in command("copy", store, tmp_path / "other", TEST, "--results", code=1).stderr
    command("copy", store, tmp_path / "other", TEST)
    assert Store.open(tmp_path / "other").results() == []


def test_copying_a_layer_that_is_not_there_copies_nothing(command: Command, extracted: Path, tmp_path: Path) -> None:
    assert "has no layer 9" in command("copy", extracted, tmp_path / "to", "--layers", "0,9", code=1).stderr
    assert not (tmp_path / "to").exists()


def test_export_writes_a_file_for_other_tools(command: Command, extracted: Path, tmp_path: Path) -> None:
    result = command("export", tmp_path / "words.npz", "--store", extracted, "--run", TEST, "--layers", "2")
    assert result.stdout == f"{tmp_path / 'words.npz'}\n"
    with np.load(tmp_path / "words.npz") as arrays:
        np.testing.assert_array_equal(arrays["layer_2"], words(extracted))
        assert set(arrays["label"].tolist()) <= {"O", "DNA", "RNA", "cell_line", "cell_type", "protein"}
    told = command("export", tmp_path / "words.txt", "--store", extracted, "--run", TEST, code=1).stderr
    assert "has no suffix that says its format; end it in .parquet, .hf, .safetensors, .npz" in told
    assert "runs match" in command("export", tmp_path / "x.npz", "--store", extracted, "--model", "bert", code=1).stderr


def test_export_writes_the_label_sets_that_are_asked_for(command: Command, store: Path, tmp_path: Path) -> None:
    command("label", "long", "--store", store, "--from-words", ".{7,}")
    command("label", "size", "--store", store, "--property", "length")
    arguments = ("--store", store, "--run", TEST, "--layers", "2")
    command("export", tmp_path / "words.npz", *arguments, "--labels", "gold,long,size")
    with np.load(tmp_path / "words.npz") as arrays:
        sizes = [len(text) for text in arrays["text"].tolist()]
        assert arrays["size"].tolist() == sizes
        assert arrays["long"].tolist() == ["yes" if size > 6 else "no" for size in sizes]
        assert "label" not in arrays
        assert "O" in arrays["gold"].tolist()
    told = command("export", tmp_path / "x.npz", *arguments, "--labels", "gold,short", code=1).stderr
    assert "has no label set 'short'" in told
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.slow
def test_verify_repairs_what_can_be_made_again(command: Command, store: Path) -> None:
    chunk = chunk_file(Store.open(store).run(model="bert", split="test"), "hidden", 1, 0)
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"!")
    save_result(store, "probe", {"a": 1}, xr.Dataset({"x": ("y", [1.0])}))
    (result,) = Store.open(store).results()
    result.path.write_bytes(result.path.read_bytes()[:-1])
    stdout = command("verify", "--store", store, "--repair", code=1).stdout
    assert f"{TEST}, pack 0: its record was deleted; extract the run again" in stdout
    assert f"results/probe/{result.path.name}: deleted; run the command that computed it again" in stdout
    assert "4 runs, 4 packs, 1 result, 2 label sets checked: 2 problems" in stdout
    assert not result.path.exists()
    # What is left to do is to extract the one pack again.
    stdout = command("verify", "--store", store, code=1).stdout
    assert stdout.splitlines()[0].startswith(f"{TEST}, pack 0: not committed")
    assert Store.open(store).run(model="gpt2", split="test").complete


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["removed", "damaged"])
def test_a_store_that_lost_its_root_is_told_how_to_get_it_back(command: Command, store: Path, lost: str) -> None:
    before = words(store)
    groups = [store / "zarr.json", store / "ner/demo/zarr.json"]
    for file in groups:
        file.unlink() if lost == "removed" else file.write_bytes(b"{")
    told = command("ls", "--store", store, code=1).stderr
    assert "biocache verify --repair" in told if lost == "removed" else "is not a biocache store" in told
    stdout = command("verify", "--store", store, "--repair").stdout
    assert stdout.count("its zarr.json was made again") == 2
    np.testing.assert_array_equal(words(store), before)
    # A folder that holds no runs is none.
    assert "is not a biocache store" in command("verify", "--store", store.parent, "--repair", code=1).stderr


def test_rm_removes_results(command: Command, store: Path) -> None:
    run = Store.open(store).run(model="bert", split="test")
    for number in range(2):
        inputs = {"runs": [run.identity], "number": number}
        save_result(store, "probe", inputs, xr.Dataset({"x": ("y", [1.0])}))
    save_result(store, "finetune", {"checkpoint": {}}, xr.Dataset({"x": ("y", [1.0])}))
    assert "note: the store also has 3 results\n" in command("ls", "--store", store).stderr
    assert command("rm", "--unused-results", "--store", store, "--yes").stdout.startswith("0 results removed")
    shutil.rmtree(run.path)
    assert command("rm", "--unused-results", "--store", store, "--yes").stdout.startswith("2 results removed")
    assert [result.kind for result in Store.open(store).results()] == ["finetune"]
    assert command("rm", "--results", "--store", store, "--yes").stdout.startswith("1 result removed")
    assert Store.open(store).results() == []


def test_an_unfinished_replacement_is_listed(command: Command, store: Path, extracted: Path) -> None:
    shutil.copytree(extracted / TEST, store / ".successors" / TEST)
    assert f"note: a replacement of run {TEST} is unfinished" in command("ls", "--store", store).stderr


@pytest.mark.slow
def test_what_is_computed_on_a_read_only_store_is_shown(
    command: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = ("probe", "--store", store, "--task", "ner", "--model", "bert", "--layers", "2", "--json")
    expected = json.loads(command(*probe).stdout)["rows"]
    shutil.rmtree(store / "results")
    plain = Folder.create

    def refused(folder: Folder, path: str, data: bytes) -> bool:
        if folder.path == store:
            raise OSError(30, "Read-only file system", str(store / path))
        return plain(folder, path, data)

    monkeypatch.setattr(Folder, "create", refused)
    shown = command(*probe)
    assert json.loads(shown.stdout)["rows"] == expected
    assert "cannot be written to, so that the result is not kept; --results names another place" in shown.stderr
    kept = command(*probe, "--results", tmp_path / "kept")
    assert json.loads(kept.stdout)["rows"] == expected
    assert "not kept" not in kept.stderr
    again = command(*probe, "--results", tmp_path / "kept")
    assert "note: the store has this result" in again.stderr
    assert not (store / "results").exists()
    page = command("report", "--store", store, "--results", tmp_path / "kept", "--output", tmp_path / "r.html")
    assert "1 figure" in page.stderr


@pytest.mark.slow
def test_what_has_no_locks_says_so(command: Command, extracted: Path, tmp_path: Path) -> None:
    url = f"memory://locks/{tmp_path.name}"
    command("copy", extracted, url, TEST)
    told = f"note: {url} has no locks: whether another process is writing to these runs cannot be seen\n"
    assert told in command("rm", "--store", url, "--all", "--yes").stderr
    folder = tmp_path / "folder"
    command("copy", extracted, folder, TEST)
    assert "has no locks" not in command("rm", "--store", folder, "--all", "--yes").stderr


def newer(folder: Path) -> None:
    """Make a run or result one of a release after this."""
    file = folder / "zarr.json"
    file.write_bytes(file.read_bytes().replace(b'"format_version": 2', b'"format_version": 9'))


def test_what_a_newer_release_wrote_is_never_deleted(command: Command, store: Path, extracted: Path) -> None:
    save_result(store, "probe", {"a": 1}, xr.Dataset({"x": ("y", [1.0])}))
    (result,) = Store.open(store).results()
    with opened_archive(result.path) as group:
        newer(group)
    shutil.copytree(extracted / TEST, store / ".successors" / TEST)
    newer(store / ".successors" / TEST)
    newer(store / TEST)
    stdout = command("verify", "--store", store, "--repair", code=1).stdout
    assert stdout.count("of a newer release") == 2
    assert "deleted" not in stdout
    Store.open(store).sweep()
    assert result.path.exists()
    assert all((place / "zarr.json").exists() for place in (store / TEST, store / ".successors" / TEST))
    # Neither where the run in the place is one of this release.
    shutil.rmtree(store / TEST)
    shutil.copytree(extracted / TEST, store / TEST)
    Store.open(store).sweep()
    assert (store / ".successors" / TEST / "zarr.json").exists()


def test_results_of_a_run_that_cannot_be_opened_are_not_unused(command: Command, store: Path) -> None:
    run = Store.open(store).run(model="bert", split="test")
    save_result(store, "probe", {"runs": [run.identity]}, xr.Dataset({"x": ("y", [1.0])}))
    (run.path / "zarr.json").write_bytes(b"{")
    assert command("rm", "--unused-results", "--store", store, "--yes").stdout.startswith("0 results removed")


def test_samples_that_differ_when_computed_again_are_no_damage(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Problem(TEST, 0, "hidden of layer 1 of sample 's' differs by up to 1 from what the model gives now")
    monkeypatch.setattr(recompute, "recompute_samples", lambda *_, **__: iter([found]))
    stdout = command("verify", TEST, "--store", store, "--recompute", "1", "--repair", code=1).stdout
    assert "differs by up to 1" in stdout
    assert "deleted" not in stdout
    assert Store.open(store).run(model="bert", split="test").complete
