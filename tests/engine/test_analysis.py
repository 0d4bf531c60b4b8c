"""Analyses by name, those of other packages among them: command, options, results, workers, table and figure."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from report_factory import Page

from biocache.cli.main import biocache
from biocache.engine import ANALYSES, AttentionRequest, ProbeRequest, compute, write_report
from biocache.engine import analysis as module
from biocache.engine.executor import Executor
from biocache.engine.report.recipes import analysis_recipe
from biocache.store import Store
from biocache.store.errors import SettingError

README = Path(__file__).parents[2] / "README.md"
#: The analysis of another package that the README shows.
BLOCKS = README.read_text(encoding="utf-8").split("```python\n")
SOURCE = next(block.partition("```")[0] for block in BLOCKS if "class Lengths" in block)

Command = Callable[..., Result]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install a package with the analysis for this process and those that it starts."""
    place = tmp_path / "site"
    (place / "lengths-1.0.dist-info").mkdir(parents=True)
    (place / "lengths-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: lengths\nVersion: 1.0\n")
    (place / "lengths-1.0.dist-info" / "entry_points.txt").write_text(
        "[biocache.analyses]\nlengths = lengths:Lengths\n"
    )
    (place / "lengths.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", str(place))
    module._loaded.cache_clear()
    yield place
    sys.modules.pop("lengths", None)
    module._loaded.cache_clear()


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(biocache, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def store(tmp_path: Path) -> Path:
    from planted import ner_store

    return Path(ner_store(tmp_path / "s.zarr").path)


def expected(store: Path, order: int) -> list[list[float]]:
    """Return the mean lengths by plain NumPy."""
    return [
        np.linalg.norm(run.tokens().hidden.values.astype(np.float32), ord=order, axis=-1).mean(axis=1).tolist()
        for run in Store.open(store).select()
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_an_analysis_of_another_package_has_all_that_ours_have(store: Path, tmp_path: Path) -> None:
    assert "--order N" in run("lengths", "--help").stdout
    figure, table = tmp_path / "l.png", tmp_path / "l.csv"
    first = run("lengths", "--store", store, "--order", 3, "--plot", figure, "--output", table, "--json")
    rows = json.loads(first.stdout)["rows"]
    np.testing.assert_allclose([row["length"] for row in rows], np.ravel(expected(store, 3)), rtol=1e-6)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert len(table.read_text().splitlines()) == len(rows) + 1
    again = run("lengths", "--store", store, "--order", 3)
    assert "the store has this result" in again.stderr
    assert len(again.stdout.splitlines()) == len(rows) + 1
    forced = run("lengths", "--store", store, "--order", 3, "--workers", 2, "--force", "--json")
    assert json.loads(forced.stdout)["rows"] == rows
    assert "is not in the range" in run("lengths", "--store", store, "--order", 10, code=2).stderr
    assert "has no run with hidden of model t5" in run("lengths", "--store", store, "--model", "t5", code=1).stderr


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_its_result_says_how_it_is_made_again(store: Path) -> None:
    request = ANALYSES["lengths"].Request(order=4, splits=("test",))
    result = compute("lengths", store, request)
    opened = Store.open(store)
    recipe = analysis_recipe(opened, opened.results("lengths")[0], result)
    assert recipe.command.replace(" \\\n   ", "") == f"biocache lengths --store {store} --split test --order 4"
    names: dict[str, Any] = {}
    exec(recipe.python, names)
    assert names["result"].identical(result)
    assert recipe.note == ""


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_its_result_has_a_section_in_the_report(store: Path, tmp_path: Path) -> None:
    result = compute("lengths", store, ANALYSES["lengths"].Request(order=4))
    path = tmp_path / "report.html"
    assert write_report(store, path).figures == 1
    page = Page(path)
    assert [attributes["id"] for tag, attributes in page.elements if tag == "article"] == ["lengths-1"]
    assert "order 4" in page.text
    assert "Measure how long the hidden states of each layer are, over all tokens." in page.text
    # The table, on the page and as a file.
    rows = page.rows("lengths-1")
    np.testing.assert_allclose([row["length"] for row in rows], np.ravel(expected(store, 4)), rtol=1e-6)
    assert all(f"{row['length']:.3f}" in page.text and row["run"] in page.text for row in rows)
    # The figure.
    (image,) = (attributes["src"] for tag, attributes in page.elements if tag == "img")
    assert image is not None
    kind, _, data = image.partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")
    # The recipe.
    opened = Store.open(store)
    recipe = analysis_recipe(opened, opened.results("lengths")[0], result)
    assert page.codes().count(recipe.command) == page.codes().count(recipe.python) == 1


@pytest.mark.slow
def test_a_result_of_a_package_that_is_broken_is_said(installed: Path, store: Path, tmp_path: Path) -> None:
    compute("lengths", store, ANALYSES["lengths"].Request())
    (installed / "lengths.py").write_text("import nothing_of_this_name")
    sys.modules.pop("lengths", None)
    module._loaded.cache_clear()
    made = write_report(store, tmp_path / "report.html")
    assert made.figures == 0
    assert made.notes[0].startswith("analysis 'lengths' of lengths cannot be loaded")


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["frame", "draw"])
@pytest.mark.usefixtures("installed")
def test_a_result_that_its_analysis_cannot_show_costs_itself_alone(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no way")

    compute("lengths", store, ANALYSES["lengths"].Request())
    compute("probe", store, ProbeRequest(task="ner", layers=(0,), resamples=9))
    monkeypatch.setattr(type(ANALYSES["lengths"]), trouble, fail)
    made = write_report(store, tmp_path / "report.html")
    assert made.figures == 1
    assert "has not the shape of a result of lengths (RuntimeError: no way); it is left out" in made.notes[0]


def test_help_lists_it_without_importing_it(installed: Path) -> None:
    code = "import sys; from biocache.cli.main import biocache\n"
    code += "biocache(['--help'], standalone_mode=False); assert 'lengths' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.search(r"^  lengths +Analysis of the package lengths\.$", done.stdout, re.MULTILINE)
    (installed / "lengths.py").write_text("import nothing_of_this_name")
    assert "analysis 'lengths' of lengths cannot be loaded" in run("lengths", code=1).stderr
    (installed / "lengths.py").write_text("Lengths = dict")
    sys.modules.pop("lengths", None)
    assert "is not an analysis named 'lengths'" in run("lengths", code=1).stderr


@pytest.mark.slow
def test_where_to_compute_and_force_reach_the_executor(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    made, ran = Executor.__init__, Executor.run

    def make(self: Executor, *given: Any, **named: Any) -> None:
        seen.append(named)
        made(self, *given, **named)

    def execute(self: Executor, *given: Any, **named: Any) -> Any:
        seen.append(named["force"])
        return ran(self, *given, **named)

    monkeypatch.setattr(Executor, "__init__", make)
    monkeypatch.setattr(Executor, "run", execute)
    monkeypatch.setattr("biocache.engine.executor.ANSWER_TIMEOUT", "1s")
    probe = ("probe", "--store", store, "--task", "ner", "--layers", 0)
    run(*probe, "--workers", 1)
    run(*probe, "--force")
    said = run(*probe, "--scheduler-address", "tcp://127.0.0.1:1", "--force", code=1).stderr
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:1'" in said
    assert seen == [
        {"workers": 1, "scheduler_address": None}, False,
        {"workers": None, "scheduler_address": None}, True,
        {"workers": None, "scheduler_address": "tcp://127.0.0.1:1"}, True,
    ]  # fmt: skip


def test_a_request_of_another_analysis_is_refused(store: Path) -> None:
    with pytest.raises(SettingError, match="probe takes a ProbeRequest, and was given a AttentionRequest"):
        compute("probe", store, AttentionRequest())
    with pytest.raises(SettingError, match="there is no analysis 'dance'; there are probe, compare-probes"):
        compute("dance", store, ProbeRequest(task="ner"))
