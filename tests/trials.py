"""One trial of the campaign: commands in processes of their own, killed at random moments or raced with another one.

After it, what is there must be old or new, whole; the same command must succeed; then `verify` finds nothing, and
nothing temporary is left.
"""

import faulthandler
import os
import pickle
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from crashes import is_change

from biocache.store import BiocacheError, Store, atomic
from biocache.store.atomic import PARTIAL
from biocache.store.storage import open_storage
from biocache.store.sweeping import sweep

REFUSED = 3
KILLED = -signal.SIGKILL
#: Seconds after which a process that takes a few counts as hung: it says where, and fails.
PATIENCE = 120


@dataclass(frozen=True)
class Place:
    """Where a trial takes place: a folder that is made anew for each, and one of what was made once for all."""

    home: Path
    kept: Path

    @property
    def store(self) -> Path:
        return self.home / "store"


Command = Callable[[Place], Any]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status, what its command returned or its error said, its seconds and changes."""

    code: int
    answer: Any = None
    seconds: float = 0.0
    changes: int = 0


@dataclass(frozen=True)
class Trial:
    """A command, what is there before, and what may and must be there after it was killed.

    Attributes
    ----------
    command
        What is run, in one of `processes` processes at once.
    before
        Makes what is there before.
    between
        Asserts that what is there after the kills is old or new.
    after
        Asserts that what is there after the same command has ended is new.
    rival
        A command that runs at the same time as the other, each once; then nobody is killed.
    judge
        Asserts that the two ended as they may, and names how.
    """

    command: Command
    before: Callable[[Place, random.Random], None]
    between: Callable[[Place], object]
    after: Callable[[Place], object]
    processes: tuple[int, ...] = (1, 1, 2, 4)
    rival: Command | None = None
    judge: Callable[[Place, Ended, Ended], str] | None = None


@dataclass(frozen=True)
class Usual:
    """What a command takes that nobody kills: seconds, and changes of the file system."""

    seconds: float
    changes: int


def fork(place: Place, command: Command, delay: float = 0.0, kill_at: int = 0) -> int:
    """Run a command in a process of its own, killed before its n-th change of the file system where n is not 0."""
    child = os.fork()
    if child:
        return child
    ended = Ended(1)
    try:
        said = os.open(place.home.parent / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        time.sleep(delay)
        changes = count(1)
        last = [0]

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            if is_change(event, arguments):
                last[0] = next(changes)
                if last[0] == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        began = time.perf_counter()
        try:
            ended = Ended(0, command(place))
        except BiocacheError as error:
            # Another process replaced, removed or wrote the run meanwhile: one line, nothing lost.
            ended = Ended(REFUSED, str(error))
        ended = Ended(ended.code, ended.answer, time.perf_counter() - began, last[0])
        (place.home.parent / f"answer-{os.getpid()}").write_bytes(pickle.dumps(ended))
    except BaseException:
        ended = Ended(1)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code)


def wait(place: Place, child: int) -> Ended:
    """Wait for a process of `fork`; it must have succeeded, been refused with one line, or been killed."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = place.home.parent / "said"
    assert code in (0, REFUSED, KILLED), f"a process ended with {code}:\n{said.read_text(errors='replace')}"
    if code == KILLED:
        return Ended(code)
    file = place.home.parent / f"answer-{child}"
    ended: Ended = pickle.loads(file.read_bytes())
    file.unlink()
    assert code == 0 or "\n" not in ended.answer, ended.answer
    return ended


def call(place: Place, command: Command) -> Ended:
    """Run a command in a process of its own, which must succeed."""
    ended = wait(place, fork(place, command))
    assert ended.code == 0, f"the command was refused: {ended.answer}"
    return ended


def usual(place: Place, trial: Trial) -> Usual:
    """Measure a command that nobody kills."""
    _prepare(place, trial, random.Random(0))
    ended = call(place, trial.command)
    return Usual(ended.seconds, ended.changes)


def _prepare(place: Place, trial: Trial, rng: random.Random) -> None:
    shutil.rmtree(place.home, ignore_errors=True)
    place.home.mkdir()
    (place.home.parent / "said").unlink(missing_ok=True)
    trial.before(place, rng)


def run_trial(place: Place, trial: Trial, rng: random.Random, takes: Usual) -> str:
    """Run one trial; return what happened."""
    _prepare(place, trial, rng)
    how = _killed(place, trial, rng, takes) if trial.rival is None else _raced(place, trial, trial.rival, rng, takes)
    trial.between(place)
    # The same command finishes it.
    call(place, trial.command)
    beside = [path for path in place.home.iterdir() if path != place.store]
    if left := _left(beside):
        # Killed between making a folder and locking it: nothing tells that its process is dead, but its age.
        assert not [path for path in left if not path.name.startswith(PARTIAL) or (path / ".lock").exists()], left
        with _later():
            call(place, trial.command)
    with _later():
        sweep(open_storage(place.store))
    trial.after(place)
    assert Store.open(place.store).verify() == []
    left = _left([place.home])
    assert not left, f"left over: {left}"
    return how


@contextmanager
def _later() -> Iterator[None]:
    """Let what nobody has touched for an instant count as old: it is left by a dead process."""
    atomic.QUIET_SECONDS, waited = 0.0, atomic.QUIET_SECONDS
    try:
        yield
    finally:
        atomic.QUIET_SECONDS = waited


def _killed(place: Place, trial: Trial, rng: random.Random, takes: Usual) -> str:
    processes = rng.choice(trial.processes)
    doomed = processes if rng.random() < 0.7 else 1
    by_time = rng.random() < 0.5
    moments = [0 if by_time or n >= doomed else rng.randint(1, takes.changes) for n in range(processes)]
    children = [fork(place, trial.command, kill_at=moment) for moment in moments]
    if by_time:
        time.sleep(rng.uniform(0, takes.seconds * processes))
        for child in children[:doomed]:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    codes = [ended.code for ended in [wait(place, child) for child in children]]
    return "killed" if KILLED in codes else "ended"


def _raced(place: Place, trial: Trial, rival: Command, rng: random.Random, takes: Usual) -> str:
    delays = [rng.uniform(0, 1.5 * takes.seconds) * (rng.random() < 0.6) for _ in range(2)]
    children = [fork(place, command, delay) for command, delay in zip((trial.command, rival), delays, strict=True)]
    one, other = [wait(place, child) for child in children]
    assert trial.judge is not None
    return trial.judge(place, one, other)


def _left(places: list[Path]) -> list[Path]:
    """Return what is temporary in some places, without what is below it."""
    paths = [path for place in places for path in (place, *place.rglob("*"))]
    left = [path for path in paths if path.name.startswith(".") or "partial" in path.name]
    return [path for path in left if not set(path.parents) & set(left)]
