"""Options from variables of the environment and from a file of the working folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from biocache.cli.main import COMMANDS, biocache
from biocache.engine.analysis import ANALYSES

Command = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(command: Command, *arguments: str) -> dict[tuple[str, str], tuple[str | None, str]]:
    rows = json.loads(command("config", *arguments, "--json").stdout)["rows"]
    return {(row["command"], row["option"]): (row["value"], row["source"]) for row in rows}


def test_nothing_is_in_force_by_itself(command: Command, folder: Path) -> None:
    assert "every option is at its default" in command("config").stderr
    shown = config(command, "probe")
    assert shown["probe", "--store"] == ("biocache.zarr", "default")
    assert {source for _, source in shown.values()} == {"default"}


def test_the_command_line_then_variables_then_the_file(
    command: Command, folder: Path, extracted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "biocache.toml").write_text(
        f'store = "{extracted}"\n[ls]\nmodel = ["bert", "gpt2"]\nsplit = "test"\ntraining-size = 0\njson = true\n'
    )
    runs = json.loads(command("ls").stdout)["rows"]
    assert [(run["model"], run["split"]) for run in runs] == [("bert", "test"), ("gpt2", "test")]
    monkeypatch.setenv("BIOCACHE_LS_MODEL", "gpt2")
    assert [run["model"] for run in json.loads(command("ls").stdout)["rows"]] == ["gpt2"]
    (run,) = json.loads(command("ls", "--model", "bert").stdout)["rows"]
    assert run["model"] == "bert"
    assert config(command) | {} == {
        **{key: value for key, value in config(command).items() if key[1] == "--store"},
        ("ls", "--model"): ("gpt2", "variable BIOCACHE_LS_MODEL"),
        ("ls", "--split"): ("test", "biocache.toml"),
        ("ls", "--training-size"): ("0", "biocache.toml"),
        ("ls", "--json"): ("True", "biocache.toml"),
    }
    assert config(command)["probe", "--store"] == (str(extracted), "biocache.toml")


def test_the_table_of_a_project(command: Command, folder: Path, extracted: Path) -> None:
    (folder / "pyproject.toml").write_text(f'[project]\nname = "x"\n[tool.biocache]\nstore = "{extracted}"\n')
    assert "ner/demo/bert" in command("ls").stdout
    assert config(command)["ls", "--store"] == (str(extracted), "pyproject.toml, [tool.biocache]")
    # The file of biocache's own comes first; a project without the table says nothing.
    (folder / "biocache.toml").write_text("")
    assert "every option is at its default" in command("config").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store = ", "biocache.toml cannot be read"),
        ("[prob]\nC = 1", "biocache.toml: there is no command 'prob'"),
        ("[ls]\nmodels = 1", "biocache.toml: `biocache ls` has no option --models"),
        ("[ls]\njson = 1", "biocache.toml: --json of `biocache ls` is 1; write true or false"),
        ("[ls]\nstore = [1]", "biocache.toml: --store of `biocache ls` is a list; write one value"),
        ("[ls]\nmodel = true", "biocache.toml: --model of `biocache ls` is True; write a value"),
        ("[ls.model]\nx = 1", "biocache.toml: --model of `biocache ls` is a table"),
    ],
)
def test_a_file_that_says_nothing_sensible(command: Command, folder: Path, text: str, said: str) -> None:
    (folder / "biocache.toml").write_text(text)
    stderr = command("ls", code=1).stderr
    assert said in stderr
    assert stderr.count("\n") == 1


def test_a_wrong_value_is_said_with_its_place(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "biocache.toml").write_text('[probe]\ntask = "nerr"\n')
    assert "'nerr' is not one of" in (stderr := command("probe", code=2).stderr)
    assert stderr.rstrip().endswith("(biocache.toml)")
    monkeypatch.setenv("BIOCACHE_PROBE_TASK", "nlli")
    assert command("probe", code=2).stderr.rstrip().endswith("(variable BIOCACHE_PROBE_TASK)")
    assert "variable" not in command("probe", "--task", "x", code=2).stderr


def test_every_option_of_every_command_has_a_variable_of_its_own() -> None:
    import click

    context = click.Context(biocache)
    for name in (*COMMANDS, *ANALYSES):
        command = biocache.get_command(context, name)
        assert command is not None
        variables = [
            option.envvar for option in command.params if isinstance(option, click.Option) and option.expose_value
        ]
        assert None not in variables
        assert len(set(map(str, variables))) == len(variables)


def test_a_variable_of_a_list_may_hold_spaces(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOCACHE_LS_MODEL", "my model,other")
    assert config(command)["ls", "--model"] == ("my model,other", "variable BIOCACHE_LS_MODEL")
