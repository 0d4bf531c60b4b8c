"""What interrupted commands leave in a store is freed by the next, and nothing else is."""

import shutil
from pathlib import Path

import pytest
import xarray as xr
import zarr
from crashes import killed_before_each_change
from store_factory import KEY, least, synthetic, tree

from biocache.store import Store, atomic
from biocache.store.atomic import PARTIAL, own_path, temporary_folder
from biocache.store.creating import discard_run
from biocache.store.errors import StoreFormatError
from biocache.store.folders import Folder
from biocache.store.reading import Run
from biocache.store.results import find_result, save_result
from biocache.store.schema import ACTIVATIONS
from biocache.store.sweeping import CHANGING, changing, sweep, tidy


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take chunks without a run for left behind as soon as they are."""
    monkeypatch.setattr(atomic, "QUIET_SECONDS", 0.0)


@pytest.mark.slow
def test_a_removal_killed_at_any_moment_leaves_the_run_or_nothing(tmp_path: Path) -> None:
    root = tmp_path / "s.zarr"
    least(dataset="other").write_all(root)
    without = tree(root)
    least().write_all(root)
    whole = tree(root)
    shutil.copytree(root, tmp_path / "whole")

    def prepare() -> None:
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "whole", root)

    kills = gone = 0
    for kills in killed_before_each_change(prepare, lambda: discard_run(root, KEY)):
        removed = not (root / KEY.path).exists()
        assert removed == (KEY not in set(Store.open(root).keys()))
        gone += removed
        freed = sweep(Folder(root))
        assert tree(root) == (without if removed else whole), kills
        assert (freed > 0) <= removed
        assert sweep(Folder(root)) == 0
    assert kills > 20
    assert 0 < gone < kills


@pytest.mark.slow
def test_a_sweep_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path) -> None:
    root = tmp_path / "s.zarr"
    least(dataset="other").write_all(root)
    without = tree(root)
    run = least().write_all(root)
    run.path.rename(root / f".removed-{'0123' * 8}")
    # Nobody holds a lock of it.
    own_path(root, CHANGING).write_text(KEY.path)

    def prepare() -> None:
        if not (tmp_path / "begun").exists():
            shutil.copytree(root, tmp_path / "begun")
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "begun", root)

    for kills in killed_before_each_change(prepare, lambda: sweep(Folder(root))):
        sweep(Folder(root))
        assert tree(root) == without, kills


def left_by_a_writer(run: Run) -> int:
    """Make of a run what a writer leaves that outlives its removal, and return its bytes."""
    for path in run.path.iterdir():
        if path.name not in ACTIVATIONS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for metadata in run.path.rglob("zarr.json"):
        metadata.unlink()
    return sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())


def test_chunks_of_a_writer_that_outlived_the_removal_are_freed(tmp_path: Path) -> None:
    size = left_by_a_writer(synthetic(keep=tuple(ACTIVATIONS)).write_all(tmp_path))
    assert sweep(Folder(tmp_path)) == size
    assert [path.name for path in tmp_path.iterdir()] == ["zarr.json"]


def test_what_is_being_copied_to_its_place_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by_a_writer(synthetic().write_all(tmp_path))
    monkeypatch.setattr(atomic, "QUIET_SECONDS", 3600.0)
    before = tree(tmp_path)
    assert sweep(Folder(tmp_path)) == 0
    assert tree(tmp_path) == before


def test_a_run_that_lost_its_metadata_is_damaged_and_stays(tmp_path: Path) -> None:
    run = synthetic().write_all(tmp_path)
    (run.path / "zarr.json").unlink()
    before = tree(tmp_path)
    assert sweep(Folder(tmp_path)) == 0
    assert tree(tmp_path) == before
    store = Store.open(tmp_path)
    (row,) = store.listing()
    assert (row["state"], "zarr.json is missing" in row["problem"]) == ("damaged", True)
    with pytest.raises(StoreFormatError, match=r"zarr\.json is missing"):
        store.run()
    store.remove(KEY)
    assert store.keys() == []


def test_a_folder_that_is_no_store_is_not_touched(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for place in ("me/project/corpus/v1/en/raw/samples/a.txt", ".removed-photos/p.jpg", "a.txt"):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text("years of work")
    (home / "nothing" / "at all").mkdir(parents=True)
    zarr.create_group(home / "data.zarr").create_array("mask", shape=(3,), dtype="f4")
    before = tree(home)
    assert sweep(Folder(home)) == 0
    assert tree(home) == before


def test_empty_folders_and_groups_of_the_user_stay(tmp_path: Path) -> None:
    synthetic().write_all(tmp_path)
    (tmp_path / "backup" / "incoming").mkdir(parents=True)
    (tmp_path / ".removed-photos").mkdir()
    zarr.create_group(tmp_path / "mine")
    before = tree(tmp_path)
    assert sweep(Folder(tmp_path)) == 0
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_a_creation_killed_at_any_moment_leaves_a_run_or_nothing(tmp_path: Path) -> None:
    root = tmp_path / "s.zarr"
    other = least(dataset="other")
    other.write_all(root)
    without = tree(root)
    shutil.copytree(root, tmp_path / "begun")

    def prepare() -> None:
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "begun", root)

    made = kills = 0
    for kills in killed_before_each_change(prepare, lambda: least().create(root), every=2):
        sweep(Folder(root))
        created = (root / KEY.path / "zarr.json").exists()
        assert created or tree(root) == without, kills
        made += created
    assert 0 < made < kills


def test_results_live_writers_and_what_is_not_ours_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "QUIET_SECONDS", 3600.0)
    synthetic().write_all(tmp_path)
    inputs = {"a": 1}
    save_result(tmp_path, "probe", inputs, xr.Dataset({"x": 1}))
    starting = own_path(tmp_path, PARTIAL)
    (starting / "hidden").mkdir(parents=True)
    elsewhere = tmp_path / f"{PARTIAL}another-host@0"
    elsewhere.mkdir()
    (elsewhere / ".lock").touch()
    (tmp_path / f"{CHANGING}another-host@0").write_text(KEY.path)
    for place in ("notes", "ner/corpus/notes", KEY.path.replace("test", "mine")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "thesis.tex").write_text("years of work")
    with temporary_folder(tmp_path) as ours, changing(Folder(tmp_path), KEY.path):
        (ours / "file").write_bytes(b"12345")
        before = tree(tmp_path)
        assert sweep(Folder(tmp_path)) == 0
        assert tree(tmp_path) == before
        # What a live process of this machine holds is left alone however old it is.
        monkeypatch.setattr(atomic, "QUIET_SECONDS", 0.0)
        sweep(Folder(tmp_path))
        gone = {path.split("/")[0] for path in before.keys() - tree(tmp_path).keys()}
        assert gone == {starting.name, elsewhere.name, f"{CHANGING}another-host@0"}
    assert find_result(tmp_path, "probe", inputs) is not None


def test_a_dead_writer_of_this_machine_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "QUIET_SECONDS", 3600.0)
    synthetic().write_all(tmp_path)
    dead = own_path(tmp_path, PARTIAL)
    dead.mkdir()
    (dead / ".lock").touch()
    (dead / "file").write_bytes(b"12345")
    assert Store.open(tmp_path).sweep() == 5
    assert not dead.exists()


def test_a_note_that_is_being_made_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process has opened it and not locked it yet: only its age says that it is dead."""
    monkeypatch.setattr(atomic, "QUIET_SECONDS", 3600.0)
    synthetic().write_all(tmp_path)
    made = own_path(tmp_path, CHANGING).with_suffix(".new")
    made.touch()
    tidy(Folder(tmp_path))
    assert made.exists()
    monkeypatch.setattr(atomic, "QUIET_SECONDS", 0.0)
    tidy(Folder(tmp_path))
    assert not made.exists()


def test_a_group_that_lost_its_metadata_while_it_got_a_run_has_it_again(tmp_path: Path) -> None:
    synthetic().write_all(tmp_path)
    group = (tmp_path / KEY.path).parent
    (group / "zarr.json").unlink()
    sweep(Folder(tmp_path))
    zarr.open_group(group, mode="r")
    assert Store.open(tmp_path).run().complete


@pytest.mark.parametrize("root", ["absent", "file"])
def test_there_is_nothing_to_sweep(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("x")
    assert sweep(Folder(tmp_path / root)) == 0
