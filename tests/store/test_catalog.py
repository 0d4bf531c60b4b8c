"""The store: what it lists, and how a run is named."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xarray as xr
import zarr
from store_factory import PROVENANCE, edit_attributes, synthetic

from biocache.store import Store
from biocache.store.errors import AmbiguousRunError, NewerFormatError, RunNotFoundError, SettingError, StoreFormatError
from biocache.store.keys import RunKey
from biocache.store.results import save_result

#: Columns of a catalog.
COLUMNS = [
    "task",
    "dataset",
    "model",
    "trained_on",
    "training_size",
    "seed",
    "view",
    "split",
    "samples",
    "tokens",
    "words",
    "packs",
    "packs_done",
    "complete",
    "state",
    "keep",
    "layers",
    "features",
    "heads",
    "level",
    "dtype",
    "attention_dtype",
    "stored_bytes",
    "model_source",
    "dataset_source",
    "training_steps",
    "created",
    "host",
    "problem",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "s.zarr"


@pytest.fixture
def store(root: Path) -> Store:
    """A store of three sizes of one model, complete, and of one split of another, half done."""
    for size in (100, 0, 30):
        synthetic([2, 3], training_size=size).write_all(root)
    half = synthetic(model="other", split="train", task="nli", keep=("hidden",), layers=(0, 4))
    half.write(half.create(root), [1])
    return Store.open(root)


@pytest.mark.slow
def test_the_catalog_has_a_row_a_run(store: Store) -> None:
    catalog = store.catalog()
    assert list(catalog.columns) == COLUMNS
    assert catalog["training_size"].tolist() == [0, 30, 100, 30]
    assert catalog["model"].tolist() == ["tiny", "tiny", "tiny", "other"]
    row = catalog.iloc[1].to_dict()
    stored = row.pop("stored_bytes")
    assert catalog["training_steps"].isna().all()
    assert row.pop("training_steps") is None
    assert row == {
        "task": "ner",
        "dataset": "corpus",
        "model": "tiny",
        "trained_on": "",
        "training_size": 30,
        "seed": 42,
        "view": "sentence",
        "split": "test",
        "samples": 2,
        "tokens": 5,
        "words": 3,
        "packs": 1,
        "packs_done": 1,
        "complete": True,
        "state": "complete",
        "keep": "hidden,attention",
        "layers": 3,
        "features": 6,
        "heads": 2,
        "level": "token",
        "dtype": "float16",
        "attention_dtype": "float16",
        "model_source": PROVENANCE.model_source,
        "dataset_source": PROVENANCE.dataset_source,
        "created": PROVENANCE.created,
        "host": PROVENANCE.host,
        "problem": "",
    }
    run = store.run(training_size=30, model="tiny")
    paths = [path for name in run.spec.keep for path in (run.path / name / name / "c").rglob("*") if path.is_file()]
    assert len(paths) == 5
    assert stored == sum(path.stat().st_size for path in paths)


@pytest.mark.slow
def test_the_catalog_shows_progress(store: Store) -> None:
    row = store.catalog().set_index("model").loc["other"]
    assert (row["packs"], row["packs_done"], row["complete"]) == (3, 1, False)
    assert (row["keep"], row["layers"], row["samples"]) == ("hidden", 2, 6)
    run = store.run(model="other")
    paths = [path for path in (run.path / "hidden/hidden/c").rglob("*") if path.is_file()]
    assert row["stored_bytes"] == sum(path.stat().st_size for path in paths) > 0


def test_an_empty_store_has_an_empty_catalog(root: Path) -> None:
    run = synthetic().create(root)
    store = Store.open(root)
    store.remove(run)
    catalog = store.catalog()
    assert list(catalog.columns) == COLUMNS
    assert len(catalog) == 0
    assert list(store.keys()) == []
    assert repr(store) == f"<biocache.Store {str(root)!r}>\n  runs  0"
    with pytest.raises(RunNotFoundError, match=r"no run matches nothing; the store .* holds no runs"):
        store.run()


@pytest.mark.slow
def test_a_run_is_named_by_as_much_as_it_takes(store: Store) -> None:
    assert store.run(model="other").key.task == "nli"
    assert store.run(training_size=100).key.training_size == 100
    assert store.run(training_size=[30, 31], task=("ner",), seed=None).key.path.startswith("ner/corpus/tiny/size-030/")


@pytest.mark.slow
def test_selection_by_several_values(store: Store) -> None:
    assert [run.key.training_size for run in store.select(training_size=[0, 100])] == [0, 100]
    assert [run.key.training_size for run in store.select(training_size=range(50), task="ner")] == [0, 30]
    assert len(store.select()) == 4
    assert store.select(model={"none"}) == []


@pytest.mark.slow
def test_several_matches_are_listed(store: Store) -> None:
    with pytest.raises(AmbiguousRunError) as caught:
        store.run(task="ner", split=None)
    message = str(caught.value)
    assert message.startswith("3 runs match task='ner'")
    for size in ("000", "030", "100"):
        assert f"ner/corpus/tiny/size-{size}/seed-42/sentence/test" in message
    assert "other" not in message


@pytest.mark.slow
def test_no_match_lists_what_there_is(store: Store) -> None:
    with pytest.raises(RunNotFoundError) as caught:
        store.run(model="bert")
    message = str(caught.value)
    assert message.startswith("no run matches model='bert'; the store ")
    assert all(path in message for path in map(str, store.keys()))


@pytest.mark.slow
def test_a_long_list_is_cut(root: Path) -> None:
    for seed in range(12):
        synthetic([1], keep=("hidden",), layers=(0,), split=f"split{seed:02d}").create(root)
    with pytest.raises(AmbiguousRunError, match=r"^12 runs match .*split09 and 2 more; add what"):
        Store.open(root).run()


@pytest.mark.slow
def test_an_unknown_selector_is_refused(store: Store) -> None:
    parts = "task, dataset, model, trained_on, training_size, seed, view, split"
    with pytest.raises(SettingError, match=f"^size is no part of a run's key; they are {parts}$"):
        store.run(size=30)


@pytest.mark.slow
def test_a_removed_run_is_gone(store: Store) -> None:
    run = store.run(training_size=0)
    store.remove(run)
    assert not run.path.exists()
    assert len(store.catalog()) == 3
    with pytest.raises(RunNotFoundError):
        store.run(training_size=0)
    assert sorted(path.name for path in store.path.iterdir()) == ["ner", "nli", "zarr.json"]


@pytest.mark.slow
def test_removing_a_run_twice_says_so(store: Store) -> None:
    run = store.run(training_size=0)
    store.remove(run)
    with pytest.raises(RunNotFoundError, match=f"has no run {run.key}"):
        store.remove(run)


@pytest.mark.slow
def test_keys_are_in_order(store: Store) -> None:
    keys = list(store.keys())
    assert [key.path for key in keys] == sorted(key.path for key in keys)
    assert all(isinstance(key, RunKey) for key in keys)


@pytest.mark.slow
def test_what_is_no_run_is_passed_over(store: Store) -> None:
    path = store.run(model="other").path
    (path.parent / "not-a-run").mkdir()
    (store.path / "README.txt").write_text("about this store")
    shutil.rmtree(path / "hidden")
    shutil.copytree(store.path / "ner", store.path / ".partial-elsewhere-1@0" / "ner")
    assert len(list(store.keys())) == 4


def test_a_group_that_is_no_run_is_passed_over(store: Store) -> None:
    path = store.run(model="other").path
    path.parents[2].rename(path.parents[2].with_name("size-30"))
    assert {key.model for key in list(store.keys())} == {"tiny"}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["json", "attributes"])
def test_a_damaged_run_does_not_hide_the_others(store: Store, damage: str) -> None:
    run = store.run(training_size=0)
    if damage == "json":
        (run.path / "zarr.json").write_text("{")
    else:
        edit_attributes(run.path, lambda attributes: attributes["biocache"]["counts"].update(tokens=7))
    catalog = store.catalog(task="ner")
    assert catalog.training_size.tolist() == [0, 30, 100]
    assert catalog.complete.tolist() == [False, True, True]
    assert catalog.tokens.tolist()[1:] == [5, 5]
    assert catalog.problem[1:].tolist() == ["", ""]
    fault = "not the metadata of a Zarr version 3 group" if damage == "json" else "their checksum does not match"
    assert fault in catalog.problem[0]
    assert catalog.state.tolist() == ["damaged", "complete", "complete"]
    assert pd.isna(catalog.stored_bytes[0])
    store.remove(run.key)
    assert len(store.catalog()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("record", [b"", b"no record", None])
def test_a_pack_with_a_torn_or_foreign_record_is_not_done(store: Store, record: bytes | None) -> None:
    run, other = store.run(training_size=0), store.run(training_size=30, task="ner")
    file = run.path / "packs/record/c/0"
    file.write_bytes((other.path / "packs/record/c/0").read_bytes() if record is None else record)
    catalog = store.catalog(task="ner")
    assert catalog.state.tolist() == ["incomplete", "complete", "complete"]
    assert catalog.complete.tolist() == [False, True, True]
    assert catalog.packs_done.tolist() == [0, 1, 1]
    assert catalog.stored_bytes[0] == 0
    assert catalog.tokens.tolist() == [5, 5, 5]
    assert catalog.problem.tolist() == [""] * 3


def test_a_newer_store_is_refused(root: Path) -> None:
    zarr.create_group(root, attributes={"biocache": {"format_version": 3}})
    with pytest.raises(NewerFormatError, match=r"has format version 3, of a newer release .*: install the newer one"):
        Store.open(root)


@pytest.mark.parametrize("version", [1, 0, -1, True, "2", 2.0, None])
def test_a_store_of_a_version_that_no_release_wrote_is_refused(root: Path, version: object) -> None:
    zarr.create_group(root, attributes={"biocache": {"format_version": version}})
    with pytest.raises(
        StoreFormatError, match=r"has format version .*, which no release wrote; this one reads 2"
    ) as told:
        Store.open(root)
    assert not isinstance(told.value, NewerFormatError)


def test_a_part_of_a_store_is_no_store(root: Path) -> None:
    folder = synthetic().create(root).path
    with pytest.raises(StoreFormatError, match="is a run of a biocache store, not a store"):
        Store.open(folder)
    save_result(root, "probe", {"a": 1}, xr.Dataset({"x": 1}))
    (file,) = (root / "results/probe").glob("*.zip")
    with pytest.raises(StoreFormatError, match=f"{file} is not a biocache store: it has no zarr.json"):
        Store.open(file)


@pytest.mark.slow
def test_a_newer_run_is_refused(store: Store) -> None:
    path = store.run(model="other").path / "zarr.json"
    path.write_bytes(path.read_bytes().replace(b'"format_version": 2', b'"format_version": 3'))
    with pytest.raises(NewerFormatError, match="has format version 3"):
        store.run(model="other")
    (row,) = store.catalog(model="other").to_dict("records")
    assert (row["state"], row["complete"]) == ("newer", False)
    assert "has format version 3" in row["problem"]


@pytest.mark.parametrize("kind", ["nothing", "folder", "file", "array", "other group", "text"])
def test_what_is_not_a_store_is_refused(root: Path, kind: str) -> None:
    if kind == "folder":
        root.mkdir()
    elif kind == "file":
        root.write_bytes(b"file")
    elif kind == "array":
        zarr.create_array(root, shape=(1,), dtype="int8")
    elif kind == "other group":
        zarr.create_group(root)
    elif kind == "text":
        root.mkdir()
        (root / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": null}')
    with pytest.raises(StoreFormatError, match="not a biocache store"):
        Store.open(root)


@pytest.mark.slow
def test_a_store_opens_from_a_string(store: Store) -> None:
    assert list(Store.open(str(store.path)).keys()) == list(store.keys())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("selection", "sizes"),
    [
        ({}, [0, 30, 100, 30]),
        ({"task": "ner"}, [0, 30, 100]),
        ({"model": ["tiny", "other"], "training_size": 30}, [30, 30]),
        ({"training_size": (0, 100), "split": None}, [0, 100]),
        ({"training_size": range(1, 101), "split": {"test"}}, [30, 100]),
        ({"seed": 43}, []),
        ({"dataset": "corp"}, []),
    ],
)
def test_keys_and_catalog_are_of_the_selected_runs(store: Store, selection: dict[str, Any], sizes: list[int]) -> None:
    keys = store.keys(**selection)
    assert [key.training_size for key in keys] == sizes
    catalog = store.catalog(**selection)
    assert list(catalog.columns) == COLUMNS
    listed = [RunKey(**row) for row in catalog[list(RunKey.names())].to_dict("records")]
    assert listed == keys
    assert [run.key for run in store.select(**selection)] == keys


@pytest.mark.slow
@pytest.mark.parametrize("ask", ["keys", "catalog", "select", "run"])
def test_every_question_refuses_an_unknown_part(store: Store, ask: str) -> None:
    with pytest.raises(SettingError, match="lang, size is no part of a run's key; they are task, dataset, model, "):
        getattr(store, ask)(size=30, lang="en", task="ner")


@pytest.mark.slow
def test_keys_open_no_run(store: Store) -> None:
    for path in store.path.glob("*/*/*/*/*/*/*/zarr.json"):
        path.write_text("{")
    assert len(store.keys()) == 4
    assert store.catalog().problem.str.contains("is not").tolist() == [True] * 4
