"""Results kept in a store: found by their inputs, whole or absent, damaged only with an error."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from store_factory import synthetic

from biocache.store import Store
from biocache.store import results as results_module
from biocache.store.errors import (
    BiocacheError,
    IntegrityError,
    NewerFormatError,
    ResourceError,
    SettingError,
    StoreFormatError,
)
from biocache.store.results import find_result, list_results, run_identity, save_result

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
    assert not list(tmp_path.rglob(".partial-*"))


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
    opened = xr.open_zarr(tmp_path, group=result.path.relative_to(tmp_path).as_posix(), consolidated=False)
    assert opened.attrs["biocache"]["inputs"] == INPUTS
    np.testing.assert_array_equal(opened.accuracy, dataset().accuracy)


def test_the_identity_of_a_run_is_its_path_and_its_spec(tmp_path: Path) -> None:
    one = run_identity(synthetic().create(tmp_path / "a"))
    assert one == run_identity(synthetic(seed=1).create(tmp_path / "b"))
    assert one["run"] == "ner/corpus/tiny/size-030/seed-42/sentence/test"
    other = run_identity(synthetic(model_digest="x").create(tmp_path / "c"))
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


@pytest.mark.parametrize("damage", ["chunk", "flip", "variable", "metadata", "attributes"])
def test_damage_is_an_error_that_says_what_to_delete(tmp_path: Path, damage: str) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    (result,) = list_results(tmp_path)
    chunk = result.path / "accuracy/c/0/0"
    if damage == "chunk":
        chunk.unlink()
    elif damage == "variable":
        shutil.rmtree(result.path / "accuracy")
    elif damage == "flip":
        data = bytearray(chunk.read_bytes())
        data[len(data) // 2] ^= 1
        chunk.write_bytes(data)
    else:
        (result.path / "zarr.json").write_text("{" if damage == "metadata" else '{"zarr_format":3,"node_type":"group"}')
    with pytest.raises(IntegrityError, match=f"result {result.path} cannot be read .*delete this folder"):
        find_result(tmp_path, "probe", INPUTS)


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    metadata = json.loads((path / "zarr.json").read_bytes())
    change(metadata["attributes"])
    (path / "zarr.json").write_text(json.dumps(metadata))


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
    _edit(changed, CHANGES[change])
    with pytest.raises(IntegrityError, match=f"result {changed} cannot be read"):
        find_result(tmp_path, "probe", INPUTS)
    problems: list[BiocacheError] = []
    readable = [result.inputs for result in list_results(tmp_path, problems=problems)]
    assert {"other": 1} in readable
    assert len(readable) + len(problems) == 2


@pytest.mark.parametrize("what", ["folder", "chunk", "array"])
def test_exchanged_parts_of_two_results_are_seen(tmp_path: Path, what: str) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    save_result(tmp_path, "probe", {"other": 1}, doubled())
    first, second = (result.path for result in list_results(tmp_path))
    part = {"folder": "", "chunk": "support/c/0", "array": "support"}[what]
    (first / part).rename(tmp_path / "aside")
    (second / part).rename(first / part)
    (tmp_path / "aside").rename(second / part)
    for inputs in (INPUTS, {"other": 1}):
        with pytest.raises(IntegrityError, match="cannot be read"):
            find_result(tmp_path, "probe", inputs)


def test_a_result_of_a_newer_release_is_no_damage(tmp_path: Path) -> None:
    save_result(tmp_path, "probe", INPUTS, dataset())
    (result,) = list_results(tmp_path)
    _edit(result.path, lambda attributes: attributes["biocache"].update(format_version=9))
    with pytest.raises(NewerFormatError, match="format version 9, of a newer release"):
        list_results(tmp_path)


def test_a_full_disk_leaves_the_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = save_result(tmp_path, "probe", INPUTS, dataset())

    def full(folder: Path, _: xr.Dataset) -> None:
        (folder / "half").mkdir(parents=True)
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(results_module, "_write", full)
    with pytest.raises(ResourceError, match=r"disk is full.*keeping a result of probe"):
        save_result(tmp_path, "probe", INPUTS, doubled())
    found = find_result(tmp_path, "probe", INPUTS)
    assert found is not None
    xr.testing.assert_identical(found, before)
    assert not list(tmp_path.rglob(".partial-*"))


# Zarr warns of a folder that vanishes while it is listed.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Object at:UserWarning")
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
        # For a moment there is none.
        found = find_result(tmp_path, "probe", INPUTS)
        assert found is None or "accuracy" in found

    threads = [threading.Thread(target=repeat, args=(action,)) for action in (replace, replace, replace, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not list(tmp_path.rglob(".partial-*"))
