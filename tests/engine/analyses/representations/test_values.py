"""Values of a comparison against kernels of all pairs of units, for all levels, data types and packings."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import plain_similarity as plain
import pytest
import xarray as xr
from attention_factory import source
from by_hand import samples_by_hand, words_by_hand
from numpy.typing import NDArray
from store_factory import Synthetic

from biocache.engine import RepresentationRequest, compare_representations
from biocache.engine.analyses.representations import reading
from biocache.engine.analyses.representations.request import METRICS

WORDS = (4, 1, 7, 3, 12, 5, 2, 9, 6, 8)
NEIGHBOURS = 3


def made(number: int, **changes: Any) -> Synthetic:
    """Make up a run of a model whose tokenizer and sizes are its own."""
    own = {"tokens": number, "maps": number, "lost": 0.1 * number, "capacity": 20 + 11 * number}
    facts = {"feature_size": 5 + number, "keep": ("hidden",), "layers": (0, 1, 2)[: 3 - number]}
    return source(WORDS, model=f"model{number}", training_size=0, **(own | facts | changes))


def asked(**settings: Any) -> RepresentationRequest:
    defaults: dict[str, Any] = {"metrics": METRICS, "neighbours": NEIGHBOURS, "blocks": 4}
    return RepresentationRequest(model="model1", against="model0", training_sizes=(0,), **(defaults | settings))


def rows_of(first: Synthetic, second: Synthetic, level: str, pooling: str) -> list[NDArray[np.float64]]:
    """Return the rows (layer, unit, feature) that both runs have."""
    if level == "sample":
        return [samples_by_hand(run, pooling, special_tokens=False) for run in (first, second)]
    words = [words_by_hand(run, pooling) for run in (first, second)]
    shared = sorted(set(words[0]) & set(words[1]))
    assert len(shared) < max(map(len, words))
    return [np.stack([own[word] for word in shared], axis=1) for own in words]


def by_plain(metric: str, first: NDArray[Any], second: NDArray[Any]) -> float:
    if metric == "knn":
        return plain.knn(first, second, NEIGHBOURS)
    known = {"cka": plain.cka, "procrustes": plain.procrustes, "rsa": plain.rsa}
    return known[metric](first, second)


def assert_values(result: xr.Dataset, rows: list[NDArray[np.float64]], names: tuple[str, ...]) -> None:
    for metric, layer, other in product(names, range(len(rows[0])), range(len(rows[1]))):
        value = result["value"].sel(metric=metric, layer=layer, other_layer=other).item()
        expected = by_plain(metric, rows[0][layer], rows[1][other])
        assert value == pytest.approx(expected, abs=2e-5), (metric, layer, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "pooling"), [("word", "mean"), ("word", "first"), ("sample", "mean"), ("sample", "max")]
)
def test_values_are_those_of_kernels_of_all_pairs(level: str, pooling: str, tmp_path: Path) -> None:
    runs = [made(number) for number in range(2)]
    for run in runs:
        run.write_all(tmp_path)
    result = compare_representations(tmp_path, asked(level=level, pooling=pooling))
    rows = rows_of(*runs, level, pooling)
    assert result.attrs["units"] == rows[0].shape[1]
    assert_values(result, rows, METRICS)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_values_are_of_what_each_data_type_keeps(dtype: str, tmp_path: Path) -> None:
    opened = [made(number, dtype=dtype).write_all(tmp_path) for number in range(2)]
    views = [run.words(labels=()).hidden.compute() for run in opened]
    shared = np.intersect1d(views[0].word, views[1].word)
    rows = [view.sel(word=shared).to_numpy().astype(np.float64) for view in views]
    assert_values(compare_representations(tmp_path, asked()), rows, METRICS)


@pytest.mark.slow
def test_biased_cka_is_the_published_definition(tmp_path: Path) -> None:
    runs = [made(number) for number in range(2)]
    for run in runs:
        run.write_all(tmp_path)
    result = compare_representations(tmp_path, asked(metrics=("cka",), biased=True)).squeeze("metric")
    rows = rows_of(*runs, "word", "mean")
    for layer, other in product(range(3), range(2)):
        own = result["value"].sel(layer=layer, other_layer=other).item()
        assert own == pytest.approx(plain.cka(rows[0][layer], rows[1][other], biased=True), abs=2e-5)


def assert_same(first: xr.Dataset, second: xr.Dataset) -> None:
    """Assert equality to the last bit."""
    for name in ("value", "value_ci_low", "value_ci_high", "chance"):
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.slow
def test_values_do_not_depend_on_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 16)
    results = []
    for capacities in ((20, 31), (400, 25), (60, 400)):
        folder = tmp_path / f"{capacities}"
        for number, capacity in enumerate(capacities):
            made(number, capacity=capacity).write_all(folder)
        results.append(compare_representations(folder, asked()))
    for other in results[1:]:
        assert_same(results[0], other)


@pytest.mark.slow
def test_values_do_not_depend_on_workers(tmp_path: Path) -> None:
    for number in range(2):
        made(number).write_all(tmp_path)
    here = compare_representations(tmp_path, asked())
    assert_same(here, compare_representations(tmp_path, asked(), workers=2, force=True))


@pytest.mark.slow
def test_small_chunks_and_tiles_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biocache.engine.analyses.representations import comparison

    for number in range(2):
        made(number).write_all(tmp_path)
    usual = compare_representations(tmp_path, asked(metrics=("cka", "rsa", "knn")))
    monkeypatch.setattr(reading, "CHUNK", 7)
    monkeypatch.setattr(comparison, "_PRODUCT_BYTES", 1)
    small = compare_representations(tmp_path, asked(metrics=("cka", "rsa", "knn")), force=True)
    for name in ("value", "value_ci_low", "value_ci_high"):
        np.testing.assert_allclose(usual[name], small[name], atol=1e-5)
