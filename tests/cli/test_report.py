"""`biocache report` end to end on a store of tiny models, and what it hands on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from report_factory import Page

from biocache.engine import ReportRequest
from biocache.engine.report import report as engine_module
from biocache.engine.report.request import Report
from biocache.store import Store
from biocache.store.errors import SettingError
from biocache.store.folders import Folder
from biocache.store.storage import Storage

Command = Callable[..., Result]
Handed = Callable[..., tuple[tuple[Storage, ...], Path, ReportRequest]]


def opened(storage: Storage, *, results: Storage | None) -> Store:
    """Return a store without looking whether it is there."""
    return Store(storage, results)


@pytest.fixture
def handed(command: Command, monkeypatch: pytest.MonkeyPatch) -> Handed:
    """Return what the command hands to `write_report`, which then stops it: the places of results for the store."""

    def parse(*arguments: object) -> tuple[tuple[Storage, ...], Path, ReportRequest]:
        seen: list[tuple[tuple[Storage, ...], Path, ReportRequest]] = []

        def stop(store: Store, output: Path, request: ReportRequest) -> Report:
            assert store.storage == Folder(Path("biocache.zarr"))
            seen.append((store.result_places, output, request))
            raise SettingError("stopped")

        monkeypatch.setattr(Store, "open", opened)
        monkeypatch.setattr(engine_module, "write_report", stop)
        assert command("report", *arguments, code=1).stderr == "Error: stopped\n"
        return seen[0]

    return parse


def test_defaults_are_those_of_the_request(handed: Handed) -> None:
    assert handed() == ((Folder(Path("biocache.zarr")),), Path("report.html"), ReportRequest())


def test_results_may_be_elsewhere(handed: Handed) -> None:
    places = (Folder(Path("results.zarr")), Folder(Path("biocache.zarr")))
    assert handed("--results", "results.zarr") == (places, Path("report.html"), ReportRequest())


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ("--task ner,nli", {"tasks": ("ner", "nli")}),
        ("--dataset demo --dataset other", {"datasets": ("demo", "other")}),
        ("--model bert,org/gpt2", {"models": ("bert", "org/gpt2")}),
        ("--model mine=models/bert", {"models": ("mine=models/bert",)}),
        ("--training-size 0,100", {"training_sizes": (0, 100)}),
        ("--trained-on jnlpba,nli/mednli", {"trained_on": ("jnlpba", "nli/mednli")}),
        ("--samples 0", {"samples": 0}),
        ("--max-bytes 1.5M", {"max_bytes": 3 * 2**19}),
    ],
)
def test_options_reach_the_request(handed: Handed, arguments: str, settings: dict[str, Any]) -> None:
    assert handed(*arguments.split())[2] == ReportRequest(**settings)


@pytest.mark.slow
def test_a_page_is_written_and_named_on_stdout(command: Command, store: Path, tmp_path: Path) -> None:
    path = tmp_path / "a page.html"
    command("probe", "--store", store, "--task", "ner")
    result = command("report", "--store", store, "--output", path)
    assert result.stdout == f"{path}\n"
    *notes, summary = result.stderr.splitlines()
    assert notes == ["note: no attention in the store", "note: no fine-tuning in the store"]
    assert summary.startswith("4 runs, 1 figure, ")
    assert summary.endswith("MiB")
    page = Page(path)
    assert page.rows("probes-1")
    assert [group["model"] for group in page.viewer["groups"]] == ["bert", "gpt2"]
    # A second call replaces it.
    assert command("report", "--store", store, "--output", path, "--samples", 0).stdout == f"{path}\n"
    assert Page(path).viewer["groups"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "page.pdf"), "Error: output page.pdf has no suffix that says its format; end it in .html\n"),
        (("--model", "t5"), "holds nothing of model t5; `biocache ls` lists what there is\n"),
        (("--max-bytes", "1K"), "raise it, or choose fewer models, tasks or training sizes\n"),
    ],
)
def test_a_mistake_is_one_line(
    command: Command,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("report", "--store", store, *arguments, code=1)
    assert result.stderr.endswith(message)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert not list(tmp_path.glob("*.html"))


def test_a_folder_that_is_no_store_is_one_line(command: Command, tmp_path: Path) -> None:
    result = command("report", "--store", tmp_path, "--output", tmp_path / "report.html", code=1)
    assert "is not a biocache store" in result.stderr


def test_samples_and_bytes_are_numbers(command: Command) -> None:
    assert "-1 is not in the range" in command("report", "--samples", -1, code=2).stderr
    assert "is not a size" in command("report", "--max-bytes", "much", code=2).stderr
