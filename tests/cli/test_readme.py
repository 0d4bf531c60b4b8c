"""The README's commands and queries, run as they are written on the store that the demo makes."""

import doctest
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from biocache.cli.main import COMMANDS, biocache
from biocache.engine.analysis import ANALYSES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.REPORT_NDIFF

Command = Callable[..., Result]


def blocks(language: str) -> list[str]:
    """Return the text of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def masked(text: str) -> str:
    """Hide measured numbers, and the layers and heads that are first by them: another machine has others."""
    text = re.sub(r"(\b\d+: )?-?\b\d+\.\d*(e-?\d+)?|\bbest\b", "#", text)
    return " ".join(text.replace("#", "").split())


class Masked(doctest.OutputChecker):
    """Compares what is printed but for measured numbers."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(masked(want), masked(got), optionflags)


@pytest.mark.usefixtures("beside_the_demo")
def test_queries_print_what_the_readme_says() -> None:
    text = "\n".join(block for block in blocks("python") if ">>>" in block)
    parsed = doctest.DocTestParser().get_doctest(text, {}, "README.md", "README.md", 0)
    assert len(parsed.examples) > 20
    said: list[str] = []
    result = doctest.DocTestRunner(checker=Masked(), optionflags=OPTIONS).run(parsed, out=said.append)
    assert result.failed == 0, "".join(said)


@pytest.mark.usefixtures("beside_the_demo")
def test_commands_run_as_they_are_written(command: Command) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("biocache ")]
    assert len(lines) > 5
    for line in lines:
        command(*shlex.split(line)[1:])


@pytest.mark.usefixtures("beside_the_demo")
def test_commands_print_what_the_readme_says(command: Command) -> None:
    shown = [block.split("\n", 1) for block in blocks("console")]
    assert shown
    for line, output in shown:
        assert masked(command(*shlex.split(line.removeprefix("$ "))[1:]).stdout) == masked(output)


def test_measured_numbers_alone_are_masked() -> None:
    assert masked("bert 100 %  2  best  0.554 [0.540, 0.568]") == masked("bert 100 %  2  0.5 [0.1, 0.9]")
    assert masked("array([0.1, 1. ])") != masked("array([0.1])")
    assert masked("layer 2") != masked("layer 3")


def test_the_table_of_commands_is_that_of_the_command_line() -> None:
    rows = re.findall(r"^\| `biocache ([\w-]+)((?: \S+)*)` \| (.*) \|$", README, flags=re.MULTILINE)
    shown = {name: text for name, _, text in rows}
    assert shown == {name: text for name, (_, text) in COMMANDS.items()} | dict(ANALYSES.titles())
    for name, arguments, _ in rows:
        found = biocache.get_command(click.Context(biocache), name)
        assert found is not None
        usage = found.get_usage(click.Context(found, info_name=name))
        assert set(arguments.split() or ["[OPTIONS]"]) <= set(usage.split())


def test_options_in_the_text_exist() -> None:
    known = set()
    for name in (*COMMANDS, *ANALYSES):
        found = biocache.get_command(click.Context(biocache), name)
        assert found is not None
        known |= {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    others = {"--help", "--array", "--gres", "--cpus-per-task", "--mem", "--nworkers", "--nthreads"}
    others |= {"--tls-ca-file", "--tls-cert", "--tls-key"}
    said = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", README)) - others
    assert len(said) > 50
    assert said <= known


def test_the_errors_of_the_troubleshooting_are_raised_somewhere() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| (?=.*[.] \|$|.*` \|$)",
        README.partition("## Troubleshooting")[2].partition("\n## ")[0],
        flags=re.MULTILINE,
    )
    assert len(rows) == 10
    sources = [path.read_text(encoding="utf-8") for room in ("store", "engine") for path in (ROOT / room).rglob("*.py")]
    # Messages are written over several lines of source.
    text = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
    assert [said for said in rows if said not in text] == []


def test_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)
