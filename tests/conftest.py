"""Tiny models of every family, an invented corpus, a demo and a cluster, each made once a session, when asked for.

The tiers follow from them: a test that asks for the demo, a cluster or a browser has that marker.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import gc
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from hub import Hub

TIERS = ("demo", "cluster", "browser")
# Fixtures that take seconds to make.
HEAVY = {"full", "written", "page", "ended", "made", "whole", "hub", "doomed_cluster"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a machine run a share of the tests, so that several machines or days run all."""
    parser.addoption("--share", metavar="K/N", help="run the K-th of N shares of the files of tests, from 1")


def _is_of_share(file: str, share: str) -> bool:
    """Return whether a file of tests is in a share K/N: by its name, so that other files change nothing."""
    number, _, shares = share.partition("/")
    if not (number.isdecimal() and shares.isdecimal() and 1 <= int(number) <= int(shares)):
        raise pytest.UsageError(f"--share {share} is not K/N with K from 1 to N")
    return crc32(file.encode()) % int(shares) == int(number) - 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    """Mark tests by the tier that their fixtures need; leave out what is of another share, and unasked the zoo."""
    for item in items:
        for tier in TIERS:
            if tier in item.fixturenames:
                item.add_marker(tier)
        if HEAVY & set(item.fixturenames):
            item.add_marker("slow")
    share = config.option.share
    left_out = {
        item
        for item in items
        if ("zoo" not in config.option.markexpr and item.get_closest_marker("zoo"))
        or (share is not None and not _is_of_share(item.nodeid.partition("::")[0], share))
    }
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through all imported modules again and again: an eighth of the time."""
    gc.collect()
    gc.freeze()


class Checkpoints(Mapping[str, Path]):
    """Family to the folder of its checkpoint, written when first looked up."""

    def __init__(self, folder: Path, texts: list[list[str]]) -> None:
        self._folder = folder
        self._texts = texts

    def __getitem__(self, family: str) -> Path:
        from biocache.engine.demo.checkpoints import FAMILIES, write_checkpoint

        if family not in FAMILIES:
            raise KeyError(family)
        folder = self._folder / family
        return folder if folder.is_dir() else write_checkpoint(family, folder, self._texts)

    def __iter__(self) -> Iterator[str]:
        from biocache.engine.demo.checkpoints import FAMILIES

        return iter(FAMILIES)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@pytest.fixture(scope="session", autouse=True)
def _without_sync() -> Iterator[None]:
    """Leave files to the system: flushing thousands of small ones to the disk takes longer than the tests."""
    from biocache.store.folders import Folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "sync", lambda *_: None)
        yield


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> "Iterator[Hub]":
    """Serve a double of the Hugging Face hub, which huggingface_hub reaches by the options of a store alone."""
    from hub import Hub
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # The double has the plain protocol of uploads.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Requests that failed are asked again at once.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", os.devnull)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    running = Hub()
    yield running
    running.stop()
    close_session()


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from biocache.engine.demo.corpus import write_corpus

    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path) -> Checkpoints:
    from corpora import corpus_texts

    return Checkpoints(tmp_path_factory.mktemp("checkpoints"), corpus_texts(corpus_folder))


@contextmanager
def two_workers() -> Iterator[Any]:
    """Start a Dask cluster of two worker processes."""
    from distributed import Client, LocalCluster
    from workers import load_libraries

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as running:
        with Client(running, set_as_default=False) as client:
            client.run(load_libraries)
        yield running


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Return the cluster that all tests share, whose workers live to the end."""
    with two_workers() as running:
        yield running


@pytest.fixture
def doomed_cluster() -> Iterator[Any]:
    """Return a cluster whose workers may die: where they do not come back, no other test waits for them."""
    with two_workers() as running:
        yield running


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Path, str]:
    """Return the folder that a demo was made in, and what it said; made once for all processes of the tests.

    The variable BIOCACHE_DEMO_OUTPUT names the output of a `biocache demo` that was run before in this folder.
    """
    earlier = os.environ.get("BIOCACHE_DEMO_OUTPUT")
    if earlier is not None:
        return Path("biocache-demo"), Path(earlier).read_text()
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "demo"
    folder, said = shared / "a demo, with a comma", shared / "stdout"
    shared.mkdir(exist_ok=True)
    with FileLock(shared / "lock"):
        if not said.is_file():
            call = [sys.executable, "-c", "from biocache.cli.main import main; main()", "demo", "-q", str(folder)]
            result = subprocess.run(call, capture_output=True, text=True, check=True)
            assert result.stderr == ""
            said.write_text(result.stdout)
    return folder, said.read_text()
