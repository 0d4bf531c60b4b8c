"""The name of a run: what it may hold, and its path there and back."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_factory import KEY

from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED, RunKey

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}", fullmatch=True).filter(lambda name: name != "zarr.json")
KEYS = st.builds(
    RunKey,
    task=NAMES,
    dataset=NAMES,
    model=NAMES,
    training_size=st.integers(0, 100),
    seed=st.integers(0, MAX_SEED),
    view=NAMES,
    split=NAMES,
)
PATH = "ner/corpus/tiny/size-030/seed-42/sentence/test"


def test_path_is_written_as_documented() -> None:
    assert KEY.path == str(KEY) == PATH


@given(KEYS)
def test_path_leads_back_to_the_key(key: RunKey) -> None:
    assert RunKey.from_path(key.path) == key
    assert len(key.path.split("/")) == len(RunKey.names())


@pytest.mark.parametrize("field", ["task", "dataset", "model", "view", "split"])
@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../up", "a/b", "/absolute", "a\\b", ".hidden", "-dash", "_under", "a b", "a\n", "a\0", "ß", "٣",
     "x" * 129, "zarr.json"],
)  # fmt: skip
def test_names_that_are_no_part_of_a_path_are_refused(field: str, name: str) -> None:
    with pytest.raises(SettingError, match=f"^{field} name ") as caught:
        replace(KEY, **{field: name})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 128, "a..b", "org--model-v1.1_x+y", "7", "zarr.json.gz", "xzarr.json"])
def test_names_that_are_safe_are_allowed(name: str) -> None:
    assert RunKey.from_path(replace(KEY, dataset=name).path).dataset == name


@pytest.mark.parametrize("size", [-1, 101, 1000, 0.5, 30.0, "30", None])
def test_training_size_is_a_percentage(size: Any) -> None:
    with pytest.raises(SettingError, match=f"training size {size} "):
        replace(KEY, training_size=size)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 1.5, "42", None])
def test_seed_fits_32_bits(seed: Any) -> None:
    with pytest.raises(SettingError, match=f"seed {seed} "):
        replace(KEY, seed=seed)


def test_bounds_are_allowed() -> None:
    for size, seed in ((0, 0), (100, MAX_SEED)):
        key = replace(KEY, training_size=size, seed=seed)
        assert RunKey.from_path(key.path) == key


@pytest.mark.parametrize(
    "path",
    [
        "",
        "ner/corpus/tiny",
        f"{PATH}/more",
        f"/{PATH}",
        f"{PATH}/",
        f"./{PATH}",
        PATH.replace("ner/", "ner//"),
        PATH.replace("size-030", "size-30"),
        PATH.replace("size-030", "size-0030"),
        PATH.replace("size-030", "size-130"),
        PATH.replace("size-030", "030"),
        PATH.replace("030", "٠٣٠"),
        PATH.replace("seed-42", "seed-042"),
        PATH.replace("seed-42", "seed--1"),
        PATH.replace("seed-42", f"seed-{MAX_SEED + 1}"),
        PATH.replace("seed-42", "42"),
        PATH.replace("corpus", ".."),
    ],
)
def test_paths_that_no_key_writes_are_refused(path: str) -> None:
    with pytest.raises(SettingError):
        RunKey.from_path(path)


def test_keys_sort_by_training_size_as_a_number() -> None:
    sizes = [100, 0, 30, 10]
    keys = sorted(replace(KEY, training_size=size) for size in sizes)
    assert [key.training_size for key in keys] == [0, 10, 30, 100]
    assert [key.path for key in keys] == sorted(key.path for key in keys)


def test_items_are_the_parts_in_order() -> None:
    assert list(KEY.items()) == [
        ("task", "ner"),
        ("dataset", "corpus"),
        ("model", "tiny"),
        ("training_size", 30),
        ("seed", 42),
        ("view", "sentence"),
        ("split", "test"),
    ]
