"""Command lines that nobody would type: a result, or one line and exit code 1 or 2; never a traceback, nothing lost."""

import os
import random
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from biocache.cli.main import COMMANDS, biocache
from biocache.engine.analysis import ANALYSES

#: What takes minutes where it is right, or writes beside the tests' folder, is only read as far as it is refused.
LONG = {"demo", "finetune", "extract", "study"}
STRANGE = [
    *("", " ", ",", ",,", "=", "a=", "=a", "a=b=c", "-", "--", "-1", "0", "1", "2", "007", "1e400", "nan", "inf"),
    *("9" * 30, "0x10", "1-3", "3-1", "0-99999999999", "1/2", "0/0", "3/2", "8G", "1.5GiB", "-8G", "8X", "all", "None"),
    *("ner", "nli", "bert", "gpt2", "tiny", "demo", "test", "train", "sentence", "pair", "hidden", "js", "logistic"),
    *("~", "~nouser/x", ".", "..", "../..", "/", "/nowhere/at/all", "/dev/null", "s3://bucket/x", "file:///x", "C:\\x"),
    *("x" * 5000, "word " * 1000, "é" * 300, "\x1b[31mred", "a\nb", "a\tb", "\u202e", "a\udc80b", "a\x00b", "'", '"'),
    *("$(x)", "*", "%s", "{}", "a b", "hf://datasets/x", "-inf", "0.5"),
]  # fmt: skip


def options_of(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def values(option: click.Option, rng: random.Random, places: list[str]) -> str:
    """Return a value: mostly a strange one, now and then one that the option takes or a place that exists."""
    kind = getattr(option.type, "item", option.type)
    known = list(kind.choices) if isinstance(kind, click.Choice) else ["1", "2", "10"]
    return rng.choice([rng.choice(STRANGE), rng.choice(STRANGE), rng.choice(places), rng.choice(known)])


def lines(seed: int, count: int, store: Path, places: list[str]) -> Iterator[list[str]]:
    """Yield command lines, the same for the same seed."""
    rng = random.Random(seed)
    context = click.Context(biocache)
    commands = {name: biocache.get_command(context, name) for name in (*COMMANDS, *ANALYSES)}
    for _ in range(count):
        name = rng.choice(list(commands))
        command = commands[name]
        assert command is not None
        line = [name]
        known = options_of(command)
        for option in rng.sample(known, min(len(known), rng.choice([0, 0, 1, 1, 2, 3, 4, 5]))):
            line.append(rng.choice(option.opts))
            if not option.is_flag:
                line.append(values(option, rng, places))
        if rng.random() < 0.3:
            line += [rng.choice([*STRANGE, *places]) for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.6 and "--store" not in line and name != "demo":
            line += ["--store", str(store)]
        if name in LONG:
            # Whatever else is asked for, there is no such corpus or place.
            line += {"demo": ["/dev/null/demo"], "study": ["--dataset", "/nowhere"]}.get(
                name, ["--dataset", "/nowhere"]
            )
        yield line


@pytest.fixture
def places(tmp_path: Path, corpus_folder: Path, checkpoints: Mapping[str, Path], store: Path) -> list[str]:
    """Return paths of things of every kind."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.json").write_text("{}")
    (tmp_path / "nested.json").write_text("[" * 100_000)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "loop").symlink_to("loop")
    names = ("folder", "file.json", "nested.json", "pipe", "closed", "loop", "absent", "out.csv", "out.png", "out.zarr")
    runs = sorted(str(path.parent.relative_to(store)) for path in store.glob("*/*/*/*/*/*/*/zarr.json"))
    return [
        *(str(tmp_path / name) for name in names),
        *(str(path) for path in (corpus_folder / "ner", checkpoints["bert"], store, store / "ner", store / runs[0])),
        *runs,
    ]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_any_command_line_ends_well(
    seed: int, store: Path, places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    runner = CliRunner()
    ends: dict[int, int] = {}
    for line in lines(seed, 120, store, places):
        # Runs are removed only by who confirms it, and here nobody does.
        line = [word for word in line if word not in ("--yes", "-y")]
        result = runner.invoke(biocache, line)
        shown = f"{line!r}: {result.output[-2000:]}"
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(shown) from result.exception
        assert result.exit_code in (0, 1, 2), shown
        assert "Traceback" not in result.output, shown
        assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", result.stderr) is None, shown
        if result.exit_code:
            said = [
                text for text in result.stderr.splitlines() if text and not text.startswith(("Usage:", "Try ", "note:"))
            ]
            assert len(said) <= 1 or line[0] in ("verify", "study", "rm"), shown
            assert all(len(text) < 2500 for text in said), shown
        ends[result.exit_code] = ends.get(result.exit_code, 0) + 1
    assert set(ends) == {0, 1, 2}, ends
    assert len(list(store.glob("*/*/*/*/*/*/*/zarr.json"))) == 4
    assert not [name for name in tree(work) if "s3:" in name or "file:" in name]


@pytest.mark.slow
def test_the_names_of_commands_may_be_anything() -> None:
    runner = CliRunner()
    for text in STRANGE:
        result: Any = runner.invoke(biocache, [text])
        assert result.exit_code in (0, 1, 2)
        assert isinstance(result.exception, SystemExit | None), text
    assert sys.getrecursionlimit() >= 1000
