"""What runs tasks: threads, workers, a cluster; the same answers, one handling of memory, deaths and errors."""

import operator
from pathlib import Path
from typing import Any

import psutil
import pytest
import xarray as xr
from workers import die, fail, unreadable

from biocache.engine import executor as module
from biocache.engine.executor import Executor, Memo, Task
from biocache.store.errors import DataError, ResourceError, SettingError
from biocache.store.folders import Folder

TASKS = [Task(n % 3, operator.mul, (n, 0.1)) for n in range(20)]


def plain() -> dict[int, float]:
    found: dict[int, float] = {}
    for task in TASKS:
        found[task.key] = found.get(task.key, 0.0) + operator.mul(*task.args)
    return found


def assert_added_in_order(**where: Any) -> None:
    told: list[tuple[int, int]] = []
    with Executor(**where) as executor:
        for _ in range(2):
            assert executor.run(TASKS, on_progress=lambda *at: told.append(at)) == plain()
    assert told == [(n, 20) for n in range(21)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, 2])
def test_results_are_added_in_the_order_of_the_tasks(workers: int | None) -> None:
    assert_added_in_order(workers=workers)


def test_a_cluster_adds_results_in_the_order_of_the_tasks(cluster: Any) -> None:
    assert_added_in_order(scheduler_address=cluster.scheduler_address)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, 1])
def test_an_error_of_a_task_is_the_users(workers: int | None, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="of this file"), Executor(workers) as executor:
        executor.run([Task(0, fail, ("of this file",))])
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_workers_that_die_are_one_line_and_leave_nothing_behind() -> None:
    before = set(psutil.Process().children(recursive=True))
    died = pytest.raises(ResourceError, match=r"workers died under a task .* run the same command again")
    with died, Executor(2) as executor:
        executor.run([Task(0, die, ())])
    assert {child for child in psutil.Process().children(recursive=True) if child not in before} <= resource_trackers()


@pytest.mark.slow
def test_a_task_that_a_worker_cannot_read_is_not_called_a_lack_of_memory() -> None:
    with pytest.raises(Exception, match="un-serialize") as caught, Executor(1) as executor:
        executor.run([Task(0, print, (unreadable(),))])
    assert not isinstance(caught.value, ResourceError)


def resource_trackers() -> set[psutil.Process]:
    return {
        child for child in psutil.Process().children(recursive=True) if "resource_tracker" in " ".join(child.cmdline())
    }


def test_what_is_kept_is_not_computed_again(tmp_path: Path) -> None:
    seen: list[int] = []

    def made(n: int) -> xr.Dataset:
        seen.append(n)
        return xr.Dataset({"n": n})

    tasks = [Task(n, made, (n,), memo=Memo((Folder(tmp_path),), "part", {"n": n})) for n in range(3)]
    with Executor() as executor:
        first = executor.run(tasks[:2])
        again = executor.run(tasks)
        assert sorted(seen) == [0, 1, 2]
        executor.run(tasks, force=True)
    assert sorted(seen) == [0, 0, 1, 1, 2, 2]
    assert all(first[n].identical(again[n]) for n in first)


def test_memory_decides_how_many_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(module, "used_memory", lambda: 300)
    tasks = [Task(n, print, (), memory=1000) for n in range(5)]
    for allowed, at_once, threads in ((1300, 1, 8), (2300, 2, 4), (3299, 2, 4), (10**6, 5, 1)):
        plan = Executor().plan(tasks, allowed)
        assert (plan.at_once, plan.threads) == (at_once, threads)
    assert Executor(2).plan(tasks, 10**6).at_once == 2
    with pytest.raises(ResourceError, match="one task takes 1000 B beside the 300 B of this process"):
        Executor().plan(tasks, 1299)


def test_what_cannot_compute_is_refused() -> None:
    with pytest.raises(SettingError, match="workers and scheduler_address exclude each other"):
        Executor(1, "tcp://127.0.0.1:1")
    with pytest.raises(SettingError, match="workers 0: there must be at least 1"):
        Executor(0)
    for address, said in (
        ("nonsense://", "no Dask scheduler answers"),
        ("tls://127.0.0.1:1", "asks for a certificate"),
    ):
        with pytest.raises(ResourceError, match=said), Executor(scheduler_address=address) as executor:
            executor.run(TASKS)


@pytest.mark.slow
def test_workers_listen_on_no_port() -> None:
    before = listening()
    with Executor(2) as executor:
        executor.run(TASKS)
        assert listening() <= before


def listening() -> set[tuple[str, int]]:
    me = psutil.Process()
    opened = [each for process in (me, *me.children(recursive=True)) for each in process.net_connections("inet")]
    return {(each.laddr.ip, each.laddr.port) for each in opened if each.status == psutil.CONN_LISTEN}
