"""Writing a run: what is on disk, in which order it may come there, and what becomes of it when a writer fails."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_factory import (
    PROVENANCE,
    Synthetic,
    assert_holds,
    chunk_file,
    put_record,
    stored_files,
    synthetic,
)

from biocache.store import Store, schema
from biocache.store.creating import create_run, discard_run, resume_run
from biocache.store.errors import SettingError, SpecMismatchError, StoreFormatError
from biocache.store.folders import Folder
from biocache.store.records import record_path
from biocache.store.writing import PackBuffer, RunWriter

ALL = tuple(schema.ACTIVATIONS)


def dimensions(task: str) -> dict[str, tuple[str, ...]]:
    """Return the dimensions of every array of a run that keeps all, by path."""
    tables = {v.path: v.dims for v in schema.VARIABLES if v.name != "label" or v == schema.label(task)}
    return tables | {kept.path: kept.dims() for kept in schema.ACTIVATIONS.values()}


@pytest.fixture
def source() -> Synthetic:
    return synthetic()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "s.zarr"


@pytest.mark.slow
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    capacity=st.integers(1, 30),
    causal=st.booleans(),
    dtype=st.sampled_from(["float16", "float32"]),
    seed=st.integers(0, 99),
)
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], capacity: int, causal: bool, dtype: str, seed: int
) -> None:
    source = synthetic(lengths, capacity, seed, causal=causal, dtype=dtype, keep=ALL)
    run = source.write_all(tmp_path_factory.mktemp("store"))
    assert_holds(run, source)
    hidden = run.tokens()["hidden"]
    assert hidden.dtype == dtype
    np.testing.assert_array_equal(hidden.compute(scheduler="synchronous"), source.truth("hidden"))
    for sample in range(len(lengths)):
        np.testing.assert_array_equal(run.read_sample("hidden", sample), source.hidden[sample])
        np.testing.assert_array_equal(run.read_sample("attention", sample), source.maps[sample])
        np.testing.assert_array_equal(run.read_sample("norms", sample), source.norms[sample])


@pytest.mark.slow
def test_the_order_of_packs_does_not_matter(source: Synthetic, tmp_path: Path) -> None:
    stored = []
    # Two runs of one spec differ in their id.
    source.create(tmp_path / "created")
    for order in permutations(range(source.plan.pack_count)):
        root = tmp_path / "".join(map(str, order))
        shutil.copytree(tmp_path / "created", root)
        run = Store.open(root).run()
        source.write(run, order)
        assert_holds(run, source)
        stored.append(stored_files(root))
    assert all(other == stored[0] for other in stored)


@pytest.mark.parametrize("causal", [False, True])
def test_plain_zarr_reads_the_same(root: Path, causal: bool) -> None:
    source = synthetic(causal=causal, keep=ALL)
    run = source.write_all(root)
    plan = source.plan
    group = zarr.open_group(root, mode="r")[run.key.path]
    hidden, attention = group["hidden/hidden"], group["attention/attention"]
    assert hidden.metadata.dimension_names == ("layer", "token", "feature")
    assert attention.metadata.dimension_names == ("layer", "head", "entry")
    assert hidden.shape == (3, plan.tokens.length, 6)
    assert attention.shape == (2, 2, plan.entries.length)
    assert hidden.chunks == (1, plan.tokens.chunk, 6)
    assert attention.chunks == (1, 2, plan.entries.chunk)
    norms = group["norms/value_norm"]
    assert norms.metadata.dimension_names == ("layer", "head", "token")
    assert norms.shape == (2, 2, plan.tokens.length)
    assert norms.chunks == (1, 2, plan.tokens.chunk)
    for sample in range(len(source.hidden)):
        tokens = slice(plan.tokens.start[sample], plan.tokens.start[sample] + plan.tokens.count[sample])
        pairs = slice(plan.entries.start[sample], plan.entries.start[sample] + plan.entries.count[sample])
        np.testing.assert_array_equal(hidden[:, tokens], source.hidden[sample])
        np.testing.assert_array_equal(attention[:, :, pairs], source.entries(sample))
        np.testing.assert_array_equal(norms[:, :, tokens], source.norms[sample])
    for variable in schema.columns():
        stored = group[variable.path]
        assert stored.metadata.dimension_names == variable.dims
        assert stored.attrs["long_name"] == variable.meaning
        np.testing.assert_array_equal(stored[:], source.columns[variable.path])
    np.testing.assert_array_equal(group["packs/first_sample"][:], plan.first_sample[:-1])


def test_the_unused_tail_is_fill(source: Synthetic, root: Path) -> None:
    run = source.write_all(root)
    hidden = zarr.open_array(run.path / "hidden/hidden", mode="r")[:]
    attention = zarr.open_array(run.path / "attention/attention", mode="r")[:]
    used = np.zeros(source.plan.tokens.length, dtype=bool)
    used[source.plan.tokens.positions()] = True
    assert not used.all()
    assert np.isnan(hidden[:, ~used]).all()
    assert np.isfinite(hidden[:, used]).all()
    tails = np.split(attention, source.plan.pack_count, axis=2)
    for tail, pairs in zip(tails, source.plan.entries.pack_sizes, strict=True):
        assert np.isfinite(tail[..., :pairs]).all()
        assert np.isnan(tail[..., pairs:]).all()
    columns = run.column("tokens/token_id"), run.column("tokens/word"), run.column("tokens/token_text")
    assert [set(column[~used].tolist()) for column in columns] == [{-1}, {-1}, {""}]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_xarray_reads_every_group(root: Path, task: str) -> None:
    source = synthetic(task=task, keep=ALL)
    run = source.write_all(root)
    for name in ("samples", "tokens", "words", "packs", *ALL):
        dataset = xr.open_zarr(root, group=f"{run.key.path}/{name}", consolidated=False)
        expected = {path.split("/")[1]: dims for path, dims in dimensions(task).items() if path.startswith(f"{name}/")}
        assert {str(key): variable.dims for key, variable in dataset.variables.items()} == expected
        for key, variable in dataset.load().variables.items():
            stored = zarr.open_array(run.path / name / str(key), mode="r")[:]
            np.testing.assert_array_equal(variable.values.astype(stored.dtype), stored)


def test_any_reader_can_walk_to_the_run(source: Synthetic, root: Path) -> None:
    run = source.write_all(root)
    members = dict(zarr.open_group(root, mode="r").members(max_depth=None))
    parts = run.key.path.split("/")
    groups = {path for path, member in members.items() if isinstance(member, zarr.Group)}
    assert {"/".join(parts[: depth + 1]) for depth in range(len(parts))} <= groups
    assert f"{run.key.path}/hidden/hidden" in set(members) - groups


@pytest.mark.parametrize("task", ["ner", "nli"])
def test_every_array_ends_in_a_checksum(root: Path, task: str) -> None:
    run = synthetic(task=task, keep=ALL).write_all(root)
    arrays = dict(zarr.open_group(run.path, mode="r").arrays())
    for group in ("samples", "tokens", "words", "packs", *ALL):
        arrays |= {f"{group}/{name}": array for name, array in zarr.open_group(run.path / group, mode="r").arrays()}
    assert set(arrays) == set(dimensions(task))
    for path, array in arrays.items():
        assert array.metadata.codecs[-1].to_dict()["name"] == "crc32c", path


def test_nothing_half_written_is_left(source: Synthetic, root: Path) -> None:
    source.write_all(root)
    assert sorted(path.name for path in root.iterdir()) == ["ner", "zarr.json"]
    assert [path for path in root.rglob("*") if "partial" in path.name] == []


def test_pending_packs_are_those_without_a_record(source: Synthetic, root: Path) -> None:
    run = source.create(root)
    writer = RunWriter(run)
    assert writer.pending() == [0, 1, 2]
    source.write(run, [1])
    assert writer.pending() == [0, 2]
    assert writer.pending([2, 1]) == [2]
    (run.path / "packs/record/c/1").unlink()
    assert writer.pending() == [0, 1, 2]
    source.write(run)
    assert writer.pending() == []
    assert run.complete
    writer.close()


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "torn record", "foreign record"])
@pytest.mark.parametrize("name", ["hidden", "attention"])
def test_packs_with_less_than_their_record_says_are_pending(
    source: Synthetic, root: Path, name: str, damage: str
) -> None:
    run = source.write_all(root)
    record = run.path / record_path(1)
    if damage == "missing":
        chunk_file(run, name, 1, 1).unlink()
    elif damage == "torn record":
        record.write_bytes(record.read_bytes()[:9])
    elif damage == "foreign record":
        put_record(run, 1, replace(run.records()[1], run="0" * 64))
    else:
        data = chunk_file(run, name, 1, 1).read_bytes()
        chunk_file(run, name, 1, 1).write_bytes(b"" if damage == "empty" else data[:-1])
    writer = RunWriter(run)
    assert writer.pending() == [1]
    assert writer.pending([0, 2]) == []
    writer.close()
    source.write(run)
    assert_holds(run, source)


def test_a_record_says_what_was_written(source: Synthetic, root: Path) -> None:
    run = source.write_all(root)
    records = run.records()
    assert list(records) == [0, 1, 2]
    for pack, record in records.items():
        assert {name: len(sums) for name, sums in record.checksums.items()} == {"hidden": 3, "attention": 2}
        paths = [
            chunk_file(run, name, index, pack)
            for name in source.spec.keep
            for index in range(len(source.spec.variable_layers(name)))
        ]
        assert record.stored_bytes == sum(path.stat().st_size for path in paths)


def test_creating_a_run_again_finds_it(source: Synthetic, root: Path) -> None:
    run = source.create(root)
    source.write(run, [2])
    before = stored_files(root)
    again = create_run(root, source.spec, replace(PROVENANCE, device="other"), source.plan, source.tables)
    assert stored_files(root) == before
    assert again.spec == source.spec
    assert again.provenance == PROVENANCE
    source.write(again)
    assert_holds(again, source)


def test_finding_a_run_that_is_not_there(source: Synthetic, root: Path) -> None:
    assert resume_run(root, source.spec) is None
    assert not root.exists()


def test_another_spec_is_refused_by_what_differs(source: Synthetic, root: Path) -> None:
    source.create(root)
    before = stored_files(root)
    changes = {"model_digest": "x" * 64, "limit": 7, "dtype": "float32"}
    with pytest.raises(SpecMismatchError) as caught:
        create_run(root, replace(source.spec, **changes), PROVENANCE, source.plan, source.tables)
    message = str(caught.value)
    assert str(source.spec.key) in message
    assert "model_digest: stored mmmmmmmmmmmm..., asked for xxxxxxxxxxxx..." in message
    assert "limit: stored None, asked for 7" in message
    assert "dtype: stored float16, asked for float32" in message
    assert "tokenizer_digest" not in message
    assert "overwrite" in message
    assert stored_files(root) == before


@pytest.mark.slow
def test_runs_of_other_keys_live_beside_each_other(root: Path) -> None:
    sources = [synthetic(seed=size, training_size=size) for size in (0, 30, 100)]
    runs = [source.write_all(root) for source in sources]
    for run, source in zip(runs, sources, strict=True):
        assert_holds(run, source)


def test_a_store_that_another_process_has_only_begun_is_no_foreign_folder(source: Synthetic, root: Path) -> None:
    root.mkdir()
    (root / "zarr.0123456789abcdef.partial").write_bytes(b"{")
    source.create(root)
    assert list(Store.open(root).keys()) == [source.spec.key]


def test_a_folder_of_something_else_is_refused(source: Synthetic, root: Path) -> None:
    root.mkdir()
    (root / "thesis.docx").write_bytes(b"precious")
    with pytest.raises(StoreFormatError, match="is not a biocache store and not empty"):
        source.create(root)
    assert [path.name for path in root.iterdir()] == ["thesis.docx"]


def test_a_file_is_refused(source: Synthetic, root: Path) -> None:
    root.write_bytes(b"precious")
    with pytest.raises(StoreFormatError, match="is not a folder"):
        source.create(root)
    assert root.read_bytes() == b"precious"


@pytest.mark.parametrize("attributes", [{}, {"biocache": {"format_version": 3}}])
def test_a_zarr_store_of_something_else_is_refused(source: Synthetic, root: Path, attributes: dict) -> None:
    zarr.create_group(root, attributes=attributes)
    with pytest.raises(StoreFormatError, match="format version 3" if attributes else "no biocache attributes"):
        source.create(root)
    assert [path.name for path in root.iterdir()] == ["zarr.json"]


def test_an_empty_folder_becomes_a_store(source: Synthetic, root: Path) -> None:
    root.mkdir()
    assert_holds(source.write_all(root), source)


def test_chunks_of_a_run_that_is_gone_make_room(source: Synthetic, root: Path) -> None:
    run = synthetic(seed=1).write_all(root)
    for folder in run.path.iterdir():
        if folder.name not in {"hidden", "packs"}:
            shutil.rmtree(folder) if folder.is_dir() else folder.unlink()
    for metadata in run.path.rglob("zarr.json"):
        metadata.unlink()
    created = source.create(root)
    assert created.records() == {}
    assert not chunk_file(created, "hidden", 0, 0).exists()
    source.write(created)
    assert_holds(created, source)


def test_columns_must_be_those_of_the_schema(source: Synthetic, root: Path) -> None:
    short = dict(source.tables)
    del short["words/segment"]
    with pytest.raises(ValueError, match="words/segment"):
        create_run(root, source.spec, PROVENANCE, source.plan, short)
    with pytest.raises(ValueError, match="words/label"):
        create_run(root, source.spec, PROVENANCE, source.plan, source.columns)
    wrong = source.tables | {"tokens/token_id": source.columns["tokens/token_id"][:-1]}
    with pytest.raises(ValueError, match="tokens/token_id has shape"):
        create_run(root, source.spec, PROVENANCE, source.plan, wrong)
    assert not root.exists()


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "sample", "layer"),
    [
        ("hidden", 0, 0),
        ("hidden", 4, 2),
        ("hidden", 5, 1),
        ("attention", 1, 1),
        ("attention", 3, 2),
        ("attention", 5, 2),
    ],
)
def test_values_that_are_not_finite_are_refused(root: Path, value: float, name: str, sample: int, layer: int) -> None:
    source = synthetic()
    run = source.create(root)
    pack = int(source.plan.sample_pack[sample])
    stored = source.hidden if name == "hidden" else source.maps
    # The last entry of the sample, beside the first of the next one.
    stored[sample][source.spec.variable_layers(name).index(layer)][..., -1, -1] = value
    with pytest.raises(SettingError) as caught:
        source.write(run, [pack])
    assert f"{name} of layer {layer} is not finite in float16 for sample 's{sample}' of run" in str(caught.value)
    assert "dtype='float32'" in str(caught.value)
    assert run.records() == {}
    source.write(run, {0, 1, 2} - {pack})
    assert len(run.records()) == 2


def test_rubbish_in_the_unused_tail_is_not_refused(source: Synthetic, root: Path) -> None:
    run = source.create(root)
    buffer = source.buffer(0)
    assert isinstance(buffer, PackBuffer)
    assert buffer.hidden is not None
    assert buffer.attention is not None
    buffer.hidden[:, source.plan.tokens.pack_sizes[0] :] = np.inf
    buffer.attention[..., source.plan.entries.pack_sizes[0] :] = np.nan
    writer = RunWriter(run)
    writer.write_pack(0, buffer)
    writer.close()
    np.testing.assert_array_equal(run.read_sample("hidden", 1), source.hidden[1])


def test_discarding_removes_the_groups_that_are_empty(root: Path) -> None:
    kept, gone = synthetic(split="test").create(root), synthetic(model="other", split="test").create(root)
    discard_run(root, gone.key)
    assert not (root / "ner/corpus/other").exists()
    assert kept.path.is_dir()
    discard_run(root / ".." / root.name, kept.key)
    assert [path.name for path in root.iterdir()] == ["zarr.json"]


def test_metadata_says_what_the_run_is(root: Path) -> None:
    source = synthetic(keep=ALL)
    run = source.create(root)
    own = json.loads((run.path / "zarr.json").read_bytes())["attributes"]["biocache"]
    assert set(own) == {
        "format_version", "place", "id", "replaces", "spec", "provenance", "counts", "files", "digest"
    }  # fmt: skip
    assert own["format_version"] == 2
    assert own["place"] == run.key.path
    assert own["replaces"] == ""
    assert len(own["id"]) == 32
    assert own["provenance"] == asdict(PROVENANCE)
    assert own["counts"] == {
        "samples": 6,
        "tokens": 21,
        "words": len(source.columns["words/word_text"]),
        "entries": 9 + 16 + 81 + 4 + 1 + 4,
        "packs": 3,
    }
    assert own["spec"]["layers"] == [0, 1, 2]
    paths = (path for path in run.path.rglob("*") if path.is_file() and path != run.path / "zarr.json")
    files = {path.relative_to(run.path).as_posix(): sha256(path.read_bytes()).hexdigest() for path in paths}
    assert own["files"] == files
    assert {f"{path}/zarr.json" for path in dimensions("ner")} < set(files)
    # The digest is of the attributes as JSON with sorted keys, without itself.
    unsealed = {name: value for name, value in own.items() if name != "digest"}
    text = json.dumps({"biocache": unsealed}, sort_keys=True, separators=(",", ":"))
    assert own["digest"] == run.group.digest == sha256(text.encode()).hexdigest()


def test_two_runs_of_one_spec_are_told_apart(source: Synthetic, tmp_path: Path) -> None:
    one, other = source.create(tmp_path / "a"), source.create(tmp_path / "b")
    assert one.spec == other.spec
    assert one.group.digest != other.group.digest
    assert one.identity == other.identity


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        lambda hidden, attention: PackBuffer(hidden, None),
        lambda hidden, attention: PackBuffer(None, attention),
        lambda hidden, attention: PackBuffer(None, None),
        lambda hidden, attention: PackBuffer(hidden.astype(np.float16), attention),
        lambda hidden, attention: PackBuffer(hidden, attention.astype(np.float64)),
        lambda hidden, attention: PackBuffer(hidden[:2], attention),
        lambda hidden, attention: PackBuffer(hidden[:, :-1], attention),
        lambda hidden, attention: PackBuffer(hidden[:, :, :1], attention),
        lambda hidden, attention: PackBuffer(hidden, attention[:, :1]),
        lambda hidden, attention: PackBuffer(hidden, attention[..., 1:]),
    ],
)
def test_a_buffer_of_another_run_is_refused(source: Synthetic, root: Path, wrong: Callable[..., PackBuffer]) -> None:
    run = source.create(root)
    before = stored_files(root)
    buffer = source.buffer(1)
    writer = RunWriter(run)
    with pytest.raises(ValueError, match=f"is not one of a pack of run {run.key}, "):
        writer.write_pack(1, wrong(buffer.hidden, buffer.attention))
    assert stored_files(root) == before
    assert run.committed() == []
    writer.write_pack(1, buffer)
    writer.close()
    assert run.committed() == [1]


def test_attention_is_refused_where_it_is_not_kept(source: Synthetic, root: Path) -> None:
    writer = RunWriter(synthetic(keep=("hidden",)).create(root))
    with pytest.raises(ValueError, match="is not one of a pack of run"):
        writer.write_pack(0, source.buffer(0))
    writer.close()


def test_removing_the_last_run_of_a_group_spares_one_that_appears_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = synthetic(split="test").create(tmp_path)
    train = synthetic(split="train")
    plain = Path.rmdir

    def rmdir(path: Path) -> None:
        if path == test.path.parent:
            monkeypatch.undo()
            train.create(tmp_path)
        plain(path)

    monkeypatch.setattr(Path, "rmdir", rmdir)
    discard_run(tmp_path, test.key)
    assert [run.key.split for run in Store.open(tmp_path).select()] == ["train"]
    assert (test.path.parent / "zarr.json").is_file()


def test_a_group_that_vanishes_before_a_run_is_in_place_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = synthetic()
    plain = Path.rename

    def rename(path: Path, target: Path) -> Path:
        monkeypatch.undo()
        shutil.rmtree(target.parent)
        return plain(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    run = source.create(tmp_path)
    assert list(Store.open(tmp_path).keys()) == [run.key]
    assert (run.path.parent / "zarr.json").is_file()


def test_files_of_others_in_the_place_of_a_run_are_left_there(root: Path) -> None:
    source = synthetic()
    (root / source.spec.key.path).mkdir(parents=True)
    (root / source.spec.key.path / "thesis.tex").write_text("years of work")
    zarr.create_group(root, attributes={"biocache": {"format_version": 2}})
    with pytest.raises(StoreFormatError, match=r"files that are not biocache's; move them away"):
        source.create(root)
    assert (root / source.spec.key.path / "thesis.tex").read_text() == "years of work"
    assert list(root.glob(".partial-*")) == []


# As it is: the tests' own configuration leaves it out.
SYNC = Folder.sync


def test_chunks_are_on_the_disk_before_the_record_and_the_record_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = synthetic()
    run = source.create(tmp_path)
    done: list[tuple[str, Any]] = []
    put, fsync = Folder.put, os.fsync

    def noted(folder: Folder, path: str, data: bytes) -> None:
        done.append(("put", path))
        put(folder, path, data)

    def synced(folder: Folder, paths: Any) -> None:
        names = list(paths)
        done.append(("sync", names))
        SYNC(folder, names)

    flushed: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda fd: (flushed.append(Path(f"/proc/self/fd/{fd}").readlink()), fsync(fd)))
    monkeypatch.setattr(Folder, "put", noted)
    monkeypatch.setattr(Folder, "sync", synced)
    source.write(run, [1])
    chunks = [path for what, path in done if what == "put" and "/c/" in path and "record" not in path]
    assert len(chunks) == 3 + 2
    record = record_path(1)
    assert done == [*(("put", path) for path in chunks), ("sync", chunks), ("put", record), ("sync", [record])]
    # Each file, and each folder on the way to it: whatever names it must be there after a failure of power.
    for written in (chunks, [record]):
        places = {place for path in written for place in (run.path / path, *(run.path / path).parents)}
        expected = {place for place in places if place == run.path or run.path in place.parents}
        assert set(flushed[: len(expected)]) == expected
        del flushed[: len(expected)]
    assert flushed == []
