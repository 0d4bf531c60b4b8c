"""Windows of long samples, from the command line."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from biocache.store import Store

Command = Callable[..., Result]
Asked = Callable[..., list[Any]]

pytestmark = pytest.mark.slow


@pytest.fixture
def asked(corpus_folder: Path, checkpoints: Mapping[str, Path], tmp_path: Path) -> Asked:
    """Return the arguments of an extraction of sentences, by default in windows of 20 tokens that overlap by 5."""

    def arguments(*more: object, task: str = "ner", length: int = 20) -> list[Any]:
        model = ("--model", f"bert={checkpoints['bert']}", "--dataset", f"demo={corpus_folder / task}")
        where = ("--store", tmp_path / "s.zarr", "--task", task, "--split", "test", "--device", "cpu")
        return ["extract", *where, *model, "--max-length", length, *more]

    return arguments


def test_the_plan_counts_what_the_run_then_has(command: Command, asked: Asked, tmp_path: Path) -> None:
    shown = command(*asked("--stride", 5, "--dry-run", "--json"))
    (planned,) = json.loads(shown.stdout)["rows"]
    cut = planned["notes"]["samples_windowed"]
    assert 5 < cut < planned["samples"]
    assert (planned["notes"]["samples_truncated"], planned["notes"]["words_lost"]) == (0, 0)
    said = f"demo, bert, sentence, test: {cut} samples cut into windows (max length 20 tokens, stride 5)"
    assert f"note: {said}" in shown.stderr.splitlines()
    table = command(*asked("--stride", 5, "--dry-run")).stdout
    assert "samples cut into windows" in table
    assert "samples cut into windows" not in command(*asked("--dry-run")).stdout
    assert not (tmp_path / "s.zarr").exists()

    done = command(*asked("--stride", 5))
    assert said in done.stderr
    run = Store.open(tmp_path / "s.zarr").run()
    assert (run.windows.count > 1).sum() == cut
    assert (run.counts.tokens, run.counts.packs) == (planned["tokens"], planned["packs"])
    sizes = [array.nbytes for array in (run.activations("hidden"), run.activations("attention"))]
    assert sum(sizes) == planned["activation_bytes"]
    (info,) = json.loads(command("info", "--store", tmp_path / "s.zarr", "--json").stdout)["rows"]
    assert (info["spec"]["max_length"], info["spec"]["stride"]) == (20, 5)
    assert info["provenance"]["notes"]["samples_windowed"] == cut
    assert f"{cut} of them in windows that overlap by 5 tokens" in repr(run)
    assert command("verify", "--store", tmp_path / "s.zarr", "--recompute", 40).exit_code == 0


def test_all_words_are_exported(command: Command, asked: Asked, tmp_path: Path) -> None:
    import pandas as pd

    command(*asked("--stride", 5))
    store = ("--store", tmp_path / "s.zarr")
    command("export", tmp_path / "words.parquet", *store, "--layers", 1)
    run = Store.open(tmp_path / "s.zarr").run()
    table = pd.read_parquet(tmp_path / "words.parquet")
    assert len(table) == run.counts.words
    np.testing.assert_array_equal(np.stack(table["layer_1"].to_numpy()), run.words().hidden.sel(layer=1).values)


@pytest.mark.parametrize(
    ("more", "task", "message"),
    [
        (
            ("--stride", 18),
            "ner",
            "--stride 18 is not below 18, the tokens of text that fit --max-length 20 in view 'sentence' beside the "
            "special tokens; pass --stride=17 or less",
        ),
        (
            ("--stride", 10, "--view", "pair"),
            "nli",
            "does not fit windows in view 'pair': beside its shorter text, of",
        ),
    ],
)
def test_a_stride_that_does_not_fit_is_one_line(
    command: Command, asked: Asked, tmp_path: Path, more: tuple[Any, ...], task: str, message: str
) -> None:
    for dry in ((), ("--dry-run",)):
        said = command(*asked(*more, *dry, task=task), code=1).stderr.splitlines()
        assert said[-1].startswith("Error: ")
        assert message in said[-1]
    assert not (tmp_path / "s.zarr").exists()


def test_another_stride_is_refused_with_both(command: Command, asked: Asked) -> None:
    command(*asked("--stride", 5))
    said = command(*asked("--stride", 7), code=1).stderr
    assert "was made from another spec" in said
    assert "stride: stored 5, asked for 7" in said
    assert "stride: stored 5, asked for None" in command(*asked(), code=1).stderr
    command(*asked("--stride", 7, "--overwrite"))


def test_the_report_shows_samples_of_one_window(command: Command, asked: Asked, tmp_path: Path) -> None:
    from biocache.engine.report.samples import choose_samples, read_maps

    command(*asked("--stride", 5))
    run = Store.open(tmp_path / "s.zarr").run()
    chosen = choose_samples(run, 6)
    assert len(chosen) == 6
    for shown, maps in zip(chosen, read_maps(run, chosen), strict=True):
        assert run.windows.count[shown.position] == 1
        dense = run.attention_map(shown.position).values
        word = run.token_column("tokens/word")[run.tokens()["sample"].values == shown.position]
        first = int(run.column("samples/word_start")[shown.position])
        for row in range(len(shown.words)):
            for column in range(len(shown.words)):
                block = dense[:, :, word == first + row][..., word == first + column]
                expected = np.rint(block.sum(axis=-1).mean(axis=-1) * 255)
                assert np.abs(maps[:, :, row, column] - expected).max() <= 1
    command(*asked("--stride", 1, "--overwrite", length=4))
    page = command("report", "--store", tmp_path / "s.zarr", "--output", tmp_path / "page.html")
    assert "each of its samples has several windows" in page.stderr + (tmp_path / "page.html").read_text()
