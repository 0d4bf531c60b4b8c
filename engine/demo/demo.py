"""The demo: a corpus, a tiny model of each family and a store of their activations, in one folder."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.extraction.running import Progress
from biocache.engine.tasks.base import TASKS
from biocache.store import Run, RunKey
from biocache.store.errors import RunNotFoundError, SettingError

__all__ = ["DATASET", "Demo", "Step", "make_demo"]

DATASET = "demo"
_FAMILIES = ("bert", "gpt2", "biogpt")
_MARKER = "biocache-demo.json"
_MARK = {"biocache_demo": 1}


@dataclass(frozen=True, slots=True)
class Demo:
    """Where the parts of a demo are.

    Attributes
    ----------
    folder
        Folder of the demo.
    """

    folder: Path

    @property
    def corpus(self) -> Path:
        """Folder of the corpora, one a task."""
        return self.folder / "corpus"

    @property
    def models(self) -> dict[str, Path]:
        """Name of a model to the folder of its checkpoint."""
        return {family: self.folder / "models" / family for family in _FAMILIES}

    @property
    def store(self) -> Path:
        """Folder of the store."""
        return self.folder / "biocache.zarr"

    def request(self, task: str) -> ExtractionRequest:
        """Return what is extracted for a task: the train and test splits, through every model."""
        models = tuple(f"{name}={folder}" for name, folder in self.models.items())
        return ExtractionRequest(task=task, dataset=f"{DATASET}={self.corpus / task}", models=models)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a demo makes, or finds made.

    Attributes
    ----------
    kind
        ``corpus``, ``model`` or ``extraction``.
    target
        What is made: a folder, or the store.
    found
        Whether it was there already.
    request
        What is extracted; None for the other kinds.
    """

    kind: str
    target: Path
    found: bool
    request: ExtractionRequest | None = None


def make_demo(
    folder: str | os.PathLike[str],
    *,
    on_step: Callable[[Step], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Demo:
    """Write a small corpus for both tasks and a tiny model of each family, and extract all of it.

    Everything is made offline. What an earlier call made, whole or in part, is kept and completed.

    Parameters
    ----------
    folder
        Where to put it; made where it is missing.
    on_step
        Called before each step.
    on_progress
        Called as tokens are computed.

    Returns
    -------
    Demo
        Where everything is.

    Raises
    ------
    SettingError
        If the folder holds something else than a demo.
    """
    demo = Demo(Path(folder))
    _claim(demo.folder)
    tell = on_step or (lambda _: None)
    tell(Step("corpus", demo.corpus, demo.corpus.is_dir()))
    if not demo.corpus.is_dir():
        _write_corpus(demo)
    for name, place in demo.models.items():
        tell(Step("model", place, place.is_dir()))
        if not place.is_dir():
            _write_model(demo, name, place)
    for task in TASKS:
        found = all(_complete(demo.store, key) for key in _keys(task))
        request = demo.request(task)
        tell(Step("extraction", demo.store, found, request))
        if not found:
            _extract(demo.store, request, on_progress)
    return demo


def _claim(folder: Path) -> None:
    """Mark a new or empty folder as a demo's; refuse any other that has no mark."""
    marker = folder / _MARKER
    if folder.exists() and not folder.is_dir():
        raise SettingError(f"{folder} is not a folder; name a new one for the demo")
    if folder.is_dir() and any(folder.iterdir()):
        if not marker.is_file():
            raise SettingError(f"{folder} holds other files and no {_MARKER}, so it is no demo; name a new folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(json.dumps(_MARK) + "\n", encoding="utf-8")


def _write_corpus(demo: Demo) -> None:
    from biocache.engine.demo.sentences import write_corpus

    # Renamed once it is whole, so that an interrupted demo does not find half a corpus.
    with tempfile.TemporaryDirectory(dir=demo.folder, prefix=".corpus-") as scratch:
        made = Path(scratch) / "corpus"
        write_corpus(made)
        made.rename(demo.corpus)


def _write_model(demo: Demo, family: str, place: Path) -> None:
    from biocache.engine.demo.checkpoints import write_checkpoint
    from biocache.engine.tasks.readers import read_corpus

    corpora = [read_corpus(task, str((demo.corpus / task).resolve()), splits=["train"]) for task in TASKS]
    samples = [sample for corpus in corpora for sample in corpus.splits["train"]]
    write_checkpoint(family, place, [text for sample in samples for text in sample.texts])


def _extract(store: Path, request: ExtractionRequest, on_progress: Callable[[Progress], None] | None) -> None:
    from biocache.engine.extraction.extract import extract

    extract(store, request, on_progress=on_progress)


def _keys(task: str) -> Iterator[RunKey]:
    request = ExtractionRequest(task=task)
    for family in _FAMILIES:
        for view in request.all_views:
            for split in request.splits:
                yield RunKey(task, DATASET, family, 0, request.seed, view, split)


def _complete(store: Path, key: RunKey) -> bool:
    try:
        return Run.open(store, key).complete
    except RunNotFoundError:
        return False
