"""Results kept in a store: found by their inputs, whole or absent, damaged only with an error."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from store_factory import PROVENANCE, edit_attributes, opened_archive, seal_again, synthetic
from zarr.storage import ZipStore

from biocache.store import Store
from biocache.store.creating import create_run
from biocache.store.errors import (
    BiocacheError,
    IntegrityError,
    NewerFormatError,
    ResourceError,
    SettingError,
    StoreFormatError,
)
from biocache.store.folders import Folder
from biocache.store.integrity import repair, verify_bundles
from biocache.store.results import find_result, list_results, result_files, save_result

INPUTS = {"runs": [{"run": "ner/c/m", "spec": "0" * 64}], "settings": {"c": 1.5, "probe": "svc", "seed": None}}


def dataset() -> xr.Dataset:
    return xr.Dataset(
        {
            "accuracy": (("model", "layer"), np.array([[0.5, np.nan], [1.0, 0.25]]), {"units": "1"}),
            "support": (("label",), np.array([3, 0])),
            "backend": (("model",), np.array(["scikit-learn", ""])),
            "nothing": (("gone",), np.zeros(0)),
            "seconds": ((), 1.25),
        },
        {"model": ["bert", "βio"], "layer": [0, 6], "label": np.array(["O", "protein"], dtype=object)},
        {"probe": "svc"},
    )


def doubled() -> xr.Dataset:
    return dataset().assign(support=dataset().support * 2)


def test_what_is_saved_is_found_again_in_memory(tmp_path: Path) -> None:
    root = tmp_path / "store"
    assert find_result(root, "probe", INPUTS) is None
    saved = save_result(root, "probe", INPUTS, dataset())
    found = find_result(root, "probe", INPUTS)
    assert found is not None
    xr.testing.assert_identical(saved, found)
    xr.testing.assert_equal(found, dataset())
    assert list(found.data_vars) == list(dataset().data_vars)
    assert found.attrs == {"probe": "svc"}
    assert found.accuracy.attrs == {"units": "1"}
    assert {name for name, array in found.variables.items() if array.dtype == object} == {"model", "label", "backend"}


def test_other_inputs_and_other_kinds_are_other_results(tmp_path: Path) -> None:
    save_result(tmp_path / "store", "probe", INPUTS, dataset())
    other = json.loads(json.dumps(INPUTS))
    other["settings"]["c"] = 1.0
    assert find_result(tmp_path / "store", "probe", other) is None
    assert find_result(tmp_path / "store", "attention", INPUTS) is None
    reordered = dict(reversed(list(INPUTS.items())))
    assert find_result(tmp_path / "store", "probe", reordered) is not None


def test_a_result_of_the_same_inputs_is_replaced(tmp_path: Path) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    save_result(tmp_path, "probe", INPUTS, doubled())
    found = find_result(tmp_path, "probe", INPUTS)
    assert found is not None
    assert found.support.values.tolist() == [6, 0]
    assert len(list_results(tmp_path)) == 1
    assert not list(tmp_path.rglob("*partial*"))


def test_a_store_lists_its_results_and_they_are_no_runs(tmp_path: Path) -> None:
    synthetic().write_all(tmp_path)
    save_result(tmp_path, "probe", INPUTS, dataset())
    save_result(tmp_path, "attention", {"a": 1}, dataset())
    store = Store.open(tmp_path)
    assert len(store.keys()) == len(store.catalog()) == 1
    assert {(result.kind, json.dumps(result.inputs)) for result in store.results()} == {
        ("probe", json.dumps(INPUTS)),
        ("attention", '{"a": 1}'),
    }
    (one,) = store.results("attention")
    xr.testing.assert_identical(one.load(), find_result(tmp_path, "attention", {"a": 1}))
    assert Store.open(tmp_path).results("finetune") == []


def test_any_reader_of_zarr_opens_a_result(tmp_path: Path) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    (result,) = list_results(tmp_path)
    opened = xr.open_zarr(ZipStore(result.path), consolidated=False)
    assert opened.attrs["biocache"]["inputs"] == INPUTS
    np.testing.assert_array_equal(opened.accuracy, dataset().accuracy)


def test_the_identity_of_a_run_is_its_path_and_its_spec(tmp_path: Path) -> None:
    source = synthetic()
    one = source.create(tmp_path / "a").identity
    assert one == synthetic(seed=1).create(tmp_path / "d").identity
    elsewhere = replace(PROVENANCE, device="other", created="2027-01-01T00:00:00+00:00")
    assert one == create_run(tmp_path / "b", source.spec, elsewhere, source.plan, source.tables).identity
    assert one["run"] == "ner/corpus/tiny/size-030/seed-42/sentence/test"
    other = synthetic(model_digest="x").create(tmp_path / "c").identity
    assert other["run"] == one["run"]
    assert other["spec"] != one["spec"]


@pytest.mark.parametrize("inputs", [{"a": float("nan")}, {"a": {1, 2}}, {"a": Path("x")}])
def test_inputs_that_are_not_json_are_refused(tmp_path: Path, inputs: dict[str, object]) -> None:
    with pytest.raises(SettingError, match="inputs of a result are not JSON"):
        save_result(tmp_path / "store", "probe", inputs, dataset())
    assert not (tmp_path / "store").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreFormatError, match="not a biocache store and not empty"):
        save_result(tmp_path, "probe", INPUTS, dataset())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("damage", ["chunk", "flip", "variable", "metadata", "attributes", "extra", "empty"])
def test_damage_is_an_error_that_says_what_to_delete(tmp_path: Path, damage: str) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    (result,) = list_results(tmp_path)
    with opened_archive(result.path) as group:
        chunk = group / "accuracy/c/0/0"
        if damage == "chunk":
            chunk.unlink()
        elif damage == "variable":
            shutil.rmtree(group / "accuracy")
        elif damage == "flip":
            data = bytearray(chunk.read_bytes())
            data[len(data) // 2] ^= 1
            chunk.write_bytes(data)
        elif damage == "extra":
            (group / "accuracy/c/0/1").write_bytes(b"")
        else:
            text = "{" if damage == "metadata" else '{"zarr_format":3,"node_type":"group"}'
            (group / "zarr.json").write_text(text)
    if damage == "empty":
        result.path.write_bytes(b"")
    told = f"result {result.path} cannot be read .*remove it with `Store.verify.repair=True.` and run the same"
    with pytest.raises(IntegrityError, match=told):
        find_result(tmp_path, "probe", INPUTS)
    (problem,) = verify_bundles(Folder(tmp_path), result_files(Folder(tmp_path)))
    assert (problem.place, problem.pack) == (result.file, None)
    assert "remove it with `biocache verify --repair`" in problem.message
    assert len(repair(Folder(tmp_path), [problem])) == 1
    assert find_result(tmp_path, "probe", INPUTS) is None
    assert result_files(Folder(tmp_path)) == []


NESTED: Any = "deep"
for _ in range(900):
    NESTED = [NESTED]

CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "setting": lambda attributes: attributes["biocache"]["inputs"]["settings"].update(c=2.5),
    "inputs of another shape": lambda attributes: attributes["biocache"].update(inputs=[1]),
    "nested inputs": lambda attributes: attributes["biocache"].update(inputs={"a": NESTED}),
    "no inputs": lambda attributes: attributes["biocache"].pop("inputs"),
    "kind": lambda attributes: attributes["biocache"].update(kind="attention"),
    "time": lambda attributes: attributes["biocache"].update(created=7),
    "digest": lambda attributes: attributes["biocache"].update(digest="0" * 64),
    "variables": lambda attributes: attributes["biocache"].update(variables=["accuracy", "missing"]),
    "attribute": lambda attributes: attributes.update(probe="mlp"),
    "attribute of another shape": lambda attributes: attributes.update(probe={"a": [None]}),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_attribute_is_seen(tmp_path: Path, change: str) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    save_result(tmp_path, "probe", {"other": 1}, dataset())
    changed = next(result.path for result in list_results(tmp_path) if result.inputs == INPUTS)
    with opened_archive(changed) as group:
        edit_attributes(group, CHANGES[change])
    assert_damaged(tmp_path, changed)


# Changes of values that nothing but the seal knows.
SEALED_ONLY = {"digest", "attribute", "attribute of another shape"}


@pytest.mark.slow
@pytest.mark.parametrize("change", sorted(CHANGES.keys() - SEALED_ONLY))
def test_a_changed_attribute_that_was_sealed_is_seen(tmp_path: Path, change: str) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    save_result(tmp_path, "probe", {"other": 1}, dataset())
    changed = next(result.path for result in list_results(tmp_path) if result.inputs == INPUTS)
    with opened_archive(changed) as group:
        seal_again(group, CHANGES[change])
    if change == "variables":
        with pytest.raises(IntegrityError, match=f"result {changed} cannot be read"):
            find_result(tmp_path, "probe", INPUTS)
        assert len(list(verify_bundles(Folder(tmp_path), result_files(Folder(tmp_path))))) == 1
    else:
        assert_damaged(tmp_path, changed)


def assert_damaged(root: Path, file: Path) -> None:
    """Assert that one of two results, of `INPUTS`, is refused wherever it is named, and the other is not."""
    with pytest.raises(IntegrityError, match=f"result {file} cannot be read"):
        find_result(root, "probe", INPUTS)
    problems: list[BiocacheError] = []
    assert [result.inputs for result in list_results(root, problems=problems)] == [{"other": 1}]
    assert [f"result {file} cannot be read" in problem.message for problem in problems] == [True]
    with pytest.raises(IntegrityError):
        list_results(root)
    (found,) = verify_bundles(Folder(root), result_files(Folder(root)))
    assert root / found.place == file


@pytest.mark.parametrize("what", ["chunk", "array"])
def test_exchanged_parts_of_two_results_are_seen(tmp_path: Path, what: str) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    save_result(tmp_path, "probe", {"other": 1}, doubled())
    first, second = (result.path for result in list_results(tmp_path))
    part = {"chunk": "support/c/0", "array": "support"}[what]
    with opened_archive(first) as one, opened_archive(second) as two:
        (one / part).rename(one / "aside")
        (two / part).rename(one / part)
        (one / "aside").rename(two / part)
    for inputs in (INPUTS, {"other": 1}):
        with pytest.raises(IntegrityError, match="cannot be read"):
            find_result(tmp_path, "probe", inputs)
    assert len(list(verify_bundles(Folder(tmp_path), result_files(Folder(tmp_path))))) == 2


def test_a_result_of_a_newer_release_is_no_damage(tmp_path: Path) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    (result,) = list_results(tmp_path)
    with opened_archive(result.path) as group:
        edit_attributes(group, lambda attributes: attributes["biocache"].update(format_version=9))
    with pytest.raises(NewerFormatError, match="format version 9, of a newer release"):
        list_results(tmp_path)


def test_a_full_disk_leaves_the_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = save_result(tmp_path, "probe", INPUTS, dataset())

    def full(made: Path, data: bytes) -> None:
        with made.open("wb") as half:
            half.write(data[: len(data) // 2])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResourceError, match=r"disk is full.*keeping a result of probe"):
        save_result(tmp_path, "probe", INPUTS, doubled())
    found = find_result(tmp_path, "probe", INPUTS)
    assert found is not None
    xr.testing.assert_identical(found, before)
    assert not list(tmp_path.rglob("*partial*"))


def test_a_result_that_was_listed_may_be_replaced_or_removed_before_it_is_read(tmp_path: Path) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    (listed,) = list_results(tmp_path)
    save_result(tmp_path, "probe", INPUTS, doubled())
    xr.testing.assert_identical(listed.load().support, doubled().support)
    assert Store.open(tmp_path).remove_results([listed]) > 0
    with pytest.raises(IntegrityError, match="was removed after it was listed"):
        listed.load()
    assert Store.open(tmp_path).remove_results([listed]) == 0


@pytest.mark.slow
def test_a_result_can_be_replaced_and_read_by_many_at_once(tmp_path: Path) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    failures: list[BaseException] = []

    def repeat(action: Callable[[], object]) -> None:
        try:
            for _ in range(15):
                action()
        except BaseException as error:
            failures.append(error)

    def replace() -> None:
        xr.testing.assert_identical(save_result(tmp_path, "probe", INPUTS, doubled()).support, doubled().support)

    def read() -> None:
        found = find_result(tmp_path, "probe", INPUTS)
        assert found is not None
        assert "accuracy" in found

    threads = [threading.Thread(target=repeat, args=(action,)) for action in (replace, replace, replace, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not list(tmp_path.rglob("*partial*"))
