"""Claims: kept between processes, dropped by the kernel."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from store_factory import Synthetic, hold_claim, processes, synthetic

from biocache.store import Run, Store
from biocache.store.claims import Claims, is_claimed, sees_writers
from biocache.store.creating import discard_run
from biocache.store.errors import BusyError
from biocache.store.folders import Folder
from biocache.store.records import RECORD_PATH
from biocache.store.writing import RunWriter

PATIENCE = 30


@pytest.fixture
def source() -> Synthetic:
    return synthetic()


@pytest.fixture
def run(source: Synthetic, tmp_path: Path) -> Run:
    return source.create(tmp_path / "s.zarr")


def claims_of(run: Run) -> Claims:
    return Claims(run.group.storage, run.group.folder)


def claimed(run: Run) -> bool:
    return is_claimed(run.group.storage, run.group.folder)


@contextmanager
def claimed_elsewhere(run: Run, packs: list[int]) -> Iterator[tuple[BaseProcess, Event]]:
    context = processes()
    held, release = context.Event(), context.Event()
    process = context.Process(target=hold_claim, args=(run.path, packs, held, release))
    process.start()
    try:
        assert held.wait(PATIENCE)
        yield process, release
    finally:
        process.kill()
        process.join(PATIENCE)


@pytest.mark.slow
def test_another_process_sees_the_packs_busy(run: Run) -> None:
    writer = RunWriter(run)
    with claimed_elsewhere(run, [1]):
        for packs, free in (([0], True), ([1], False), ([0, 1], False), ([2], True)):
            with writer.claim(packs, wait=False) as mine:
                assert mine is free, packs
    writer.close()


def test_a_claim_vanishes_with_its_process(run: Run) -> None:
    claims = claims_of(run)
    with claimed_elsewhere(run, [0, 1, 2]) as (process, _):
        assert claimed(run)
        process.kill()
        process.join(PATIENCE)
        assert not claimed(run)
        with claims.hold([0, 1, 2], wait=False) as mine:
            assert mine
    claims.close()


def test_a_claim_ends_with_its_context(run: Run) -> None:
    first, second = claims_of(run), claims_of(run)
    with first.hold([1], wait=False) as mine, second.hold([1], wait=False) as theirs:
        assert (mine, theirs) == (True, False)
    with second.hold([1], wait=False) as theirs:
        assert theirs
    first.close()
    second.close()


def test_a_claim_ends_with_its_writer(run: Run) -> None:
    first, second = claims_of(run), claims_of(run)
    with first.hold([1], wait=False):
        first.close()
        with second.hold([1], wait=False) as theirs:
            assert theirs
    second.close()


def test_a_claim_ends_when_its_context_fails(run: Run) -> None:
    first, second = claims_of(run), claims_of(run)
    with pytest.raises(ZeroDivisionError), first.hold([0, 1], wait=False):
        raise ZeroDivisionError
    with second.hold([0, 1], wait=False) as theirs:
        assert theirs
    first.close()
    second.close()


def test_a_refused_claim_holds_nothing(run: Run) -> None:
    first, second, third = (claims_of(run) for _ in range(3))
    with first.hold([1], wait=False), second.hold([0, 1], wait=False) as theirs:
        assert not theirs
        with third.hold([0], wait=False) as mine:
            assert mine
    for claims in (first, second, third):
        claims.close()


@pytest.mark.slow
def test_waiting_ends_when_the_other_process_lets_go(run: Run) -> None:
    claims, claimed = claims_of(run), threading.Event()

    def wait() -> None:
        with claims.hold([0, 1], wait=True) as mine:
            if mine:
                claimed.set()

    with claimed_elsewhere(run, [1]) as (_, release):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not claimed.wait(0.3)
        release.set()
        assert claimed.wait(PATIENCE)
        waiting.join(PATIENCE)
    claims.close()


def test_is_claimed_sees_any_pack(run: Run) -> None:
    claims = claims_of(run)
    assert not claimed(run)
    for pack in range(run.counts.packs):
        with claims.hold([pack], wait=False):
            assert claimed(run)
        assert not claimed(run)
    claims.close()


def test_those_who_ask_at_once_do_not_see_each_other(run: Run) -> None:
    seen: list[bool] = []

    def ask() -> None:
        seen.extend(claimed(run) for _ in range(300))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(PATIENCE)
    assert seen == [False] * 1200


def test_asking_does_not_keep_a_writer_from_its_pack(run: Run) -> None:
    claims, stop = claims_of(run), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            claimed(run)

    asker = threading.Thread(target=ask)
    asker.start()
    refused = 0
    for _ in range(500):
        with claims.hold([1], wait=False) as mine:
            refused += not mine
    stop.set()
    asker.join(PATIENCE)
    claims.close()
    assert refused == 0


def test_a_run_that_is_gone_is_not_claimed(tmp_path: Path) -> None:
    assert not is_claimed(Folder(tmp_path), "none")


def test_the_file_of_the_claim_may_be_read_elsewhere_in_the_process(source: Synthetic, run: Run) -> None:
    writer, other = RunWriter(run), claims_of(run)
    with writer.claim([1], wait=False):
        (run.path / RECORD_PATH / "zarr.json").read_bytes()
        with (run.path / RECORD_PATH / "zarr.json").open("r+b"):
            pass
        assert claimed(run)
        source.write(run, [0])
        RunWriter(run).close()
        with other.hold([1], wait=False) as theirs:
            assert not theirs
    writer.close()
    other.close()


def test_a_claimed_run_is_not_removed(source: Synthetic, run: Run) -> None:
    source.write(run)
    store = Store.open(run.path.parents[6])
    with claimed_elsewhere(run, [2]):
        with pytest.raises(BusyError, match=r"run ner/corpus/tiny/.* is being written by another process"):
            discard_run(store.path, run.key)
        with pytest.raises(BusyError):
            store.remove(run)
        assert store.run().complete
    store.remove(run)
    assert list(store.keys()) == []


def test_where_there_are_locks_writers_are_seen(run: Run) -> None:
    assert sees_writers(run.group.storage)


def test_a_run_is_put_in_its_place_by_one_process_at_a_time(run: Run) -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        claims = claims_of(run)
        entered.set()
        with claims.hold_whole():
            order.append("second")
        claims.close()

    claims = claims_of(run)
    with claims.hold_whole():
        waiting = threading.Thread(target=second)
        waiting.start()
        assert entered.wait(PATIENCE)
        # It is not the claim of a writer.
        assert not claimed(run)
        waiting.join(0.2)
        order.append("first")
    waiting.join(PATIENCE)
    claims.close()
    assert order == ["first", "second"]


def test_without_locks_every_claim_succeeds(run: Run) -> None:
    code = f"""
import sys
sys.modules["fcntl"] = None
import biocache.store
from pathlib import Path
from biocache.store.claims import Claims, is_claimed, sees_writers
from biocache.store.folders import Folder
run = Folder(Path({str(run.path)!r})), ""
for wait in (False, True):
    with Claims(*run).hold([0, 1], wait=wait) as first, Claims(*run).hold([0, 1], wait=wait) as second:
        assert first and second and not is_claimed(*run)
assert not sees_writers(run[0])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
