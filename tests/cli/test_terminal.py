"""Labels, words, names and paths that other people wrote reach the terminal escaped."""

import ast
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import Result

Command = Callable[..., Result]

ESCAPE = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202e"
CLI = Path(__file__).parents[2] / "cli"


def is_clean(text: str) -> bool:
    return re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) is None


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, checkpoints: Mapping[str, Path]) -> Path:
    """Return a store of a corpus whose words, labels, ids and folder hold terminal escapes."""
    from biocache.engine import ExtractionRequest, extract

    folder = tmp_path_factory.mktemp("hostile") / f"corpus{ESCAPE}"
    folder.mkdir()
    rows = [
        {
            "pairID": f"{ESCAPE}{number}",
            "sentence1": f"A {ESCAPE} word",
            "sentence2": f"=cmd {number}",
            "gold_label": label,
        }
        for number, label in enumerate([f"{ESCAPE}yes", "=no"] * 4)
    ]
    tagged = "".join(f"word{ESCAPE}\tB-{ESCAPE}\nother\tO\n\n" for _ in range(8))
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        (folder / f"{split}.conll").write_text(tagged)
    store = folder.parent / "s.zarr"
    for task in ("ner", "nli"):
        model = f"tiny={checkpoints['bert']}"
        extract(store, ExtractionRequest(task=task, dataset=f"demo={folder}", models=(model,), device="cpu"))
        twin = ExtractionRequest(
            task=task, dataset=f"demo={folder}", models=(model,), device="cpu", random_weights=True
        )
        extract(store, twin)
    return store


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("ls",),
        ("info", "--task", "nli", "--model", "tiny", "--view", "pair", "--split", "test"),
        ("info", "--task", "ner", "--model", "tiny", "--split", "test"),
        ("info", "--task", "ner", "--model", "tiny", "--split", "test", "--json"),
        ("probe", "--task", "ner", "--model", "tiny"),
        (
            "probe",
            "--task",
            "nli",
            "--model",
            "tiny",
            "--features",
            "pair",
        ),
        ("compare-attention", "--task", "nli", "--model", "tiny", "--against", "tiny-random", "--by", "gold"),
        ("compare-attention", "--task", "nli", "--model", "tiny", "--against", "tiny-random", "--json"),
        ("verify",),
    ],
)
def test_results_are_escaped(command: Command, hostile: Path, arguments: tuple[str, ...]) -> None:
    result = command(*arguments, "--store", hostile)
    assert is_clean(result.stdout)
    assert is_clean(result.stderr)


def test_what_is_escaped_is_still_seen(command: Command, hostile: Path) -> None:
    shown = command("info", "--task", "ner", "--model", "tiny", "--split", "test", "--store", hostile).stdout
    assert r"\x1b]0;owned\x07\x1b[31m\x9b2J\u202e" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        (ESCAPE,),
        (f"--{ESCAPE}",),
        ("ls", f"--{ESCAPE}"),
        ("ls", ESCAPE),
        ("ls", "--task", ESCAPE),
        ("ls", "--model", f"{ESCAPE},"),
        ("ls", "--store", ESCAPE),
        ("ls", "--store", f"/{ESCAPE}/{ESCAPE}"),
        ("info", ESCAPE),
        ("info", "--model", ESCAPE),
        ("rm", ESCAPE, "--yes"),
        ("probe", "--task", "ner", "--model", ESCAPE),
        ("probe", "--task", "ner", "--output", f"{ESCAPE}.csv/x.csv"),
        ("extract", "--task", "ner", "--dataset", f"./{ESCAPE}"),
        ("extract", "--task", "ner", "--model", f"./{ESCAPE}"),
        ("extract", "--task", "ner", "--max-memory", ESCAPE),
        ("report", "--output", f"{ESCAPE}.html/x.html"),
        ("demo", "README.md", "--workers", ESCAPE),
    ],
)
def test_mistakes_are_escaped(command: Command, hostile: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    store = () if "--store" in arguments or arguments[0] not in ("ls", "info", "rm", "probe") else ("--store", hostile)
    for code in (1, 2):
        try:
            result = command(*arguments, *store, code=code)
        except AssertionError:
            continue
        assert is_clean(result.stderr)
        assert is_clean(result.stdout)
        return
    pytest.fail("neither a mistake nor a usage error")


def test_a_repr_is_escaped(hostile: Path) -> None:
    from biocache.store import Store

    store = Store.open(hostile)
    run = store.run(task="ner", model="tiny", split="test")
    assert is_clean(repr(run))
    assert is_clean(repr(store))


def test_one_function_writes_to_the_terminal() -> None:
    writers = {"click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"}
    calls = {
        (path.name, ast.unparse(node.func))
        for path in CLI.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in writers
    }
    assert calls == {("render.py", "click.echo"), ("main.py", "click.echo")}
