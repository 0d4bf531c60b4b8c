"""What a user of xarray expects of a view: selection, arithmetic, files, processes and clusters."""

import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import numpy as np
import pytest
import xarray as xr
from by_hand import assert_close, of_sample, samples_by_hand, words_by_hand
from store_factory import Synthetic, processes, synthetic

from biocache.store import Run, Store

LENGTHS = (3, 9, 4, 2, 1, 12, 5, 7)
VIEWS: dict[str, Callable[[Store], xr.Dataset]] = {
    "tokens": lambda store: store.run(training_size=0).tokens(),
    "words": lambda store: store.run(training_size=0).words(),
    "samples": lambda store: store.run(training_size=0).samples("max", special_tokens=True),
    "attention": lambda store: store.run(training_size=0).attention(),
    "map": lambda store: store.run(training_size=0).attention_map("s5").to_dataset(),
    "stack": lambda store: store.stack("words", model=["tiny"], training_size=[0, 30]),
}


@pytest.fixture(scope="module")
def sources() -> dict[int, Synthetic]:
    return {size: synthetic(LENGTHS, 13, training_size=size, iob2=False) for size in (0, 30)}


@pytest.fixture(scope="module")
def store(sources: dict[int, Synthetic], tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("store") / "s.zarr"
    rng = np.random.default_rng(7)
    for sample, hidden in enumerate(sources[30].hidden):
        sources[30].hidden[sample] = rng.normal(size=hidden.shape).astype(hidden.dtype)
    for source in sources.values():
        source.write_labelled(root)
    return Store.open(root)


@pytest.fixture
def run(store: Store) -> Run:
    return store.run(training_size=0)


def values(array: xr.DataArray) -> Any:
    return array.compute(scheduler="synchronous").to_numpy()


def labelled(source: Synthetic) -> dict[int, str]:
    return {word: source.label_names[source.columns["words/label"][word]] for word in words_by_hand(source, "mean")}


# Selection and arithmetic


@pytest.mark.slow
def test_layers_are_selected_by_number(tmp_path: Path) -> None:
    source = synthetic(layers=(0, 6, 12))
    run = source.write_all(tmp_path)
    tokens = run.tokens()
    np.testing.assert_array_equal(values(tokens.hidden.sel(layer=6)), source.truth("hidden")[1])
    np.testing.assert_array_equal(values(tokens.hidden.sel(layer=slice(1, 12))), source.truth("hidden")[1:])
    np.testing.assert_array_equal(values(run.attention().attention.sel(layer=12)), source.truth("attention")[1])
    with pytest.raises(KeyError):
        run.words().hidden.sel(layer=7)


@pytest.mark.slow
def test_rows_are_selected_by_place(run: Run, sources: dict[int, Synthetic]) -> None:
    tokens = run.tokens().isel(token=[4, 2, 40], layer=-1)
    np.testing.assert_array_equal(values(tokens.hidden), sources[0].truth("hidden")[-1][[4, 2, 40]])
    words = words_by_hand(sources[0], "mean")
    assert_close(values(run.words().hidden.isel(layer=0, word=-1)), words[max(words)][0])
    some = sorted(words)[3:6]
    chosen = run.words().sel(word=some)
    assert_close(values(chosen.hidden), np.stack([words[word] for word in some], axis=1))


def test_where_keeps_the_words_of_a_label(run: Run, sources: dict[int, Synthetic]) -> None:
    words = run.words()
    labels, truth = labelled(sources[0]), words_by_hand(sources[0], "mean")
    kept = [word for word in sorted(labels) if labels[word] == "B-protein"]
    assert 0 < len(kept) < len(labels)
    found = words.where(words.label == "B-protein", drop=True)
    assert found["word"].values.tolist() == kept
    assert set(found["label"].values) == {"B-protein"}
    assert_close(values(found.hidden), np.stack([truth[word] for word in kept], axis=1))


def test_where_keeps_the_tokens_of_a_kind(run: Run, sources: dict[int, Synthetic]) -> None:
    tokens = run.tokens()
    found = tokens.where(~tokens.special, drop=True)
    special = [flag for sample in range(len(LENGTHS)) for flag in of_sample(sources[0], "special", sample)]
    expected = sources[0].truth("hidden")[:, ~np.array(special)]
    np.testing.assert_array_equal(values(found.hidden), expected)


def test_means_of_groups_are_those_of_numpy(run: Run, sources: dict[int, Synthetic]) -> None:
    labels, truth = labelled(sources[0]), words_by_hand(sources[0], "mean")
    means = run.words().groupby("label").mean()
    assert means["label"].values.tolist() == sorted(set(labels.values()))
    assert len(means["label"]) == 3
    for label in means["label"].values:
        own = [truth[word] for word in sorted(truth) if labels[word] == label]
        found = values(means.hidden.sel(label=label).transpose("layer", "feature"))
        np.testing.assert_allclose(found, np.mean(own, axis=0), rtol=1e-5, atol=1e-6)


def test_words_are_grouped_by_their_sample(run: Run, sources: dict[int, Synthetic]) -> None:
    truth, owner = words_by_hand(sources[0], "mean"), sources[0].columns["words/sample"]
    largest = run.words().hidden.sel(layer=1).groupby("sample").max()
    for sample in largest["sample"].values:
        own = [truth[word][1] for word in truth if owner[word] == sample]
        found = values(largest.sel(sample=sample))
        np.testing.assert_allclose(found, np.max(own, axis=0), rtol=1e-5, atol=1e-6)


def test_runs_are_subtracted_by_label_not_by_place(store: Store, sources: dict[int, Synthetic]) -> None:
    tuned, plain = store.run(training_size=30).words(), store.run(training_size=0).words()
    change = tuned.isel(word=slice(None, None, -1)) - plain.isel(word=slice(2, None))
    truth = {size: words_by_hand(sources[size], "mean") for size in sources}
    kept = sorted(truth[0])[2:]
    assert sorted(change["word"].values.tolist()) == kept
    expected = np.stack([truth[30][word] - truth[0][word] for word in kept], axis=1)
    assert_close(values(change.hidden.sel(word=kept)), expected)
    by_layer = tuned.hidden.sel(layer=[1, 2]) - plain.hidden
    assert by_layer["layer"].values.tolist() == [1, 2]


def test_a_view_becomes_a_table(run: Run, sources: dict[int, Synthetic]) -> None:
    table = run.words().hidden.sel(layer=2).isel(feature=0).to_dataframe()
    labels, truth = labelled(sources[0]), words_by_hand(sources[0], "mean")
    assert table["label"].to_dict() == labels
    np.testing.assert_allclose(table["hidden"].tolist(), [truth[w][2, 0] for w in sorted(truth)], rtol=1e-5)


# Files


@pytest.mark.parametrize("view", VIEWS)
def test_netcdf_round_trip(store: Store, tmp_path: Path, view: str) -> None:
    dataset = VIEWS[view](store)
    dataset.to_netcdf(tmp_path / "view.nc")
    with xr.open_dataset(tmp_path / "view.nc") as back:
        xr.testing.assert_identical(back.load(), dataset.compute())


# xarray consolidates the metadata of what it writes, and Zarr warns of it, whatever is written.
CONSOLIDATED = "ignore:Consolidated metadata is currently not part"


@pytest.mark.slow
@pytest.mark.filterwarnings(CONSOLIDATED)
@pytest.mark.parametrize("view", VIEWS)
def test_zarr_round_trip_of_a_view_in_memory(store: Store, tmp_path: Path, view: str) -> None:
    dataset = VIEWS[view](store).compute()
    dataset.to_zarr(tmp_path / "view.zarr")
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "view.zarr").load(), dataset)


@pytest.mark.slow
@pytest.mark.filterwarnings(CONSOLIDATED)
@pytest.mark.parametrize("view", [view for view in VIEWS if view != "map"])
def test_zarr_round_trip_of_a_lazy_view(store: Store, tmp_path: Path, view: str) -> None:
    dataset = VIEWS[view](store)
    name = next(iter(dataset))
    # Blocks are packs, of differing lengths; chunks of Zarr are of one length.
    chunks = [5 if dim in {"token", "word", "sample", "entry"} else 1 for dim in dataset[name].dims]
    dataset.to_zarr(tmp_path / "view.zarr", encoding={name: {"chunks": chunks}}, align_chunks=True)
    with xr.open_zarr(tmp_path / "view.zarr") as back:
        assert back[name].dtype == dataset[name].dtype
        xr.testing.assert_identical(back.load(), dataset.compute())


# Processes and clusters


def by_hand(source: Synthetic) -> dict[str, Any]:
    words = words_by_hand(source, "mean")
    return {
        "tokens": source.truth("hidden"),
        "words": np.stack([words[word] for word in sorted(words)], axis=1),
        "samples": samples_by_hand(source, "max", special_tokens=True),
        "attention": source.truth("attention"),
    }


def assert_equal(dataset: xr.Dataset, expected: Any) -> None:
    found = dataset[next(iter(dataset))].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("module", [pickle, cloudpickle])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_survives_pickling_and_stays_lazy(
    store: Store, view: str, module: Any, reads: list[tuple[str, int, int]]
) -> None:
    dataset = VIEWS[view](store)
    reads.clear()
    back = module.loads(module.dumps(dataset))
    assert reads == []
    xr.testing.assert_identical(back.compute(scheduler="synchronous"), dataset.compute(scheduler="synchronous"))


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_schedulers_of_this_process_compute_the_same(
    store: Store, sources: dict[int, Synthetic], scheduler: str
) -> None:
    for view, expected in by_hand(sources[0]).items():
        assert_equal(VIEWS[view](store).compute(scheduler=scheduler), expected)


@pytest.mark.slow
def test_processes_compute_the_same(store: Store, sources: dict[int, Synthetic]) -> None:
    expected = by_hand(sources[0])
    with ProcessPoolExecutor(2, mp_context=processes()) as pool:
        found = dask.compute(*(VIEWS[view](store) for view in expected), scheduler="processes", pool=pool)
    for dataset, view in zip(found, expected, strict=True):
        assert_equal(dataset, expected[view])


def test_a_cluster_computes_the_same(store: Store, sources: dict[int, Synthetic], cluster: Any) -> None:
    from distributed import Client

    expected = by_hand(sources[0])
    with Client(cluster) as client:
        for view in expected:
            assert_equal(client.compute(VIEWS[view](store)).result(timeout=60), expected[view])
        mean = client.compute(VIEWS["words"](store).hidden.mean("word")).result(timeout=60)
    np.testing.assert_allclose(mean, expected["words"].mean(axis=1), rtol=1e-4, atol=1e-5)
