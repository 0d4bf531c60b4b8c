"""Runs of several training sizes, seeds and models as one Dataset, against the runs one by one."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from by_hand import assert_close, samples_by_hand, words_by_hand
from store_factory import Synthetic, chunk_file, synthetic

from biocache.store import Store
from biocache.store.errors import (
    AmbiguousRunError,
    IncompleteRunError,
    IntegrityError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
)

SIZES, SEEDS = (0, 30, 100), (1, 2)


def values(dataset: Any) -> Any:
    return dataset["hidden"].compute(scheduler="synchronous").to_numpy()


def like(key: dict[str, Any], numbers: int, capacity: int = 10, lost: tuple[int, ...] = (), **spec: Any) -> Synthetic:
    """Make a run of the same text with numbers of its own; the words `lost` have no tokens."""
    source = synthetic(capacity=capacity, **spec)
    source = replace(source, spec=replace(source.spec, key=replace(source.spec.key, **key)))
    rng = np.random.default_rng(numbers)
    for sample, hidden in enumerate(source.hidden):
        source.hidden[sample] = rng.normal(size=hidden.shape).astype(hidden.dtype)
    for word in lost:
        tokens = source.columns["tokens/word"] == word
        assert tokens.any()
        source.columns["tokens/word"][tokens] = -1
        source.columns["tokens/special"][tokens] = True
        source.columns["words/token_count"][word] = 0
        source.columns["words/token_start"][word] = -1
    return source


@pytest.fixture(scope="module")
def sources() -> dict[tuple[int, int], Synthetic]:
    """Three sizes and two seeds of one model, packed in different ways."""
    return {
        (size, seed): like({"training_size": size, "seed": seed}, 10 * size + seed, capacity=5 * seed)
        for size, seed in product(SIZES, SEEDS)
    }


@pytest.fixture(scope="module")
def store(sources: dict[tuple[int, int], Synthetic], tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("stacking") / "s.zarr"
    for source in sources.values():
        source.write_labelled(root)
    return Store.open(root)


def words_of(source: Synthetic, pooling: str = "mean", kept: list[int] | None = None) -> Any:
    words = words_by_hand(source, pooling)
    return np.stack([words[word] for word in (sorted(words) if kept is None else kept)], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", [None, "mean", "first", "last"])
def test_training_sizes_are_stacked_in_the_order_asked(
    store: Store, sources: dict[tuple[int, int], Synthetic], pooling: str | None
) -> None:
    stacked = store.stack(training_size=[30, 100, 0], seed=1, pooling=pooling)
    assert stacked["hidden"].dims == ("training_size", "layer", "word", "feature")
    assert stacked["training_size"].values.tolist() == [30, 100, 0]
    expected = [words_of(sources[size, 1], pooling or "mean") for size in (30, 100, 0)]
    assert_close(values(stacked), np.array(expected))
    change = stacked.hidden.sel(training_size=100) - stacked.hidden.sel(training_size=0)
    assert_close(change.compute(scheduler="synchronous").to_numpy(), expected[1] - expected[2])


def test_several_axes_are_dimensions_in_the_order_of_the_arguments(
    store: Store, sources: dict[tuple[int, int], Synthetic]
) -> None:
    stacked = store.stack("samples", seed=(2, 1), training_size=range(0, 31, 30), pooling="max", task="ner")
    assert stacked["hidden"].dims == ("seed", "training_size", "layer", "sample", "feature")
    assert dict(stacked.sizes) == {"seed": 2, "training_size": 2, "layer": 3, "sample": 6, "feature": 6}
    for seed, size in product((2, 1), (0, 30)):
        part = stacked.sel(seed=seed, training_size=size)
        assert_close(values(part), samples_by_hand(sources[size, seed], "max", special_tokens=False))


def test_coordinates_and_attributes_are_those_that_the_runs_share(store: Store) -> None:
    stacked = store.stack(training_size=[0, 30], seed=1)
    one = store.run(training_size=0, seed=1).words()
    assert set(stacked.coords) == {*one.coords, "training_size"}
    for name in one.coords:
        assert stacked[name].dims == one[name].dims
        assert stacked[name].values.tolist() == one[name].values.tolist()
    assert stacked.attrs["seed"] == 1
    assert stacked.attrs["words_lost"] == stacked.attrs["words_left_out"] == 3
    assert not {"training_size", "title"} & set(stacked.attrs)
    assert stacked["hidden"].attrs == one["hidden"].attrs


def test_tokens_of_one_tokenizer_are_stacked(store: Store, sources: dict[tuple[int, int], Synthetic]) -> None:
    stacked = store.stack("tokens", training_size=[0, 100], seed=2)
    assert stacked["hidden"].dims == ("training_size", "layer", "token", "feature")
    np.testing.assert_array_equal(values(stacked), [sources[size, 2].truth("hidden") for size in (0, 100)])
    assert stacked["token_text"].values.tolist()[:2] == ["β0", "β1"]


def test_the_unique_values_of_the_catalog_can_be_stacked(store: Store) -> None:
    catalog = store.catalog()
    assert store.stack(training_size=catalog["training_size"].unique(), seed=1).sizes["training_size"] == 3
    stacked = store.stack(model=catalog["model"].unique(), seed=np.array([1, 2]), training_size=30)
    assert stacked["hidden"].dims[:2] == ("model", "seed")
    assert isinstance(catalog["training_size"], pd.Series)
    assert len(store.keys(training_size=catalog["training_size"])) == 6


def test_a_list_of_one_makes_a_dimension(store: Store) -> None:
    assert store.stack(training_size=[30], seed=1).sizes["training_size"] == 1


# Models


@pytest.mark.slow
def test_models_are_stacked_by_word_and_lost_words_left_out(tmp_path: Path) -> None:
    whole = like({"model": "whole"}, 1)
    present = sorted(words_by_hand(whole, "mean"))
    cut = like({"model": "cut"}, 2, 1000, lost=(present[1], present[4]), encoding_digest="c" * 64, dtype="float32")
    short = like({"model": "short"}, 3, 1, lost=(present[4], present[7]), encoding_digest="s" * 64)
    for source in (whole, cut, short):
        source.write_all(tmp_path)
    store = Store.open(tmp_path)
    stacked = store.stack(model=["short", "whole", "cut"])
    kept = [word for n, word in enumerate(present) if n not in {1, 4, 7}]
    assert stacked["word"].values.tolist() == kept
    assert_close(values(stacked), np.array([words_of(source, "mean", kept) for source in (short, whole, cut)]))
    total = len(whole.columns["words/word_text"])
    assert stacked.attrs["words_left_out"] == total - len(kept)
    assert {"words_lost", "stored_dtype", "model"} & set(stacked.attrs) == set()
    assert stacked["text"].values.tolist() == [f"w{word}" for word in kept]
    assert stacked["model"].values.tolist() == ["short", "whole", "cut"]
    assert_close(values(stacked.sel(model="cut")), words_of(cut, "mean", kept))


@pytest.mark.slow
def test_lost_words_are_counted_over_all_axes(tmp_path: Path) -> None:
    present = sorted(words_by_hand(like({}, 0), "mean"))
    for (model, size), lost in zip(product(("a", "b"), (0, 10)), ([0], [0, 1], [2], [3]), strict=True):
        words = tuple(present[n] for n in lost)
        like({"model": model, "training_size": size}, 0, lost=words).write_all(tmp_path)
    stacked = Store.open(tmp_path).stack(model=["a", "b"], training_size=[0, 10])
    assert stacked["word"].values.tolist() == present[4:]
    assert stacked.attrs["words_left_out"] == len(like({}, 0).columns["words/word_text"]) - len(present[4:])


@pytest.mark.slow
def test_what_differs_is_no_coordinate(tmp_path: Path) -> None:
    one, other = like({"model": "a"}, 1), like({"model": "b"}, 2, encoding_digest="o" * 64)
    other.columns["words/token_count"] = other.columns["words/token_count"] * 2
    other.columns["samples/truncated"] = ~other.columns["samples/truncated"]
    for source in (one, other):
        source.write_labelled(tmp_path)
    store = Store.open(tmp_path)
    words = store.stack(model=["a", "b"])
    assert "token_count" not in words.coords
    assert {"text", "label", "sample", "segment"} <= set(words.coords)
    samples = store.stack("samples", model=["a", "b"])
    assert "truncated" not in samples.coords
    assert "sample_id" in samples.coords


def test_tokens_of_other_tokenizers_are_refused(tmp_path: Path) -> None:
    like({"model": "a"}, 1).write_all(tmp_path)
    like({"model": "b"}, 2, encoding_digest="o" * 64).write_all(tmp_path)
    store = Store.open(tmp_path)
    with pytest.raises(SpecMismatchError, match=r"cannot be stacked by token: .*; stack level='words'"):
        store.stack("tokens", model=["a", "b"])
    assert store.stack("words", model=["a", "b"]).sizes["model"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_digest": "o" * 64}, r"their samples differ \({digest}\.\.\. and oooooooooooo\.\.\.\)"),
        ({"feature_size": 4}, r"their features differ \(6 and 4\); compare them one by one"),
        ({"layers": (0, 2)}, r"their layers differ \(\(0, 1, 2\) and \(0, 2\)\); extract both with the same layers"),
    ],
)
@pytest.mark.parametrize("level", ["words", "samples", "tokens"])
def test_runs_that_do_not_fit_are_refused(tmp_path: Path, level: str, changes: dict[str, Any], message: str) -> None:
    one = like({"model": "a"}, 1)
    one.write_all(tmp_path)
    like({"model": "b"}, 2, **changes).write_all(tmp_path)
    told = message.replace("{digest}", one.spec.dataset_digest[:12])
    with pytest.raises(SpecMismatchError, match=told) as caught:
        Store.open(tmp_path).stack(level, model=["a", "b"])
    for model in ("a", "b"):
        assert f"ner/corpus/{model}/size-030/seed-42/sentence/test" in str(caught.value)


# What cannot be asked


@pytest.mark.parametrize(
    ("level", "options", "message"),
    [
        ("attention", {"training_size": [0]}, "level 'attention' is not one of tokens, words, samples"),
        ("tokens", {"training_size": [0], "pooling": "mean"}, "pooling 'mean' reduces words or samples"),
        ("words", {"training_size": [0], "seed": 1, "pooling": "max"}, "pooling 'max' of words is not one of"),
        ("words", {"split": ["train", "test"]}, "split cannot be stacked; .* differ in model, trained_on, training"),
        ("words", {"view": ("premise",)}, "view cannot be stacked"),
        ("words", {"training_size": []}, r"training_size=\[\] is empty"),
        ("words", {"training_size": [0, 30, 0]}, "names a value twice"),
        ("words", {"training_size": 0}, "nothing to stack: give a list for model, trained_on, training_size, seed"),
        ("words", {}, "nothing to stack"),
        ("words", {"size": 0, "seed": [1]}, "size is no part of a run's key"),
        ("words", {"sizes": [0]}, "sizes cannot be stacked"),
    ],
)  # fmt: skip
def test_what_cannot_be_stacked(store: Store, level: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        store.stack(level, **options)


def test_every_combination_names_one_run(store: Store) -> None:
    with pytest.raises(RunNotFoundError, match=r"no run matches .*training_size=10"):
        store.stack(training_size=[0, 10], seed=1)
    with pytest.raises(AmbiguousRunError, match=r"2 runs match .*training_size=0"):
        store.stack(training_size=[0, 30])


@pytest.mark.slow
def test_runs_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    like({"training_size": 0}, 1).write_all(tmp_path)
    half = like({"training_size": 10}, 2)
    half.write(half.create(tmp_path), [0])
    like({"training_size": 20}, 3, keep=("attention",)).write_all(tmp_path)
    store = Store.open(tmp_path)
    with pytest.raises(IncompleteRunError, match=r"size-010.* is incomplete"):
        store.stack(training_size=[0, 10])
    with pytest.raises(RunNotFoundError, match=r"size-020.* keeps attention and no hidden"):
        store.stack("samples", training_size=[0, 20])


# Laziness


def test_stacking_and_selecting_reads_nothing_and_computing_what_is_needed(
    store: Store, sources: dict[tuple[int, int], Synthetic], reads: list[tuple[str, int, int]]
) -> None:
    stacked = store.stack("samples", training_size=[0, 30, 100], seed=[1, 2])
    part = stacked.sel(training_size=30, seed=2, layer=1)
    assert repr(stacked)
    assert reads == []
    values(part.isel(sample=[2]))
    (pack,) = (p for p in range(sources[30, 2].plan.pack_count) if 2 in sources[30, 2].plan.samples_of(p))
    assert reads == [("hidden", 1, pack)]


def test_damage_is_an_error_and_never_nan(tmp_path: Path) -> None:
    runs = [like({"training_size": size}, size).write_all(tmp_path) for size in (0, 10)]
    stacked = Store.open(tmp_path).stack(training_size=[0, 10])
    chunk_file(runs[1], "hidden", 2, 1).unlink()
    assert np.isfinite(values(stacked.sel(training_size=0))).all()
    assert np.isfinite(values(stacked.sel(layer=[0, 1]))).all()
    with pytest.raises(IntegrityError, match=r"layer 2 of hidden in pack 1 of .*size-010"):
        values(stacked)
