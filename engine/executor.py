"""One way to run tasks: threads of this process, worker processes, or a running Dask cluster."""

import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures import Executor as Pool
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import Any, Self

from biocache.engine.machine import available_cores, capped_threads, machine_memory, used_memory
from biocache.store.errors import BiocacheError, ResourceError, SettingError
from biocache.store.sealing import Group
from biocache.store.storage import Storage
from biocache.store.text import format_bytes, one_line

__all__ = ["Executor", "Memo", "OnProgress", "Plan", "Task"]

# Names of the exceptions that loky and Dask raise when a worker process has died.
_DEATHS = {"TerminatedWorkerError", "KilledWorker"}

#: Called with the number of tasks that are done and of all tasks.
OnProgress = Callable[[int, int], None]

#: How long a Dask scheduler may take to answer.
ANSWER_TIMEOUT = "10s"


@dataclass(frozen=True)
class Memo:
    """Where the result of a single task is kept, so that no later call computes it again.

    Attributes
    ----------
    places
        Where it may be: the first keeps it where it is in none.
    kind
        Kind of the result.
    inputs
        Everything that decides it, as JSON.
    groups
        Groups of the runs it is computed from: nothing is kept if one of them is not what it was.
    """

    places: tuple[Storage, ...]
    kind: str
    inputs: dict[str, Any]
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True)
class Task:
    """A part of a computation that runs alone, in any process that can read the store.

    Attributes
    ----------
    key
        Key of its result. The results of tasks of one key are added (``+``), in their order.
    call, args
        A function that can be pickled, and its arguments.
    memory
        Upper bound of its memory in bytes, by arithmetic; 0 where it is negligible.
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
        Number of tasks that run at the same time.
    threads
        Threads of numerical libraries in each task.
    """

    at_once: int
    threads: int


class Executor:
    """Runs tasks; processes and connections are started when the first task needs them.

    Parameters
    ----------
    workers
        Worker processes to start on this machine, each with one thread; None for none.
    scheduler_address
        Address of the scheduler of a running Dask cluster, whose workers find the store under the same path; None for
        none. The certificates for TLS come from the settings of Dask.

    Raises
    ------
    SettingError
        If both are given, or `workers` is less than 1.
    """

    def __init__(self, workers: int | None = None, scheduler_address: str | None = None) -> None:
        if workers is not None and scheduler_address is not None:
            raise SettingError(
                "--workers and --scheduler-address exclude each other: a running cluster has its workers"
            )
        if workers is not None and workers < 1:
            raise SettingError(f"--workers {workers}: there must be at least 1; pass --workers=1 or more")
        self.workers = workers
        self._address = scheduler_address
        self._client: Any = None
        self._pool: Pool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(kill=kind is not None)

    def close(self, *, kill: bool = False) -> None:
        """End the processes and connections of this executor; with `kill`, also end running tasks."""
        pool, self._pool = self._pool, None
        if pool is not None and self.workers is not None:
            pool.shutdown(kill_workers=kill)  # type: ignore[call-arg]
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def is_remote(self) -> bool:
        """Whether tasks run on a cluster."""
        return self._address is not None

    def plan(self, tasks: Sequence[Task], allowed: int | None = None, lighter: str = "") -> Plan:
        """Return how many tasks run at once.

        Parameters
        ----------
        tasks
            The tasks; the one with the most memory decides.
        allowed
            Memory in bytes of all running tasks and of what this process holds already; None for half of the machine's.
            On a cluster it limits one task.
        lighter
            The option that reduces the memory of a task, for the message.

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
            # The memory of this machine does not limit the cluster: each worker runs one task at a time.
            return Plan(max(1, min(len(self._connected().nthreads()) or 1, len(tasks))), 1)
        cores = available_cores()
        at_once = max(1, min(room, len(tasks), self.workers or cores))
        threads = 1 if self.workers is not None else max(1, cores // at_once)
        return Plan(at_once, threads)

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
        """Run the tasks whose result is not kept already.

        Parameters
        ----------
        tasks, allowed, lighter
            As `plan`.
        on_progress
            Called with the number of tasks that are done and of all tasks to run.
        on_part
            Called with the key and the result of each task as it ends.
        force
            Whether to compute again what is kept.

        Returns
        -------
        dict
            Key of tasks to their result, or to the sum of their results.

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
        notify = on_progress or (lambda _done, _total: None)
        notify(0, len(todo))
        plan = self.plan(todo, allowed, lighter)
        early: dict[int, Any] = {}
        added = 0
        for done, (place, part) in enumerate(self._done(todo, plan), start=1):
            # In the order of the tasks, not of their ends: sums of floats are the same every time.
            early[place] = part
            while added in early:
                _add(found, todo[added].key, early.pop(added))
                added += 1
            if on_part is not None:
                on_part(todo[place].key, part)
            notify(done, len(todo))
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
                    with _deaths_explained():
                        # Threads share the limits of the process, which are set around all tasks.
                        future = pool.submit(_run, tasks[place], plan.threads if pool is self._pool else None)
                    running[future] = place
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    place = running.pop(future)
                    with _deaths_explained():
                        answer = future.result()
                    if isinstance(answer, BiocacheError):
                        raise answer
                    yield place, answer

    def _started(self, plan: Plan, stack: ExitStack) -> Pool:
        """Return the threads, processes or cluster that compute."""
        if self._address is None and self.workers is None:
            # Around all tasks: the limit is the process's, and the first task to end would lift it.
            stack.enter_context(_quiet(plan.threads))
            return stack.enter_context(ThreadPoolExecutor(plan.at_once))
        if self._pool is None and self._address is not None:
            self._pool = self._connected().get_executor(pure=False)
        elif self._pool is None:
            from loky import ProcessPoolExecutor

            # Idle workers stay until the executor is closed.
            self._pool = ProcessPoolExecutor(self.workers, timeout=None)
        return self._pool

    def _connected(self) -> Any:
        if self._client is None:
            self._client = _connect(str(self._address))
        return self._client


@contextmanager
def _quiet(threads: int) -> Iterator[None]:
    """Limit the threads of numerical libraries, and ignore warnings: results count the solvers that stop early."""
    with capped_threads(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _in_worker(threads: int) -> Iterator[None]:
    """Also keep what code of the user's own prints from the output that a worker shares with who started it."""
    with _quiet(threads), redirect_stdout(sys.stderr):
        yield


def _run(task: Task, threads: int | None) -> Any:
    """Return the result of a task, or the user's error: a worker would print the traceback of a raised one."""
    from biocache.store.results import keep_in

    with nullcontext() if threads is None else _in_worker(threads):
        try:
            made = task.call(*task.args)
            if task.memo is None:
                return made
            for group in task.memo.groups:
                group.require_same()
            return keep_in(task.memo.places, task.memo.kind, task.memo.inputs, made)
        except BiocacheError as error:
            return error


def _kept(task: Task) -> Any:
    from biocache.store.results import find_in

    memo = task.memo
    return None if memo is None else find_in(memo.places, memo.kind, memo.inputs)


def _add(found: dict[Hashable, Any], key: Hashable, part: Any) -> None:
    found[key] = found[key] + part if key in found else part


@contextmanager
def _deaths_explained() -> Iterator[None]:
    """Explain the death of a worker, on this machine or on a cluster, by its most frequent cause."""
    try:
        yield
    except Exception as error:
        # By name, so that neither library is imported; a task that cannot be unpickled is no death.
        if type(error).__name__ not in _DEATHS:
            raise
        raise ResourceError(
            f"workers died under a task ({one_line(error)[:160]}), mostly for lack of memory; kept results are safe: "
            "pass fewer --workers, or give those of a cluster more memory, and run the same command again"
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
        return Client(address, timeout=ANSWER_TIMEOUT, set_as_default=False, security=security)
    except (OSError, ValueError, TypeError) as error:
        raise ResourceError(
            f"no Dask scheduler answers at {address!r} ({one_line(error)[:160]}); start one with `dask scheduler` and "
            "`dask worker`, and pass the address that it prints"
        ) from error
