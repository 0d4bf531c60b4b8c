"""Commit records: read without Zarr, and what Zarr itself reads."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import zarr
from store_factory import synthetic

from biocache.store import Run
from biocache.store.checks import checksum
from biocache.store.errors import IntegrityError
from biocache.store.records import PackRecord, committed_packs, read_record
from biocache.store.writing import write_record

RECORD = PackRecord({"hidden": [1, 2**32 - 1], "attention": []}, 12345, "2026-01-01T00:00:00+00:00", "höst-β")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic().create(tmp_path / "s.zarr")


def chunk(run: Run, pack: int) -> Path:
    return run.path / "packs/record/c" / str(pack)


def test_a_record_is_what_zarr_reads(run: Run) -> None:
    write_record(run.path, 1, RECORD)
    stored = zarr.open_array(run.path / "packs/record", mode="r")[:]
    assert stored[0] == stored[2] == ""
    assert json.loads(stored[1]) == asdict(RECORD)
    assert read_record(run.path, 1) == RECORD


def test_only_packs_with_a_record_are_committed(run: Run) -> None:
    assert committed_packs(run.path) == []
    for pack in (2, 0):
        write_record(run.path, pack, RECORD)
    (chunk(run, 1).parent / "1.0123.partial").write_bytes(b"half")
    assert committed_packs(run.path) == [0, 2]


def test_packs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    run = synthetic([5] * 12, capacity=5).create(tmp_path)
    for pack in (10, 9, 1):
        write_record(run.path, pack, RECORD)
    assert committed_packs(run.path) == [1, 9, 10]


def test_a_missing_record_is_named(run: Run) -> None:
    with pytest.raises(IntegrityError, match=r"commit record of pack 1 of .*/test cannot be read .*; delete .*/c/1 "):
        read_record(run.path, 1)


def test_every_flipped_byte_is_noticed(run: Run) -> None:
    write_record(run.path, 1, RECORD)
    sound = chunk(run, 1).read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1
        chunk(run, 1).write_bytes(damaged)
        with pytest.raises(IntegrityError, match="pack 1"):
            read_record(run.path, 1)


def test_every_truncation_is_noticed(run: Run) -> None:
    write_record(run.path, 1, RECORD)
    sound = chunk(run, 1).read_bytes()
    for length in range(len(sound)):
        chunk(run, 1).write_bytes(sound[:length])
        with pytest.raises(IntegrityError, match="pack 1"):
            read_record(run.path, 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"checksums": {}}', '{"other": 1}'])
def test_sound_bytes_that_are_no_record_are_refused(run: Run, text: str) -> None:
    write_record(run.path, 1, RECORD)
    zarr.open_array(run.path / "packs/record", mode="r+").with_config({"write_empty_chunks": True})[1] = text
    with pytest.raises(IntegrityError, match="pack 1"):
        read_record(run.path, 1)


def test_what_a_killed_writer_left_is_swept(run: Run) -> None:
    chunk(run, 1).parent.mkdir()
    litter = [chunk(run, pack).parent / f"{pack}.0123456789abcdef.partial" for pack in (1, 2)]
    for path in litter:
        path.write_bytes(b"half")
    write_record(run.path, 1, RECORD)
    assert [path.exists() for path in litter] == [False, True]


def test_a_run_that_is_gone_has_no_committed_packs(run: Run) -> None:
    write_record(run.path, 1, RECORD)
    shutil.rmtree(run.path)
    assert committed_packs(run.path) == []


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_checksum_is_of_little_endian_row_major_bytes(dtype: str) -> None:
    values = np.arange(12, dtype=dtype).reshape(3, 4)
    expected = checksum(values)
    assert checksum(values.astype(f">{values.dtype.str[1:]}")) == expected
    assert checksum(np.asfortranarray(values)) == expected
    assert checksum(np.pad(values, ((0, 0), (0, 5)))[:, :4]) == expected
    assert checksum(values.T) != expected
    # The check value of CRC-32C (RFC 3720, B.4: 32 bytes of zeros is 0x8A9136AA).
    assert checksum(np.zeros(32, dtype=np.uint8)) == 0x8A9136AA


def test_a_record_matches_only_its_own_layer() -> None:
    first, second = np.float16([[1, 2]]), np.float16([[3, 4]])
    record = PackRecord({"hidden": [checksum(first), checksum(second)]}, 0, "", "")
    assert record.matches("hidden", 0, first)
    assert record.matches("hidden", 1, second)
    assert not record.matches("hidden", 0, second)
    assert not record.matches("hidden", 2, first)
    assert not record.matches("attention", 0, first)
