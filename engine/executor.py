"""One way to run tasks: threads of this process, worker processes, or a running Dask cluster."""

import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures import Executor as Pool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from biocache.engine.machine import available_cores, capped_threads, machine_memory, used_memory
from biocache.store.errors import BiocacheError, ResourceError, SettingError
from biocache.store.text import format_bytes, one_line

__all__ = ["Executor", "Memo", "OnProgress", "Plan", "Task"]

# What loky and Dask raise where a process that computed is gone.
_DEATHS = {"TerminatedWorkerError", "KilledWorker"}

#: Told how many tasks are done, and how many there are.
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Memo:
    """Where the result of a task is kept by itself, so that no other call computes it again.

    Attributes
    ----------
    root
        Folder of the store.
    kind
        Kind of the result.
    inputs
        All that decides it, as JSON.
    """

    root: str
    kind: str
    inputs: dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A part of a computation that runs by itself, in any process that sees the store.

    Attributes
    ----------
    key
        What its result is found by. The results of tasks of one key are added (``+``), in their order.
    call, args
        A function that can be pickled, and its arguments.
    memory
        Bytes that it takes at most, by arithmetic; 0 where that is of no account.
    memo
        Where its result, a Dataset, is kept; None for nowhere.
    """

    key: Hashable
    call: Callable[..., Any]
    args: tuple[Any, ...]
    memory: int = 0
    memo: Memo | None = None


@dataclass(frozen=True)
class Plan:
    """How tasks are run.

    Attributes
    ----------
    at_once
        Tasks beside each other.
    threads
        Threads of the libraries below each.
    peak_bytes
        Projected peak memory of this process, where its threads compute.
    """

    at_once: int
    threads: int
    peak_bytes: int


class Executor:
    """Runs tasks; processes and connections are made when the first task needs them.

    Parameters
    ----------
    workers
        Worker processes to start on this machine, each with one thread; None for none.
    scheduler_address
        Address of the scheduler of a running Dask cluster, whose workers see the store under the same path; None for
        none. Certificates of a scheduler of TLS are taken from the settings of Dask.

    Raises
    ------
    SettingError
        If both are given, or there are less than one worker.
    """

    def __init__(self, workers: int | None = None, scheduler_address: str | None = None) -> None:
        if workers is not None and scheduler_address is not None:
            raise SettingError(
                "--workers and --scheduler-address exclude each other: a running cluster has its workers"
            )
        if workers is not None and workers < 1:
            raise SettingError(f"{workers} workers compute nothing; pass --workers=1 or more")
        self.workers = workers
        self._address = scheduler_address
        self._client: Any = None
        self._pool: Pool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(kill=kind is not None)

    def close(self, *, kill: bool = False) -> None:
        """End the processes and connections of this executor; with `kill` what runs in its processes ends at once."""
        pool, self._pool = self._pool, None
        if pool is not None and self.workers is not None:
            pool.shutdown(kill_workers=kill)  # type: ignore[call-arg]
        elif pool is not None and self._client is None:
            pool.shutdown(cancel_futures=True)
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def is_remote(self) -> bool:
        """Whether a running cluster computes."""
        return self._address is not None

    def plan(self, tasks: Sequence[Task], allowed: int | None = None, lighter: str = "") -> Plan:
        """Say how many tasks run at once.

        Parameters
        ----------
        tasks
            The tasks; the largest decides.
        allowed
            Bytes that they may take together with what this process has already; None for half of the machine's. On a
            cluster it holds for one task.
        lighter
            The option that makes tasks take less, for the message.

        Raises
        ------
        ResourceError
            If one task alone does not fit.
        """
        largest, own = max((task.memory for task in tasks), default=0), used_memory()
        limit = machine_memory() // 2 if allowed is None else allowed
        room = (limit - own) // largest if largest else len(tasks)
        if room < 1 and tasks:
            named = "half of the machine" if allowed is None else "--max-memory"
            remedy = f", or {lighter}" if lighter else ""
            raise ResourceError(
                f"one task takes {format_bytes(largest)} beside the {format_bytes(own)} of this process, and {named} "
                f"is {format_bytes(limit)}; pass --max-memory={-(-(own + largest) // 2**20)}M or more{remedy}"
            )
        if self.is_remote:
            # Machines of their own: each worker has a task at a time, whatever this one could hold together.
            return Plan(max(1, min(len(self._connected().nthreads()) or 1, len(tasks))), 1, own)
        cores = available_cores()
        at_once = max(1, min(room, len(tasks), self.workers or cores))
        threads = 1 if self.workers is not None else max(1, cores // at_once)
        return Plan(at_once, threads, own + at_once * largest)

    def run(
        self,
        tasks: Sequence[Task],
        allowed: int | None = None,
        on_progress: OnProgress | None = None,
        *,
        on_part: Callable[[Any, Any], None] | None = None,
        force: bool = False,
        lighter: str = "",
    ) -> dict[Hashable, Any]:
        """Run tasks, but for those whose result is kept already.

        Parameters
        ----------
        tasks, allowed, lighter
            As `plan`.
        on_progress
            Called with the tasks that are done and all there are to do.
        on_part
            Called with the key and the result of each task as it ends.
        force
            Whether to compute again what is kept.

        Returns
        -------
        dict
            By the keys of the tasks: their results, those of one key added.

        Raises
        ------
        ResourceError
            As `plan`, or if a worker dies.
        BiocacheError
            What a task raises.
        """
        found: dict[Hashable, Any] = {}
        todo = []
        for task in tasks:
            kept = None if force else _kept(task)
            if kept is None:
                todo.append(task)
            else:
                _add(found, task.key, kept)
        if not todo:
            return found
        tell = on_progress or (lambda _done, _total: None)
        tell(0, len(todo))
        plan = self.plan(todo, allowed, lighter)
        early: dict[int, Any] = {}
        added = 0
        for done, (place, part) in enumerate(self._done(todo, plan), start=1):
            # In the order of the tasks, whichever ended first: sums of floats are the same every time.
            early[place] = part
            while added in early:
                _add(found, todo[added].key, early.pop(added))
                added += 1
            if on_part is not None:
                on_part(todo[place].key, part)
            tell(done, len(todo))
        return found

    def _done(self, tasks: Sequence[Task], plan: Plan) -> Iterator[tuple[int, Any]]:
        """Yield the place and result of each task as it ends; no more run at once than planned."""
        waiting = list(range(len(tasks)))[::-1]
        running: dict[Future[Any], int] = {}
        with ExitStack() as stack:
            pool = self._started(plan, stack)
            stack.callback(lambda: [future.cancel() for future in running])
            while waiting or running:
                while waiting and len(running) < plan.at_once:
                    place = waiting.pop()
                    running[self._submit(pool, tasks[place], plan.threads)] = place
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    place = running.pop(future)
                    with _deaths_explained():
                        answer = future.result()
                    if isinstance(answer, BiocacheError):
                        raise answer
                    yield place, answer

    def _submit(self, pool: Pool, task: Task, threads: int) -> Future[Any]:
        with _deaths_explained():
            # Threads of one process share its limits, which are set around all tasks.
            return pool.submit(_run, task, None if pool is not self._pool else threads)

    def _started(self, plan: Plan, stack: ExitStack) -> Pool:
        """Return what computes."""
        if self._address is None and self.workers is None:
            # Around all of them: the limit of linear algebra is the process's, and the first to end would lift it.
            stack.enter_context(capped_threads(plan.threads))
            # Solvers that stop early are counted in results; the filters of warnings are the process's as well.
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            return stack.enter_context(_threads(plan.at_once))
        if self._pool is None and self._address is not None:
            self._pool = self._connected().get_executor(pure=False)
        elif self._pool is None:
            from loky import ProcessPoolExecutor

            # Workers that have nothing to do stay until the executor is closed.
            self._pool = ProcessPoolExecutor(self.workers, timeout=None)
        return self._pool

    def _connected(self) -> Any:
        if self._client is None:
            self._client = _connect(str(self._address))
        return self._client


@contextmanager
def _threads(count: int) -> Iterator[Pool]:
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _run(task: Task, threads: int | None) -> Any:
    """Return what a task computes, or the user's error: of one that is raised a worker prints the traceback."""
    from biocache.store.results import save_result

    with ExitStack() as stack:
        if threads is not None:
            stack.enter_context(capped_threads(threads))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        try:
            made = task.call(*task.args)
            if task.memo is None:
                return made
            return save_result(Path(task.memo.root), task.memo.kind, task.memo.inputs, made)
        except BiocacheError as error:
            return error


def _kept(task: Task) -> Any:
    from biocache.store.results import find_result

    memo = task.memo
    return None if memo is None else find_result(Path(memo.root), memo.kind, memo.inputs)


def _add(found: dict[Hashable, Any], key: Hashable, part: Any) -> None:
    found[key] = found[key] + part if key in found else part


@contextmanager
def _deaths_explained() -> Iterator[None]:
    """Say of a worker that died, in this process or on a cluster, what it mostly died of."""
    try:
        yield
    except Exception as error:
        # Named, since neither library is imported for it; a task that cannot be unpickled is no death.
        if type(error).__name__ not in _DEATHS:
            raise
        raise ResourceError(
            f"workers died under a task ({one_line(error)[:160]}), which is mostly a lack of memory; what is kept is "
            "safe: pass fewer --workers, or give those of a cluster more memory, and run the same command again"
        ) from error


def _connect(address: str) -> Any:
    """Return a connection to a running Dask cluster.

    Raises
    ------
    ResourceError
        If no scheduler answers.
    """
    from distributed import Client, Security

    security = Security()
    if address.startswith("tls:") and security.get_connection_args("client").get("ssl_context") is None:
        raise ResourceError(
            f"the scheduler at {address!r} asks for a certificate, and Dask's settings name none; set "
            "distributed.comm.tls.ca-file, client.cert and client.key, or the variables of these names, "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE and so on"
        )
    try:
        return Client(address, timeout="10s", set_as_default=False, security=security)
    except (OSError, ValueError, TypeError) as error:
        raise ResourceError(
            f"no Dask scheduler answers at {address!r} ({one_line(error)[:160]}); start one with `dask scheduler` and "
            "`dask worker`, and pass the address that it prints"
        ) from error
