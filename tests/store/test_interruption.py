"""Writers and creators that are killed, raced or out of disk: what is there is right, and resuming finishes it."""

import shutil
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_factory import (
    CAPACITY,
    LENGTHS,
    Synthetic,
    assert_holds,
    chunk_file,
    create_at_once,
    create_until_killed,
    create_within,
    processes,
    stored_files,
    synthetic,
    write_until_killed,
    write_within,
)

from biocache.store import Store, atomic
from biocache.store.atomic import temporary_folder
from biocache.store.creating import discard_run
from biocache.store.errors import ResourceError, RunNotFoundError
from biocache.store.folders import Folder
from biocache.store.integrity import verify_run
from biocache.store.sweeping import sweep
from biocache.store.writing import RunWriter

PATIENCE = 60


@pytest.fixture
def source() -> Synthetic:
    return synthetic()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "s.zarr"


def test_what_a_killed_writer_left_is_swept_with_its_pack(source: Synthetic, root: Path) -> None:
    run = source.create(root)
    litter = {}
    for pack in (0, 1):
        chunks = [chunk_file(run, name, 1, pack) for name in source.spec.keep]
        chunks.append(run.path / "packs/record/c" / str(pack))
        litter[pack] = [chunk.with_suffix(".0123456789abcdef.partial") for chunk in chunks]
        for path in litter[pack]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
    source.write(run, [1])
    assert not any(path.exists() for path in litter[1])
    # Records and attention of the other pack lie in the same folder, and may be another process's.
    assert all(path.exists() for path in litter[0])
    source.write(run, [0])
    assert list(root.rglob("*.partial")) == []


def test_what_a_killed_creator_left_is_swept(source: Synthetic, root: Path) -> None:
    host = socket.gethostname()
    synthetic(split="train").create(root)
    folders = [root / f".partial-{name}@0123" for name in (host, f"{host}-2", "other")]
    for folder in folders:
        (folder / "hidden").mkdir(parents=True)
        (folder / ".lock").touch()
    with temporary_folder(root) as ours:
        source.create(root)
        # The first, of this machine, has a lock that nobody holds; the last is live.
        assert [folder.exists() for folder in (*folders, ours)] == [False, True, True, True]
    assert len(list(Store.open(root).keys())) == 2


@pytest.mark.slow
def test_two_processes_create_one_run(tmp_path: Path) -> None:
    context = processes()
    for attempt in range(8):
        root, barrier = tmp_path / str(attempt), context.Barrier(2)
        receive, send = context.Pipe(duplex=False)
        pair = [context.Process(target=create_at_once, args=(root, barrier, send)) for _ in range(2)]
        for process in pair:
            process.start()
        for process in pair:
            process.join(PATIENCE)
        assert [receive.recv(), receive.recv()] == ["created", "created"]
        assert sorted(path.name for path in root.iterdir()) == ["ner", "zarr.json"]
        source = synthetic()
        source.write_all(root)
        assert_holds(Store.open(root).run(), source)


def test_a_run_removed_meanwhile_is_not_committed(source: Synthetic, root: Path) -> None:
    run = source.create(root)
    writer = RunWriter(run)
    assert run.plan.pack_count == 3
    discard_run(root, run.key)
    with pytest.raises(RunNotFoundError, match=rf"run {run.path} was removed after it was opened"):
        writer.write_pack(1, source.buffer(1))
    writer.close()
    assert list(Store.open(root).keys()) == []
    assert_holds(source.write_all(root), source)


@pytest.mark.slow
def test_a_full_disk_names_the_run_and_the_pack(root: Path) -> None:
    context = processes()
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=write_within, args=(root, 100, send))
    process.start()
    kind, message = receive.recv()
    process.join(PATIENCE)
    assert kind == ResourceError.__name__
    assert "the disk is full or a file limit is reached while writing pack 1 of run ner/corpus/tiny/" in message
    source = synthetic()
    run = Store.open(root).run()
    assert list(run.records()) == [0]
    assert [problem.pack for problem in verify_run(run)] == [1, 2]
    np.testing.assert_array_equal(run.read_sample("hidden", 0), source.hidden[0])
    assert list(root.rglob("*.partial")) == []
    source.write(run)
    assert_holds(run, source)


@pytest.mark.slow
def test_a_full_disk_while_creating(root: Path) -> None:
    context = processes()
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=create_within, args=(root, 600, send))
    process.start()
    kind, message = receive.recv()
    process.join(PATIENCE)
    assert kind == ResourceError.__name__
    assert "while creating run ner/corpus/tiny/" in message
    assert list(Store.open(root).keys()) == []
    assert_holds(synthetic().write_all(root), synthetic())


def kill_when(target: Callable[..., None], root: Path, moment: Callable[[], None], arguments: tuple[Any, ...]) -> None:
    """Start a process that writes below a folder, and kill it as soon as `moment` returns."""
    context = processes()
    started = context.Event()
    process = context.Process(target=target, args=(root, started, *arguments))
    process.start()
    assert started.wait(PATIENCE)
    moment()
    assert process.is_alive(), "it ended before it could be killed"
    process.kill()
    process.join(PATIENCE)


@pytest.mark.slow
def test_a_creator_killed_at_any_moment_leaves_a_whole_run_or_none(
    source: Synthetic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.create(tmp_path / "first")
    began = time.perf_counter()
    source.create(tmp_path / "timed")
    duration = time.perf_counter() - began
    root, whole = tmp_path / "killed", []
    for moment in range(15):
        wait = partial(time.sleep, moment / 12 * duration)
        kill_when(create_until_killed, root, wait, (tmp_path / f"warm-{moment}",))
        if (root / "zarr.json").exists():
            store = Store.open(root)
            whole.append(len(list(store.keys())))
            for run in store.select():
                assert run.spec == source.spec
                assert {problem.message[:13] for problem in verify_run(run)} == {"not committed"}
                store.remove(run)
    assert 0 in whole, "no kill came before the run was there"
    assert_holds(source.write_all(root), source)
    # Files of groups that were being made, and the notes that lead to them, are deleted when they are old.
    monkeypatch.setattr(atomic, "QUIET_SECONDS", 0.0)
    sweep(Folder(root))
    assert sorted(path.name for path in root.iterdir()) == ["ner", "zarr.json"]
    assert not list(root.rglob("*.partial"))


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_loses_only_its_pack(tmp_path: Path) -> None:
    lengths, capacity = LENGTHS * 40, CAPACITY
    source = synthetic(lengths, capacity)
    run = source.create(tmp_path / "uninterrupted")
    root, done = tmp_path / "killed", [0]
    # Two runs of one spec differ in their id.
    shutil.copytree(tmp_path / "uninterrupted", root)
    began = time.perf_counter()
    source.write(run)
    pack_seconds = (time.perf_counter() - began) / source.plan.pack_count
    records, rng = root / source.spec.key.path / "packs/record/c", np.random.default_rng(0)

    def moment() -> None:
        awaited, deadline = done[-1] + rng.integers(0, 4), time.monotonic() + PATIENCE
        while awaited and sum(entry.name.isdigit() for entry in records.glob("*")) < awaited:
            assert time.monotonic() < deadline
        time.sleep(rng.uniform(0, pack_seconds))

    for _ in range(20):
        kill_when(write_until_killed, root, moment, (lengths, capacity))
        run = Store.open(root).run()
        done.append(len(run.records()))
        assert {problem.message[:13] for problem in verify_run(run)} == {"not committed"}
    assert done == sorted(done)
    assert 0 < done[-1] < source.plan.pack_count
    assert_holds(source.write_all(root), source)
    resumed, uninterrupted = stored_files(root), stored_files(tmp_path / "uninterrupted")
    assert {path: data for path, data in resumed.items() if path in uninterrupted} == uninterrupted
    assert all(path.endswith(".partial") for path in set(resumed) - set(uninterrupted))
