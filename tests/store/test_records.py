"""Commit records: read without Zarr, and what Zarr itself reads."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from store_factory import put_record, synthetic

from biocache.store import Run
from biocache.store.checks import checksum
from biocache.store.errors import IntegrityError
from biocache.store.records import PackRecord, read_record, recorded_packs
from biocache.store.writing import RunWriter

RECORD = PackRecord("", 1, {"hidden": [1, 2**32 - 1], "attention": []}, 12345, "2026-01-01T00:00:00+00:00", "höst-β")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return synthetic().create(tmp_path / "s.zarr")


def record_of(run: Run) -> PackRecord:
    return replace(RECORD, run=run.group.digest)


def read(run: Run, pack: int) -> PackRecord:
    return read_record(run.group.storage, run.group.folder, pack, run.group.digest)


def recorded(run: Run) -> list[int]:
    return recorded_packs(run.group.storage, run.group.folder)


def chunk(run: Run, pack: int) -> Path:
    return run.path / "packs/record/c" / str(pack)


def test_a_record_is_what_zarr_reads(run: Run) -> None:
    put_record(run, 1, record_of(run))
    stored = zarr.open_array(run.path / "packs/record", mode="r")[:]
    assert stored[0] == stored[2] == ""
    assert json.loads(stored[1]) == asdict(record_of(run))
    assert read(run, 1) == record_of(run)


def test_only_packs_with_a_record_are_committed(run: Run) -> None:
    assert recorded(run) == run.committed() == []
    for pack in (2, 0):
        put_record(run, pack, record_of(run))
    (chunk(run, 1).parent / "1.0123.partial").write_bytes(b"half")
    assert recorded(run) == run.committed() == [0, 2]
    assert run.records() == {pack: replace(record_of(run), pack=pack) for pack in (0, 2)}


def test_packs_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    run = synthetic([5] * 12, capacity=5).create(tmp_path)
    for pack in (10, 9, 1):
        put_record(run, pack, record_of(run))
    assert recorded(run) == run.committed() == [1, 9, 10]


def test_a_missing_record_is_named(run: Run) -> None:
    with pytest.raises(
        IntegrityError, match=r"commit record of pack 1 of .*/test cannot be used .*; run the same .* compute this pack"
    ):
        read(run, 1)


def test_a_record_of_another_run_commits_nothing(run: Run, tmp_path: Path) -> None:
    other = synthetic().create(tmp_path / "other.zarr")
    assert other.spec == run.spec
    put_record(run, 1, record_of(other))
    put_record(run, 2, record_of(run))
    assert recorded(run) == [1, 2]
    assert run.committed() == [2]
    with pytest.raises(IntegrityError, match=r"commit record of pack 1 of .* cannot be used \(it is of another run\)"):
        read(run, 1)


@pytest.mark.parametrize("torn", [b"", b"\1\0\0\0", b"no record at all"])
def test_a_torn_record_commits_nothing(run: Run, torn: bytes) -> None:
    for pack in (0, 1):
        put_record(run, pack, record_of(run))
    chunk(run, 1).write_bytes(torn)
    assert recorded(run) == [0, 1]
    assert run.committed() == [0]
    assert not run.complete


def test_every_flipped_byte_is_noticed(run: Run) -> None:
    put_record(run, 1, record_of(run))
    sound = chunk(run, 1).read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1
        chunk(run, 1).write_bytes(damaged)
        with pytest.raises(IntegrityError, match="pack 1"):
            read(run, 1)


def test_every_truncation_is_noticed(run: Run) -> None:
    put_record(run, 1, record_of(run))
    sound = chunk(run, 1).read_bytes()
    for length in range(len(sound)):
        chunk(run, 1).write_bytes(sound[:length])
        with pytest.raises(IntegrityError, match="pack 1"):
            read(run, 1)
        assert run.committed() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"checksums": {}}', '{"other": 1}', '{"run": 7}'])
def test_sound_bytes_that_are_no_record_are_refused(run: Run, text: str) -> None:
    put_record(run, 1, record_of(run))
    zarr.open_array(run.path / "packs/record", mode="r+").with_config({"write_empty_chunks": True})[1] = text
    with pytest.raises(IntegrityError, match="pack 1"):
        read(run, 1)


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    source = synthetic()
    run = source.create(tmp_path / "s.zarr")
    chunk(run, 1).parent.mkdir()
    litter = [chunk(run, pack).parent / f"{pack}.0123456789abcdef.partial" for pack in (1, 2)]
    for path in litter:
        path.write_bytes(b"half")
    writer = RunWriter(run)
    writer.write_pack(1, source.buffer(1))
    writer.close()
    assert [path.exists() for path in litter] == [False, True]


def test_a_run_that_is_gone_has_no_records(run: Run) -> None:
    put_record(run, 1, record_of(run))
    shutil.rmtree(run.path)
    assert recorded(run) == []


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
    record = PackRecord("", 0, {"hidden": [checksum(first), checksum(second)]}, 0, "", "")
    assert record.matches("hidden", 0, first)
    assert record.matches("hidden", 1, second)
    assert not record.matches("hidden", 0, second)
    assert not record.matches("hidden", 2, first)
    assert not record.matches("attention", 0, first)
