"""Metrics of one's own: values are those of a function called in loops over dense maps."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from attention_factory import source
from store_factory import Synthetic

from biocache.engine import AttentionRequest, compare_attention
from biocache.engine.analyses.attention.analysis import AttentionComparison
from biocache.engine.analyses.attention.metrics import METRICS
from biocache.engine.analyses.attention.own import find_own
from biocache.engine.analysis import find
from biocache.store.errors import BiocacheError, BusyError, DataError, SettingError
from biocache.store.results import list_results

MODULE = """
import numpy as np

def total_variation(a, b):
    return np.abs(a - b).sum(axis=1) / 2

def cosine(a, b):
    assert not a.flags.writeable
    length = np.sqrt((a**2).sum() * (b**2).sum())
    return (a * b).sum() / length

def half(a, b):
    return np.nan if len(a) % 2 else 1.0

half.title, half.unit = "maps of even size", "token"
"""

Compare = Callable[..., xr.Dataset]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a working directory with a module, which this process has not imported."""
    (tmp_path / "mymetrics.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("mymetrics", None)


def runs(**changes: Any) -> tuple[Synthetic, Synthetic]:
    first = source(training_size=0, head_count=3, maps=1, **changes)
    return first, source(training_size=30, head_count=3, maps=130, **changes)


def stored(store: Path, **changes: Any) -> Path:
    for own in runs(**changes):
        own.write_labelled(store)
    return store


def request(*metrics: Any, **settings: Any) -> AttentionRequest:
    return AttentionRequest(model="tiny", metrics=metrics, **settings)


def numbers(result: xr.Dataset, metric: str) -> xr.Dataset:
    return result.sel(metric=metric).drop_vars(["metric", "title"])


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
def test_own_metrics_equal_those_of_biocache(here: Path, causal: bool) -> None:
    store = stored(here / "store", causal=causal)
    names = ("mymetrics:total_variation", "tv", "mymetrics:cosine", "cosine")
    result = compare_attention(store, request(*names, match_heads=True, per_sample=True))
    assert result.metric.to_numpy().tolist() == list(names)
    assert result.identity.to_numpy().tolist() == [0.0, 0.0, 1.0, 1.0]
    for own, known in (names[:2], names[2:]):
        xr.testing.assert_allclose(numbers(result, own), numbers(result, known), atol=1e-5)
    frame = AttentionComparison().summary(result, request(*names))
    assert len(frame) == result.sizes["layer"]
    assert {"mymetrics:cosine", "most changed head of mymetrics:cosine"} <= set(frame.columns)
    for name in ("means", "above-chance"):
        assert AttentionComparison().draw(name, result, request(*names)) is not None


SEEN: list[tuple[int, float]] = []


def spied(a: Any, b: Any) -> float:
    assert len(a) == len(b)
    SEEN.append((len(a), float(np.abs(a.sum(axis=1) - 1).max())))
    return 0.0


@pytest.mark.slow
@pytest.mark.parametrize("exclude", [False, True])
def test_own_metrics_see_the_maps_that_others_see(here: Path, exclude: bool) -> None:
    store = stored(here / "store")
    SEEN.clear()
    compare_attention(store, request(spied, exclude_special=exclude))
    own = {len(states[0]) - 2 * exclude for states in runs()[0].hidden}
    # Beside those that it was tried on.
    assert {size for size, _ in SEEN} - {2, 5, 9} == own - {2, 5, 9}
    assert max(far for _, far in SEEN) < 1e-5


def test_a_function_that_changes_meanwhile_has_no_result_that_is_kept(here: Path) -> None:
    seen: list[int] = []

    def counting(a: Any, b: Any) -> float:
        seen.append(len(a))
        return 0.0

    store = stored(here / "store")
    with pytest.raises(BusyError, match="runs, labels or your own code changed"):
        compare_attention(store, request(counting))
    assert list_results(store, "compare-attention") == []


@pytest.mark.slow
def test_runs_of_other_tokenizers_are_compared_by_word(here: Path) -> None:
    first = source(training_size=0, head_count=2, maps=1)
    second = source(training_size=30, head_count=2, maps=5, tokens=9, model="other")
    for own in (first, second):
        own.write_labelled(here / "store")
    asked = AttentionRequest(model="other", against="tiny", metrics=("mymetrics:total_variation", "tv"))
    result = compare_attention(here / "store", asked)
    assert result.attrs["level"] == "word"
    xr.testing.assert_allclose(numbers(result, "mymetrics:total_variation"), numbers(result, "tv"), atol=1e-5)


def test_what_is_nan_is_not_counted_and_attributes_are_kept(here: Path) -> None:
    store = stored(here / "store")
    result = compare_attention(store, request("mymetrics:half")).squeeze()
    lengths = np.array([len(states[0]) for states in runs()[0].hidden])
    assert (result["count"] == (lengths % 2 == 0).sum()).all()
    assert (result["mean"] == 1.0).all()
    assert (result.title.item(), result.unit.item(), result.identity.item()) == ("maps of even size", "token", 1.0)


@pytest.mark.slow
def test_all_pairs_and_workers_give_the_same(here: Path, cluster: Any) -> None:
    asked = request("mymetrics:cosine", all_pairs=True)
    wanted = compare_attention(stored(here / "store"), asked)
    known = compare_attention(here / "store", request("cosine", all_pairs=True))
    np.testing.assert_allclose(wanted.pair_mean[0], known.pair_mean[0], atol=1e-5)
    xr.testing.assert_identical(compare_attention(stored(here / "workers"), asked, workers=2), wanted)
    address = cluster.scheduler_address
    xr.testing.assert_identical(compare_attention(stored(here / "cluster"), asked, scheduler_address=address), wanted)


def test_the_key_has_the_source(here: Path) -> None:
    store = stored(here / "store")

    def key(*metrics: Any) -> Any:
        return find("compare-attention", store, request(*metrics)).inputs

    def one(a: Any, b: Any) -> Any:
        return np.abs(a - b).sum()

    assert "own" not in key("js")
    first = key("mymetrics:cosine")
    assert set(first["own"]) == {"mymetrics:cosine"}
    assert key("mymetrics:cosine") == first
    assert key(one) == key(one)
    (here / "mymetrics.py").write_text(MODULE + "# edited\n")
    with pytest.raises(SettingError, match="has changed since Python imported mymetrics"):
        key("mymetrics:cosine")
    del sys.modules["mymetrics"]
    assert key("mymetrics:cosine") != first
    # A closure holds what decides its values.
    assert key(scaled(2.0))["own"] != key(scaled(3.0))["own"]


def scaled(by: float) -> Callable[[Any, Any], Any]:
    return lambda a, b: by * np.abs(a - b).sum(axis=1)


def raises(a: Any, b: Any) -> Any:
    return a.nothing + b


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (raises, "failed (AttributeError: "),
        (lambda a, b: sys.exit(1), "failed (SystemExit: 1)"),
        (lambda a: 0.0, "failed (TypeError: "),
        (lambda a, b: None, "returned NoneType for two maps of shape (2, 2); return a number, or an array of 2"),
        (lambda a, b: "x", "returned str for two maps"),
        (lambda a, b: a, "returned an array of shape (2, 2) for two maps of shape (2, 2)"),
        (lambda a, b: [1.0, 2.0, 3.0], "returned an array of shape (3,) for two maps of shape (2, 2)"),
        (lambda a, b: [[1.0], [2.0, 3.0]], "returned list for two maps"),
        (lambda a, b: 1j, "returned complex for two maps"),
        (lambda a, b: np.inf, "returned an infinite value for two maps of shape (2, 2)"),
        (lambda a, b: float(len(a)), "gives 2, 5, 9 for pairs of identical maps"),
        (lambda a, b: a.__setitem__((0, 0), 1), "failed (ValueError: assignment destination is read-only)"),
        ("mymetrics:absent", "cannot be imported (AttributeError: "),
        ("mymetrics:np", "is not a function; name one"),
        ("mymetrics:cosine(a=1)", "is not MODULE:FUNCTION"),
    ],
)
def test_what_is_no_metric_is_one_line_before_anything_is_read(here: Path, function: Any, said: str) -> None:
    store = stored(here / "store")
    with pytest.raises(BiocacheError) as caught:
        find("compare-attention", store, request(function))
    text = str(caught.value)
    assert said in text
    assert "\n" not in text


def test_a_function_that_fails_on_a_map_of_the_corpus_is_one_line(here: Path) -> None:
    def strange(a: Any, b: Any) -> Any:
        return 0.0 if len(a) in (2, 5, 9) else np.zeros(2)

    with pytest.raises(DataError, match=r"returned an array of shape \(2,\) for two maps of shape \(\d+, \d+\)"):
        compare_attention(stored(here / "store"), request(strange))


def test_names_are_told_apart() -> None:
    with pytest.raises(SettingError, match=r"two metrics are called .* a name of its own"):
        request(lambda a, b: 0.0, lambda a, b: 1.0)
    with pytest.raises(SettingError, match=r"metrics 'cosines' is not one of cosine, .*, nor MODULE:NAME"):
        request("cosines")
    assert request("js", "a:b", "js").metrics == ("js", "a:b")


def test_a_worker_that_has_another_source_is_refused(here: Path) -> None:
    own = find_own("mymetrics:cosine")
    assert own._function().__name__ == "cosine"
    other = type(own)(own.code, own.folder, "{}", own.name, own.title, own.unit, own.identity)
    with pytest.raises(SettingError, match="is not the same in this process as where the comparison was planned"):
        other._function()
    assert own.name not in METRICS
