"""The command line run in this process, and a small store to run it on."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from biocache.cli.main import biocache

Command = Callable[..., Result]


@pytest.fixture
def command() -> Command:
    """Run a command; what is not an error of the user's is raised."""

    def run(*arguments: object, code: int = 0, answer: str | None = None) -> Result:
        result = CliRunner().invoke(biocache, [str(argument) for argument in arguments], input=answer)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture(autouse=True)
def no_lines_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see the lines that a log has of what takes seconds: here nothing says how long anything takes."""
    monkeypatch.setattr("biocache.cli.progress._SOON", float("inf"))


@pytest.fixture(scope="session")
def extracted(tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path, checkpoints: Mapping[str, Path]) -> Path:
    """Return a store of four runs: sentences through BERT and GPT-2, train and test, never to be changed."""
    from biocache.engine import ExtractionRequest, extract

    store = tmp_path_factory.mktemp("extracted") / "biocache.zarr"
    models = tuple(f"{family}={checkpoints[family]}" for family in ("bert", "gpt2"))
    dataset = f"demo={corpus_folder / 'ner'}"
    extract(store, ExtractionRequest(task="ner", dataset=dataset, models=models, limit=8, device="cpu"))
    return store


@pytest.fixture
def store(extracted: Path, tmp_path: Path) -> Path:
    """Return a copy of the store, to be changed at will."""
    return Path(shutil.copytree(extracted, tmp_path / "biocache.zarr"))


@pytest.fixture
def beside_the_demo(demo: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that has the demo under its default name: its files are linked, and new ones are its own."""
    # Not the lock, which tests beside this one may hold.
    kept = shutil.ignore_patterns(".lock")
    shutil.copytree(demo[0], tmp_path / "biocache-demo", copy_function=os.link, ignore=kept)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIOCACHE_STORE", raising=False)
    return tmp_path
