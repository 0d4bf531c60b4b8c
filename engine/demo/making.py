"""`make_demo`: the whole study in small, in one folder."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from biocache.engine.analysis import Found, find
from biocache.engine.commands import command_line
from biocache.engine.corpora.base import TASKS
from biocache.engine.demo.demo import DATASET, SIZES, Demo
from biocache.engine.demo.models import MODELS, write_model
from biocache.engine.executor import Executor, Task
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.models.sources import checkpoint_path
from biocache.engine.report.request import ReportRequest
from biocache.engine.request import Request
from biocache.store import Run, RunKey
from biocache.store.atomic import PARTIAL, replacing
from biocache.store.errors import ResourceError, RunNotFoundError, SettingError
from biocache.store.paths import local_path

__all__ = ["Step", "make_demo"]

_SAMPLES = {"train": 200, "validation": 40, "test": 100}
_MARKER = "biocache-demo.json"
_MARK = {"biocache_demo": 2}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a demo does.

    Attributes
    ----------
    name
        What it makes.
    command
        The command that does the same, for a shell; empty where there is none.
    found
        Whether it was there already; None before that is known.
    seconds
        Wall time that it took; None before it is done.
    """

    name: str
    command: str = ""
    found: bool | None = None
    seconds: float | None = None


def make_demo(
    folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Demo:
    """Do a whole study in small: corpora, four pre-trained models, and every command of biocache on them.

    Everything is made offline. What an earlier call made, whole or in part, is kept and completed.

    Parameters
    ----------
    folder
        Where to put it; made where it is missing.
    workers
        Processes that train and extract models at the same time; None to do it in this one.
    on_step
        Called with each step as it begins, and again when it has ended.
    on_progress
        Called with a step's name, how many of its parts are done, and how many it has.

    Returns
    -------
    Demo
        Where everything is.

    Raises
    ------
    SettingError
        If the folder holds something else than a demo, or one of another version.
    ResourceError
        If another process is making it, or memory or disk does not suffice.
    """
    demo = Demo(local_path(folder, "folder"))
    _claim(demo.folder)
    with _alone(demo.folder), Executor(workers) as executor:
        _Maker(demo, workers, on_step or (lambda _: None), on_progress or (lambda *_: None), executor).make()
    return demo


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse to make a demo that another process is making; delete what killed processes left."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            for left in (*folder.glob(f"{PARTIAL}*"), *(folder / "models").glob(f"{PARTIAL}*")):
                shutil.rmtree(left)
            yield
    except Timeout as error:
        raise ResourceError(
            f"another process is making the demo in {folder}; wait for it to end, or name a new folder"
        ) from error


def _claim(folder: Path) -> None:
    """Mark a new or empty folder as a demo's; refuse any other that has no mark."""
    marker = folder / _MARKER
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"{folder} is not a folder; name a new one for the demo")
    if folder.is_dir() and any(folder.iterdir()):
        if not marker.is_file():
            raise SettingError(f"{folder} holds other files and no {_MARKER}, so it is no demo; name a new folder")
        if marker.read_text(encoding="utf-8") != _mark():
            raise SettingError(
                f"{folder} holds the demo of another version of biocache; remove it, or name a new folder"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(_mark(), encoding="utf-8")


def _mark() -> str:
    return json.dumps(_MARK) + "\n"


@dataclass
class _Maker:
    """Does the steps in their order, several models at a time."""

    demo: Demo
    workers: int | None
    on_step: Callable[[Step], None]
    on_progress: Callable[[str, int, int], None]
    executor: Executor
    _changed: bool = False

    def make(self) -> None:
        demo = self.demo
        self._do(Step("corpora"), demo.corpus.is_dir(), self._write_corpora)
        missing = [name for name, place in demo.models.items() if not place.is_dir()]
        self._do(Step("pre-trained models"), not missing, lambda: self._write_models(missing))
        for task in TASKS:
            self._finetune(task)
        for task in TASKS:
            self._extract(task)
        for task in TASKS:
            self._probe(task)
        for task in TASKS:
            for model in MODELS:
                self._compare(task, model)
        self._report()

    def _do(self, step: Step, found: bool, work: Callable[[], object]) -> None:
        self.on_step(step)
        begun = time.perf_counter()
        if not found:
            work()
        self._changed |= not found
        self.on_step(replace(step, found=found, seconds=time.perf_counter() - begun))

    def _each(self, name: str, work: Callable[..., object], parts: list[tuple[Any, ...]]) -> None:
        """Do the parts of a step, as many at a time as there are workers; without workers one after the other."""
        tell = partial(self.on_progress, name)
        if self.workers is not None:
            self.executor.run([Task(place, work, part) for place, part in enumerate(parts)], on_progress=tell)
            return
        tell(0, len(parts))
        for done, part in enumerate(parts, start=1):
            work(*part)
            tell(done, len(parts))

    def _write_corpora(self) -> None:
        from biocache.engine.demo.corpus import write_corpus

        with replacing(self.demo.corpus) as made:
            write_corpus(made, ner_sizes=_SAMPLES, nli_sizes=_SAMPLES)

    def _write_models(self, missing: list[str]) -> None:
        place = self.demo.folder / "models"
        place.mkdir(exist_ok=True)
        begun_with = {name: [other for other in missing if MODELS[other].begins_with == name] for name in missing}
        heirs = {heir for heirs in begun_with.values() for heir in heirs}
        chains = [([name, *begun_with[name]], place) for name in missing if name not in heirs]
        self._each("pre-trained models", _write_chain, sorted(chains, key=lambda chain: -len(chain[0])))

    def _finetune(self, task: str) -> None:
        demo = self.demo
        missing = [name for name in MODELS if not all(_is_made(demo, task, name, size) for size in SIZES)]
        step = Step(f"finetune {task}", command_line("finetune", demo.store, demo.finetune_request(task)))
        parts = [(demo.store, demo.finetune_request(task, name)) for name in missing]
        self._do(step, not missing, lambda: self._each(step.name, _finetune, parts))

    def _extract(self, task: str) -> None:
        demo = self.demo
        missing = [name for name in MODELS if not all(_complete(demo.store, key) for key in _keys(demo, task, name))]
        step = Step(f"extract {task}", command_line("extract", demo.store, demo.extraction_request(task)))
        parts = [(demo.store, demo.extraction_request(task, name)) for name in missing]
        self._do(step, not missing, lambda: self._each(step.name, _extract, parts))

    def _probe(self, task: str) -> None:

        # By the processes that trained: small fits in threads of one wait for each other.
        self._analyse(f"probe {task}", "probe", self.demo.probe_request(task), self.executor)

    def _compare(self, task: str, model: str) -> None:
        name = "compare-attention"
        self._analyse(f"{name} {task} {model}", name, self.demo.attention_request(task, model), None)

    def _analyse(self, title: str, name: str, request: Request, executor: Executor | None) -> None:
        store = self.demo.store
        step = Step(title, command_line(name, store, request))
        found: Found[Any, Any] = find(name, store, request)
        self._do(
            step,
            found.result() is not None,
            lambda: found.compute(executor, on_progress=partial(self.on_progress, step.name)),
        )

    def _report(self) -> None:
        from biocache.engine.report.report import write_report

        demo = self.demo
        step = Step("report", command_line("report", demo.store, ReportRequest(), output=demo.report))
        found = demo.report.is_file() and not self._changed
        self._do(step, found, lambda: write_report(demo.store, demo.report))


def _write_chain(names: list[str], folder: Path) -> None:
    for name in names:
        write_model(name, folder)


def _finetune(store: Path, request: FinetuneRequest) -> None:
    from biocache.engine.finetuning.finetune import finetune

    finetune(store, request)


def _extract(store: Path, request: ExtractionRequest) -> None:
    from biocache.engine.extraction.extract import extract

    extract(store, request)


def _is_made(demo: Demo, task: str, model: str, size: int) -> bool:
    seed = demo.finetune_request(task).seed
    return (demo.checkpoints / checkpoint_path(task, DATASET, model, size, seed)).is_dir()


def _keys(demo: Demo, task: str, model: str) -> Iterator[RunKey]:
    request = demo.extraction_request(task, model)
    for size in request.training_sizes:
        for view in request.all_views:
            for split in request.splits:
                yield RunKey(task, DATASET, model, size, request.seed, view, split)


def _complete(store: Path, key: RunKey) -> bool:
    try:
        return Run.open(store, key).complete
    except RunNotFoundError:
        return False
