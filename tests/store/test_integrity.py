"""Damage: every kind is reported by `verify_run`, and none is read as data."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from store_factory import SPEC, Synthetic, chunk_file, edit_attributes, put_record, seal_again, synthetic

from biocache.store import Run, schema
from biocache.store.chunks import encode_chunk
from biocache.store.errors import IncompleteRunError, IntegrityError, StoreFormatError
from biocache.store.integrity import Problem, row_sum_tolerance, verify_run

# What is damaged: pack 1 holds sample 2 alone.
PACK, SAMPLE, INDEX = 1, 2, 1


def layer_of(run: Run, name: str) -> int:
    return run.spec.variable_layers(name)[INDEX]


@pytest.fixture
def source() -> Synthetic:
    return synthetic()


@pytest.fixture
def run(source: Synthetic, tmp_path: Path) -> Run:
    return source.write_all(tmp_path / "s.zarr")


def reopened(run: Run) -> Run:
    return Run.open(run.path.parents[6], run.key)


def assert_reported(run: Run, pack: int | None, message: str) -> None:
    problems = list(verify_run(reopened(run)))
    assert problems
    assert {(problem.place, problem.pack) for problem in problems} == {(str(run.key), pack)}
    assert any(message in problem.message for problem in problems), problems
    assert all("\n" not in problem.message for problem in problems)


def assert_pack_unreadable(source: Synthetic, run: Run, name: str) -> None:
    """Every way to read the damaged pack fails; the others are read as ever."""
    run = reopened(run)
    array = run.activations(name)
    axis = 1 if name == "hidden" else 2
    with pytest.raises(IntegrityError):
        array.compute(scheduler="synchronous")
    with pytest.raises(IntegrityError):
        array.blocks[(INDEX, *([slice(None)] * (axis - 1)), PACK)].compute(scheduler="synchronous")
    with pytest.raises(IntegrityError):
        run.read_sample(name, SAMPLE)
    truth = source.hidden if name == "hidden" else source.maps
    for sample in {*range(len(truth))} - {SAMPLE}:
        np.testing.assert_array_equal(run.read_sample(name, sample), truth[sample])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_a_sound_run_has_no_problems(tmp_path: Path, causal: bool, dtype: str, task: str) -> None:
    view = {"ner": "sentence", "nli": "pair"}[task]
    source = synthetic([1, 30, 2, 17, 5, 5], 20, causal=causal, dtype=dtype, task=task, view=view)
    assert set(source.columns["words/segment"].tolist()) == ({0} if task == "ner" else {0, 1})
    steps = []
    assert list(verify_run(source.write_all(tmp_path), lambda done, of: steps.append((done, of)))) == []
    assert steps == [(n + 1, source.plan.pack_count) for n in range(source.plan.pack_count)]


def delete(chunk: Path) -> None:
    chunk.unlink()


def empty(chunk: Path) -> None:
    chunk.write_bytes(b"")


def truncate(chunk: Path) -> None:
    chunk.write_bytes(chunk.read_bytes()[:-7])


def cut_in_half(chunk: Path) -> None:
    chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])


def lengthen(chunk: Path) -> None:
    chunk.write_bytes(chunk.read_bytes() + b"\0")


def zero(chunk: Path) -> None:
    chunk.write_bytes(bytes(chunk.stat().st_size))


def replace_by_a_folder(chunk: Path) -> None:
    chunk.unlink()
    chunk.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hidden", "attention"])
@pytest.mark.parametrize("damage", [delete, empty, truncate, cut_in_half, lengthen, zero, replace_by_a_folder])
def test_a_damaged_chunk(source: Synthetic, run: Run, name: str, damage: Callable[[Path], None]) -> None:
    damage(chunk_file(run, name, INDEX, PACK))
    assert_reported(run, PACK, f"layer {layer_of(run, name)} of {name} in pack {PACK} of {run.path} ")
    assert_pack_unreadable(source, run, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hidden", "attention"])
def test_every_flipped_byte_of_a_chunk(run: Run, name: str) -> None:
    chunk = chunk_file(run, name, INDEX, PACK)
    sound = chunk.read_bytes()
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << position % 8
        chunk.write_bytes(damaged)
        with pytest.raises(IntegrityError, match=f"pack {PACK}"):
            run.read_sample(name, SAMPLE)
    assert_reported(run, PACK, f"layer {layer_of(run, name)} of {name}")


@pytest.mark.parametrize("name", ["hidden", "attention"])
@pytest.mark.parametrize(("index", "pack"), [(0, PACK), (INDEX, 0)])
def test_a_chunk_that_is_another(source: Synthetic, run: Run, name: str, index: int, pack: int) -> None:
    shutil.copy(chunk_file(run, name, index, pack), chunk_file(run, name, INDEX, PACK))
    assert_reported(run, PACK, "are not those that were committed")
    assert_pack_unreadable(source, run, name)


@pytest.mark.parametrize("name", ["hidden", "attention"])
@pytest.mark.parametrize("layers", [0, 2])
def test_a_chunk_that_decodes_to_another_size_is_not_read(source: Synthetic, run: Run, name: str, layers: int) -> None:
    """Its bytes are sound: no memory that nobody filled is taken for values."""
    block = getattr(source.buffer(PACK), name)[INDEX].astype(source.spec.dtype)
    values = np.concatenate([block] * layers) if layers else block.ravel()[: block.size // 2]
    chunk_file(run, name, INDEX, PACK).write_bytes(encode_chunk(values))
    with pytest.raises(IntegrityError, match=f"layer {layer_of(run, name)} of {name} in pack {PACK} of .* cannot be"):
        reopened(run).chunks(name).read_committed(INDEX, PACK)
    assert_reported(run, PACK, f"layer {layer_of(run, name)} of {name}")
    assert_pack_unreadable(source, run, name)


@pytest.mark.parametrize("name", ["hidden", "attention"])
def test_values_written_past_the_record(source: Synthetic, run: Run, name: str) -> None:
    array = zarr.open_array(run.path / name / name, mode="r+")
    start = source.plan.tokens.start if name == "hidden" else source.plan.entries.start
    at = (INDEX, int(start[SAMPLE]), 0) if name == "hidden" else (INDEX, 0, int(start[SAMPLE]))
    array[at] = np.nextafter(array[at], np.float16(2), dtype=np.float16)
    assert_reported(run, PACK, "are not those that were committed")
    assert_pack_unreadable(source, run, name)


def test_values_that_are_not_finite(source: Synthetic, run: Run) -> None:
    start = int(source.plan.tokens.start[SAMPLE])
    zarr.open_array(run.path / "hidden/hidden", mode="r+")[INDEX, start + 3, 2] = np.inf
    assert_reported(run, PACK, "layer 1 of hidden: values are not finite")
    assert_pack_unreadable(source, run, "hidden")


def test_a_deleted_record(run: Run) -> None:
    (run.path / "packs/record/c" / str(PACK)).unlink()
    assert_reported(run, PACK, "not committed: run the same `biocache extract` again")
    with pytest.raises(IncompleteRunError, match="2 of 3 packs"):
        run.tokens()
    with pytest.raises(IntegrityError):
        run.read_sample("hidden", SAMPLE)


def foreign(record: Path) -> None:
    """Write the record of an equal run that was here before."""
    run = Run.open(record.parents[10], SPEC.key)
    put_record(run, PACK, replace(run.records()[PACK], run="0" * 64))


@pytest.mark.slow
@pytest.mark.parametrize("damage", [empty, truncate, cut_in_half, lengthen, zero, foreign])
def test_a_damaged_record(source: Synthetic, run: Run, damage: Callable[[Path], None]) -> None:
    arrays = {name: run.activations(name) for name in source.spec.keep}
    sound = {name: array.compute(scheduler="synchronous") for name, array in arrays.items()}
    damage(run.path / "packs/record/c" / str(PACK))
    told = f"commit record of pack {PACK} of {run.path} cannot be used"
    assert_reported(run, PACK, told)
    with pytest.raises(IncompleteRunError, match="2 of 3 packs"):
        reopened(run).tokens()
    for name, array in arrays.items():
        with pytest.raises(IntegrityError, match=told):
            reopened(run).read_sample(name, SAMPLE)
        truth = source.hidden if name == "hidden" else source.maps
        # What was opened before has the record as it was.
        np.testing.assert_array_equal(array.compute(scheduler="synchronous"), sound[name])
        for sample in {*range(len(truth))} - {SAMPLE}:
            np.testing.assert_array_equal(reopened(run).read_sample(name, sample), truth[sample])
    # The same extract computes it again.
    source.write(reopened(run))
    assert list(verify_run(reopened(run))) == []


def test_a_record_of_another_pack(source: Synthetic, run: Run) -> None:
    folder = run.path / "packs/record/c"
    shutil.copy(folder / "0", folder / str(PACK))
    assert_reported(run, PACK, "cannot be used (it is of pack 0)")
    assert run.committed() == [pack for pack in range(run.counts.packs) if pack != PACK]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hidden", "attention"])
def test_damaged_metadata_of_the_activations(source: Synthetic, run: Run, name: str) -> None:
    path = run.path / name / name / "zarr.json"
    sound = json.loads(path.read_bytes())
    written = path.read_bytes()
    told = rf"^{name}/{name}/zarr\.json is not what was written: its checksum does not match; remove the run with"
    for key in sound:
        path.write_text(json.dumps({other: value for other, value in sound.items() if other != key}))
        (problem,) = verify_run(reopened(run))
        assert re.match(told, problem.message)
    for key, value in (("shape", [1, 2, 3]), ("data_type", "int16"), ("codecs", sound["codecs"][:1])):
        path.write_text(json.dumps({**sound, key: value}))
        (problem,) = verify_run(reopened(run))
        assert re.match(told, problem.message)
    # biocache knows from its spec what the arrays are.
    np.testing.assert_array_equal(run.activations(name).compute(scheduler="synchronous"), source.truth(name))
    path.unlink()
    (problem,) = verify_run(reopened(run))
    assert re.search(rf"No such file or directory.*{path}", problem.message)
    path.write_bytes(written)
    assert list(verify_run(reopened(run))) == []


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ner", "nli"])
@pytest.mark.parametrize("damage", [delete, empty, truncate, zero])
def test_a_damaged_column(tmp_path: Path, task: str, damage: Callable[[Path], None]) -> None:
    run = synthetic(task=task, view="pair" if task == "nli" else "sentence").write_all(tmp_path / "s.zarr")
    for path in ["packs/first_sample", *(variable.path for variable in schema.columns())]:
        chunk = run.path / path / "c/0"
        sound = chunk.read_bytes()
        damage(chunk)
        with pytest.raises(IntegrityError, match=f"table column {path} of .* cannot be read"):
            reopened(run).column(path)
        assert_reported(run, None, f"{path}/c/0")
        chunk.write_bytes(sound)
    assert list(verify_run(reopened(run))) == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", [empty, truncate, zero])
def test_a_damaged_column_that_was_sealed(run: Run, damage: Callable[[Path], None]) -> None:
    """The seal is not all: what a table cannot be decoded from is reported, whoever wrote it."""
    for path in ["packs/first_sample", *(variable.path for variable in schema.columns())]:
        chunk = run.path / path / "c/0"
        sound = chunk.read_bytes()
        damage(chunk)
        seal_again(run.path)
        with pytest.raises(IntegrityError, match=f"table column {path} of .* cannot be read"):
            reopened(run).column(path)
        assert_reported(run, None, f"table column {path} of ")
        chunk.write_bytes(sound)
    seal_again(run.path)
    assert list(verify_run(reopened(run))) == []


@pytest.mark.slow
def test_damaged_metadata_of_a_column(run: Run) -> None:
    path = run.path / "samples/token_count/zarr.json"
    sound = json.loads(path.read_bytes())
    for key in sound:
        path.write_text(json.dumps({other: value for other, value in sound.items() if other != key}))
        assert_reported(run, None, "samples/token_count/zarr.json is not what was written: its checksum does not match")
        with pytest.raises(IntegrityError, match=r"table column samples/token_count of .* cannot be read"):
            reopened(run).tokens()
        if key not in ("attributes", "dimension_names", "storage_transformers"):
            seal_again(run.path)
            assert_reported(run, None, "table column samples/token_count of ")
            with pytest.raises(IntegrityError, match=r"table column samples/token_count of .* cannot be read"):
                reopened(run).tokens()
            path.write_text(json.dumps(sound))
            seal_again(run.path)


def tamper(run: Run, path: str, change: Callable[[Any], Any]) -> None:
    """Write other values with sound bytes, as another program might; what the seal says, then seal them, too."""
    array = zarr.open_array(run.path / path, mode="r+").with_config({"write_empty_chunks": True})
    values = np.asarray(change(array[:].copy()))
    array.resize(values.shape)
    array[:] = values
    problems = list(verify_run(reopened(run)))
    assert {problem.pack for problem in problems if problem.message.startswith(f"{path}/")} == {None}
    assert all(f"{path}/" in problem.message for problem in problems), problems
    with pytest.raises(IntegrityError, match=f"table column {path} of .* is not what was written"):
        reopened(run).column(path)
    seal_again(run.path)


def moved(values: Any) -> Any:
    """Move one from the last entry to the first, so that the sum stays."""
    values[0] += 1
    values[-1] -= 1
    return values


def raised(values: Any) -> Any:
    values[2] += 1
    return values


def shortened(values: Any) -> Any:
    return values[:-1]


def swapped(values: Any) -> Any:
    values[[0, 1]] = values[[1, 0]]
    return values


def swapped_last(values: Any) -> Any:
    values[[-1, -2]] = values[[-2, -1]]
    return values


def raised_first(values: Any) -> Any:
    values[0] += 1
    return values


LAYOUT = [
    "samples/token_count",
    "samples/entry_count",
    "samples/token_start",
    "samples/entry_start",
    "packs/first_sample",
]


@pytest.mark.slow
@pytest.mark.parametrize("path", LAYOUT)
@pytest.mark.parametrize("change", [moved, raised, raised_first, shortened, swapped, swapped_last])
def test_a_tampered_layout_is_reported_and_not_read(run: Run, path: str, change: Callable[[Any], Any]) -> None:
    tamper(run, path, change)
    assert_reported(run, None, "do not agree")
    for read in (Run.tokens, lambda run: run.read_sample("hidden", 0), lambda run: run.activations("attention")):
        with pytest.raises(IntegrityError, match="do not agree"):
            read(reopened(run))


@pytest.mark.parametrize("size", ["samples", "tokens", "words", "entries", "packs"])
def test_tampered_sizes_are_reported(run: Run, size: str) -> None:
    def raise_by_one(attributes: dict[str, Any]) -> None:
        attributes["biocache"]["counts"][size] += 1

    sound = (run.path / "zarr.json").read_bytes()
    edit_attributes(run.path, raise_by_one)
    with pytest.raises(StoreFormatError, match="is damaged: its attributes are not those that were written"):
        reopened(run)
    (run.path / "zarr.json").write_bytes(sound)
    seal_again(run.path, raise_by_one)
    problems = list(verify_run(reopened(run)))
    assert problems
    assert {problem.pack for problem in problems} == {None}
    if size != "words":
        with pytest.raises(IntegrityError, match="do not agree"):
            reopened(run).read_sample("hidden", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("samples/sample_id", lambda values: [values[1], *values[1:]]),
        ("samples/word_count", moved),
        ("samples/word_count", raised),
        ("samples/word_count", swapped),
        ("samples/word_start", raised),
        ("tokens/token_id", lambda values: values * 0 - 1),
        ("tokens/word", swapped),
        ("tokens/word", lambda values: values + 100),
        ("tokens/word", lambda values: values - 1),
        ("tokens/special", lambda values: ~values),
        ("words/sample", raised),
        ("words/sample", lambda values: values[::-1]),
        ("words/sample", lambda values: values - 1),
        ("words/token_start", raised),
        ("words/token_count", moved),
        ("words/token_count", raised),
    ],
)
def test_tampered_words_are_reported(run: Run, path: str, change: Callable[[Any], Any]) -> None:
    tamper(run, path, change)
    assert_reported(run, None, "does not agree with the others")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ner", "nli"])
def test_a_column_of_another_length_is_reported(tmp_path: Path, task: str) -> None:
    for number, variable in enumerate(schema.columns()):
        if variable.path not in LAYOUT:
            run = synthetic(task=task).write_all(tmp_path / str(number))
            tamper(run, variable.path, shortened)
            assert_reported(run, None, f"{variable.path} has ")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("head", "query"), [(0, 0), (1, 4), (1, 8)])
def test_attention_that_does_not_sum_to_one(tmp_path: Path, causal: bool, head: int, query: int) -> None:
    source = synthetic(causal=causal)
    source.maps[SAMPLE][INDEX, head, query] *= np.float16(0.98)
    run = source.write_all(tmp_path)
    total = source.maps[SAMPLE][INDEX, head, query].astype(np.float32).sum()
    assert list(verify_run(run)) == [
        Problem(
            str(run.key),
            PACK,
            f"layer 2 of attention: 1 attention rows do not sum to 1, first head {head} of sample 's2': {total:.4f}",
        )
    ]


def test_attention_outside_its_range(tmp_path: Path) -> None:
    source = synthetic()
    source.maps[SAMPLE][INDEX, 0, 3, :3] = [-0.25, 1, 0.25]
    source.maps[SAMPLE][INDEX, 0, 3, 3:] = 0
    assert_reported(
        source.write_all(tmp_path), PACK, "layer 2 of attention: attention probabilities lie outside [0, 1]"
    )


def test_attention_whose_sums_overflow(tmp_path: Path) -> None:
    source = synthetic(dtype="float32")
    source.maps[SAMPLE][INDEX, 0, 3, :3] = np.finfo("float32").max
    assert_reported(
        source.write_all(tmp_path), PACK, "layer 2 of attention: attention probabilities lie outside [0, 1]"
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("keys", [1, 2, 3, 7, 100, 511, 1024, 4096])
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 10.0])
def test_rounded_probabilities_are_within_the_tolerance(dtype: str, keys: int, sharpness: float) -> None:
    logits = np.random.default_rng(keys).normal(size=(50, keys)).astype(np.float32) * np.float32(sharpness)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows = weights / weights.sum(axis=1, keepdims=True)
    # A code of a square root is worth its square.
    rows = (np.rint(np.sqrt(rows) * 255) / 255) ** 2 if dtype == "uint8" else rows.astype(dtype)
    off = np.abs(rows.astype(np.float64).sum(axis=1) - 1)
    granted = row_sum_tolerance(np.array([keys]), dtype)
    assert (off <= granted).all()
    assert (granted < (0.27 if dtype == "uint8" else 0.01)).all()


def test_a_run_without_attention_is_verified(tmp_path: Path) -> None:
    source = synthetic(keep=("hidden",))
    run = source.write_all(tmp_path)
    assert list(verify_run(run)) == []
    chunk_file(run, "hidden", INDEX, PACK).unlink()
    assert_reported(run, PACK, "is missing")


def test_damage_is_mended_by_deleting_the_record(source: Synthetic, run: Run) -> None:
    chunk_file(run, "hidden", INDEX, PACK).write_bytes(b"damage")
    (run.path / "packs/record/c" / str(PACK)).unlink()
    source.write(run)
    assert list(verify_run(run)) == []
    np.testing.assert_array_equal(run.read_sample("hidden", SAMPLE), source.hidden[SAMPLE])


@pytest.mark.parametrize("name", ["hidden", "attention"])
def test_damaged_layers_are_reported(run: Run, name: str) -> None:
    (run.path / name / "layer/c/0").write_bytes(b"garbage")
    (problem,) = verify_run(reopened(run))
    assert f"{name}/layer/c/0 is not what was written" in problem.message


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("tokens/token_id", lambda values: values + 1),
        ("tokens/token_id", swapped),
        ("words/word_text", lambda values: ["other", *values[1:]]),
        ("samples/sample_id", lambda values: ["other", *values[1:]]),
        ("words/segment", lambda values: values ^ 1),
    ],
)
def test_sealed_tables_of_other_data_are_reported(tmp_path: Path, path: str, change: Callable[[Any], Any]) -> None:
    nli = path == "words/segment"
    run = synthetic(task="nli", view="pair").write_all(tmp_path) if nli else synthetic().write_all(tmp_path)
    tamper(run, path, change)
    own = "the tokens in its tables" if path == "tokens/token_id" else "the texts in its tables"
    assert_reported(run, None, f"{own} are not those of its spec; remove the run with")


@pytest.mark.parametrize("path", ["samples/token_count", "packs/first_sample", "tokens/token_text"])
def test_a_fault_is_reported_once(run: Run, path: str) -> None:
    """Also where the layout cannot be read without the table."""
    (run.path / path / "c/0").write_bytes(b"garbage")
    messages = [problem.message for problem in verify_run(reopened(run))]
    assert len(messages) == 1, messages


@pytest.mark.parametrize("file", ["samples/zarr.json", "packs/zarr.json", "packs/record/zarr.json", "hidden/zarr.json"])
@pytest.mark.parametrize("damage", [delete, empty, truncate, zero, replace_by_a_folder])
def test_damaged_groups_of_a_run_are_reported(run: Run, file: str, damage: Callable[[Path], None]) -> None:
    damage(run.path / file)
    assert_reported(run, None, "zarr.json is not a regular file" if damage is replace_by_a_folder else file)
