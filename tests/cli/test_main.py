import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from biocache.cli import main as main_module
from biocache.cli.main import COMMANDS, biocache
from biocache.engine.analysis import ANALYSES

Command = Callable[..., Result]

HEAVY = (
    "torch",
    "transformers",
    "zarr",
    "xarray",
    "pandas",
    "dask",
    "numpy",
    "rich",
    "numba",
    "scipy",
    "sklearn",
    "matplotlib",
    "bokeh",
    "distributed",
    "loky",
)


def loaded_after(code: str) -> set[str]:
    report = "import sys; print('\\n'.join(['LOADED', *sys.modules]))"
    result = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(result.stdout.partition("LOADED\n")[2].split())


def test_the_entry_point_imports_click_and_the_standard_library_only() -> None:
    added = loaded_after("import biocache.cli.main") - loaded_after("import click")
    allowed = sys.stdlib_module_names | {"biocache"}
    assert {name for name in added if name.partition(".")[0] not in allowed} == set()
    light = {"store": ("errors", "lazy", "paths", "text"), "engine": ("analysis", "request"), "cli": ("main",)}
    own = {"biocache", *(f"biocache.{room}" for room in light)}
    own |= {f"biocache.{room}.{name}" for room, names in light.items() for name in names}
    assert {name for name in added if name.startswith("biocache")} <= own


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in (*COMMANDS, *ANALYSES)), ["--version"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from biocache.cli.main import biocache
biocache({arguments!r}, prog_name="biocache", standalone_mode=False)
"""
    assert loaded_after(code).isdisjoint(HEAVY)


def test_the_group_lists_its_commands_without_importing_them() -> None:
    code = "from biocache.cli.main import biocache\nbiocache(['--help'], standalone_mode=False)"
    assert not any(name.startswith("biocache.cli.") and name != "biocache.cli.main" for name in loaded_after(code))


def test_the_table_says_what_the_commands_say_themselves(command: Command) -> None:
    # A line that is too long for the terminal goes on below its beginning.
    output = re.sub(r"\n {20,}", " ", command("--help").stdout)
    for name, (_, text) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", output, re.MULTILINE)
        found = biocache.get_command(click.Context(biocache), name)
        assert found is not None
        assert (found.name, found.short_help) == (name, text)


def examples_of(command: Command, name: str) -> list[str]:
    return re.split(r"Examples.*:\n", command(name, "--help").stdout)[1].strip().splitlines()


@pytest.mark.parametrize("name", [*COMMANDS, *ANALYSES])
def test_help_ends_with_two_examples(command: Command, name: str) -> None:
    programs = [shlex.split(example)[:2] for example in examples_of(command, name)]
    assert programs == [["biocache", name]] * 2


def test_the_examples_run_one_after_the_other(
    beside_the_demo: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(COMMANDS)
    at = names.index("report")
    for name in (*names[:at], *ANALYSES, *names[at:]):
        for example in examples_of(command, name):
            # Asked whether to remove a run: yes.
            command(*shlex.split(example)[1:], answer="y\n")
        # The demo is made beside its folder, everything else within.
        monkeypatch.chdir(beside_the_demo / "biocache-demo")
    assert Path("layers.png").stat().st_size > 10_000
    assert Path("heads.png").stat().st_size > 10_000
    assert Path("checkpoints/ner/demo/bert/size-020/seed-42/scores.json").is_file()
    left = command("ls", "--training-size", "20", "--json").stdout
    assert [run["model"] for run in json.loads(left)["rows"]] == ["bert"]


@pytest.mark.parametrize("name", [*COMMANDS, *ANALYSES])
def test_every_option_says_what_it_is(name: str) -> None:
    found = biocache.get_command(click.Context(biocache), name)
    assert found is not None
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
        else:
            assert re.sub(r"\W", "", parameter.human_readable_name).upper() in (found.help or ""), parameter.name


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("biocache pro", {"plain,probe"}),
        ("biocache probe --pool", {"plain,--pooling"}),
        ("biocache probe --pooling f", {"plain,first"}),
    ],
)
def test_the_shell_completes_commands_options_and_choices(words: str, offered: set[str]) -> None:
    environment = {**os.environ, "_BIOCACHE_COMPLETE": "bash_complete", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split()) - 1)
    call = [sys.executable, "-c", "from biocache.cli.main import main; main()"]
    result = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_help_of_completion_is_what_shells_take(command: Command, shell: str) -> None:
    assert f"_BIOCACHE_COMPLETE={shell}_source biocache" in command("--help").stdout
    call = [sys.executable, "-c", "from biocache.cli.main import main; main()"]
    environment = {**os.environ, "_BIOCACHE_COMPLETE": f"{shell}_source"}
    result = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    assert "_biocache_completion" in result.stdout


def test_version(command: Command) -> None:
    assert command("--version").stdout == f"biocache, version {importlib.metadata.version('biocache')}\n"


def test_unknown_commands_and_options_are_usage_errors(command: Command) -> None:
    assert "No such command 'exract'" in command("exract", code=2).stderr
    assert "No such option" in command("ls", "--modle", "bert", code=2).stderr


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_self: object) -> None:
        raise error

    from biocache.store import Store

    monkeypatch.setattr(Store, "listing", fail)


def test_a_users_mistake_is_one_line(command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biocache.store.errors import IntegrityError

    raising(monkeypatch, IntegrityError("a record\n  is damaged"))
    result = command("ls", "--store", extracted, code=1)
    assert result.stderr == "Error: a record is damaged\n"
    assert result.stdout == ""


def test_a_file_that_cannot_be_used_is_one_line(
    command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, PermissionError(13, "Permission denied", "/a/b"))
    assert command("ls", "--store", extracted, code=1).stderr == "Error: Permission denied: /a/b\n"


def test_an_interrupt_is_one_line_and_exit_code_130(
    command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, KeyboardInterrupt())
    result = command("ls", "--store", extracted, code=130)
    assert result.stderr == "Interrupted; what is committed stays, and the same command resumes\n"


def test_a_bug_keeps_its_traceback(command: Command, extracted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(monkeypatch, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        command("ls", "--store", extracted)


@pytest.mark.slow
def test_a_closed_pipe_is_quiet(extracted: Path) -> None:
    call = [sys.executable, "-c", "from biocache.cli.main import main; main()", "ls", "--store", str(extracted)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.slow
def test_main_silences_libraries_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import os, sys, warnings
from biocache.cli import main
main.biocache = lambda **_: (warnings.warn("noise"), print(os.environ["TOKENIZERS_PARALLELISM"]))
main.main()
"""
    for name in main_module._QUIET:
        monkeypatch.delenv(name, raising=False)
    quiet = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (quiet.stdout, quiet.stderr) == ("false\n", "")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    told = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "true\n"
    assert "noise" in told.stderr
