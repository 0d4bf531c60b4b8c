"""Stores in object stores: in memory, and on an S3 server whose requests fail."""

import itertools
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from objects import BUCKET, Server
from store_factory import PROVENANCE, assert_holds, synthetic

from biocache.store import RunKey, Store
from biocache.store.archives import packed, unpacked
from biocache.store.chunks import Chunks, ahead, read_ahead
from biocache.store.copying import copy_run
from biocache.store.creating import create_successor, discard_run, install_successor
from biocache.store.errors import (
    IntegrityError,
    ReadOnlyError,
    ResourceError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
    StorageError,
    StoreFormatError,
)
from biocache.store.folders import Folder
from biocache.store.integrity import repair, verify_bundles, verify_run
from biocache.store.objects import ObjectStorage
from biocache.store.reading import Run
from biocache.store.records import record_path
from biocache.store.results import find_result, result_files, save_result
from biocache.store.storage import Storage, open_storage
from biocache.store.writing import RunWriter

_COUNT = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest) -> Storage:
    """Return a new place in memory, or on a server."""
    name = f"store-{next(_COUNT)}.zarr"
    if request.param == "memory":
        return open_storage(f"memory://{name}")
    running: Server = request.getfixturevalue("server")
    return ObjectStorage(f"s3://{BUCKET}/some/{name}", running.options)


def on(server: Server) -> ObjectStorage:
    return ObjectStorage(f"s3://{BUCKET}/store-{next(_COUNT)}.zarr", server.options)


@pytest.mark.parametrize("task", ["ner", "nli"])
def test_a_run_holds_what_was_written(place: Storage, task: str) -> None:
    source = synthetic(task=task, view="pair" if task == "nli" else "sentence")
    run = source.create(place)
    assert not run.complete
    source.write(run, [1])
    assert RunWriter(run).pending() == [0, 2]
    source.write(run)
    assert_holds(run, source)
    opened = Store.open(place).run()
    np.testing.assert_array_equal(
        opened.words().hidden.compute().values, run.words().hidden.compute(scheduler="synchronous").values
    )
    assert opened.group == run.group
    (row,) = Store.open(place).listing()
    assert (row["state"], row["packs_done"]) == ("complete", 3)
    # It is plain Zarr: every group on the way and every array has its metadata.
    stored = place.sizes("")
    parts = source.spec.key.path.split("/")
    assert all("/".join([*parts[:n], "zarr.json"]) in stored for n in range(len(parts) + 1))


def test_a_run_travels_to_another_process(place: Storage) -> None:
    source = synthetic()
    source.write(source.create(place))
    run = pickle.loads(pickle.dumps(Store.open(place).run()))
    np.testing.assert_array_equal(run.activations("hidden").compute(scheduler="synchronous"), source.truth("hidden"))


def test_chunks_that_are_read_ahead_come_in_their_order(
    place: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = synthetic()
    for where in (place, open_storage(tmp_path)):
        source.write(source.create(where))
        run = Store.open(where).run()
        chunks = run.chunks("hidden")
        wanted = [(chunks, index, pack) for pack in (2, 0, 1) for index in (1, 0, 2)]
        begun: list[tuple[int, int]] = []
        plain = Chunks.read_committed

        def read(self: Chunks, index: int, pack: int, begun: Any = begun, plain: Any = plain) -> Any:
            begun.append((index, pack))
            return plain(self, index, pack)

        with monkeypatch.context() as patched:
            patched.setattr(Chunks, "read_committed", read)
            for number, values in enumerate(read_ahead(wanted, Chunks.read_committed), start=1):
                np.testing.assert_array_equal(values, plain(*wanted[number - 1]))
                assert len(begun) <= number + ahead(where)
        assert sorted(begun) == sorted((index, pack) for _, index, pack in wanted)
        where.delete(f"{run.key.path}/{chunks.path(0, 0)}")
        ordered = read_ahead(wanted, Chunks.read_committed)
        for _ in range(4):
            next(ordered)
        with pytest.raises(IntegrityError, match=r"layer 0 of hidden in pack 0 .* is missing"):
            next(ordered)


def test_of_several_writes_that_fail_one_the_pack_is_not_there(place: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    source = synthetic()
    run = source.create(place)
    plain = ObjectStorage.put

    def put(self: ObjectStorage, path: str, data: bytes) -> None:
        if path.endswith("hidden/c/1/1/0"):
            raise OSError(28, "no space left")
        plain(self, path, data)

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStorage, "put", put)
        with pytest.raises(ResourceError, match="writing pack 1"):
            source.write(run)
    assert 1 not in run.committed()
    source.write(run)
    assert_holds(run, source)


def test_of_two_creators_one_wins(place: Storage) -> None:
    source = synthetic()
    barrier = threading.Barrier(4)

    def create(_: int) -> str:
        barrier.wait()
        return source.create(place).group.digest

    with ThreadPoolExecutor(4) as pool:
        digests = set(pool.map(create, range(4)))
    assert digests == {Store.open(place).run().group.digest}
    with pytest.raises(SpecMismatchError):
        synthetic(feature_size=8).create(place)


def test_what_is_there_is_not_created_again(place: Storage) -> None:
    assert place.create("a/b", b"first")
    assert not place.create("a/b", b"second")
    assert place.get("a/b") == b"first"
    place.put("a/b", b"third")
    assert (place.get("a/b"), place.size("a/b"), place.size("a/c")) == (b"third", 5, 0)
    assert (place.exists("a/b"), place.exists("a"), place.folders(""), place.folders("a")) == (True, False, ["a"], [])
    place.put("ab/c", b"1")
    assert place.sizes("a") == {"b": 5}
    place.delete("a/b")
    place.delete("a/b")
    with pytest.raises(FileNotFoundError, match="a/b does not exist"):
        place.get("a/b")
    with pytest.raises(FileNotFoundError):
        place.remove("a")


@pytest.mark.slow
def test_a_successor_takes_the_place_of_a_run_when_it_is_complete(place: Storage) -> None:
    old, new = synthetic(), synthetic(seed=1, feature_size=4)
    run = old.create(place)
    old.write(run)
    made = create_successor(place, new.spec, PROVENANCE, new.plan, new.tables)
    new.write(made, [0])
    assert install_successor(made).group == made.group
    assert_holds(Store.open(place).run(), old)
    view = run.words()
    new.write(made)
    assert_holds(install_successor(made), new)
    assert_holds(Store.open(place).run(), new)
    assert place.sizes(".successors") == {}
    with pytest.raises(RunNotFoundError, match="was replaced by another one after it was opened"):
        view.hidden.compute(scheduler="synchronous")


def test_a_successor_that_was_being_put_in_its_place_is_put_there_by_the_same_command(place: Storage) -> None:
    old, new = synthetic(), synthetic(seed=1, feature_size=4)
    old.write(old.create(place))
    made = create_successor(place, new.spec, PROVENANCE, new.plan, new.tables)
    new.write(made)
    # Killed after the first step: the place has lost its metadata.
    place.delete(f"{new.spec.key.path}/zarr.json")
    with pytest.raises(StoreFormatError, match=r"damaged: its zarr\.json is missing"):
        new.create(place)
    again = create_successor(place, new.spec, PROVENANCE, new.plan, new.tables)
    assert again.group == made.group
    assert_holds(install_successor(again), new)


def test_removing_a_run_leaves_nothing(place: Storage) -> None:
    source = synthetic()
    source.write(source.create(place))
    other = synthetic(split="train")
    other.write(other.create(place))
    discard_run(place, source.spec.key)
    assert Store.open(place).keys() == [other.spec.key]
    discard_run(place, other.spec.key)
    assert set(place.sizes("")) == {"zarr.json"}
    with pytest.raises(RunNotFoundError):
        discard_run(place, other.spec.key)


def test_results_are_kept_found_and_bound_to_their_inputs(place: Storage) -> None:
    first = xr.Dataset({"score": ("layer", [0.5, 0.25]), "name": ("layer", ["a", "b"])}, attrs={"rows": 3})
    for number in (1, 2):
        kept = save_result(place, "probe", {"number": number}, first.assign_attrs(number=number))
        found = find_result(place, "probe", {"number": number})
        assert found is not None
        assert found.identical(kept)
    one, two = result_files(place)
    files = unpacked(place.get(one))
    place.put(one, packed(files | {"score/c/0": files["score/c/0"][:-1] + b"!"}))
    with pytest.raises(IntegrityError, match="checksum does not match"):
        [result.load() for result in Store.open(place).results()]
    (problem,) = verify_bundles(place, result_files(place))
    repair(place, [problem])
    assert result_files(place) == [two if problem.place == one else one]


def test_damage_is_seen_and_repaired(place: Storage) -> None:
    source = synthetic()
    run = source.create(place)
    source.write(run)
    path = f"{source.spec.key.path}/{run.chunks('hidden').path(1, 1)}"
    place.put(path, place.get(path)[:-1] + b"!")
    problems = list(verify_run(run))
    assert [problem.pack for problem in problems] == [1]
    repair(place, problems)
    assert not place.exists(f"{source.spec.key.path}/{record_path(1)}")
    source.write(run)
    assert_holds(run, source)


def test_a_store_beside_other_objects_is_refused(place: Storage) -> None:
    place.put("notes.txt", b"mine")
    with pytest.raises(StoreFormatError, match="is not a biocache store and not empty"):
        synthetic().create(place)
    assert place.sizes("") == {"notes.txt": 4}


@pytest.mark.parametrize("name", ["path", "storage"])
def test_an_object_store_has_no_folders(place: Storage, name: str) -> None:
    source = synthetic()
    run = source.create(place)
    if name == "path":
        with pytest.raises(SettingError, match="is no file or folder of this machine"):
            assert run.path
    else:
        assert not isinstance(run.group.storage, Folder)


def every(count: int, fault: str, methods: tuple[str, ...]) -> Any:
    """Return a fault of every so many requests of some methods."""
    numbers = itertools.count(1)
    return lambda environ: fault if environ["REQUEST_METHOD"] in methods and next(numbers) % count == 0 else ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "methods"),
    [("503", ("GET", "PUT", "HEAD")), ("slow", ("PUT", "GET")), ("cut", ("PUT",)), ("cut", ("GET", "HEAD"))],
)
def test_requests_that_fail_are_asked_again(server: Server, fault: str, methods: tuple[str, ...]) -> None:
    place, source = on(server), synthetic()
    with server.failing(every(7, fault, methods)):
        run = source.create(place)
        source.write(run)
        assert_holds(Store.open(place).run(), source)
        save_result(place, "probe", {"a": 1}, xr.Dataset({"x": ("y", [1.0])}))
        assert find_result(place, "probe", {"a": 1}) is not None
    assert list(verify_run(run)) == []


@pytest.mark.slow
def test_a_server_that_does_not_answer_says_nothing_of_what_is_stored(server: Server) -> None:
    place, source = on(server), synthetic()
    run = source.create(place)
    source.write(run)
    run.plan  # noqa: B018  (what is read is the activations)
    gone = ObjectStorage(place.url, place.options | {"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(StorageError, match="cannot be reached") as told:
        Store.open(gone)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 700
    before = place.sizes("")
    fault = every(1, "503", ("GET",))
    with server.failing(fault), pytest.raises(StorageError):
        list(verify_run(Run.open(place, run.key)))
    assert place.sizes("") == before
    assert list(verify_run(run)) == []


@pytest.mark.slow
def test_results_that_cannot_be_reached_are_no_damage(server: Server) -> None:
    place = on(server)
    save_result(place, "probe", {"a": 1}, xr.Dataset({"x": ("y", [1.0])}))
    with server.failing(every(1, "503", ("GET",))), pytest.raises(StorageError):
        list(verify_bundles(place, [f"results/probe/{'0' * 64}.zip"]))
    with server.failing(lambda environ: "503" if ".zip" in environ["PATH_INFO"] else ""), pytest.raises(StorageError):
        Store.open(place).verify(repair=True)
    assert find_result(place, "probe", {"a": 1}) is not None


@pytest.mark.slow
def test_a_store_that_may_not_be_written_to_is_said_to_be_read_only(server: Server) -> None:
    place, source = on(server), synthetic()
    source.write(source.create(place))
    with server.failing(every(1, "403", ("PUT",))), pytest.raises(ReadOnlyError, match="permission denied"):
        save_result(place, "probe", {"a": 1}, xr.Dataset({"x": ("y", [1.0])}))
    assert find_result(place, "probe", {"a": 1}) is None


@pytest.mark.slow
def test_secrets_are_in_no_message(server: Server) -> None:
    options = server.options | {"secret_access_key": "a-secret-key"}
    place = ObjectStorage(f"s3://{BUCKET}/x", options | {"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(StorageError) as told:
        Store.open(place)
    assert "a-secret-key" not in f"{told.value} {place!r} {place} {told.value.__cause__!r}"


def test_options_that_the_library_does_not_know_are_one_line() -> None:
    with pytest.raises(SettingError, match="nonsense") as told:
        open_storage("s3://bucket/x", {"nonsense": "1"})
    assert "\n" not in str(told.value)


def test_keys_are_listed_by_their_selection(place: Storage) -> None:
    for split in ("train", "test"):
        synthetic(split=split).create(place)
    assert [key.split for key in Store.open(place).keys(split="test")] == ["test"]
    assert isinstance(Store.open(place).keys()[0], RunKey)


@pytest.mark.slow
def test_a_probe_on_a_server_gives_the_numbers_of_a_folder(server: Server, tmp_path: Path) -> None:
    from biocache.engine import ProbeRequest, probe

    place = on(server)
    for number, split in enumerate(("train", "test")):
        source = synthetic([3, 4, 9, 2, 1, 2] * 8, 10, seed=number, split=split, keep=("hidden",))
        copy_run(source.write_all(tmp_path / split), place)
        copy_run(Store.open(place).run(split=split), tmp_path / "both")
        for labelled in (place, tmp_path / "both"):
            source.keep_labels(labelled)
    request = ProbeRequest(task="ner", max_train_samples=40)
    with server.failing(every(11, "slow", ("GET",))):
        far = probe(place, request)
    near = probe(tmp_path / "both", request)
    xr.testing.assert_identical(far.drop_vars("fit_seconds"), near.drop_vars("fit_seconds"))
    # It is found again where it was kept.
    assert probe(place, request).identical(far)
