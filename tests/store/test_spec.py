"""The spec of a run: stored as JSON, and compared field by field."""

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from store_factory import KEY, PROVENANCE, SPEC

from biocache.store.metadata import MetadataError, decoded
from biocache.store.spec import Provenance, RunSpec

OTHER = {
    "key": replace(KEY, split="train"),
    "dataset_digest": "other",
    "limit": 10,
    "model_digest": "other",
    "tokenizer_digest": "other",
    "encoding_digest": "other",
    "max_length": 128,
    "token_types": True,
    "keep": ("hidden",),
    "layers": (0, 2),
    "feature_size": 12,
    "head_count": 3,
    "causal": True,
    "dtype": "float32",
    "compute_dtype": "bfloat16",
    "attention_implementation": "sdpa",
    "without_maps": (2,),
    "sink": True,
    "padded": False,
    "stride": 8,
    "attention_dtype": "uint8",
    "level": "word",
}


def test_spec_survives_json() -> None:
    for spec in (SPEC, RunSpec(**OTHER)):
        assert RunSpec.from_json(spec.key, json.loads(json.dumps(spec.to_json()))) == spec


def test_the_key_is_not_stored_twice() -> None:
    spec = replace(SPEC, attention_dtype="uint8", stride=8, level="sample")
    assert set(spec.to_json()) == {field.name for field in fields(RunSpec)} - {"key"}


def test_a_spec_of_one_data_type_is_the_json_that_it_was_before_there_were_two() -> None:
    before = {field.name for field in fields(RunSpec)} - {"key", "attention_dtype", "stride", "level"}
    for spec in (
        SPEC,
        replace(SPEC, attention_dtype="float16"),
        replace(SPEC, keep=("hidden",), attention_dtype="uint8"),
        replace(SPEC, keep=("attention",), level="word"),
    ):
        assert set(spec.to_json()) == before
        assert spec.difference(replace(spec, attention_dtype=None)) == {}


def test_hidden_states_and_maps_have_data_types_of_their_own() -> None:
    spec = replace(SPEC, dtype="int8", attention_dtype="uint8")
    assert [spec.stored_dtype(kept) for kept in spec.kept] == ["int8", "uint8"]
    assert replace(SPEC, dtype="float32").map_dtype == "float32"
    assert replace(SPEC, dtype="float32", attention_dtype="float16").map_dtype == "float16"
    assert replace(SPEC, keep=("hidden",)).map_dtype is None
    with pytest.raises(ValueError, match="maps cannot be int8"):
        replace(SPEC, dtype="int8")


@pytest.mark.parametrize("field", [field.name for field in fields(RunSpec)])
def test_every_field_tells_specs_apart(field: str) -> None:
    other = replace(SPEC, **{field: OTHER[field]})
    own = SPEC.map_dtype if field == "attention_dtype" else getattr(SPEC, field)
    assert SPEC.difference(other) == {field: (own, OTHER[field])}
    assert other.difference(SPEC) == {field: (OTHER[field], own)}


def test_equal_specs_do_not_differ() -> None:
    assert SPEC.difference(replace(SPEC)) == {}


def test_a_field_missing_from_json_is_an_error() -> None:
    values = SPEC.to_json()
    del values["dtype"]
    with pytest.raises(MetadataError, match="`dtype`"):
        RunSpec.from_json(KEY, values)


def test_attention_has_no_embedding_layer() -> None:
    spec = replace(SPEC, layers=(0, 3, 7))
    assert spec.variable_layers("hidden") == (0, 3, 7)
    assert spec.variable_layers("attention") == spec.attention_layers == (3, 7)


@pytest.mark.parametrize("causal", [False, True])
def test_entry_count_is_the_size_of_the_map(causal: bool) -> None:
    tokens = np.arange(1, 20)
    sizes = [len(np.tril_indices(n)[0]) if causal else n * n for n in tokens]
    np.testing.assert_array_equal(replace(SPEC, causal=causal).entry_count(tokens), sizes)


def test_provenance_survives_json() -> None:
    assert decoded(json.dumps(asdict(PROVENANCE)).encode(), Provenance) == PROVENANCE
