"""Which runs are compared, over which units and groups, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_factory import source
from grouped import keep_groups
from store_factory import Synthetic

from biocache.engine import ReportRequest, RepresentationRequest, compare_representations, write_report
from biocache.engine.analyses.representations.analysis import RepresentationComparison
from biocache.engine.analyses.representations.comparison import all_tasks
from biocache.engine.analyses.representations.runs import find_runs, shared_units
from biocache.store import Store
from biocache.store.errors import BiocacheError, ResourceError, SettingError, SpecMismatchError

ANALYSIS = RepresentationComparison()


def made(size: int, **changes: Any) -> Synthetic:
    facts = {"keep": ("hidden",), "layers": (0, 1)}
    return source(training_size=size, maps=changes.pop("maps", size), **(facts | changes))


@pytest.mark.slow
def test_groups_are_whole_in_blocks_of_about_as_many_units(tmp_path: Path) -> None:
    first = made(0)
    first.write_all(tmp_path)
    made(10).write_all(tmp_path)
    store = Store.open(tmp_path)
    request = RepresentationRequest(blocks=3)
    units = shared_units(find_runs(store, request), request)
    samples = store.run(training_size=0).column("words/sample")[units.position]
    assert (units.groups, units.blocks) == (8, 3)
    for sample in np.unique(samples):
        assert len(set(units.block[samples == sample])) == 1
    keep_groups(tmp_path, first, ["a", "b", "a", None, "b", "c", None, "c"])
    runs = find_runs(Store.open(tmp_path), request)
    units = shared_units(runs, request)
    assert (units.groups, units.blocks) == (5, 3)
    for members in ([0, 2], [1, 4], [5, 7]):
        assert len(set(units.block[np.isin(samples, members)])) == 1
    result = compare_representations(tmp_path, request)
    assert result.attrs["group"] == "group"
    assert any("5 groups of the dataset, in 3 blocks" in note for note in ANALYSIS.notes(result, request))


@pytest.mark.slow
def test_groups_are_part_of_what_a_result_is_found_by(tmp_path: Path) -> None:
    first = made(0)
    first.write_all(tmp_path)
    made(10).write_all(tmp_path)
    request = RepresentationRequest(metrics=("cka",))
    before = compare_representations(tmp_path, request)
    keep_groups(tmp_path, first, ["a"] * 4 + ["b"] * 4)
    after = compare_representations(tmp_path, request)
    np.testing.assert_allclose(before["value"], after["value"], atol=1e-6)
    assert after.attrs["blocks"] == 2
    assert (before["value_ci_high"] != after["value_ci_high"]).all()


@pytest.mark.slow
def test_one_group_has_no_interval(tmp_path: Path) -> None:
    first = made(0)
    first.write_all(tmp_path)
    made(10).write_all(tmp_path)
    keep_groups(tmp_path, first, ["a"] * 8)
    request = RepresentationRequest()
    result = compare_representations(tmp_path, request)
    assert result["value_ci_low"].isnull().all()
    assert result["value"].notnull().all()
    assert "there are no intervals: all units are of one group" in list(ANALYSIS.notes(result, request))


@pytest.mark.slow
def test_drawn_units_are_said_and_are_those_of_the_seed(tmp_path: Path) -> None:
    for size in (0, 10):
        made(size).write_all(tmp_path)
        made(size, split="train").write_all(tmp_path)
    request = RepresentationRequest(metrics=("cka", "rsa"), sample=20, units=30, sampling_seed=4)
    result = compare_representations(tmp_path, request)
    assert (result.attrs["units"], result.attrs["drawn_units"]) == (30, 20)
    assert result.attrs["split"] == "test"
    assert "values are of 30 words; rsa of 20 of them, drawn with seed 4" in list(ANALYSIS.notes(result, request))
    other = compare_representations(tmp_path, replace(request, sampling_seed=5))
    assert (result["value"] != other["value"]).all()


@pytest.mark.slow
def test_level_is_that_of_the_task_or_of_what_runs_keep(tmp_path: Path) -> None:
    for size in (0, 10):
        made(size).write_all(tmp_path / "ner")
        made(size, task="nli", view="pair", label_names=("a", "b"), iob2=False).write_all(tmp_path / "nli")
    found = {
        name: find_runs(Store.open(tmp_path / name), RepresentationRequest(**settings)).level
        for name, settings in (("ner", {}), ("nli", {}))
    }
    assert found == {"ner": "word", "nli": "sample"}
    request = RepresentationRequest(level="word")
    assert compare_representations(tmp_path / "nli", request).attrs["level"] == "word"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "settings", "kind", "text"),
    [
        ({"words": (3, 4)}, {}, SpecMismatchError, "extract both from the same data"),
        ({"max_length": 9}, {}, SpecMismatchError, "extract both with the same max_length"),
        ({}, {"layers": (0, 7)}, SettingError, "layer.* 7 is not stored in run .*, which has 0, 1; name some"),
        ({}, {"against": "tiny"}, SettingError, "name it with model"),
        ({"keep": ("attention",)}, {}, BiocacheError, "hidden"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(
    changes: dict[str, Any], settings: dict[str, Any], kind: type[BiocacheError], text: str, tmp_path: Path
) -> None:
    made(0).write_all(tmp_path)
    made(10, **changes).write_all(tmp_path)
    with pytest.raises(kind, match=text) as caught:
        compare_representations(tmp_path, RepresentationRequest(training_sizes=(10,), **settings))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_runs_without_shared_words_are_refused(tmp_path: Path) -> None:
    made(0, words=(1, 1)).write_all(tmp_path)
    made(10, words=(1, 1)).write_all(tmp_path)
    with pytest.raises(SettingError, match="they share 2 words that have tokens, and 4 are needed"):
        compare_representations(tmp_path, RepresentationRequest())
    with pytest.raises(SettingError, match="they share 2 samples"):
        compare_representations(tmp_path, RepresentationRequest(level="sample"))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"biased": True, "metrics": ("knn",)}, "biased is for cka"),
        ({"level": "word", "pooling": "max"}, "pooling='max' is for samples"),
        ({"neighbours": 19, "sample": 20}, "neighbours=19 of sample=20 are nearly all others"),
        ({"metrics": ("ccka",)}, "not one of cka, procrustes, rsa, knn"),
        ({"blocks": 1}, "from 2 to 100"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingError, match=text):
        RepresentationRequest(**settings)


@pytest.mark.slow
def test_memory_is_arithmetic_and_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    for size in (0, 10):
        made(size, feature_size=96, layers=(0, 1, 2)).write_all(tmp_path)
    runs = find_runs(Store.open(tmp_path), RepresentationRequest())
    tasks = {}
    for most in (2**40, 4 * 2**21):
        request = RepresentationRequest(metrics=("cka",), max_memory=most)
        units = shared_units(runs, request)
        tasks[most] = [task for task in all_tasks(runs, units, request) if task.key[0] == "pairs"]
        assert sum(len(task.args[2]) for task in tasks[most]) == 9
    assert len(tasks[2**40]) == 1 < len(tasks[4 * 2**21])
    assert tasks[2**40][0].memory > 9 * 4 * 96**2 * units.blocks > tasks[4 * 2**21][0].memory
    with pytest.raises(ResourceError, match=r"max_memory=.* or more, or fewer blocks"):
        compare_representations(tmp_path, RepresentationRequest(max_memory=1))


@pytest.mark.slow
def test_the_report_shows_the_table_and_both_figures(tmp_path: Path) -> None:
    for size in (0, 10):
        made(size).write_all(tmp_path / "s")
    write_report(tmp_path / "s", tmp_path / "report.html", ReportRequest(samples=0))
    images = (tmp_path / "report.html").read_text(encoding="utf-8").count("data:image/png;base64,")
    result = compare_representations(tmp_path / "s", RepresentationRequest(metrics=("cka",), blocks=4))
    write_report(tmp_path / "s", tmp_path / "report.html", ReportRequest(samples=0))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Representations" in page
    assert page.count("data:image/png;base64,") == images + 2
    assert f"{result['value'].sel(layer=1, other_layer=1).item():.3f}" in page
    assert "biocache compare-representations --store" in page
