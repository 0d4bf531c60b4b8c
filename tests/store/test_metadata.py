"""Metadata that is damaged in any shape: an answer or one of biocache's errors, never another exception."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapes import STRANGE, places, replaced
from store_factory import KEY, put_record, synthetic

from biocache.store import Run, Store
from biocache.store.errors import BiocacheError, StoreFormatError
from biocache.store.integrity import verify_run
from biocache.store.metadata import MetadataError, Natural, as_type, decoded, read_json
from biocache.store.records import PackRecord
from biocache.store.sealing import digest_of


@dataclass(frozen=True)
class Described:
    name: str
    count: Natural
    parts: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"name": 1, "count": 2}', "Expected `str`"),
        (b'{"name": "a"}', "`count`"),
        (b'{"name": "a", "count": true}', "Expected `int`"),
        (b'{"name": "a", "count": -1}', ">= 0"),
        (b'{"name": "a", "count": 9223372036854775808}', "<="),
        (b'{"name": "a", "count": 1, "parts": "ab"}', "Expected `array`"),
        (b'{"name": "\\ud800", "count": 1}', "surrogate"),
        (b'{"name": "\xff", "count": 1}', "utf-8"),
        (b'{"name": "a", "count": NaN}', "malformed"),
        (b"[" * 100_000 + b"]" * 100_000, "Expected `object`"),
        (b'{"other": ' * 100_000 + b"1" + b"}" * 100_000, "recursion"),
    ],
)
def test_json_of_another_type_is_refused(text: bytes, fault: str) -> None:
    with pytest.raises(MetadataError, match=fault):
        decoded(text, Described)


def test_json_of_the_type_is_read() -> None:
    assert decoded(b'{"name": "a", "count": 2, "parts": ["x"], "unknown": 1}', Described) == Described("a", 2, ("x",))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_any_value_is_of_the_type_or_refused(value: Any) -> None:
    with suppress(MetadataError):
        assert isinstance(as_type(value, Described), Described)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "zarr.json"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(MetadataError, match="not a regular file"):
        read_json(path, Described)


def test_a_file_that_is_absent_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "absent" / "zarr.json", Described)


@pytest.mark.slow
def test_a_run_with_any_value_changed_is_listed_and_read_or_refused(tmp_path: Path) -> None:
    source = synthetic()
    run = source.write_all(tmp_path / "s.zarr")
    store = Store.open(tmp_path / "s.zarr")
    file = run.path / "zarr.json"
    metadata = json.loads(file.read_bytes())
    tried = 0
    for place in places(metadata["attributes"], ("attributes",)):
        for strange in STRANGE:
            changed = json.dumps(replaced(metadata, place, strange), sort_keys=True)
            if changed == json.dumps(metadata, sort_keys=True):
                continue
            tried += 1
            file.write_text(changed, encoding="utf-8")
            (row,) = store.listing()
            assert row["state"] in ("damaged", "newer"), (place, strange)
            with pytest.raises(StoreFormatError):
                Run.open(store.path, KEY)
    assert tried > 400


@pytest.mark.slow
def test_a_run_with_any_value_changed_and_sealed_is_listed_and_read_or_refused(tmp_path: Path) -> None:
    """What a faulty release might write: no seal tells."""
    run = synthetic().write_all(tmp_path / "s.zarr")
    store = Store.open(tmp_path / "s.zarr")
    metadata = json.loads((run.path / "zarr.json").read_bytes())
    records = run.records()
    # One file stands for all.
    own = metadata["attributes"]["biocache"]
    skipped = {("attributes", "biocache", "files", file) for file in list(own["files"])[1:]}
    states = set()
    tried = 0
    for place in places(metadata["attributes"], ("attributes",)):
        for strange in STRANGE if place not in skipped and place[-1] != "digest" else ():
            changed = replaced(metadata, place, strange)
            attributes = changed["attributes"]
            if not isinstance(attributes, dict) or not isinstance(attributes.get("biocache"), dict):
                continue
            put_sealed(run, changed, records)
            tried += 1
            (row,) = store.listing()
            states.add(row["state"])
            with suppress(BiocacheError):
                opened = Run.open(store.path, KEY)
                repr(opened)
                list(verify_run(opened))
                opened.tokens()
    assert tried > 400
    assert states == {"complete", "damaged", "newer"}


def put_sealed(run: Run, metadata: dict[str, Any], records: dict[int, PackRecord]) -> None:
    attributes = metadata["attributes"]
    attributes["biocache"].pop("digest", None)
    digest = digest_of(attributes)
    attributes["biocache"]["digest"] = digest
    (run.path / "zarr.json").write_text(json.dumps(metadata), encoding="utf-8")
    for pack, record in records.items():
        put_record(run, pack, replace(record, run=digest))


@pytest.mark.slow
@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"null", b'"x"'])
@pytest.mark.parametrize("where", ["", "ner/corpus/tiny/size-030/seed-42/sentence/test/"])
def test_metadata_that_is_no_json_of_a_group_is_one_error(tmp_path: Path, text: bytes, where: str) -> None:
    synthetic().write_all(tmp_path / "s.zarr")
    (tmp_path / "s.zarr" / where / "zarr.json").write_bytes(text)
    if where:
        (row,) = Store.open(tmp_path / "s.zarr").catalog().to_dict("records")
        assert row["state"] == "damaged"
    else:
        with pytest.raises(BiocacheError, match="is not a biocache store"):
            Store.open(tmp_path / "s.zarr")
