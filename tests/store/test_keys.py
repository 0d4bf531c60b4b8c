"""The name of a run: what it may hold, and its path there and back."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_factory import KEY

from biocache.store.errors import SettingError
from biocache.store.keys import MAX_SEED, RUN_DEPTH, RunKey

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
# Names that look like other parts of the path, too.
TRICKY = st.sampled_from(["size-030", "seed-42", "trained-on-x", "ner", "a", "a-b", "a+b"])
ELSEWHERE = st.builds(
    RunKey,
    task=TRICKY,
    dataset=TRICKY,
    model=TRICKY,
    trained_on=st.one_of(TRICKY, st.tuples(TRICKY, TRICKY).map("/".join), NAMES, st.just("")),
    training_size=st.integers(1, 100),
    seed=st.integers(0, MAX_SEED),
    view=TRICKY,
    split=TRICKY,
)
PATH = "ner/corpus/tiny/size-030/seed-42/sentence/test"


def test_path_is_written_as_documented() -> None:
    assert KEY.path == str(KEY) == PATH


@pytest.mark.slow
@given(KEYS | ELSEWHERE)
def test_path_leads_back_to_the_key(key: RunKey) -> None:
    assert RunKey.from_path(key.path) == key
    assert len(key.path.split("/")) == RUN_DEPTH
    assert RunKey(**dict(key.items())) == key  # type: ignore[arg-type]


@pytest.mark.slow
@given(ELSEWHERE, ELSEWHERE)
def test_two_keys_have_two_paths(one: RunKey, other: RunKey) -> None:
    assert (one.path == other.path) == (one == other)


@pytest.mark.parametrize(
    ("given_as", "kept", "part"),
    [
        ("", "", "size-030"),
        ("corpus", "", "size-030"),
        ("ner/corpus", "", "size-030"),
        ("jnlpba", "jnlpba", "trained-on-jnlpba,size-030"),
        ("ner/jnlpba", "jnlpba", "trained-on-jnlpba,size-030"),
        ("nli/mednli", "nli/mednli", "trained-on-nli,mednli,size-030"),
        ("nli/corpus", "nli/corpus", "trained-on-nli,corpus,size-030"),
    ],
)
def test_what_is_trained_elsewhere_is_in_the_path(given_as: str, kept: str, part: str) -> None:
    key = replace(KEY, trained_on=given_as)
    assert (key.trained_on, key.path) == (kept, f"ner/corpus/tiny/{part}/seed-42/sentence/test")
    assert key == replace(KEY, trained_on=kept)
    assert key.matches({"trained_on": [given_as]})
    assert key.matches({"trained_on": ["other", kept]})
    assert not key.matches({"trained_on": ["other"]})
    assert key.matches({"trained_on": ["corpus"]}) == (not kept)


@pytest.mark.parametrize(
    "name", ["/", "a/", "/a", "a/b/c", "a,b", "..", "a/..", "a b", "x" * 129, f"{'x' * 128}/{'y' * 80}"]
)
def test_datasets_that_are_no_part_of_a_path_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match="trained_on name"):
        replace(KEY, trained_on=name)


def test_a_pre_trained_model_is_trained_on_no_dataset() -> None:
    with pytest.raises(SettingError, match="training size 0 is the pre-trained model"):
        replace(KEY, training_size=0, trained_on="jnlpba")
    assert replace(KEY, training_size=0, trained_on="corpus").trained_on == ""


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
        PATH.replace("size-030", "trained-on-corpus,size-030"),
        PATH.replace("size-030", "trained-on-ner,jnlpba,size-030"),
        PATH.replace("size-030", "trained-on-,size-030"),
        PATH.replace("size-030", "trained-on-nli,,size-030"),
        PATH.replace("size-030", "trained-on-a,b,c,size-030"),
        PATH.replace("size-030", "trained-on-jnlpba,size-000"),
        PATH.replace("size-030", "size-030,trained-on-jnlpba"),
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


def test_what_is_trained_elsewhere_comes_after_the_rest_of_its_model() -> None:
    keys = [replace(KEY, trained_on=name, training_size=size) for name in ("", "a", "nli/a") for size in (10, 30)]
    assert all(one < other for one, other in pairwise(keys))
    assert sorted(key.path for key in keys) == [key.path for key in keys]


def test_items_are_the_parts_in_order() -> None:
    assert list(KEY.items()) == [
        ("task", "ner"),
        ("dataset", "corpus"),
        ("model", "tiny"),
        ("trained_on", ""),
        ("training_size", 30),
        ("seed", 42),
        ("view", "sentence"),
        ("split", "test"),
    ]
