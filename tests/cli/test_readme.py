"""The README's commands and queries, run as they are written on the store that the demo makes."""

import doctest
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.REPORT_NDIFF

Command = Callable[..., Result]


def blocks(language: str) -> list[str]:
    """Return the text of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def beside_the_demo(demo: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that has the demo under its default name."""
    (tmp_path / "biocache-demo").symlink_to(demo[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIOCACHE_STORE", raising=False)
    return tmp_path


def test_queries_print_what_the_readme_says(beside_the_demo: Path) -> None:
    text = "\n".join(block for block in blocks("python") if ">>>" in block)
    parsed = doctest.DocTestParser().get_doctest(text, {}, "README.md", "README.md", 0)
    assert len(parsed.examples) > 20
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(parsed, out=said.append)
    assert result.failed == 0, "".join(said)


def test_commands_run_as_they_are_written(beside_the_demo: Path, command: Command) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("biocache ")]
    assert len(lines) > 5
    for line in lines:
        command(*shlex.split(line)[1:])


def test_commands_print_what_the_readme_says(beside_the_demo: Path, command: Command) -> None:
    shown = [block.split("\n", 1) for block in blocks("console")]
    assert shown
    for line, output in shown:
        assert command(*shlex.split(line.removeprefix("$ "))[1:]).stdout == output
