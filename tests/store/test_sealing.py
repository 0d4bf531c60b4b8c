"""Seals: what was changed or exchanged in a store is never read as if it were what was written."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from store_factory import (
    KEY,
    Synthetic,
    assert_holds,
    chunk_file,
    least,
    opened_archive,
    put_record,
    seal_again,
    synthetic,
)

from biocache.store import BiocacheError, Run, Store, schema
from biocache.store.archives import packed, unpacked
from biocache.store.errors import IntegrityError, StoreFormatError
from biocache.store.folders import Folder
from biocache.store.integrity import verify_bundles, verify_run
from biocache.store.metadata import MetadataError
from biocache.store.records import record_path
from biocache.store.results import find_result, list_results, result_files, save_result
from biocache.store.sealing import digest_of, read_sealed, seal

INPUTS = {"runs": [{"run": "ner/c/m"}], "c": 1.5}
GROUP = b'{"zarr_format": 3, "node_type": "group", "attributes": {"title": "x"}}'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "s.zarr"


@pytest.fixture
def source() -> Synthetic:
    return synthetic()


def another(source: Synthetic) -> Synthetic:
    """Make a run of the same tables and other activations."""
    other = replace(source, hidden=[-values for values in source.hidden], maps=[maps[::-1] for maps in source.maps])
    assert other.spec == source.spec
    return other


def answers(run: Run) -> dict[str, Any]:
    """Return all that a run answers."""
    found: dict[str, Any] = {path: run.column(path).tolist() for path in table_paths(run)}
    for name in run.spec.keep:
        found[name] = run.activations(name).compute(scheduler="synchronous").tolist()
    return found | {"spec": run.spec, "provenance": run.provenance, "counts": run.counts, "replaces": run.replaces}


def table_paths(run: Run) -> list[str]:
    layers = [f"{name}/layer" for name in run.spec.keep]
    return ["packs/first_sample", *layers, *(variable.path for variable in schema.columns())]


def problems(root: Path) -> list[str]:
    """Return what verifying finds in a store with one run; a run that cannot be opened is a problem, too."""
    try:
        found = [problem.message for problem in verify_run(Run.open(root, KEY))]
    except BiocacheError as error:
        found = [error.message]
    return found


def flips(data: bytes, bits: int = 2) -> Iterator[tuple[int, bytes]]:
    """Yield a text with each of its bytes changed in one bit, as often as there are bits to try, and its place."""
    for position in range(len(data)):
        for bit in (position % 8, (position + 3) % 8)[:bits]:
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            yield position, bytes(damaged)


def meaning(data: bytes) -> Any:
    """Return JSON as a value; None where it is none."""
    with suppress(ValueError, RecursionError):
        return json.loads(data)
    return None


# What a seal is


def test_a_group_is_read_as_it_was_sealed(tmp_path: Path) -> None:
    files = seal({"zarr.json": GROUP, "a/b": b"12", "c": b""}, {"own": [1, {"x": None}]}, "there/it/is")
    assert list(files)[-1] == "zarr.json"
    storage = Folder(tmp_path)
    storage.publish(files, "aside")
    sealed = read_sealed(storage, "aside", "there/it/is")
    assert sealed.attributes["own"] == [1, {"x": None}]
    assert sealed.others == {"title": "x"}
    assert sealed.read() == {"a/b": b"12", "c": b""}
    assert sealed.read("a") == {"a/b": b"12"}
    assert sealed.read_file("c") == b""
    with pytest.raises(MetadataError, match="it is there/it/is, and was copied or moved here"):
        read_sealed(storage, "aside", "aside")
    storage.put("aside/c", b"x")
    for read in (lambda: sealed.read(), lambda: sealed.read_file("c")):
        with pytest.raises(MetadataError, match="c is not what was written: its checksum does not match"):
            read()
    storage.delete("aside/a/b")
    with pytest.raises(FileNotFoundError):
        sealed.read("a")


def test_a_digest_is_of_the_value_and_not_of_its_text() -> None:
    assert digest_of({"a": [1, "β"], "b": None}) == digest_of(json.loads('{"b":null,\n"a": [1, "\\u03b2"]}'))
    others = [{"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": True}, {"a": None}, {"a": [1]}, {"a": {}}, {"b": 1}, {}]
    assert len({digest_of(value) for value in others}) == len(others)
    for value in (float("nan"), float("inf"), {1, 2}, Path("x")):
        with pytest.raises((TypeError, ValueError)):
            digest_of(value)


# Single bits


@pytest.mark.slow
def test_every_flipped_byte_of_the_metadata_of_a_run_is_seen(root: Path) -> None:
    run = least().write_all(root)
    expected = answers(run)
    file = run.path / "zarr.json"
    sound = file.read_bytes()
    same = 0
    for position, damaged in flips(sound):
        file.write_bytes(damaged)
        if meaning(damaged) == meaning(sound):
            same += 1
            assert answers(Run.open(root, KEY)) == expected, position
            continue
        with pytest.raises(StoreFormatError):
            Run.open(root, KEY)
        (row,) = Store.open(root).listing()
        assert row["state"] in ("damaged", "newer"), position
        assert problems(root), position
    assert same < 10


@pytest.mark.slow
def test_every_flipped_byte_of_the_tables_of_a_run_is_seen(root: Path) -> None:
    run = least().write_all(root)
    expected = answers(run)
    for path in run.sealed.files:
        file = run.path / path
        sound = file.read_bytes()
        folder = path.removesuffix("/zarr.json").removesuffix("/c/0")
        opened = Run.open(root, KEY)
        for position, damaged in flips(sound):
            file.write_bytes(damaged)
            with pytest.raises(MetadataError, match=f"{path} is not what was written"):
                opened.sealed.read_file(path)
            if folder in table_paths(run):
                with pytest.raises(IntegrityError, match=f"table column {folder} of .* cannot be read"):
                    opened.column(folder)
            if position % 200 == 0:
                # Reading a whole run takes its time.
                with suppress(IntegrityError):
                    assert answers(Run.open(root, KEY)) == expected, (path, position)
                assert {path in message for message in problems(root)} == {True}, position
        file.write_bytes(sound)
    assert problems(root) == []


@pytest.mark.slow
def test_every_flipped_byte_of_a_record_or_a_chunk_is_seen(root: Path) -> None:
    run = least().write_all(root)
    for file in (run.path / record_path(0), chunk_file(run, "hidden", 0, 0)):
        sound = file.read_bytes()
        for position, damaged in flips(sound, bits=1):
            file.write_bytes(damaged)
            with pytest.raises(IntegrityError):
                Run.open(root, KEY).read_sample("hidden", 0)
            assert len(problems(root)) == 1, position
        file.write_bytes(sound)
    assert problems(root) == []


@pytest.mark.slow
def test_every_flipped_byte_of_a_result_is_seen(root: Path) -> None:
    dataset = xr.Dataset({"score": ("layer", [0.5, 0.25]), "name": ("layer", ["a", "β"])}, {"layer": [0, 1]}, {"t": 1})
    expected = save_result(root, "probe", INPUTS, dataset)
    (file,) = result_files(Folder(root))
    sound = (root / file).read_bytes()
    files = unpacked(sound)
    for position, damaged in flips(sound):
        (root / file).write_bytes(damaged)
        with suppress(MetadataError):
            if unpacked(damaged) == files:
                # A byte of the archive that says nothing, such as the time of a file.
                found = find_result(root, "probe", INPUTS)
                assert found is not None
                xr.testing.assert_identical(found, expected)
                continue
        with pytest.raises((IntegrityError, StoreFormatError)):
            find_result(root, "probe", INPUTS)
        assert [problem.place for problem in verify_bundles(Folder(root), [file])] == [file], position
    (root / file).write_bytes(sound)
    for path, written in files.items():
        # With the checksums of the archive made again.
        for position, damaged in flips(written):
            (root / file).write_bytes(packed(files | {path: damaged}))
            if path == "zarr.json" and meaning(damaged) == meaning(written):
                continue
            with pytest.raises((IntegrityError, StoreFormatError)):
                find_result(root, "probe", INPUTS)
            assert [problem.place for problem in verify_bundles(Folder(root), [file])] == [file], (path, position)
    (root / file).write_bytes(sound)
    assert list(verify_bundles(Folder(root), [file])) == []


# Exchanges


def swap(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


@pytest.mark.parametrize("of", ["another key", "the same key"])
def test_the_metadata_of_another_run_is_seen(tmp_path: Path, source: Synthetic, of: str) -> None:
    """Nothing of the tables and packs beside it is read by the metadata of another run, even an equal one."""
    one = source.write_all(tmp_path / "a")
    other = synthetic(split="train") if of == "another key" else another(source)
    two = other.write_all(tmp_path / ("a" if of == "another key" else "b"))
    swap(one.path / "zarr.json", two.path / "zarr.json")
    if of == "another key":
        for key in (one.key, two.key):
            with pytest.raises(
                StoreFormatError, match=r"is damaged: it is ner/corpus/.*, and was copied or moved here"
            ):
                Run.open(tmp_path / "a", key)
        return
    for store in (tmp_path / "a", tmp_path / "b"):
        run = Run.open(store, KEY)
        assert run.committed() == []
        found = list(verify_run(run))
        assert [problem.pack for problem in found] == [0, 1, 2]
        assert all("it is of another run" in problem.message for problem in found)
        with pytest.raises(IntegrityError, match="it is of another run"):
            run.read_sample("hidden", 0)


@pytest.mark.slow
def test_a_table_of_another_run_is_seen(tmp_path: Path, source: Synthetic) -> None:
    run = source.write_all(tmp_path / "a")
    other = synthetic(lengths=(1, 2, 9, 2, 4, 3)).write_all(tmp_path / "b")
    tried = 0
    for path in table_paths(run):
        if (run.path / path / "c/0").read_bytes() == (other.path / path / "c/0").read_bytes():
            continue
        tried += 1
        swap(run.path / path, other.path / path)
        for store in (tmp_path / "a", tmp_path / "b"):
            with pytest.raises(IntegrityError, match=f"table column {path} of .* is not what was written"):
                Run.open(store, KEY).column(path)
            assert {path in message for message in problems(store)} == {True}
        swap(run.path / path, other.path / path)
    assert tried > 5
    assert problems(tmp_path / "a") == problems(tmp_path / "b") == []


def test_a_table_in_the_place_of_another_is_seen(root: Path, source: Synthetic) -> None:
    run = source.write_all(root)
    swap(run.path / "samples/token_start", run.path / "samples/entry_start")
    with pytest.raises(IntegrityError, match="is not what was written"):
        Run.open(root, KEY).column("samples/token_start")
    assert len(set(problems(root))) == 4


def assert_only_sees(root: Path, source: Synthetic, packs: set[int]) -> None:
    """Assert that some packs are reported and never read, and the others are as ever."""
    run = Run.open(root, KEY)
    assert {problem.pack for problem in verify_run(run)} == packs
    for sample, (hidden, maps) in enumerate(zip(source.hidden, source.maps, strict=True)):
        for name, truth in (("hidden", hidden), ("attention", maps)):
            if int(source.plan.sample_pack[sample]) in packs:
                with suppress(IntegrityError):
                    np.testing.assert_array_equal(run.read_sample(name, sample), truth)
            else:
                np.testing.assert_array_equal(run.read_sample(name, sample), truth)


def chunks_of(run: Run, pack: int) -> list[Path]:
    counts = {name: len(run.spec.variable_layers(name)) for name in run.spec.keep}
    return [chunk_file(run, name, index, pack) for name, count in counts.items() for index in range(count)]


@pytest.fixture
def equal_packs() -> Synthetic:
    """Make a run whose packs are of equal shape: only their names tell them apart."""
    return synthetic(lengths=(4, 3, 4, 3, 4, 3), capacity=7)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["record", "chunks", "pack"])
def test_parts_of_another_run_are_seen(tmp_path: Path, equal_packs: Synthetic, what: str) -> None:
    run = equal_packs.write_all(tmp_path / "a")
    other = another(equal_packs).write_all(tmp_path / "b")
    if what in ("record", "pack"):
        shutil.copy(other.path / record_path(1), run.path / record_path(1))
    if what in ("chunks", "pack"):
        for to, begin in zip(chunks_of(run, 1), chunks_of(other, 1), strict=True):
            shutil.copy(begin, to)
    assert_only_sees(tmp_path / "a", equal_packs, {1})
    for sample in equal_packs.plan.samples_of(1):
        with pytest.raises(IntegrityError):
            Run.open(tmp_path / "a", KEY).read_sample("hidden", sample)


@pytest.mark.parametrize("what", ["records", "chunks", "packs"])
def test_exchanged_packs_of_one_run_are_seen(root: Path, equal_packs: Synthetic, what: str) -> None:
    run = equal_packs.write_all(root)
    assert len(set(equal_packs.plan.tokens.pack_sizes)) == len(set(equal_packs.plan.entries.pack_sizes)) == 1
    if what in ("records", "packs"):
        swap(run.path / record_path(0), run.path / record_path(2))
    if what in ("chunks", "packs"):
        for first, second in zip(chunks_of(run, 0), chunks_of(run, 2), strict=True):
            swap(first, second)
    assert_only_sees(root, equal_packs, {0, 2})


@pytest.mark.parametrize("name", ["hidden", "attention"])
@pytest.mark.parametrize(("first", "second"), [((0, 0), (1, 0)), ((0, 0), (0, 2)), ((0, 1), (1, 2))])
def test_exchanged_chunks_are_seen(
    root: Path, equal_packs: Synthetic, name: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    run = equal_packs.write_all(root)
    swap(chunk_file(run, name, *first), chunk_file(run, name, *second))
    assert_only_sees(root, equal_packs, {first[1], second[1]})
    for index, pack in (first, second):
        with pytest.raises(IntegrityError, match="is not what was committed"):
            Run.open(root, KEY).chunks(name).read_committed(index, pack)


@pytest.mark.parametrize(
    "change", [{"split": "train"}, {"model": "other"}, {"seed": 43}, {"training_size": 0}, {"task": "nli"}]
)
def test_a_run_that_was_copied_to_another_key_is_refused(root: Path, source: Synthetic, change: dict[str, Any]) -> None:
    run = source.write_all(root)
    key = replace(run.key, **change)
    shutil.copytree(run.path, root / key.path)
    with pytest.raises(StoreFormatError, match=f"is damaged: it is {KEY.path}, and was copied or moved here"):
        Run.open(root, key)
    assert {row["state"] for row in Store.open(root).listing() if path_of(row) == key.path} == {"damaged"}
    assert_holds(Run.open(root, KEY), source)


def path_of(row: dict[str, Any]) -> str:
    return replace(KEY, **{name: row[name] for name in KEY.names()}).path


def test_a_whole_store_may_be_moved(tmp_path: Path, source: Synthetic) -> None:
    source.write_all(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert_holds(Store.open(tmp_path / "b").run(), source)


@pytest.mark.parametrize("order", ["half over whole", "whole over half"])
def test_a_store_that_was_copied_over_another_is_seen(tmp_path: Path, equal_packs: Synthetic, order: str) -> None:
    """What is read is of the one run or the other, and never packs of both."""
    whole, half = equal_packs, another(equal_packs)
    whole.write(whole.create(tmp_path / "whole"))
    half.write(half.create(tmp_path / "half"), [1])
    onto, from_ = ("whole", "half") if order == "half over whole" else ("half", "whole")
    shutil.copytree(tmp_path / from_, tmp_path / onto, dirs_exist_ok=True)
    run = Run.open(tmp_path / onto, KEY)
    if order == "whole over half":
        assert_holds(run, whole)
        return
    assert run.committed() == [1]
    assert {problem.pack for problem in verify_run(run)} == {0, 2}
    np.testing.assert_array_equal(run.read_sample("hidden", 2), half.hidden[2])
    for sample in (0, 1, 4, 5):
        with pytest.raises(IntegrityError, match="it is of another run"):
            run.read_sample("hidden", sample)
    half.write(run)
    assert_holds(run, half)


def test_a_run_copied_over_another_without_its_metadata_is_seen(tmp_path: Path, equal_packs: Synthetic) -> None:
    """A copy that stopped before the run's own ``zarr.json``, the last of its files."""
    other = another(equal_packs).write_all(tmp_path / "b")
    run = equal_packs.write_all(tmp_path / "a")
    for part in ("hidden", "attention", "packs"):
        shutil.copytree(other.path / part, run.path / part, dirs_exist_ok=True)
    assert Run.open(tmp_path / "a", KEY).committed() == []
    assert_only_sees(tmp_path / "a", equal_packs, {0, 1, 2})


# Results


def result(value: float) -> xr.Dataset:
    return xr.Dataset({"score": ("layer", [value, 2 * value]), "other": ("layer", [7.0, 7.0])}, {"layer": [0, 1]})


@pytest.mark.parametrize("part", ["", "zarr.json", "score", "score/c/0", "score/zarr.json", "layer"])
def test_exchanged_parts_of_results_are_seen(tmp_path: Path, part: str) -> None:
    inputs = {"a": 1}, {"a": 2}
    for number, one in enumerate(inputs):
        data = result(number + 1.0).assign_coords(layer=[number, number + 1])
        data["score"].attrs["units"] = str(number)
        save_result(tmp_path, "probe", one, data)
    first, second = (tmp_path / file for file in result_files(Folder(tmp_path)))
    if not part:
        swap(first, second)
    else:
        with opened_archive(first) as one_group, opened_archive(second) as other_group:
            swap(one_group / part, other_group / part)
    for one in inputs:
        with pytest.raises(IntegrityError, match="cannot be read"):
            find_result(tmp_path, "probe", one)
    assert len(list(verify_bundles(Folder(tmp_path), result_files(Folder(tmp_path))))) == 2


def test_exchanged_chunks_of_one_result_are_seen(tmp_path: Path) -> None:
    save_result(tmp_path, "probe", INPUTS, result(1.0))
    (file,) = result_files(Folder(tmp_path))
    with opened_archive(tmp_path / file) as group:
        swap(group / "score/c/0", group / "other/c/0")
    with pytest.raises(IntegrityError, match="is not what was written"):
        find_result(tmp_path, "probe", INPUTS)
    assert len(list(verify_bundles(Folder(tmp_path), [file]))) == 1


def test_a_result_that_was_copied_to_another_place_is_refused(tmp_path: Path) -> None:
    save_result(tmp_path, "probe", INPUTS, result(1.0))
    (file,) = result_files(Folder(tmp_path))
    places = [f"results/finetune/{Path(file).name}", f"results/probe/{'0' * 64}.zip"]
    for place in places:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / file, tmp_path / place)
    found: list[BiocacheError] = []
    assert [one.inputs for one in list_results(tmp_path, problems=found)] == [INPUTS]
    assert ["was copied or moved here" in error.message for error in found] == [True, True]
    with pytest.raises(IntegrityError, match="was copied or moved here"):
        find_result(tmp_path, "finetune", INPUTS)
    assert [problem.place for problem in verify_bundles(Folder(tmp_path), places)] == places


def test_an_older_result_of_the_same_inputs_is_whole(tmp_path: Path) -> None:
    """Files of two results of the same inputs do not mix."""
    save_result(tmp_path, "probe", INPUTS, result(1.0))
    (file,) = result_files(Folder(tmp_path))
    older = (tmp_path / file).read_bytes()
    save_result(tmp_path, "probe", INPUTS, result(3.0))
    with opened_archive(tmp_path / file) as group:
        (group / "score/c/0").write_bytes(unpacked(older)["score/c/0"])
    with pytest.raises(IntegrityError, match="is not what was written"):
        find_result(tmp_path, "probe", INPUTS)
    (tmp_path / file).write_bytes(older)
    found = find_result(tmp_path, "probe", INPUTS)
    assert found is not None
    assert found.score.values.tolist() == [1.0, 2.0]


# Several changes that belong together


def test_records_are_of_the_run_and_not_of_its_spec(root: Path, source: Synthetic) -> None:
    """The pack of a run that was removed and made again is not that of the new one."""
    run = source.write_all(root)
    record = run.records()[1]
    shutil.copytree(run.path, root.with_name("before"))
    Store.open(root).remove(run)
    again = source.create(root)
    put_record(again, 1, record)
    for to in chunks_of(again, 1):
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root.with_name("before") / to.relative_to(again.path), to)
    assert again.committed() == []
    with pytest.raises(IntegrityError, match="it is of another run"):
        again.read_sample("hidden", 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda own: own["spec"].update(feature_size=7),
        lambda own: own["spec"].update(layers=[0, 2, 1]),
        lambda own: own["counts"].update(packs=4),
        lambda own: own.update(place="elsewhere"),
    ],
)
def test_a_seal_over_wrong_attributes_does_not_make_them_right(
    root: Path, source: Synthetic, change: Callable[[dict[str, Any]], object]
) -> None:
    run = source.write_all(root)
    seal_again(run.path, lambda attributes: change(attributes["biocache"]))
    assert problems(root)
    with pytest.raises(BiocacheError):
        answers(Run.open(root, KEY))


def test_a_file_more_is_no_part_of_a_run(root: Path, source: Synthetic) -> None:
    run = source.write_all(root)
    (run.path / "samples/notes.txt").write_text("mine")
    assert_holds(Run.open(root, KEY), source)


def test_the_seal_of_a_newer_release_is_named(root: Path, source: Synthetic) -> None:
    run = source.write_all(root)
    text = (run.path / "zarr.json").read_text().replace('"format_version": 2', '"format_version": 3')
    (run.path / "zarr.json").write_text(text)
    with pytest.raises(StoreFormatError, match="format version 3, of a newer release"):
        Run.open(root, KEY)
