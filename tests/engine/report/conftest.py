"""A store with results of every kind, and its page."""

import shutil
from pathlib import Path

import pytest
from report_factory import Page, add_results, runs, write_runs

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the machine's browser; skip where there is none."""
    found = next((place for place in map(shutil.which, _BROWSERS) if place), None)
    if found is None:
        pytest.skip(f"no browser is installed: none of {', '.join(_BROWSERS)} is on the path")
    return found


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of runs from which nothing was computed, never to be changed."""
    return write_runs(tmp_path_factory.mktemp("bare") / "it's a <store>.zarr", runs())


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory, bare: Path) -> Path:
    """Return that store with results, never to be changed."""
    root = Path(shutil.copytree(bare, tmp_path_factory.mktemp("full") / bare.name))
    add_results(root)
    return root


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, full: Path) -> Path:
    """Return the page of the store with results."""
    from biocache.engine import write_report

    path = tmp_path_factory.mktemp("written") / "report.html"
    assert write_report(full, path).path == path
    return path


@pytest.fixture(scope="session")
def page(written: Path) -> Page:
    """Return that page taken apart."""
    return Page(written)


@pytest.fixture
def store(bare: Path, tmp_path: Path) -> Path:
    """Return a copy of the bare store, to be changed at will."""
    return Path(shutil.copytree(bare, tmp_path / "biocache.zarr"))
