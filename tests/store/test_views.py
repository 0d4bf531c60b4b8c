"""Words, samples, tokens and attention of a run, against loops over what was written."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from by_hand import assert_close, of_sample, samples_by_hand, words_by_hand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from store_factory import Synthetic, chunk_file, synthetic

from biocache.store import Run, Store
from biocache.store.errors import IncompleteRunError, IntegrityError, RunNotFoundError, SettingError

WORDS = ("mean", "first", "last")
SAMPLES = ("mean", "first", "last", "max")
# Packs at several capacities: every sample its own, the three of the factory, all in one.
CAPACITIES = (1, 10, 1000)
# Pack 1 of the factory's run holds sample 2 alone.
PACK, SAMPLE, INDEX = 1, 2, 1
HIDDEN_VIEWS: dict[str, Callable[[Run], xr.Dataset]] = {
    "tokens": lambda run: run.tokens(),
    "words": lambda run: run.words(),
    "samples": lambda run: run.samples("max", special_tokens=True),
}
VIEWS = {**HIDDEN_VIEWS, "attention": lambda run: run.attention()}


@pytest.fixture
def source() -> Synthetic:
    return synthetic()


@pytest.fixture
def run(source: Synthetic, tmp_path: Path) -> Run:
    return source.write_all(tmp_path / "s.zarr")


def values(array: Any) -> NDArray[Any]:
    computed: NDArray[Any] = array.compute(scheduler="synchronous").to_numpy()
    return computed


def computed(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.compute(scheduler="synchronous")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("pooling", WORDS)
def test_words_are_reduced_from_their_tokens(tmp_path: Path, pooling: str, capacity: int, dtype: str) -> None:
    source = synthetic([3, 9, 4, 2, 1, 12, 5], capacity, dtype=dtype)
    words = source.write_all(tmp_path).words(pooling)
    expected = words_by_hand(source, pooling)
    assert words["word"].values.tolist() == sorted(expected)
    assert words["hidden"].dims == ("layer", "word", "feature")
    assert_close(values(words["hidden"]), np.stack([expected[word] for word in sorted(expected)], axis=1))


@pytest.mark.parametrize("task", ["ner", "nli"])
def test_words_are_labelled(tmp_path: Path, task: str) -> None:
    source = synthetic(task=task)
    words = source.write_labelled(tmp_path).words(label_scheme="bio")
    kept = sorted(words_by_hand(source, "mean"))
    total = len(source.columns["words/word_text"])
    assert 0 < len(kept) < total
    assert words.attrs["words_lost"] == total - len(kept)
    assert words.attrs["title"] == f"words of {source.spec.key}"
    columns = {"sample": "sample", "text": "word_text", "segment": "segment", "token_count": "token_count"}
    assert set(words.coords) == {"layer", "word", *columns, *(["label"] if task == "ner" else [])}
    for name, column in columns.items():
        assert words[name].dims == ("word",)
        assert words[name].values.tolist() == [source.columns[f"words/{column}"][word] for word in kept]
    if task == "ner":
        names, codes = source.label_names, source.columns["words/label"]
        assert words["label"].values.tolist() == [names[codes[word]] for word in kept]
    assert words["hidden"].attrs == {"long_name": "hidden state", "units": "1", "cell_methods": "token: mean"}
    assert all(words[name].attrs["long_name"] for name in words.coords)


@pytest.mark.slow
@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize("pooling", SAMPLES)
def test_samples_are_reduced_from_their_tokens(
    tmp_path: Path, pooling: str, special_tokens: bool, capacity: int
) -> None:
    source = synthetic([3, 1, 9, 1, 2, 1, 12, 5, 1], capacity)
    samples = source.write_all(tmp_path).samples(pooling, special_tokens)
    expected = samples_by_hand(source, pooling, special_tokens)
    assert np.isnan(expected[0, :, 0]).tolist() == [n == 1 and not special_tokens for n in source.plan.tokens.count]
    assert samples["hidden"].dims == ("layer", "sample", "feature")
    assert_close(values(samples["hidden"]), expected)


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_run_of_special_tokens_only(tmp_path: Path, capacity: int) -> None:
    source = synthetic([1, 1, 1], capacity)
    run = source.write_all(tmp_path)
    assert np.isnan(values(run.samples()["hidden"])).all()
    assert_close(values(run.samples(special_tokens=True)["hidden"]), samples_by_hand(source, "mean", True))
    words = run.words()
    assert values(words["hidden"]).shape == (3, 0, 6)
    assert words.attrs["words_lost"] == run.counts.words


@pytest.mark.parametrize("task", ["ner", "nli"])
def test_samples_are_labelled(tmp_path: Path, task: str) -> None:
    source = synthetic(task=task, iob2=False)
    run = source.write_labelled(tmp_path)
    for view in (run.samples(), run.attention()):
        own = {"sample_id", "token_count", "word_count", "truncated"}
        level = {"layer", "head"} if "attention" in view else {"layer"}
        assert set(view.coords) == {"sample", *own, *level, *(["label"] if task == "nli" else [])}
        assert view["sample"].values.tolist() == list(range(6))
        for name in own:
            assert view[name].dims == ("sample",)
            assert view[name].values.tolist() == source.columns[f"samples/{name}"].tolist()
        if task == "nli":
            names, codes = source.label_names, source.columns["samples/label"]
            assert view["label"].values.tolist() == [names[code] for code in codes]
    assert run.samples("max")["hidden"].attrs["cell_methods"] == "token: max"


@pytest.mark.parametrize("task", ["ner", "nli"])
@pytest.mark.parametrize("view", ["words", "samples"])
def test_a_label_that_is_not_known_is_empty(tmp_path: Path, task: str, view: str) -> None:
    source = synthetic(task=task)
    table = "words" if task == "ner" else "samples"
    source.columns[f"{table}/label"][:2] = -1
    run = source.write_labelled(tmp_path)
    if view == table:
        labels = getattr(run, view)()["label"].values.tolist()
        assert labels[:2] == ["", ""]
        assert "" not in labels[2:]
    else:
        assert "label" not in getattr(run, view)().coords


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_a_contiguous_ragged_array(tmp_path: Path, causal: bool, capacity: int) -> None:
    source = synthetic(capacity=capacity, causal=causal)
    attention = source.write_all(tmp_path).attention()
    assert attention["attention"].dims == ("layer", "head", "entry")
    assert attention["attention"].dtype == np.float16
    assert attention["layer"].values.tolist() == [1, 2]
    assert attention["head"].values.tolist() == [0, 1]
    assert attention["row_size"].attrs["sample_dimension"] == "entry"
    assert attention["attention"].attrs["causal"] == int(causal)
    entries, begin = values(attention["attention"]), 0
    for maps, size in zip(source.maps, attention["row_size"].values.tolist(), strict=True):
        tokens = range(maps.shape[-1])
        expected = [maps[..., query, key] for query in tokens for key in tokens if key <= query or not causal]
        np.testing.assert_array_equal(entries[..., begin : begin + size], np.stack(expected, axis=-1))
        begin += size
    assert begin == entries.shape[-1]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layers", [(0, 1, 2), (2,), (0, 3)])
def test_the_map_of_one_sample(tmp_path: Path, causal: bool, layers: tuple[int, ...]) -> None:
    source = synthetic(causal=causal, layers=layers)
    run = source.write_all(tmp_path)
    for sample, maps in enumerate(source.maps):
        for name in (sample, np.int64(sample), f"s{sample}"):
            found = run.attention_map(name)
            assert found.dims == ("layer", "head", "query", "key")
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found.values, maps)
        assert found["layer"].values.tolist() == [layer for layer in layers if layer > 0]
        assert found["head"].values.tolist() == [0, 1]
        texts = of_sample(source, "token_text", sample)
        assert found["query_token"].values.tolist() == found["key_token"].values.tolist() == texts
        assert found["query"].values.tolist() == found["key"].values.tolist() == list(range(len(texts)))
        assert (found["sample"].item(), found["sample_id"].item()) == (sample, f"s{sample}")
        assert found.attrs["units"] == "1"


@pytest.mark.slow
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    capacities=st.tuples(st.integers(1, 12), st.integers(1, 200)),
    causal=st.booleans(),
    task=st.sampled_from(["ner", "nli"]),
    seed=st.integers(0, 99),
)
def test_views_do_not_depend_on_packing(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    capacities: tuple[int, int],
    causal: bool,
    task: str,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("stores")
    sources = [synthetic(lengths, capacity, seed, causal=causal, task=task) for capacity in capacities]
    one, other = (source.write_all(folder / str(n)) for n, source in enumerate(sources))
    for view in VIEWS.values():
        xr.testing.assert_identical(computed(view(one)), computed(view(other)))
    last = len(lengths) - 1
    xr.testing.assert_identical(one.attention_map(last), other.attention_map(last))
    assert_close(values(one.samples()["hidden"]), samples_by_hand(sources[0], "mean", False))


# How little is read


def test_opening_building_and_selecting_reads_no_activations(
    source: Synthetic, tmp_path: Path, reads: list[tuple[str, int, int]]
) -> None:
    source.write_labelled(tmp_path)
    reads.clear()
    run = Store.open(tmp_path).run(task="ner")
    for view in VIEWS.values():
        dataset = view(run)
        assert repr(dataset)
        assert dataset._repr_html_()
        dataset.sel(layer=1).isel({dataset[next(iter(dataset))].dims[-2]: [0]})
    words = run.words()
    words.where(words["label"] == "O", drop=True)
    words.groupby("label").mean()
    assert reads == []


@pytest.mark.parametrize("view", sorted(HIDDEN_VIEWS))
def test_one_layer_reads_the_chunks_of_one_layer(run: Run, reads: list[tuple[str, int, int]], view: str) -> None:
    values(HIDDEN_VIEWS[view](run)["hidden"].sel(layer=INDEX))
    assert sorted(reads) == [("hidden", INDEX, pack) for pack in range(3)]


@pytest.mark.parametrize("view", ["tokens", "words", "samples"])
def test_ten_samples_of_one_layer_read_the_packs_that_hold_them(
    tmp_path: Path, reads: list[tuple[str, int, int]], view: str
) -> None:
    source = synthetic([4, 5, 6] * 20, 16)
    dataset = getattr(source.write_all(tmp_path), view)()
    for wanted in (range(20, 30), [0, 7, 8, 9, 30, 31, 32, 33, 58, 59]):
        reads.clear()
        part = dataset.sel(layer=2).isel({view.removesuffix("s"): np.isin(dataset["sample"], list(wanted))})
        assert set(part["sample"].values.tolist()) == set(wanted)
        values(part["hidden"])
        packs = {pack for pack in range(20) if set(source.plan.samples_of(pack)) & set(wanted)}
        assert len(packs) < 7
        assert sorted(reads) == [("hidden", 2, pack) for pack in sorted(packs)]


def test_heads_and_samples_of_attention_read_their_packs(run: Run, reads: list[tuple[str, int, int]]) -> None:
    attention = run.attention()
    values(attention["attention"].sel(layer=2, head=1).isel(entry=slice(0, 3)))
    assert reads == [("attention", 1, 0)]
    reads.clear()
    run.attention_map(SAMPLE)
    assert sorted(reads) == [("attention", index, PACK) for index in range(2)]


# What cannot be read


def delete(chunk: Path, _: Path) -> None:
    chunk.unlink()


def truncate(chunk: Path, _: Path) -> None:
    chunk.write_bytes(chunk.read_bytes()[:-3])


def flip(chunk: Path, _: Path) -> None:
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 4
    chunk.write_bytes(data)


def swap(chunk: Path, other: Path) -> None:
    shutil.copy(other, chunk)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [delete, truncate, flip, swap])
@pytest.mark.parametrize("view", sorted(VIEWS))
def test_damage_is_an_error_and_never_nan(run: Run, view: str, damage: Callable[[Path, Path], None]) -> None:
    dataset = VIEWS[view](run)
    name = next(iter(dataset))
    sound = values(dataset[name])
    damage(chunk_file(run, name, INDEX, PACK), chunk_file(run, name, INDEX, 0))
    layer = int(run.spec.variable_layers(name)[INDEX])
    with pytest.raises(IntegrityError, match=f"layer {layer} of {name} in pack {PACK} of"):
        values(dataset[name])
    with pytest.raises(IntegrityError):
        values(dataset[name].sel(layer=layer).mean())
    others = dataset[name].drop_sel(layer=layer)
    np.testing.assert_array_equal(values(others), np.delete(sound, INDEX, axis=0))


@pytest.mark.parametrize("damage", [delete, truncate, flip, swap])
def test_damage_of_a_map(run: Run, source: Synthetic, damage: Callable[[Path, Path], None]) -> None:
    damage(chunk_file(run, "attention", 0, PACK), chunk_file(run, "attention", 0, 0))
    with pytest.raises(IntegrityError, match=f"layer 1 of attention in pack {PACK} of"):
        run.attention_map(SAMPLE)
    np.testing.assert_array_equal(run.attention_map(0).values, source.maps[0])


@pytest.mark.parametrize("column", ["tokens/word", "words/word_text", "words/segment", "samples/token_count"])
def test_damage_of_a_table(run: Run, column: str) -> None:
    chunk = run.path / column / "c/0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=f"table column {column} "):
        Run.open(run.path.parents[6], run.key).words()


EVERY: dict[str, Callable[[Run], Any]] = {**VIEWS, "map": lambda run: run.attention_map(0)}


@pytest.mark.parametrize("view", sorted(EVERY))
def test_an_incomplete_run_is_refused(source: Synthetic, tmp_path: Path, view: str) -> None:
    run = source.create(tmp_path)
    source.write(run, [0])
    with pytest.raises(IncompleteRunError, match="is incomplete: 1 of 3 packs are there; finish it with"):
        EVERY[view](run)


@pytest.mark.parametrize("view", sorted(EVERY))
def test_a_removed_run_is_gone(run: Run, view: str) -> None:
    lazy = VIEWS[view](run) if view in VIEWS else None
    Store.open(run.path.parents[6]).remove(run)
    with pytest.raises(RunNotFoundError, match=f"run {run.path} was removed after it was opened"):
        EVERY[view](run)
    if lazy is not None:
        with pytest.raises(RunNotFoundError, match=f"run {run.path} was removed after it was opened"):
            computed(lazy)


@pytest.mark.parametrize("kept", ["hidden", "attention"])
def test_a_run_without_what_is_asked_for(tmp_path: Path, kept: str) -> None:
    run = synthetic(keep=(kept,)).write_all(tmp_path)
    for name, view in EVERY.items():
        if (name in HIDDEN_VIEWS) == (kept == "hidden"):
            view(run)
        else:
            with pytest.raises(RunNotFoundError, match=f"keeps {kept} and no "):
                view(run)


def test_unknown_poolings_are_refused(run: Run) -> None:
    with pytest.raises(SettingError, match=r"pooling 'max' of words is not one of mean, first, last$"):
        run.words("max")
    with pytest.raises(SettingError, match=r"pooling 'cls' of samples is not one of mean, first, last, max$"):
        run.samples("cls")


@pytest.mark.parametrize("sample", [6, -1, "s6", "", 1.5])
def test_unknown_samples_are_refused(run: Run, sample: Any) -> None:
    with pytest.raises(RunNotFoundError, match=f"has no sample {sample!r}; it"):
        run.attention_map(sample)
