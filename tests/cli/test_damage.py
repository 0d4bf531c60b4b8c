"""Stores in which a file is damaged in any way: every command answers, or says what is wrong on one line."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from shapes import STRANGE, places, replaced

from biocache.cli.main import biocache

Command = Callable[..., Result]

RUN = "ner/demo/bert/size-000/seed-42/sentence/test"
COMMANDS: list[tuple[str, ...]] = [
    ("ls",),
    ("ls", "--json"),
    ("info", RUN),
    ("info", RUN, "--json"),
    ("verify",),
    ("probe", "--task", "ner", "--model", "bert", "--layers", "0"),
    ("compare-attention", "--model", "bert", "--against", "gpt2", "--all-pairs", "--metric", "js"),
    ("report", "--output", "report.html"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, extracted: Path) -> Path:
    """Return a store of runs and results, never to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(extracted, folder / "s.zarr")
    for arguments in COMMANDS[-3:-1]:
        result = CliRunner().invoke(biocache, [*arguments, "--store", str(folder / "s.zarr")])
        assert result.exit_code == 0, result.output
    return folder / "s.zarr"


def truncate(file: Path, rng: random.Random) -> None:
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size + 1)])


def flip(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes() or b"\0")
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def overwrite(file: Path, rng: random.Random) -> None:
    file.write_bytes(rng.choice([b"", b"null", b"[]", b"\xff" * 40, b"[" * 100_000, os.urandom(0) or b"{}"]))


def remove(file: Path, rng: random.Random) -> None:
    file.unlink()


def make_folder(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.mkdir()


def make_pipe(file: Path, rng: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def make_loop(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.symlink_to(file.name)


def change_value(file: Path, rng: random.Random) -> None:
    """Replace one value of metadata by one of another kind; other files are cut."""
    try:
        sound = json.loads(file.read_bytes())
    except ValueError:
        truncate(file, rng)
        return
    changed: Any = replaced(sound, rng.choice(list(places(sound))), rng.choice(STRANGE))
    file.write_text(json.dumps(changed), encoding="utf-8")


DAMAGES = [
    truncate,
    flip,
    overwrite,
    remove,
    make_folder,
    make_pipe,
    make_loop,
    change_value,
    change_value,
    change_value,
]


def damaged(whole: Path, store: Path, rng: random.Random) -> str:
    """Copy the store, damage one of its files, and say how."""
    shutil.rmtree(store, ignore_errors=True)
    shutil.copytree(whole, store)
    files = sorted(path for path in store.rglob("*") if path.is_file())
    metadata = [path for path in files if path.name == "zarr.json"]
    file, damage = rng.choice([rng.choice(files), rng.choice(metadata)]), rng.choice(DAMAGES)
    damage(file, rng)
    return f"{damage.__name__} {file.relative_to(store)}"


# What libraries warn of beside is not shown by the command line.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(5))
def test_every_command_answers_or_says_what_is_wrong(
    seed: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(seed)
    refused = 0
    for _ in range(10):
        what = damaged(whole, tmp_path / "s.zarr", rng)
        for arguments in COMMANDS:
            result = CliRunner().invoke(biocache, [*arguments, "--store", str(tmp_path / "s.zarr")])
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                raise AssertionError(f"{what}: {arguments}") from result.exception
            assert result.exit_code in (0, 1), (what, arguments, result.output)
            said = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
            assert len(said) <= 1, (what, arguments, said)
            refused += result.exit_code
    assert refused > 2
