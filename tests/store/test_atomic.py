"""Files and folders appear whole, and what they replace is there until they do, whenever a process dies."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from crashes import killed_before_each_change
from store_factory import processes, save_many

from biocache.store import atomic
from biocache.store.atomic import (
    PARTIAL,
    REMOVED,
    delete_leftovers,
    install,
    own_path,
    put_back,
    remove,
    replace,
    replacing,
    temporary_folder,
)
from biocache.store.folders import Folder
from biocache.store.results import find_result, save_result
from biocache.store.sweeping import sweep


def write(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "a").write_text(text)
    (folder / "b").write_text(text)


def read(folder: Path) -> set[str]:
    return {(folder / name).read_text() for name in ("a", "b")}


def replaced(target: Path, text: str) -> None:
    with replacing(target) as made:
        write(made, text)


def assert_youngest_left(*homes: Path) -> None:
    """Assert that nothing of dead processes is left but what was killed before it had a lock: that must get old."""
    for folder in (folder for home in homes for folder in home.glob(f"{PARTIAL}*")):
        assert {path.name for path in folder.iterdir()} <= {".lock.new"}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "as_one"), [("file", True), ("folder", True), ("folder", False)])
def test_a_replacement_killed_at_any_moment_loses_nothing(
    tmp_path: Path, kind: str, as_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "home/target"
    if not as_one:
        monkeypatch.setattr(atomic, "_renamed_as_one", lambda *_: False)

    def put(text: str) -> None:
        with replacing(target) as made:
            made.write_text(text) if kind == "file" else write(made, text)

    def found() -> set[str]:
        return {target.read_text()} if kind == "file" else read(target)

    def prepare() -> None:
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir()
        put("old")

    seen = set()
    for kills in killed_before_each_change(prepare, lambda: put("new")):
        if as_one:
            assert found() in ({"old"}, {"new"}), kills
        delete_leftovers(target.parent)
        assert_youngest_left(target.parent)
        with monkeypatch.context() as later:
            later.setattr(atomic, "QUIET_SECONDS", 0.0)
            delete_leftovers(target.parent)
        assert found() in ({"old"}, {"new"}), kills
        seen |= found()
        assert [path.name for path in target.parent.iterdir()] == ["target"], kills
    assert seen == {"old", "new"}


@pytest.mark.slow
def test_the_next_write_beside_it_deletes_what_a_dead_process_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kills in killed_before_each_change(lambda: None, lambda: replaced(tmp_path / "target", "new"), every=2):
        replaced(tmp_path / "other", "x")
        assert_youngest_left(tmp_path)
        with monkeypatch.context() as later:
            later.setattr(atomic, "QUIET_SECONDS", 0.0)
            replaced(tmp_path / "other", "x")
        assert {path.name for path in tmp_path.iterdir()} <= {"target", "other"}, kills
    assert read(tmp_path / "target") == {"new"}


@pytest.mark.parametrize("old", [False, True])
def test_what_live_processes_and_other_machines_write_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    unlocked, elsewhere, photos = (
        own_path(tmp_path, PARTIAL),
        tmp_path / f"{PARTIAL}other@0",
        tmp_path / f"{REMOVED}photos",
    )
    for folder in (unlocked, elsewhere, photos):
        folder.mkdir()
    # Its process may live on another machine, whose locks this one need not see.
    (elsewhere / ".lock").touch()
    if old:
        monkeypatch.setattr(atomic, "QUIET_SECONDS", 0.0)
    with temporary_folder(tmp_path) as ours:
        replaced(tmp_path / "target", "new")
        left = {ours.name, photos.name, "target"} | (set() if old else {unlocked.name, elsewhere.name})
        assert {path.name for path in tmp_path.iterdir()} == left


def test_a_folder_of_this_machine_that_nobody_holds_is_deleted_at_once(tmp_path: Path) -> None:
    dead = own_path(tmp_path, PARTIAL)
    dead.mkdir()
    (dead / ".lock").touch()
    replaced(tmp_path / "target", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_the_lock_appears_with_its_folder_held(tmp_path: Path) -> None:
    """A process that is starting is never taken for a dead one: its lock file is locked before it has its name."""
    with temporary_folder(tmp_path) as ours:
        assert [path.name for path in ours.iterdir()] == [".lock"]
        assert atomic.probe_lock(ours / ".lock") is atomic.Lock.BUSY
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_what_is_there(tmp_path: Path) -> None:
    replaced(tmp_path / "target", "old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "target") as made:
        write(made, str(1 // 0))
    assert read(tmp_path / "target") == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_folder_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    replaced(tmp_path / "target", "new")
    assert read(tmp_path / "target") == {"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_took_the_place_meanwhile_stays(tmp_path: Path) -> None:
    aside = tmp_path / "temporary/replaced/target"
    aside.parent.mkdir(parents=True)
    write(aside, "old")
    replaced(tmp_path / "target", "new")
    put_back(tmp_path / "temporary")
    assert read(tmp_path / "target") == {"new"}
    assert read(aside) == {"old"}


@pytest.mark.parametrize("taken", [False, True])
def test_what_another_process_puts_back_first_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    aside = tmp_path / "temporary/replaced/target"
    aside.parent.mkdir(parents=True)
    write(aside, "old")

    def lexists(place: Path) -> bool:
        if taken:
            write(place, "new")
        else:
            aside.rename(place)
        return False

    monkeypatch.setattr(os.path, "lexists", lexists)
    put_back(tmp_path / "temporary")
    assert read(tmp_path / "target") == {"new" if taken else "old"}


def test_a_folder_that_its_process_deletes_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, listed = own_path(tmp_path, PARTIAL), os.scandir
    going.mkdir()

    def late(path: str | Path = ".") -> Any:
        if str(path) == str(going) and going.exists():
            going.rmdir()
        return listed(path)

    monkeypatch.setattr(os, "scandir", late)
    assert atomic.leftovers(tmp_path) == []
    assert not going.exists()


def test_what_was_replaced_never_comes_back(tmp_path: Path) -> None:
    replaced(tmp_path / "target", "old")
    with temporary_folder(tmp_path) as ours:
        write(ours / "target", "new")
        replace(ours / "target", tmp_path / "target", ours)
        # As another process may, before this one has deleted what was replaced.
        shutil.rmtree(tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_threads_and_processes_write_beside_each_other(tmp_path: Path) -> None:
    children = [processes().Process(target=save_many, args=(tmp_path, str(n))) for n in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 3 * 3 * 18 + 1
    assert all(read(target) == {"new"} for target in tmp_path.iterdir())


@pytest.mark.slow
def test_a_removal_killed_at_any_moment_is_finished_by_the_next_write(tmp_path: Path) -> None:
    target = tmp_path / "home/target"

    def prepare() -> None:
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir()
        write(target, "old")

    kills = 0
    for kills in killed_before_each_change(prepare, lambda: remove(target, target.parent)):
        assert not target.exists() or read(target) == {"old"}, kills
        delete_leftovers(target.parent)
        assert [path.name for path in target.parent.iterdir()] == (["target"] if kills == 1 else []), kills
    assert kills > 3
    with pytest.raises(FileNotFoundError):
        remove(target, target.parent)


@pytest.mark.slow
def test_a_result_that_is_being_replaced_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, values = tmp_path / "s.zarr", set()
    for text in ("warm", "old"):
        save_result(root, "probe", {"a": 1}, xr.Dataset({"x": text}))
    shutil.copytree(root, tmp_path / "begun")

    def prepare() -> None:
        shutil.rmtree(root)
        shutil.copytree(tmp_path / "begun", root)

    def act() -> None:
        save_result(root, "probe", {"a": 1}, xr.Dataset({"x": "new"}))

    for kills in killed_before_each_change(prepare, act, every=3):
        sweep(Folder(root))
        found = find_result(root, "probe", {"a": 1})
        assert found is not None, kills
        values.add(found.x.item())
        with monkeypatch.context() as later:
            later.setattr(atomic, "QUIET_SECONDS", 0.0)
            sweep(Folder(root))
        assert not [name for _, folders, files in os.walk(root) for name in (*folders, *files) if name[0] == "."], kills
        assert not list(root.rglob("*.partial")), kills
    assert values == {"old", "new"}


@pytest.mark.parametrize("as_one", [True, False])
@pytest.mark.parametrize("old", [True, False])
def test_an_installed_folder_is_whole_and_what_it_replaces_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_one: bool, old: bool
) -> None:
    if not as_one:
        monkeypatch.setattr(atomic, "_renamed_as_one", lambda *_: False)
    write(tmp_path / "made", "new")
    if old:
        (tmp_path / "home").mkdir()
        write(tmp_path / "home/target", "old")
    install(tmp_path / "made", tmp_path / "home/target", tmp_path)
    assert read(tmp_path / "home/target") == {"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["target"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_two_folders_are_exchanged_in_one_step(tmp_path: Path) -> None:
    write(tmp_path / "a", "first")
    write(tmp_path / "b", "second")
    assert atomic._renamed_as_one(tmp_path / "a", tmp_path / "b")
    assert (read(tmp_path / "a"), read(tmp_path / "b")) == ({"second"}, {"first"})
    assert not atomic._renamed_as_one(tmp_path / "a", tmp_path / "none")
    assert read(tmp_path / "a") == {"second"}


def test_in_a_folder_of_the_user_no_more_than_temporary_folders_are_deleted(tmp_path: Path) -> None:
    (tmp_path / f".removed-{'0123' * 8}").mkdir()
    with replacing(tmp_path / "table.csv") as made:
        made.write_text("a,b")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".removed-{'0123' * 8}", "table.csv"]
