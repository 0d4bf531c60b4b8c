"""`make_demo`: the whole study in small, in one folder."""

import gc
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from biocache import engine
from biocache.engine.analysis import Found, find
from biocache.engine.commands import command_line
from biocache.engine.demo.demo import DATASET, SCORES, Demo
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
    """One step of a demo.

    Attributes
    ----------
    name
        What it makes.
    command
        The equivalent command for a shell; empty where there is none.
    found
        Whether an earlier call made it; None before that is known.
    seconds
        Wall time; None before it is done.
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
    """Run a small study: corpora, four pre-trained models, and every command of biocache on them.

    Everything is made offline. Results of an earlier call, whole or partial, are kept and completed.

    Parameters
    ----------
    folder
        Folder of the demo; made where it is missing.
    workers
        Processes that train and extract models at the same time; None to do it in this process.
    on_step
        Called with each step as it begins, and again when it has ended.
    on_progress
        Called with a step's name, the number of its parts that are done, and the number of all its parts.

    Returns
    -------
    Demo
        Where everything is.

    Raises
    ------
    SettingError
        If the folder holds other files, or a demo of another version.
    ResourceError
        If another process is making the demo, or memory or disk space is too small.
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
    """Runs the steps in order, several models at a time."""

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
        for task in SCORES:
            self._fill("finetune", task, demo.finetune_request, _is_finetuned)
        for task in SCORES:
            self._fill("extract", task, demo.extraction_request, _is_extracted)
        for task in SCORES:
            # In the processes that trained: small fits in threads of one process wait for each other.
            self._analyse("probe", task, demo.probe_request(task), self.executor)
        for task in SCORES:
            for model in MODELS:
                self._analyse("compare-attention", f"{task} {model}", demo.attention_request(task, model), None)
        self._report()

    def _do(self, step: Step, found: bool, work: Callable[[], object]) -> None:
        self.on_step(step)
        begun = time.perf_counter()
        if not found:
            work()
        self._changed |= not found
        self.on_step(replace(step, found=found, seconds=time.perf_counter() - begun))

    def _each(self, name: str, work: Callable[..., object], parts: list[tuple[Any, ...]]) -> None:
        """Do the parts of a step, in the workers; without workers one after the other."""
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

    def _fill(
        self,
        command: str,
        task: str,
        request_of: Callable[..., Request],
        is_done: Callable[[Demo, str, Any], bool],
    ) -> None:
        """Fine-tune or extract the models that are not done yet."""
        store = self.demo.store
        requests = {model: request_of(task, model) for model in MODELS}
        parts = [(command, store, each) for model, each in requests.items() if not is_done(self.demo, model, each)]
        step = Step(f"{command} {task}", command_line(command, store, request_of(task)))
        self._do(step, not parts, lambda: self._each(step.name, _call, parts))

    def _analyse(self, name: str, what: str, request: Request, executor: Executor | None) -> None:
        step = Step(f"{name} {what}", command_line(name, self.demo.store, request))
        found: Found[Any, Any] = find(name, self.demo.store, request)
        tell = partial(self.on_progress, step.name)
        self._do(step, found.result() is not None, lambda: found.compute(executor, on_progress=tell))

    def _report(self) -> None:
        from biocache.engine.report.report import write_report

        demo = self.demo
        step = Step("report", command_line("report", demo.store, ReportRequest(), output=demo.report))
        found = demo.report.is_file() and not self._changed
        self._do(step, found, lambda: write_report(demo.store, demo.report))


def _write_chain(names: list[str], folder: Path) -> None:
    for name in names:
        write_model(name, folder)


def _call(command: str, store: Path, request: Request) -> None:
    """Call `finetune` or `extract`, imported here: they load torch, which only the workers need."""
    call = getattr(engine, command)
    # Trainer collects garbage for each checkpoint, which takes a tenth as long as so small a training: freezing leaves
    # the many objects of the imported libraries out of it.
    gc.freeze()
    try:
        call(store, request)
    finally:
        gc.unfreeze()


def _is_finetuned(demo: Demo, model: str, request: FinetuneRequest) -> bool:
    grid = product(request.training_sizes, request.seeds)
    places = (checkpoint_path(request.task, DATASET, model, size, seed) for size, seed in grid)
    return all((demo.checkpoints / place).is_dir() for place in places)


def _is_extracted(demo: Demo, model: str, request: ExtractionRequest) -> bool:
    parts = product(request.training_sizes, request.all_views, request.splits or ())
    keys = (
        RunKey(request.task, DATASET, model, size, seed, view, split)
        for size, view, split in parts
        for seed in request.seeds_of(size)
    )
    return all(_complete(demo.store, key) for key in keys)


def _complete(store: Path, key: RunKey) -> bool:
    try:
        return Run.open(store, key).complete
    except RunNotFoundError:
        return False
