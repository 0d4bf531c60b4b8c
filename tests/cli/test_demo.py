import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from biocache.cli.demo import extract_command, python_lines
from biocache.engine.demo.demo import Demo
from biocache.engine.extraction import planning
from biocache.engine.extraction.request import ExtractionRequest
from biocache.store import Store
from biocache.store.errors import SettingError

Command = Callable[..., Result]


def test_the_demo_is_a_store_of_both_tasks_and_every_family(demo: tuple[Path, str]) -> None:
    folder, output = demo
    catalog = Store.open(folder / "biocache.zarr").catalog()
    assert len(catalog) == 3 * 2 * (1 + 3)
    assert catalog.complete.all()
    assert set(catalog.model) == {"bert", "gpt2", "biogpt"}
    assert "ner/demo/biogpt/size-000/seed-42/sentence/test" in output


def test_a_second_call_finds_everything(demo: tuple[Path, str], command: Command) -> None:
    folder, output = demo
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = command("demo", folder).stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert again.count("(found)") == 4
    assert again.count("all runs are there and complete") == 2
    assert again.partition("biocache ls")[2] == output.partition("biocache ls")[2]


def test_the_python_lines_run(demo: tuple[Path, str]) -> None:
    folder, output = demo
    lines = "\n".join(python_lines(Demo(folder)))
    assert output.endswith(f"{lines}\n")
    result = subprocess.run([sys.executable, "-W", "error", "-c", lines], capture_output=True, text=True, check=True)
    assert "hidden" in result.stdout


@pytest.mark.parametrize("task", ["ner", "nli"])
def test_the_printed_commands_ask_for_what_was_extracted(
    demo: tuple[Path, str], command: Command, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    folder, output = demo
    demo = Demo(folder)
    printed = extract_command(demo.store, demo.request(task))
    assert f"$ {printed}\n" in output
    seen: list[ExtractionRequest] = []

    def stop(request: ExtractionRequest) -> None:
        seen.append(request)
        raise SettingError("stopped")

    monkeypatch.setattr(planning, "plan_extraction", stop)
    program, *arguments = shlex.split(printed.replace("\\\n", " "))
    assert program == "biocache"
    command(*arguments, code=1)
    assert seen == [demo.request(task)]


def test_a_folder_of_something_else_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    stderr = command("demo", tmp_path, code=1).stderr
    assert stderr.startswith(f"Error: {tmp_path} holds other files and no biocache-demo.json, so it is no demo")
    assert "is not a folder" in command("demo", tmp_path / "thesis.tex", code=1).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
