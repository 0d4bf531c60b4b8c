"""Reading a run: the views, how little they read, and what they refuse."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
from store_factory import Synthetic, compute_pickled, processes, seal_again, synthetic

from biocache.store import Run, RunKey
from biocache.store.chunks import dense_maps
from biocache.store.creating import discard_run
from biocache.store.errors import IncompleteRunError, IntegrityError, RunNotFoundError, StoreFormatError

PATIENCE = 60


@pytest.fixture
def source() -> Synthetic:
    return synthetic()


@pytest.fixture
def run(source: Synthetic, tmp_path: Path) -> Run:
    return source.write_all(tmp_path / "s.zarr")


def values(array: Any) -> Any:
    return array.compute(scheduler="synchronous")


def test_tokens_are_labelled(source: Synthetic, run: Run) -> None:
    tokens = run.tokens()
    positions = source.plan.tokens.positions()
    lengths = source.plan.tokens.count
    assert dict(tokens.sizes) == {"layer": 3, "token": lengths.sum(), "feature": 6}
    assert tokens["layer"].values.tolist() == [0, 1, 2]
    assert tokens["sample"].values.tolist() == [n for n, length in enumerate(lengths) for _ in range(length)]
    assert tokens["position"].values.tolist() == [n for length in lengths for n in range(length)]
    for name in ("token_id", "token_text", "word", "special", "segment"):
        assert tokens[name].dims == ("token",)
        np.testing.assert_array_equal(tokens[name].values, source.columns[f"tokens/{name}"][positions])
    assert tokens.attrs["title"] == f"tokens of {run.key}"
    np.testing.assert_array_equal(values(tokens["hidden"]), source.truth("hidden"))


def test_blocks_are_one_layer_of_one_pack_without_fill(source: Synthetic, run: Run) -> None:
    plan = source.plan
    hidden, attention = run.activations("hidden"), run.activations("attention")
    assert hidden.chunks == ((1, 1, 1), tuple(plan.tokens.pack_sizes), (6,))
    assert attention.chunks == ((1, 1), (2,), tuple(plan.entries.pack_sizes))
    for array, name in ((hidden, "hidden"), (attention, "attention")):
        assert array.dtype == np.float16
        blocks = array.to_delayed().ravel().tolist()
        for block, chunk in zip(
            dask.compute(*blocks, scheduler="synchronous"), np.ndindex(array.numblocks), strict=True
        ):
            expected = tuple(sizes[at] for sizes, at in zip(array.chunks, chunk, strict=True))
            assert block.shape == expected, name


def test_the_views_read_no_activations(source: Synthetic, tmp_path: Path, reads: list[tuple[str, int, int]]) -> None:
    run = source.write_all(tmp_path / "s.zarr")
    for name in source.spec.keep:
        shutil.rmtree(run.path / name / name / "c")
    tokens = run.tokens()
    attention = run.activations("attention")
    assert tokens["token_text"].values[0] == "β0"
    assert repr(tokens)
    assert reads == []
    for array in (tokens["hidden"], attention):
        with pytest.raises(IntegrityError):
            values(array)


def test_one_layer_reads_the_chunks_of_one_layer(run: Run, reads: list[tuple[str, int, int]]) -> None:
    values(run.tokens()["hidden"].sel(layer=2))
    assert sorted(reads) == [("hidden", 2, pack) for pack in range(3)]
    reads.clear()
    values(run.activations("attention")[0])
    assert sorted(reads) == [("attention", 0, pack) for pack in range(3)]


def test_one_sample_reads_the_chunks_of_one_pack(run: Run, reads: list[tuple[str, int, int]]) -> None:
    tokens = run.tokens()
    values(tokens["hidden"].isel(token=tokens["sample"].values == 2))
    assert sorted(reads) == [("hidden", index, 1) for index in range(3)]
    reads.clear()
    run.read_sample("attention", 5)
    assert sorted(reads) == [("attention", index, 2) for index in range(2)]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_any_scheduler_computes_the_same(source: Synthetic, run: Run, scheduler: str) -> None:
    for name in source.spec.keep:
        np.testing.assert_array_equal(run.activations(name).compute(scheduler=scheduler), source.truth(name))


@pytest.mark.slow
def test_the_arrays_travel_to_another_process(source: Synthetic, run: Run) -> None:
    context = processes()
    for name in source.spec.keep:
        pickled = cloudpickle.dumps(run.activations(name))
        assert len(pickled) < 20_000
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=compute_pickled, args=(pickled, send))
        process.start()
        assert receive.poll(PATIENCE)
        np.testing.assert_array_equal(receive.recv(), source.truth(name))
        process.join(PATIENCE)


def test_a_run_travels_to_another_process(source: Synthetic, run: Run) -> None:
    other = pickle.loads(pickle.dumps(run))
    assert other.spec == run.spec
    np.testing.assert_array_equal(values(other.activations("hidden")), source.truth("hidden"))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("causal", [False, True])
def test_samples_are_read_one_at_a_time(tmp_path: Path, dtype: str, causal: bool) -> None:
    source = synthetic(dtype=dtype, causal=causal)
    run = source.write_all(tmp_path)
    for sample, (hidden, maps) in enumerate(zip(source.hidden, source.maps, strict=True)):
        for name, truth in (("hidden", hidden), ("attention", maps)):
            stored = run.read_sample(name, sample)
            assert stored.dtype == dtype
            np.testing.assert_array_equal(stored, truth)
        assert (np.triu(run.read_sample("attention", sample), 1) == 0).all() == (causal or len(hidden[0]) == 1)


def test_dense_maps_put_entries_in_their_rows() -> None:
    lower = np.arange(1, 7)
    np.testing.assert_array_equal(dense_maps(lower, 3, causal=True), [[1, 0, 0], [2, 3, 0], [4, 5, 6]])
    np.testing.assert_array_equal(dense_maps(np.arange(4), 2, causal=False), [[0, 1], [2, 3]])
    assert dense_maps(np.zeros((5, 4, 6)), 3, causal=True).shape == (5, 4, 3, 3)


@pytest.mark.parametrize(("kept", "other"), [("hidden", "attention"), ("attention", "hidden")])
def test_a_run_of_one_variable(tmp_path: Path, kept: str, other: str) -> None:
    source = synthetic(keep=(kept,))
    run = source.write_all(tmp_path)
    np.testing.assert_array_equal(values(run.activations(kept)), source.truth(kept))
    assert not (run.path / other).exists()
    with pytest.raises(RunNotFoundError, match=f"keeps {kept} and no {other}; extract it with keep='{other}'"):
        run.activations(other)


@pytest.mark.parametrize(("layers", "attention_layers"), [((0, 2), [2]), ((3, 7), [3, 7]), ((1,), [1])])
def test_a_run_of_some_layers(tmp_path: Path, layers: tuple[int, ...], attention_layers: list[int]) -> None:
    source = synthetic(layers=layers)
    run = source.write_all(tmp_path)
    tokens = run.tokens()
    assert tokens["layer"].values.tolist() == run.column("hidden/layer").tolist() == list(layers)
    assert run.column("attention/layer").tolist() == attention_layers
    np.testing.assert_array_equal(values(tokens["hidden"].sel(layer=layers[-1])), source.truth("hidden")[-1])
    np.testing.assert_array_equal(values(run.activations("attention")), source.truth("attention"))


def test_an_incomplete_run_is_refused(source: Synthetic, tmp_path: Path) -> None:
    run = source.create(tmp_path)
    source.write(run, [2, 0])
    assert not run.complete
    for read in (run.tokens, lambda: run.activations("attention"), run.require_complete):
        with pytest.raises(IncompleteRunError, match=r"is incomplete: 2 of 3 packs are there; finish it with"):
            read()
    assert "2 of 3 are there" in repr(run)
    source.write(run)
    assert run.complete
    run.require_complete()


def test_a_pack_without_a_record_does_not_exist(source: Synthetic, run: Run) -> None:
    (run.path / "packs/record/c/1").unlink()
    with pytest.raises(IntegrityError, match="commit record of pack 1 "):
        run.read_sample("hidden", 2)
    np.testing.assert_array_equal(run.read_sample("hidden", 1), source.hidden[1])


@pytest.mark.parametrize("name", ["3", "7", "000003", "99999999999999999999"])
def test_stray_files_among_the_records_are_no_packs(source: Synthetic, tmp_path: Path, name: str) -> None:
    run = source.create(tmp_path)
    source.write(run, [0, 2])
    (run.path / "packs/record/c" / name).write_bytes(b"stray")
    assert run.committed() == [0, 2]
    assert sorted(run.records()) == [0, 2]
    assert not run.complete
    source.write(run)
    assert run.complete
    np.testing.assert_array_equal(values(run.activations("hidden")), source.truth("hidden"))


def test_a_run_that_is_not_there(run: Run) -> None:
    root = run.path.parents[6]
    key = RunKey("ner", "corpus", "tiny", 31, 42, "sentence", "test")
    with pytest.raises(RunNotFoundError, match=rf"has no run {key}; `Store.catalog\(\)` lists"):
        Run.open(root, key)


def edit_metadata(run: Run, old: bytes, new: bytes) -> None:
    path = run.path / "zarr.json"
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def change_text(attributes: dict[str, Any], old: bytes, new: bytes) -> None:
    """Change the text of attributes as JSON."""
    text = json.dumps(attributes).encode()
    assert text.count(old) == 1
    attributes.update(json.loads(text.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"format_version": 2', b'"format_version": 7', "has format version 7, of a newer release .* reads version 2"),
        (b'"biocache": {', b'"other": {', "no biocache attributes"),
        (b'"causal"', b'"casual"', "is damaged: its attributes are not those that were written"),
        (b'"host":', b'"hosts":', "is damaged: its attributes are not those that were written"),
        (b'"entries"', b'"entrees"', "is damaged: its attributes are not those that were written"),
        (b'"entries": 115', b'"entries": 116', "is damaged: its attributes are not those that were written"),
        (b'"digest": "', b'"digest": "0', "is damaged: its attributes are not those that were written"),
        (b'"digest": "', b'"digests": "', "is damaged: .*`digest`"),
        (b'"place": "ner/', b'"place": "nli/', "is damaged: its attributes are not those that were written"),
        (b'"node_type": "group"', b'"node_type": "array"', "not the metadata of a Zarr version 3 group"),
        (b'"zarr_format": 3', b'"zarr_format": 2', "not the metadata of a Zarr version 3 group"),
        (b'"zarr_format": 3', b'"zarr_format": ', "JSON is malformed"),
    ],
)
def test_metadata_of_another_kind_is_refused(run: Run, old: bytes, new: bytes, message: str) -> None:
    edit_metadata(run, old, new)
    with pytest.raises(StoreFormatError, match=message):
        Run.open(run.path.parents[6], run.key)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"causal"', b'"casual"', "is damaged: .*`causal`"),
        (b'"host":', b'"hosts":', "is damaged: .*`host`"),
        (b'"entries"', b'"entrees"', "is damaged: .*`entries`"),
        (b'"replaces"', b'"replaced"', "is damaged: .*`replaces`"),
        (b'"place": "ner/', b'"place": "nli/', "is damaged: it is nli/corpus/.*, and was copied or moved here"),
    ],
)
def test_sealed_metadata_of_another_kind_is_refused(run: Run, old: bytes, new: bytes, message: str) -> None:
    seal_again(run.path, lambda attributes: change_text(attributes, old, new))
    with pytest.raises(StoreFormatError, match=message):
        Run.open(run.path.parents[6], run.key)


def test_opening_a_run_reads_only_its_attributes(source: Synthetic, run: Run) -> None:
    for table in ("samples", "tokens", "words", "packs", "hidden", "attention"):
        shutil.rmtree(run.path / table)
    assert Run.open(run.path.parents[6], run.key).counts.tokens == source.plan.tokens.count.sum()


@pytest.mark.slow
def test_a_run_made_anew_in_its_place_is_read_anew(source: Synthetic, run: Run) -> None:
    np.testing.assert_array_equal(values(run.activations("hidden")), source.truth("hidden"))
    discard_run(run.path.parents[6], run.key)
    other = synthetic(seed=1, lengths=[5, 5], dtype="float32", feature_size=3)
    again = other.write_all(run.path.parents[6])
    np.testing.assert_array_equal(values(again.activations("hidden")), other.truth("hidden"))


def test_the_result_is_a_dask_array_of_plain_numpy(run: Run) -> None:
    hidden = run.activations("hidden")
    assert isinstance(hidden, da.Array)
    assert isinstance(hidden._meta, np.ndarray)
    assert isinstance(values(hidden.mean()), np.floating)
