"""`biocache compare-attention` end to end on tiny models, and what it hands on."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from attention_factory import source
from click.testing import Result

from biocache.engine import AttentionRequest, analysis, compare_attention
from biocache.engine.analyses.attention import metrics
from biocache.engine.analyses.attention.request import DEFAULT_METRICS, METRIC_NAMES
from biocache.store import Store
from biocache.store.errors import SettingError
from biocache.store.folders import Folder
from biocache.store.storage import Storage

Command = Callable[..., Result]
Handed = Callable[..., AttentionRequest]


@pytest.fixture(scope="session")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of a model at three training sizes, with labels."""
    root = tmp_path_factory.mktemp("sizes") / "biocache.zarr"
    labels = {"task": "nli", "view": "pair", "label_names": ("no", "yes"), "iob2": False}
    for size in (0, 10, 30):
        source(training_size=size, maps=size, head_count=3, **labels).write_labelled(root)
    return root


@pytest.fixture
def tuned(sizes: Path, tmp_path: Path) -> Path:
    """Return a copy of that store, to keep results in."""
    return Path(shutil.copytree(sizes, tmp_path / "sizes.zarr"))


def opened(storage: Storage, *, results: Storage | None) -> Store:
    """Return a store without looking whether it is there."""
    return Store(storage, results)


@pytest.fixture
def handed(command: Command, monkeypatch: pytest.MonkeyPatch) -> Handed:
    """Return the request that the command makes of its options, which is then stopped; no store is there."""

    def parse(*arguments: object) -> AttentionRequest:
        seen: list[AttentionRequest] = []

        def stop(_analysis: Any, store: Store, request: AttentionRequest) -> None:
            assert store.result_places == (store.storage,) == (Folder(Path("biocache.zarr")),)
            seen.append(request)
            raise SettingError("stopped")

        monkeypatch.setattr(Store, "open", opened)
        monkeypatch.setattr(analysis, "find", stop)
        assert command("compare-attention", *arguments, code=1).stderr == "Error: stopped\n"
        return seen[0]

    return parse


def test_defaults_are_those_of_the_request(handed: Handed) -> None:
    assert handed() == AttentionRequest()


def test_metrics_are_those_that_the_request_names() -> None:
    assert tuple(metrics.METRICS) == METRIC_NAMES
    assert set(DEFAULT_METRICS) <= set(METRIC_NAMES)


SETTINGS = [
    ("--task nli", {"task": "nli"}),
    ("--dataset demo", {"dataset": "demo"}),
    ("--model bert", {"model": "bert"}),
    ("--training-size 10,30 --training-size 100", {"training_sizes": (10, 30, 100)}),
    ("--trained-on jnlpba", {"trained_on": "jnlpba"}),
    ("--seed 7,9", {"seeds": (7, 9)}),
    ("--view pair", {"view": "pair"}),
    ("--split test", {"split": "test"}),
    ("--baseline 10", {"baseline": 10}),
    ("--model bert --against gpt2", {"model": "bert", "against": "gpt2"}),
    ("--metric js,tv --metric entropy", {"metrics": ("js", "tv", "entropy")}),
    ("--exclude-special", {"exclude_special": True}),
    ("--by gold", {"by": "gold"}),
    ("--trained-on jnlpba", {"trained_on": "jnlpba"}),
    ("--match-heads", {"match_heads": True}),
    ("--all-pairs", {"all_pairs": True}),
    ("--per-sample", {"per_sample": True}),
    ("--resamples 50", {"resamples": 50}),
    ("--resampling-seed 9", {"resampling_seed": 9}),
]


@pytest.mark.parametrize(("arguments", "expected"), SETTINGS)
def test_options_reach_the_request(handed: Handed, arguments: str, expected: dict[str, Any]) -> None:
    assert handed(*arguments.split()) == AttentionRequest(**expected)


def test_every_setting_has_an_option() -> None:
    named = {name for _, expected in SETTINGS for name in expected}
    assert named == {field.name for field in fields(AttentionRequest)}


@pytest.mark.slow
def test_a_table_by_layer(command: Command, tuned: Path) -> None:
    result = command("compare-attention", "--store", tuned, "--model", "tiny", "--metric", "cosine,entropy")
    notes = result.stderr.splitlines()
    assert [note.split(" ")[1] for note in notes] == ["intervals", "all"]
    title, *rows = result.stdout.splitlines()
    assert re.split(r"  +", title.strip()) == [
        *("training size", "layer"),
        *("cosine", "cosine by chance", "most changed head of cosine"),
        *("entropy", "most changed head of entropy"),
    ]
    found = compare_attention(tuned, AttentionRequest(model="tiny", metrics=("cosine", "entropy")))
    assert len(rows) == 4
    for row, (size, layer) in zip(rows, [(10, 1), (10, 2), (30, 1), (30, 2)], strict=True):
        own = found.sel(training_size=size, layer=layer, metric="cosine")
        head = int(own["mean"].argmin("head"))
        cells = re.split(r"  +", row.strip())
        low, high = (own[f"layer_{bound}"].item() for bound in ("ci_low", "ci_high"))
        chance = [own[f"layer_chance_{bound}"].item() for bound in ("ci_low", "ci_high")]
        assert cells[:5] == [
            *(str(size), str(layer), f"{own['layer_mean'].item():.3f} [{low:.3f}, {high:.3f}]"),
            f"{own['layer_chance'].item():.3f} [{chance[0]:.3f}, {chance[1]:.3f}]",
            f"{head}: {own['mean'][head].item():.3f}",
        ]


@pytest.mark.slow
def test_a_column_for_each_label(command: Command, tuned: Path) -> None:
    result = command("compare-attention", "--store", tuned, "--metric", "entropy", "--by", "gold")
    title, *rows = result.stdout.splitlines()
    assert re.split(r"  +", title.strip())[2:] == [
        "entropy",
        "entropy, no",
        "entropy, yes",
        "most changed head of entropy",
    ]
    found = compare_attention(tuned, AttentionRequest(metrics=("entropy",), by="gold"))
    own = found["label_mean"].sel(training_size=10, layer=1).squeeze("metric").mean("head")
    assert re.split(r"  +", rows[0].strip())[3:5] == [f"{value:.3f}" for value in own.values]


@pytest.mark.slow
def test_models_of_other_tokens_by_word(command: Command, store: Path) -> None:
    arguments = ("--store", store, "--model", "bert", "--against", "gpt2", "--split", "test")
    result = command("compare-attention", *arguments, "--metric", "js", "--match-heads")
    assert re.search(r"\d: 0\.\d{3} \(matches \d: 0\.\d{3}\)", result.stdout)
    printed = json.loads(command("compare-attention", *arguments, "--metric", "js", "--match-heads", "--json").stdout)
    assert printed["settings"]["against"] == "gpt2"
    rows = printed["rows"]
    assert [(row["metric"], row["layer"], row["head"]) for row in rows] == [
        ("js", n, k) for n in (1, 2) for k in (0, 1)
    ]
    assert [row["count"] for row in rows] == [8] * 4


def test_json_has_null_for_what_is_not_a_number(command: Command, tuned: Path) -> None:
    result = command("compare-attention", "--store", tuned, "--metric", "entropy", "--json")
    printed = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [row["chance"] for row in printed["rows"]] == [None] * 12


@pytest.mark.slow
def test_all_pairs_of_layers(command: Command, tuned: Path) -> None:
    result = command("compare-attention", "--store", tuned, "--training-size", 10, "--metric", "js", "--all-pairs")
    title, *rows = result.stdout.splitlines()
    names = [
        "metric",
        "training size",
        "layer",
        "other layer",
        "mean of all pairs",
        "mean of best matches",
        "best pair",
    ]
    assert re.split("  +", title) == names
    found = compare_attention(tuned, AttentionRequest(training_sizes=(10,), metrics=("js",), all_pairs=True))[
        "pair_mean"
    ]
    assert len(rows) == 4
    own = found.sel(layer=1, other_layer=2).squeeze().values
    head, other = np.unravel_index(own.argmin(), own.shape)
    # The figure and the report draw the mean of best matches too.
    best = own.min(axis=1).mean()
    assert rows[1].split() == f"js 10 1 2 {own.mean():.3f} {best:.3f} {head} and {other}: {own.min():.3f}".split()


@pytest.mark.slow
def test_samples_that_have_nothing_to_measure_are_noted(command: Command, tmp_path: Path) -> None:
    root = tmp_path / "ones.zarr"
    for size in (0, 10):
        # A sample of one token, whose query sees one key, has no entropy to change.
        source((1, 5), tokens=11, specials=False, training_size=size, maps=size).write_all(root)
    lengths = source((1, 5), tokens=11, specials=False).plan.tokens.count
    assert lengths[0] == 1
    result = command("compare-attention", "--store", root, "--metric", "entropy")
    assert result.stderr.endswith("\nnote: up to 1 of 2 samples have nothing to measure in a head\n")


@pytest.mark.slow
def test_labels_samples_files_and_figures(command: Command, tuned: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "json", "nc", "zarr"):
        command(
            *("compare-attention", "--store", tuned, "--by", "gold", "--per-sample"),
            *("--output", tmp_path / f"heads.{suffix}", "--plot", tmp_path / "heads.png"),
            *("--plot-above-chance", tmp_path / "above.png"),
        )
    with xr.open_dataset(tmp_path / "heads.nc") as written:
        assert written["label_mean"].dims == ("metric", "training_size", "layer", "label", "head")
        assert written["value"].sizes["sample"] == 8
    for name in ("heads.csv", "heads.json", "heads.png", "above.png"):
        assert (tmp_path / name).stat().st_size > 1000
    figures = ("--plot", tmp_path / "pairs.svg", "--plot-above-chance", tmp_path / "pairs-above.svg")
    result = command("compare-attention", "--store", tuned, "--metric", "tv", "--all-pairs", *figures)
    assert {path.name for path in tmp_path.glob("pairs*")} == {"pairs.svg"}
    assert "there is nothing to draw" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        ("compare-attention", "--metric", "js"),
        ("describe-attention", "--metric", "entropy"),
        ("compare-representations", "--model", "tiny"),
    ],
)
def test_files_and_figures_are_made_of_the_result_that_the_store_has(
    command: Command, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...]
) -> None:
    asked = (*line, "--store", tuned, "--training-size", 10)
    first = command(*asked)

    def computed(*_: object, **_options: object) -> None:
        raise AssertionError("the store has the result")

    monkeypatch.setattr("biocache.engine.analysis.Found.compute", computed)
    table, figure = tmp_path / "r.csv", tmp_path / "r.svg"
    again = command(*asked, "--output", table, "--plot", figure, "--plot-width", "single")
    assert again.stdout == first.stdout
    assert again.stderr.startswith("note: the store has this result; --force computes it again\n")
    assert len(table.read_text(encoding="utf-8").splitlines()) > len(first.stdout.splitlines()) - 1
    assert figure.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "heads.txt"), "output heads.txt has no suffix"),
        (("--plot", "heads.txt"), "plot heads.txt has no suffix"),
        (("--training-size", "50"), "has no run of task='nli'"),
        (("--model", "none"), "has no run of model='none', training_size=0; extract it with `biocache extract"),
        (("--exclude-special", "--metric", "special-mass"), "leave one of them out"),
        (("--all-pairs", "--match-heads"), "exclude each other"),
        (("--workers", "1", "--scheduler-address", "tcp://h:1"), "exclude each other"),
    ],
)
def test_mistakes_are_one_line(command: Command, tuned: Path, arguments: tuple[str, ...], message: str) -> None:
    result = command("compare-attention", "--store", tuned, *arguments, code=1)
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_usage(command: Command, tuned: Path) -> None:
    assert "'cosinus' is not one of" in command("compare-attention", "--metric", "cosinus", code=2).stderr
    assert "has no label set 'pos'" in command("compare-attention", "--store", tuned, "--by", "pos", code=1).stderr
