"""Extractions in processes of their own, some of which are killed on the way.

Run as a script it reads groups of jobs from standard input and runs the jobs of a group at the same time. Everything
is imported once and a process forked for each job, since a fresh one would take seconds to import torch.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Job:
    """One extraction, and the moment at which its process is killed, if any.

    `call` counts the calls of the function `at`, from 1; `share` is a part of the time that the first job took.
    """

    store: str
    at: str = ""
    call: int = 0
    after: bool = False
    share: float = 0.0
    partition: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    killed: bool
    error: str
    packs_written: int
    packs_done: int


def run_jobs(groups: list[list[Job]], corpus: Path, checkpoint: Path, capacity: int, settings: dict[str, Any]) -> Any:
    """Run groups of jobs, each when the one before has ended; return the outcomes in the same groups."""
    order = {
        "groups": [[asdict(job) for job in group] for group in groups],
        "corpus": str(corpus),
        "checkpoint": str(checkpoint),
        "capacity": capacity,
        "settings": settings,
    }
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(TESTS), "PYTHONWARNINGS": ""},
    )
    assert done.returncode == 0, done.stderr
    return [[Outcome(**outcome) for outcome in group] for group in json.loads(done.stdout)]


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(job: dict[str, Any]) -> None:
    from biocache.store import creating, writing
    from biocache.store.folders import Folder
    from biocache.store.records import RECORD_PATH

    owner, name = {
        "create_group": (Folder, "create"),
        "create_column": (creating, "create_column"),
        "put_if_absent": (creating, "put_if_absent"),
        "rename": (Path, "replace"),
        "chunk": (Folder, "put"),
        "record": (writing.RunWriter, "_commit"),
    }[job["at"]]
    plain: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def armed(*arguments: Any, **options: Any) -> Any:
        if job["at"] == "chunk" and RECORD_PATH in arguments[1]:
            return plain(*arguments, **options)
        due = next(calls) == job["call"]
        if due and not job["after"]:
            _kill()
        result = plain(*arguments, **options)
        if due:
            _kill()
        return result

    setattr(owner, name, armed)


def _extract(order: dict[str, Any], job: dict[str, Any], duration: float) -> dict[str, Any]:
    from extractions import request

    from biocache.engine.extraction.extract import extract
    from biocache.engine.extraction.request import Partition
    from biocache.store.errors import BiocacheError

    if job["at"]:
        _arm(job)
    if job["share"]:
        timer = threading.Timer(job["share"] * duration, _kill)
        timer.daemon = True
        timer.start()
    settings = order["settings"]
    if job["partition"]:
        settings = settings | {"partition": Partition.parse(job["partition"])}
    try:
        asked = request(Path(order["corpus"]), Path(order["checkpoint"]), **settings)
        (report,) = extract(job["store"], asked)
    except BiocacheError as error:
        return asdict(Outcome(killed=False, error=str(error), packs_written=0, packs_done=0))
    return asdict(Outcome(killed=False, error="", packs_written=report.packs_written, packs_done=report.packs_done))


def _start(order: dict[str, Any], job: dict[str, Any], duration: float, gate: tuple[int, int]) -> tuple[int, int]:
    answer = os.pipe()
    child = os.fork()
    if child:
        os.close(answer[1])
        return child, answer[0]
    status = 1
    try:
        os.close(gate[1])
        os.read(gate[0], 1)
        os.write(answer[1], json.dumps(_extract(order, job, duration)).encode())
        status = 0
    finally:
        os._exit(status)


def _finish(child: int, answer: int) -> dict[str, Any]:
    with os.fdopen(answer, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return asdict(Outcome(killed=True, error="", packs_written=0, packs_done=0))
    return dict(json.loads(text))


def main() -> None:
    """Run the jobs that standard input names."""
    import torch
    import transformers.models.bert.modeling_bert
    import transformers.models.bert.tokenization_bert  # noqa: F401

    from biocache.engine.extraction import extract, planning  # noqa: F401

    torch.set_num_threads(1)
    order = json.load(sys.stdin)
    planning.token_capacity = lambda *_: order["capacity"]
    duration, outcomes = 0.0, []
    for group in order["groups"]:
        gate = os.pipe()
        children = [_start(order, job, duration, gate) for job in group]
        begin = time.monotonic()
        os.close(gate[1])
        outcomes.append([_finish(*child) for child in children])
        os.close(gate[0])
        duration = duration or time.monotonic() - begin
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
