"""Which runs are described together, what is refused, and what a description says of its numbers."""

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from attention_factory import WORDS, source
from grouped import keep_groups
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_heads import plain_description
from scipy import stats
from store_factory import Synthetic

from biocache.engine import (
    ANALYSES,
    AttentionRequest,
    HeadsRequest,
    ReportRequest,
    compare_attention,
    describe_attention,
    write_report,
)
from biocache.engine.analyses.attention import preparing, tasks
from biocache.engine.analyses.heads import runs as planning
from biocache.engine.executor import Executor, Task
from biocache.store import Store
from biocache.store.errors import (
    AmbiguousRunError,
    BiocacheError,
    ResourceError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
)

PAIRS = {"task": "nli", "view": "pair", "label_names": ("no", "yes"), "iob2": False}


def made(size: int = 0, **changes: Any) -> Synthetic:
    run = source(training_size=size, maps=changes.pop("maps", size), **changes)
    if run.spec.key.task == "ner":
        run.columns["words/label"] = np.random.default_rng(2).integers(0, 3, len(run.columns["words/label"]))
    return run


def notes(result: xr.Dataset, asked: HeadsRequest) -> list[str]:
    return list(ANALYSES["describe-attention"].notes(result, asked))


@pytest.mark.slow
def test_runs_of_other_shapes_stand_beside_each_other(tmp_path: Path) -> None:
    made(0, head_count=3).write_labelled(tmp_path)
    made(10, head_count=3).write_labelled(tmp_path)
    made(0, model="small", causal=True, tokens=1, layers=(2,)).write_labelled(tmp_path)
    asked = HeadsRequest(metrics=("entropy", "next-mass"))
    result = describe_attention(tmp_path, asked)
    assert result.attrs["level"] == "word"
    assert result.sizes == {"metric": 2, "run": 3, "layer": 2, "head": 3}
    assert result["model"].values.tolist() == ["small", "tiny", "tiny"]
    small = result.sel(metric="entropy").isel(run=0)
    assert small["mean"].notnull().values.tolist() == [[False] * 3, [True, True, False]]
    assert small["count"].values.tolist() == [[0] * 3, [7, 7, 0]]
    run = Store.open(tmp_path).run(model="small")
    values, _ = plain_description(run, "entropy", level="word")
    np.testing.assert_allclose(small["mean"][1, :2], np.nanmean(values, axis=0)[0], atol=3e-6)
    np.testing.assert_allclose(small["layer_mean"][1], small["mean"][1, :2].mean(), atol=1e-12)
    frame = ANALYSES["describe-attention"].frame(result, asked)
    assert len(frame) == 2 * 2 * 3 * 2 + 2
    assert (frame["count"] > 0).all()
    shown = ANALYSES["describe-attention"].summary(result, asked)
    assert shown[["metric", "model", "training_size", "layer"]].values.tolist() == [
        ["entropy", "small", 0, 2],
        *([name, "tiny", size, layer] for name in ("entropy", "next-mass") for size in (0, 10) for layer in (1, 2)),
    ]
    best = int(result["mean"].sel(metric="entropy", layer=1).isel(run=1).values.argmax())
    assert shown["highest head"][1].startswith(f"{best}: ")
    said = notes(result, asked)
    assert "queries of small see no later key: next-mass is left out" in said
    assert any("another seed of the training" in text for text in said)
    assert ANALYSES["describe-attention"].draw("heads", result, asked) is not None


@pytest.mark.slow
def test_the_difference_of_two_runs_is_that_of_their_comparison(tmp_path: Path) -> None:
    for size in (0, 10):
        made(size, head_count=3).write_all(tmp_path)
    metrics = ("entropy", "distance", "special-mass")
    own = describe_attention(tmp_path, HeadsRequest(metrics=metrics))
    change = compare_attention(tmp_path, AttentionRequest(metrics=metrics))
    np.testing.assert_allclose(own["mean"][:, 1] - own["mean"][:, 0], change["mean"][:, 0], atol=1e-8)


@pytest.mark.slow
def test_several_splits_are_those_of_test_and_several_corpora_are_refused(tmp_path: Path) -> None:
    made(0).write_all(tmp_path)
    made(0, split="train", words=(3, 4)).write_all(tmp_path)
    assert describe_attention(tmp_path, HeadsRequest()).attrs["split"] == "test"
    named = describe_attention(tmp_path, HeadsRequest(splits=("train",)))
    assert (named.attrs["split"], named.attrs["samples"]) == ("train", 2)
    with pytest.raises(AmbiguousRunError, match="splits test, train: name one with splits"):
        describe_attention(tmp_path, HeadsRequest(splits=("train", "test")))
    made(0, **PAIRS).write_all(tmp_path)
    with pytest.raises(AmbiguousRunError, match="tasks ner, nli: name one with tasks"):
        describe_attention(tmp_path, HeadsRequest())


REFUSED: list[tuple[dict[str, Any], type[BiocacheError], str]] = [
    ({"metrics": ("mass:pos",)}, RunNotFoundError, "pos"),
    (
        {"metrics": ("mass:gold=DNA",)},
        SettingError,
        "has no class 'DNA', which metrics='mass:gold=DNA' names; it has O, protein",
    ),
    ({"metrics": ("mass:premise",)}, SettingError, "needs pairs of texts, and run .* reads its sentence; name runs of"),
    (
        {"metrics": ("mass:length",)},
        SettingError,
        "label set 'length' labels words with numbers, and metrics='mass:length'",
    ),
    (
        {"metrics": ("mass:class",)},
        SettingError,
        "label set 'class' labels samples, and metrics='mass:class' is of",
    ),
    ({"by": "length"}, SettingError, "label set 'length' labels words with numbers"),
    ({"models": ("other",)}, RunNotFoundError, "no run with attention of model other"),
]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    made(0).write_labelled(root)
    store, where = Store.open(root), {"task": "ner", "dataset": "corpus", "split": "test"}
    store.add_labels("length", list(range(sum(WORDS))), **where, level="words")
    store.add_labels("class", ["a"] * len(WORDS), **where, level="samples")
    return root


@pytest.mark.parametrize(("settings_", "error", "message"), REFUSED)
def test_what_cannot_be_described_is_refused(
    labelled: Path, settings_: dict[str, Any], error: type[BiocacheError], message: str
) -> None:
    with pytest.raises(error, match=message):
        describe_attention(labelled, HeadsRequest(**settings_))


@pytest.mark.parametrize("metric", ["mass:", "mass:a=", "mass", "cosine", 3, "mass:=b"])
def test_no_metric_is_refused_with_those_that_there_are(metric: Any) -> None:
    with pytest.raises(SettingError, match=r"is not one of entropy, .*, nor mass:TARGET, where TARGET is entities"):
        HeadsRequest(metrics=(metric,))


def test_special_mass_goes_without_special_positions() -> None:
    assert "special-mass" not in HeadsRequest(exclude_special=True).metrics
    with pytest.raises(SettingError, match="metrics='special-mass' measures what exclude_special leaves out"):
        HeadsRequest(metrics=("special-mass",), exclude_special=True)


@pytest.mark.slow
def test_runs_of_other_samples_and_layers_are_refused(tmp_path: Path) -> None:
    made(0, layers=(0, 2)).write_all(tmp_path)
    with pytest.raises(SettingError, match=r"the maps of all layers from 1 on, and run .* keeps those of 2;"):
        describe_attention(tmp_path, HeadsRequest(rollout=True))
    made(10, words=(3, 3)).write_all(tmp_path)
    with pytest.raises(SpecMismatchError, match="extract both from the same data"):
        describe_attention(tmp_path, HeadsRequest())


@pytest.mark.slow
def test_too_many_classes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(0).write_labelled(tmp_path)
    monkeypatch.setattr(tasks, "machine_memory", lambda: 1000)
    with pytest.raises(ResourceError, match=r"by='gold' has 2 classes, whose resamples take .*; pass fewer resamples"):
        describe_attention(tmp_path, HeadsRequest(by="gold"))


@pytest.mark.slow
def test_intervals_leave_out_each_of_few_groups(tmp_path: Path) -> None:
    run = made(0, head_count=3)
    run.write_labelled(tmp_path)
    keep_groups(tmp_path, run, ["a", "b", "a", None, "b", "c", None, "c"])
    asked = HeadsRequest(metrics=("entropy", "mass:entities"))
    result = describe_attention(tmp_path, asked)
    assert (result.attrs["group"], result.attrs["groups"]) == ("group", 5)
    assert notes(result, asked)[0].startswith("intervals are over 5 groups of samples (label set group)")
    group = np.array([0, 1, 0, 2, 1, 3, 4, 3])
    values, _ = plain_description(Store.open(tmp_path).run(), "entropy")
    of_layer = values[:, 0]
    # The sample of one word has one token between the special ones, and so several keys.
    assert not np.isnan(of_layer).any()
    size = np.bincount(group)
    t = stats.t.ppf(0.975, 64 / (size**2).sum() - 1)
    own = result.sel(metric="entropy").isel(run=0, layer=0)
    for name, of in (("", of_layer), ("layer_", of_layer.mean(axis=1))):
        left = np.array([of[group != out].mean(axis=0) for out in range(5)])
        error = np.sqrt(4 / 5 * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
        for sign, end in ((-1, "low"), (1, "high")):
            expected = np.clip(of.mean(axis=0) + sign * t * error, 0, 1)
            np.testing.assert_allclose(own[f"{name}ci_{end}"], expected, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_of_many_samples_intervals_are_of_resamples(tmp_path: Path) -> None:
    run = made(0, words=[2 + n % 5 for n in range(120)], capacity=200)
    run.write_all(tmp_path)
    asked = HeadsRequest(metrics=("entropy", "previous-mass"), resamples=2000)
    result = describe_attention(tmp_path, asked)
    for metric in asked.metrics:
        values, _ = plain_description(Store.open(tmp_path).run(), metric)
        own = result.sel(metric=metric).isel(run=0)
        width = 2 * 1.96 * values.std(axis=0, ddof=1) / np.sqrt(120)
        np.testing.assert_allclose(own["ci_high"] - own["ci_low"], width, rtol=0.12)
    assert "120 samples, taken as independent" in notes(result, asked)[0]


@pytest.mark.slow
def test_labels_of_targets_and_classes_decide_what_is_found(tmp_path: Path) -> None:
    made(0).write_labelled(tmp_path)
    where = {"task": "ner", "dataset": "corpus", "split": "test", "level": "words"}
    drawn = np.random.default_rng(0).integers(0, 2, (2, sum(WORDS)))
    store = Store.open(tmp_path)
    found = []
    for labels in drawn:
        store.add_labels("kind", [("O", "x")[n] for n in labels], **where, overwrite=True)
        asked = HeadsRequest(metrics=("mass:kind", "entropy"), by="kind", level="token")
        found.append(describe_attention(tmp_path, asked))
    for place in ({"metric": "mass:kind"}, {"metric": "entropy", "label": "x"}):
        assert (found[0]["mean"].sel(place) != found[1]["mean"].sel(place)).any()
    np.testing.assert_array_equal(*(one["mean"].sel(metric="entropy", label="all") for one in found))


@pytest.mark.slow
def test_the_report_shows_descriptions(tmp_path: Path) -> None:
    for size in (0, 10):
        made(size).write_labelled(tmp_path / "store")
    describe_attention(tmp_path / "store", HeadsRequest(metrics=("entropy", "mass:entities")))
    page = tmp_path / "report.html"
    write_report(tmp_path / "store", page, ReportRequest(samples=0))
    text = page.read_text(encoding="utf-8")
    assert "Attention heads" in text
    assert "does not hold what another seed of the training would change" in text
    assert "describe-attention" in text


def described(words: list[int], capacity: int, causal: bool, rollout: bool, **machine: Any) -> xr.Dataset:
    with tempfile.TemporaryDirectory() as folder:
        made(0, words=words, capacity=capacity, causal=causal, tokens=1).write_labelled(Path(folder))
        metrics = ("entropy", "distance", "special-mass", "previous-mass", "mass:entities")
        asked = HeadsRequest(metrics=metrics, by="gold", rollout=rollout, resamples=20)
        return describe_attention(folder, asked, **machine)


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    words=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    capacity=st.integers(1, 60),
    causal=st.booleans(),
    rollout=st.booleans(),
    tile=st.integers(1, 400),
    order=st.integers(0, 2**32 - 1),
)
def test_packs_tiles_and_orders_do_not_matter(
    words: list[int], capacity: int, causal: bool, rollout: bool, tile: int, order: int
) -> None:
    rng = random.Random(order)
    in_order = planning.head_tasks

    def shuffled(*given: Any) -> list[Task]:
        found = in_order(*given)
        return rng.sample(found, len(found))

    expected = described(words, 10**6, causal, rollout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "_TILE", tile)
        patch.setattr(planning, "head_tasks", shuffled)
        patch.setattr(tasks, "_MOST_TASKS", rng.randint(1, 5))
        found = described(words, capacity, causal, rollout)
    for name, values in found.data_vars.items():
        exact = np.testing.assert_array_equal if name != "std" else np.testing.assert_allclose
        exact(values, expected[name], **({} if name != "std" else {"atol": 1e-9}), err_msg=str(name))


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("rollout", [False, True])
def test_workers_find_the_same(rollout: bool) -> None:
    xr.testing.assert_equal(
        described([3, 4, 5, 2], 8, True, rollout, workers=2).drop_vars("std"),
        described([3, 4, 5, 2], 8, True, rollout).drop_vars("std"),
    )


@pytest.mark.slow
def test_tasks_hold_no_more_than_they_say(tmp_path: Path) -> None:
    """What a task is sent holds its own packs alone."""
    made(0, words=[5] * 60, capacity=60).write_labelled(tmp_path)
    asked = HeadsRequest(metrics=("entropy", "mass:entities"))
    found = planning.head_tasks(planning.find_runs(Store.open(tmp_path), asked), asked)
    assert len(found) > 10
    rows = [len(pack.alignment.position) for task in found for pack in task.args[0]]
    for task in found:
        for pack in task.args[0]:
            assert pack.alignment.second is pack.alignment.first
            assert pack.targets[0] is None
            assert len(pack.targets[1].kind) == len(pack.alignment.position)
            assert pack.targets[1].kind.base is None
    assert max(rows) <= 60
    with Executor() as executor:
        parts = executor.run(found[:1], None, None)
    assert len(parts) == 1
