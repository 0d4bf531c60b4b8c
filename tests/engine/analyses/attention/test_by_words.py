"""Means split by the words that attend, against loops over the rows of dense maps in NumPy."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from attention_factory import PLAIN, DenseMap, _of_sample, dense_map, members, source
from numpy.typing import NDArray
from store_factory import Synthetic

from biocache.engine import AttentionRequest, compare_attention
from biocache.engine.analyses.attention import sums, tasks
from biocache.engine.analyses.attention.analysis import AttentionComparison
from biocache.engine.analyses.attention.metrics import METRICS
from biocache.store import Store
from biocache.store.errors import ResourceError

OF_ROWS = tuple(name for name, metric in METRICS.items() if metric.of_rows)
CLASSES = ("O", "DNA", "RNA")
WHERE = {"task": "ner", "dataset": "corpus", "split": "test"}


def runs(**changes: Any) -> tuple[Synthetic, Synthetic]:
    first = source(training_size=0, head_count=3, maps=1, **changes)
    return first, source(training_size=30, head_count=3, maps=130, **changes)


def labels_of(run: Synthetic) -> list[str | None]:
    """Return a class for most words; the second sample has no entity."""
    sample = run.columns["words/sample"].tolist()
    drawn = np.random.default_rng(4).integers(0, 4, len(sample)).tolist()
    return [(*CLASSES, None)[n] if at != 1 or n == 3 else "O" for n, at in zip(drawn, sample, strict=True)]


def as_words(run: Synthetic, name: str) -> Synthetic:
    """Give a run a digest of its own, so that the plain computation groups tokens into words."""
    return replace(run, spec=replace(run.spec, encoding_digest=name * 64))


def only(dense: DenseMap, kept: NDArray[np.bool_]) -> DenseMap:
    """Return a map whose other rows have no mass."""
    parts = {name: np.where(kept[:, np.newaxis], getattr(dense, name), 0.0) for name in ("rows", "of_norms")}
    return replace(dense, **parts)


def special_share(run: Synthetic, sample: int, layer: int, head: int, queries: list[int]) -> float:
    """Return the mean share of attention on special positions over some tokens."""
    stored = run.maps[sample][layer, head].astype(np.float64)
    special = np.array(_of_sample(run, "special", sample), bool)
    special[0] |= run.spec.causal
    return float(np.mean([stored[q, special].sum() / stored[q].sum() for q in queries]))


def plain_by_class(
    first: Synthetic, second: Synthetic, labels: list[str | None], metric: str, exclude: bool, layer: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Return the value of each sample and head, (sample, head), of the rows of each class."""
    own, other = as_words(first, "1"), as_words(second, "2")
    heads = first.spec.head_count
    values = {name: np.full((len(first.maps), heads), np.nan) for name in CLASSES}
    for sample in range(len(first.maps)):
        left, right, place = members(own, other, sample, exclude=exclude)
        begin = int(first.columns["samples/word_start"][sample])
        kinds = np.array([labels[begin + int(word)] for word in place], dtype=object)
        for name in set(kinds.tolist()) - {None}:
            kept = kinds == name
            for head in range(heads):
                if metric == "special-mass":
                    shares = [
                        special_share(run, sample, layer, head, [t for k in np.flatnonzero(kept) for t in groups[k]])
                        for run, groups in ((first, left), (second, right))
                    ]
                    values[name][sample, head] = shares[1] - shares[0]
                    continue
                maps = [
                    only(dense_map(run, sample, layer, head, groups, place), kept)
                    for run, groups in ((own, left), (other, right))
                ]
                values[name][sample, head] = PLAIN[metric](*maps)
    return values


Compare = Callable[..., xr.Dataset]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    def run(first: Synthetic, second: Synthetic, **settings: Any) -> xr.Dataset:
        for own in (first, second):
            own.write_all(tmp_path)
        Store.open(tmp_path).add_labels("kind", labels_of(first), **WHERE, level="words", overwrite=True)
        return compare_attention(tmp_path, AttentionRequest(model="tiny", **{"by": "kind", **settings}))

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("causal", "exclude"), [(False, False), (True, False), (False, True), (True, True)])
def test_the_rows_of_each_class_are_measured(compare: Compare, causal: bool, exclude: bool) -> None:
    first, second = runs(causal=causal, lost=0.2, tokens=1)
    metrics = tuple(name for name in OF_ROWS if not (exclude and name == "special-mass"))
    result = compare(first, second, metrics=metrics, exclude_special=exclude)
    labels = labels_of(first)
    assert (result.attrs["level"], result.attrs["split_by"]) == ("word", "words")
    assert result.attrs["unlabelled_words"] == labels.count(None) > 0
    assert result.label.values.tolist() == list(CLASSES)
    for metric in metrics:
        for index, layer in enumerate(first.spec.attention_layers):
            own = result.sel(metric=metric, layer=layer).squeeze()
            for name, values in plain_by_class(first, second, labels, metric, exclude, index).items():
                part, where = own.sel(label=name), f"{metric} of {name}"
                counts = (~np.isnan(values)).sum(axis=0)
                assert 0 < counts.min() < len(values) or name == "O", where
                np.testing.assert_array_equal(part.label_count, counts, err_msg=where)
                np.testing.assert_allclose(part.label_mean, np.nanmean(values, axis=0), atol=3e-6, err_msg=where)
                np.testing.assert_allclose(part.label_std, np.nanstd(values, axis=0, ddof=1), atol=1e-5, err_msg=where)
                assert (part.label_ci_low <= part.label_mean).all()
                assert (part.label_mean <= part.label_ci_high).all()


@pytest.mark.slow
def test_means_of_all_words_are_those_of_runs_compared_by_word(compare: Compare) -> None:
    first, second = runs(tokens=1)
    result = compare(first, second, metrics=("js", "entropy"), match_heads=True, per_sample=True)
    values = {
        metric: np.array(
            [
                [
                    PLAIN[metric](*(dense_map(run, sample, 0, head, own, place) for run in (first, second)))
                    for head in range(3)
                ]
                for sample in range(len(first.maps))
                for own, _, place in [members(as_words(first, "1"), as_words(second, "2"), sample, exclude=False)]
            ]
        )
        for metric in ("js", "entropy")
    }
    for metric, own in values.items():
        part = result.sel(metric=metric).isel(layer=0, training_size=0)
        np.testing.assert_allclose(part["mean"], np.nanmean(own, axis=0), atol=3e-6)
        np.testing.assert_array_equal(part["count"], (~np.isnan(own)).sum(axis=0))
        np.testing.assert_allclose(part["value"], own.T, atol=3e-6)
    assert (result.matched_head.sel(metric="js") >= 0).all()


@pytest.mark.slow
def test_one_class_of_all_words_has_the_means_of_all(compare: Compare, tmp_path: Path) -> None:
    first, second = runs(tokens=1)
    compare(first, second, metrics=("js",))
    words = len(first.columns["words/word_text"])
    Store.open(tmp_path).add_labels("one", ["same"] * words, **WHERE, level="words")
    request = AttentionRequest(model="tiny", by="one", metrics=("js", "special-mass", "distance"))
    result = compare_attention(tmp_path, request)
    for name in ("mean", "std", "ci_low", "ci_high", "count"):
        np.testing.assert_array_equal(
            result[f"label_{name}"].squeeze("label").transpose(*result[name].dims), result[name]
        )


@pytest.mark.slow
def test_metrics_of_whole_maps_are_not_split_and_that_is_said(compare: Compare) -> None:
    first, second = runs()
    request = AttentionRequest(model="tiny", by="kind")
    result = compare(first, second)
    analysis = AttentionComparison()
    assert result.label_mean.sel(metric="cosine").isnull().all()
    assert result.label_mean.sel(metric="js").notnull().any()
    notes = list(analysis.notes(result, request))
    assert f"{labels_of(first).count(None)} words without a label of kind: in no class" in notes
    assert "cosine measures whole maps, and is not split by the classes of words" in notes
    assert "means are split by words: all of them compare runs word by word, not token by token" in notes
    columns = list(analysis.summary(result, request))
    assert "js (bit), DNA" in columns or "js, DNA" in columns
    assert "cosine, DNA" not in columns


@pytest.mark.slow
def test_iob2_tags_are_merged_and_own_metrics_of_rows_are_split(compare: Compare, tmp_path: Path) -> None:
    first, second = runs(tokens=1)
    compare(first, second, metrics=("js",))
    words = len(first.columns["words/word_text"])
    tags = [("O", "B-DNA", "I-DNA")[n % 3] for n in range(words)]
    Store.open(tmp_path).add_labels("tags", tags, **WHERE, level="words", iob2=True)

    def moved(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.abs(a - b).sum(axis=1) / 2)

    def largest(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        return float(np.abs(a - b).max())

    request = AttentionRequest(model="tiny", by="tags", metrics=("tv", moved, largest))
    result = compare_attention(tmp_path, request)
    assert result.label.values.tolist() == ["O", "DNA"]
    names = result.metric.values.tolist()
    np.testing.assert_allclose(result.label_mean.sel(metric=names[1]), result.label_mean.sel(metric="tv"), atol=1e-6)
    assert result.label_mean.sel(metric=names[2]).isnull().all()
    assert result.attrs["not_split"] == names[2]


@pytest.mark.slow
def test_packs_and_workers_change_nothing(
    compare: Compare, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first, second = runs(tokens=1)
    here = compare(first, second, metrics=("js", "entropy"), resamples=50)
    request = AttentionRequest(model="tiny", by="kind", metrics=("js", "entropy"), resamples=50)
    there = compare_attention(tmp_path, request, workers=2, force=True)
    xr.testing.assert_equal(here, there)
    other = tmp_path_factory.mktemp("other")
    for own in runs(tokens=1, capacity=1000):
        own.write_all(other)
    Store.open(other).add_labels("kind", labels_of(first), **WHERE, level="words")
    whole = compare_attention(other, request)
    for name in ("label_mean", "label_ci_low", "label_count", "mean"):
        np.testing.assert_array_equal(whole[name], here[name])


@pytest.mark.slow
def test_classes_that_take_too_much_memory_are_refused_before_anything_is_read(
    compare: Compare, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = runs()
    compare(first, second, metrics=("js",), resamples=50)
    # Of 2 layers, 3 heads, 4 groups, chance and 2000 resamples there are two sums in float64.
    monkeypatch.setattr(sums, "FEW_GROUPS", 0)
    monkeypatch.setattr(tasks, "machine_memory", lambda: 2 * (2 * 3 * 5 * 2000 * 16 - 1))
    with pytest.raises(ResourceError, match=r"by='kind' has 3 classes, whose resamples take .* pass fewer resamples"):
        compare(first, second, metrics=("js",), resamples=2000)
    monkeypatch.setattr(tasks, "machine_memory", lambda: 2 * 2 * 3 * 5 * 2000 * 16)
    assert compare(first, second, metrics=("js",), resamples=2000).attrs["resamples"] == 2000
