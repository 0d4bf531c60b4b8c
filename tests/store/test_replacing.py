"""Replacing a run: what is in the place is the old run or the new one, each whole, whenever a process dies."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crashes import killed_before_each_change
from store_factory import (
    KEY,
    Synthetic,
    assert_holds,
    finish_at_once,
    hold_claim,
    least,
    processes,
    seal_again,
    stored_files,
    synthetic,
    tree,
)

from biocache.store import Run, Store, atomic, creating
from biocache.store.chunks import Chunks
from biocache.store.creating import discard_run, install_successor
from biocache.store.errors import BusyError, RunNotFoundError, StoreFormatError
from biocache.store.folders import Folder
from biocache.store.integrity import verify_run
from biocache.store.runs import SUCCESSORS, successor_path
from biocache.store.sweeping import sweep
from biocache.store.writing import RunWriter

PATIENCE = 60
OTHER_MODEL = {"model_digest": "x" * 64}

VIEWS: dict[str, Callable[[Run], Any]] = {
    "tokens": lambda run: run.tokens()["hidden"],
    "words": lambda run: run.words()["hidden"],
    "samples": lambda run: run.samples(special_tokens=True)["hidden"],
    "attention": lambda run: run.attention()["attention"],
}
READS: dict[str, Callable[[Run], Any]] = {
    **{name: lambda run, view=view: computed(view(run)) for name, view in VIEWS.items()},
    "map": lambda run: run.attention_map(2).values,
    "sample": lambda run: run.read_sample("hidden", 2),
    "batches": lambda run: np.concatenate([batch.hidden for batch in run.iter_batches(1, 5)]),
    "records": lambda run: run.records(),
    "column": lambda run: run.column("tokens/token_id"),
}


def computed(view: Any) -> Any:
    return view.compute(scheduler="synchronous").to_numpy()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "s.zarr"


@pytest.fixture
def old() -> Synthetic:
    return synthetic()


@pytest.fixture
def new() -> Synthetic:
    """Of the same shapes as the old one: what is mixed is noticed by its values only."""
    return synthetic(seed=1, **OTHER_MODEL)


def replace_by(new: Synthetic, root: Path) -> Run:
    """Make the successor of the run in the place, write it, and put it there."""
    run = new.create_successor(root)
    new.write(run)
    return install_successor(run)


def assert_only(source: Synthetic, root: Path) -> None:
    """Assert that a store holds one run and nothing else."""
    store = Store.open(root)
    assert_holds(store.run(), source)
    assert store.run().spec == source.spec
    before = tree(root)
    assert sweep(Folder(root)) == 0
    assert tree(root) == before
    assert sorted(path.name for path in root.iterdir()) == ["ner", "zarr.json"]


@pytest.mark.slow
def test_until_the_successor_is_complete_the_old_run_is_read(root: Path, old: Synthetic, new: Synthetic) -> None:
    run = old.write_all(root)
    views = {name: view(run) for name, view in VIEWS.items()}
    successor = new.create_successor(root)
    assert successor.replaces == run.group.digest
    for pack in range(2):
        new.write(successor, [pack])
        assert install_successor(successor).group.folder == successor_path(KEY)
        store = Store.open(root)
        assert store.keys() == [KEY]
        assert len(store.listing()) == 1
        assert store.run().spec == old.spec
        assert_holds(store.run(), old)
        np.testing.assert_array_equal(computed(views["tokens"]), old.truth("hidden"))
        assert sweep(Folder(root)) == 0
        assert Run.open(root, KEY, successor=True).committed() == list(range(pack + 1))
    new.write(successor)
    # Complete, and not yet in the place.
    assert_holds(Store.open(root).run(), old)
    installed = install_successor(successor)
    assert installed.group.folder == KEY.path
    assert installed.group.digest == successor.group.digest
    assert_only(new, root)


def test_a_run_in_its_place_is_left_there(root: Path, old: Synthetic) -> None:
    run = old.write_all(root)
    before = tree(root)
    assert install_successor(run) is run
    assert tree(root) == before


@pytest.mark.slow
@pytest.mark.parametrize("as_one", [True, False])
def test_a_successor_takes_the_place_with_all_that_is_in_it(
    root: Path, old: Synthetic, new: Synthetic, monkeypatch: pytest.MonkeyPatch, as_one: bool
) -> None:
    if not as_one:
        monkeypatch.setattr(atomic, "_renamed_as_one", lambda *_: False)
    old.write_all(root)
    successor = new.create_successor(root)
    new.write(successor)
    made = tree(successor.path)
    run = install_successor(successor)
    assert tree(run.path) == made
    assert_only(new, root)


def test_the_successor_of_a_run_that_is_gone_takes_its_place(root: Path, old: Synthetic, new: Synthetic) -> None:
    run = old.write_all(root)
    successor = new.create_successor(root)
    new.write(successor)
    shutil.rmtree(run.path)
    assert install_successor(successor).group.folder == KEY.path
    assert_only(new, root)


@pytest.mark.parametrize("damage", ["json", "seal", "no zarr.json"])
def test_a_damaged_run_is_replaced(root: Path, old: Synthetic, damage: str) -> None:
    run = old.write_all(root)
    if damage == "json":
        (run.path / "zarr.json").write_text("{")
    elif damage == "seal":
        (run.path / "zarr.json").write_text((run.path / "zarr.json").read_text().replace("eager", "eagre"))
    else:
        (run.path / "zarr.json").unlink()
    successor = old.create_successor(root)
    assert successor.replaces == ""
    with pytest.raises(StoreFormatError, match="is damaged"):
        Store.open(root).run()
    old.write(successor)
    install_successor(successor)
    assert_only(old, root)


# Kills


def begun(root: Path) -> Callable[[], None]:
    """Return what puts the store as it is now in its place again; keep that in a folder beside it."""
    shutil.copytree(root, root.with_name("begun"))

    def prepare() -> None:
        shutil.rmtree(root)
        shutil.copytree(root.with_name("begun"), root)

    return prepare


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what has no lock for left behind as soon as it is."""
    monkeypatch.setattr(atomic, "QUIET_SECONDS", 0.0)


def install(root: Path) -> Run:
    return install_successor(Run.open(root, KEY, successor=True))


def holder(root: Path, *sources: Synthetic) -> Synthetic:
    """Return which of some runs is in the place, whole."""
    run = Store.open(root).run()
    (found,) = (source for source in sources if source.spec == run.spec)
    assert_holds(run, found)
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("another", [False, True])
def test_an_exchange_killed_at_any_moment_leaves_the_old_run_or_the_new_one(root: Path, another: bool) -> None:
    old, new = least(), least(**OTHER_MODEL)
    if another:
        least(split="train").write_all(root)
    before = stored_files(root) if another else {}
    old.write_all(root)
    new.write(new.create_successor(root))
    prepare, seen = begun(root), []
    whole = tree(root)
    for kills in killed_before_each_change(prepare, lambda: install(root), every=15, dense=12):
        run = Run.open(root, KEY)
        found = old if run.spec == old.spec else new
        assert_holds(run, found)
        seen.append(found)
        freed = sweep(Folder(root))
        assert_holds(Run.open(root, KEY), found)
        if found is old:
            assert freed == 0, kills
            assert tree(root) == whole, kills
            install(root)
        # Nothing but the new run is left, down to empty folders.
        assert not (root / SUCCESSORS).exists(), kills
        assert_holds(Run.open(root, KEY), new)
        assert {path.name for path in root.iterdir()} == {"ner", "zarr.json"}, kills
        assert before.items() <= stored_files(root).items()
    assert old in seen
    assert new in seen
    assert seen == sorted(seen, key=lambda source: source is new)


@pytest.mark.slow
@pytest.mark.usefixtures("_at_once")
def test_without_an_exchange_a_kill_leaves_the_new_run_whole_in_one_of_two_places(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "_renamed_as_one", lambda *_: False)
    old, new = least(), least(**OTHER_MODEL)
    old.write_all(root)
    new.write(new.create_successor(root))
    prepare, seen = begun(root), set()
    for kills in killed_before_each_change(prepare, lambda: install(root), every=15, dense=12):
        sweep(Folder(root))
        in_place = (root / KEY.path).exists()
        if in_place:
            seen.add("old" if holder(root, old, new) is old else "new")
        else:
            seen.add("none")
        if not in_place or holder(root, old, new) is old:
            successor = Run.open(root, KEY, successor=True)
            assert_holds(successor, new)
            install_successor(successor)
        assert_only(new, root)
        assert kills
    assert seen == {"old", "none", "new"}


@pytest.mark.slow
@pytest.mark.usefixtures("_at_once")
def test_the_creation_of_a_successor_killed_at_any_moment_leaves_the_old_run(root: Path) -> None:
    old, new = least(), least(**OTHER_MODEL)
    old.write_all(root)
    without, prepare, made = tree(root), begun(root), 0
    for kills in killed_before_each_change(prepare, lambda: new.create_successor(root), every=9):
        assert holder(root, old, new) is old
        sweep(Folder(root))
        assert holder(root, old, new) is old
        created = (root / successor_path(KEY) / "zarr.json").exists()
        made += created
        if not created:
            assert tree(root) == without, kills
        replace_by(new, root)
        assert_only(new, root)
    assert 0 < made < kills


@pytest.mark.slow
@pytest.mark.usefixtures("_at_once")
def test_a_replacement_killed_at_any_moment_is_finished_by_the_same_command(root: Path) -> None:
    old, new = least(), least(**OTHER_MODEL)
    old.write_all(root)
    prepare = begun(root)

    def command() -> None:
        # As the extraction does: a run of the spec is resumed, another one is replaced.
        if Run.open(root, KEY).spec != new.spec:
            replace_by(new, root)

    for kills in killed_before_each_change(prepare, command, every=11):
        found = holder(root, old, new)
        command()
        assert_holds(Run.open(root, KEY), new)
        sweep(Folder(root))
        assert_only(new, root)
        assert found in (old, new), kills


@pytest.mark.slow
@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize("damage", ["json", "missing"])
def test_the_replacement_of_a_damaged_run_killed_at_any_moment_leaves_nothing_over(root: Path, damage: str) -> None:
    old, new = least(), least()
    run = old.write_all(root)
    (run.path / "zarr.json").write_text("{") if damage == "json" else (run.path / "zarr.json").unlink()
    new.write(new.create_successor(root))
    prepare = begun(root)
    exchanged = 0
    for kills in killed_before_each_change(prepare, lambda: install(root), every=15, dense=12):
        sweep(Folder(root))
        try:
            assert_holds(Run.open(root, KEY), new)
        except StoreFormatError:
            assert_holds(Run.open(root, KEY, successor=True), new)
        else:
            exchanged += 1
            assert sorted(path.name for path in root.iterdir()) == ["ner", "zarr.json"], kills
    assert exchanged > 1


@pytest.mark.usefixtures("_at_once")
def test_an_old_run_that_a_killed_exchange_left_is_not_taken_for_a_successor(
    root: Path, old: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both are of one spec, what is left in the folder of successors could be resumed as one."""
    first = old.write_all(root)
    with monkeypatch.context() as killed:
        killed.setattr(atomic, "remove", lambda *_: None)
        killed.setattr(creating, "remove_empty_groups", lambda *_: None)
        second = replace_by(old, root)
    assert Run.open(root, KEY, successor=True).group.digest == first.group.digest
    assert Run.open(root, KEY).group.digest == second.group.digest
    again = old.create_successor(root)
    assert again.group.digest not in (first.group.digest, second.group.digest)
    assert again.committed() == []


# Several processes, and other specs


def test_a_successor_is_resumed(root: Path, old: Synthetic, new: Synthetic) -> None:
    old.write_all(root)
    first = new.create_successor(root)
    new.write(first, [1])
    again = new.create_successor(root)
    assert again.group.digest == first.group.digest
    assert again.committed() == [1]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["other spec", "json", "no zarr.json"])
def test_a_successor_of_another_spec_is_discarded(root: Path, old: Synthetic, new: Synthetic, damage: str) -> None:
    old.write_all(root)
    other = synthetic(seed=2, model_digest="y" * 64) if damage == "other spec" else new
    first = other.create_successor(root)
    other.write(first)
    if damage == "json":
        (first.path / "zarr.json").write_text("{")
    elif damage == "no zarr.json":
        (first.path / "zarr.json").unlink()
    second = new.create_successor(root)
    assert second.spec == new.spec
    assert second.group.digest != first.group.digest
    assert second.committed() == []
    assert not any((second.path / "hidden/hidden/c").rglob("*"))
    assert not list(root.glob(".removed-*"))
    with pytest.raises(RunNotFoundError, match="was replaced by another one after it was opened"):
        other.write(first, [0])
    assert second.committed() == []
    assert_holds(Store.open(root).run(), old)
    new.write(second)
    install_successor(second)
    assert_only(new, root)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["old", "successor"])
def test_what_a_live_process_writes_is_not_replaced(root: Path, old: Synthetic, new: Synthetic, which: str) -> None:
    run = old.write_all(root)
    first = new.create_successor(root)
    context = processes()
    held, release = context.Event(), context.Event()
    writes_to = run.path if which == "old" else first.path
    process = context.Process(target=hold_claim, args=(writes_to, [1], held, release))
    process.start()
    try:
        assert held.wait(PATIENCE)
        before = tree(root)
        with pytest.raises(BusyError, match=f"run {KEY} is being written by another process"):
            synthetic(model_digest="y" * 64).create_successor(root)
        with pytest.raises(BusyError, match=f"run {KEY} is being written by another process"):
            discard_run(root, KEY)
        assert tree(root) == before
    finally:
        process.kill()
        process.join(PATIENCE)
    assert synthetic(model_digest="y" * 64).create_successor(root).committed() == []


def test_removing_a_run_removes_its_successor(root: Path, old: Synthetic, new: Synthetic) -> None:
    old.write_all(root)
    new.create_successor(root)
    discard_run(root, KEY)
    assert [path.name for path in root.iterdir()] == ["zarr.json"]


@pytest.mark.slow
def test_two_processes_finish_one_successor_at_once(tmp_path: Path, old: Synthetic) -> None:
    context = processes()
    changes = {"seed": 1, **OTHER_MODEL}
    new = synthetic(**changes)
    for attempt in range(8):
        root, barrier = tmp_path / str(attempt), context.Barrier(2)
        old.write_all(root)
        receive, send = context.Pipe(duplex=False)
        pair = [context.Process(target=finish_at_once, args=(root, changes, barrier, send)) for _ in range(2)]
        for process in pair:
            process.start()
        found = [receive.recv() if receive.poll(PATIENCE) else None for _ in pair]
        for process in pair:
            process.join(PATIENCE)
        assert found == [(KEY.path, True)] * 2
        assert_only(new, root)


def test_a_process_that_finds_its_successor_in_the_place_goes_on_there(
    root: Path, old: Synthetic, new: Synthetic
) -> None:
    old.write_all(root)
    successor = new.create_successor(root)
    new.write(successor, [0, 1])
    late = Run.open(root, KEY, successor=True)
    writer = RunWriter(late)
    assert writer.pending() == [2]
    new.write(successor)
    install_successor(successor)
    assert writer.pending() == []
    assert writer.run.group.folder == KEY.path
    writer.write_pack(2, new.buffer(2))
    writer.close()
    made = install_successor(late)
    assert made.group.folder == KEY.path
    assert made.complete
    assert_only(new, root)


def test_a_successor_that_another_process_installs_meanwhile_is_found_in_the_place(
    root: Path, old: Synthetic, new: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.write_all(root)
    successor = new.create_successor(root)
    new.write(successor)
    late = Run.open(root, KEY, successor=True)
    plain = creating.Claims

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        install_successor(successor)
        return plain(*arguments)

    monkeypatch.setattr(creating, "Claims", meanwhile)
    assert install_successor(late).group.folder == KEY.path
    assert_only(new, root)


# What was opened before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a folder is pinned by /proc")
@pytest.mark.parametrize("removed", [True, False])
def test_a_writer_of_the_old_run_stops_and_does_not_touch_the_new_one(
    root: Path, old: Synthetic, new: Synthetic, monkeypatch: pytest.MonkeyPatch, removed: bool
) -> None:
    run = old.create(root)
    writer = RunWriter(run)
    writer.write_pack(0, old.buffer(0))
    if not removed:
        # The old run is aside, and not removed yet.
        monkeypatch.setattr(atomic, "remove", lambda *_: None)
        monkeypatch.setattr(creating, "remove_empty_groups", lambda *_: None)
    made = replace_by(new, root)
    before = tree(made.path)
    for pack in range(3):
        with pytest.raises(RunNotFoundError, match=f"run {run.path} was replaced by another one after it was opened"):
            writer.write_pack(pack, old.buffer(pack))
        assert tree(made.path) == before
    with pytest.raises(RunNotFoundError, match="was replaced by another one after it was opened"):
        writer.pending()
    writer.close()
    assert_holds(Run.open(root, KEY), new)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a folder is pinned by /proc")
def test_a_writer_that_is_between_chunks_when_its_run_is_replaced(
    root: Path, old: Synthetic, new: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the exchange comes, no chunk and no record of the old run gets to the new one."""
    plain = Folder.put
    shapes = len(old.spec.layers) + len(old.spec.attention_layers) + 1
    for moment in range(1, shapes + 1):
        place = root / str(moment)
        run = old.create(place)
        successor = new.create_successor(place)
        new.write(successor)
        writer = RunWriter(run)
        calls = 0

        def put(folder: Folder, path: str, data: bytes, moment: int = moment, successor: Run = successor) -> None:
            nonlocal calls
            calls += 1
            if calls == moment:
                install_successor(successor)
            plain(folder, path, data)

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "put", put)
            with pytest.raises(RunNotFoundError, match="was replaced by another one after it was opened"):
                writer.write_pack(1, old.buffer(1))
        writer.close()
        assert calls >= moment
        assert_only(new, place)


@pytest.mark.slow
@pytest.mark.parametrize("read", sorted(READS.keys() - {"column"}))
def test_an_old_run_is_not_read_once_it_is_replaced(root: Path, old: Synthetic, new: Synthetic, read: str) -> None:
    run, fresh = old.write_all(root), Run.open(root, KEY)
    expected = READS[read](run)
    lazy = VIEWS[read](run) if read in VIEWS else None
    replace_by(new, root)
    for opened in (run, fresh):
        with pytest.raises(RunNotFoundError, match=f"run {run.path} was replaced by another one after it was opened"):
            READS[read](opened)
    if lazy is not None:
        with pytest.raises(RunNotFoundError, match=f"run {run.path} was replaced by another one after it was opened"):
            computed(lazy)
    assert repr(expected) != repr(READS[read](Run.open(root, KEY)))


def test_a_table_is_read_as_it_was_or_not_at_all(root: Path, old: Synthetic) -> None:
    run = old.write_all(root)
    replace_by(synthetic(lengths=(2, 5), seed=3, **OTHER_MODEL), root)
    for path in old.tables:
        with pytest.raises(RunNotFoundError, match="was replaced by another one after it was opened"):
            run.column(path)
    with pytest.raises(RunNotFoundError, match="was replaced by another one after it was opened"):
        assert run.plan


def answer(read: Callable[[Run], Any], run: Run) -> tuple[Any, str]:
    """Return what was read, or the message of the error that the run is another one."""
    try:
        return read(run), ""
    except RunNotFoundError as error:
        return None, error.message


@pytest.mark.slow
@pytest.mark.parametrize("read", sorted(READS.keys() - {"records", "column"}))
def test_a_view_never_mixes_two_runs(
    tmp_path: Path, old: Synthetic, new: Synthetic, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange comes before the n-th read of a chunk: what is read is of the old run, or an error."""
    root = tmp_path / "s.zarr"
    old.write_all(root)
    new.write(new.create_successor(root))
    prepare = begun(root)
    expected = READS[read](Run.open(root, KEY))
    plain, failed = Chunks.read_arrays, 0
    for moment in range(1, 20):
        prepare()
        run, successor, calls = Run.open(root, KEY), Run.open(root, KEY, successor=True), 0

        def watched(
            chunks: Chunks, index: int, pack: int, moment: int = moment, successor: Run = successor
        ) -> dict[str, np.ndarray]:
            nonlocal calls
            calls += 1
            if calls == moment:
                install_successor(successor)
            return plain(chunks, index, pack)

        with monkeypatch.context() as patch:
            patch.setattr(Chunks, "read_arrays", watched)
            found, told = answer(READS[read], run)
        if told:
            assert "was replaced by another one after it was opened" in told
            failed += 1
        else:
            np.testing.assert_array_equal(found, expected)
        if calls < moment:
            break
    else:
        pytest.fail("it reads without end")
    assert failed


def test_an_equal_run_made_again_is_another_one(root: Path, old: Synthetic) -> None:
    """A run of the same spec and numbers has another id: what was opened before is told so."""
    run = old.write_all(root)
    made = replace_by(old, root)
    assert made.spec == run.spec
    with pytest.raises(RunNotFoundError, match="was replaced by another one after it was opened"):
        run.tokens()
    assert_only(old, root)


def test_a_successor_sealed_for_another_place_is_refused(root: Path, old: Synthetic, new: Synthetic) -> None:
    old.write_all(root)
    successor = new.create_successor(root)
    seal_again(successor.path, lambda attributes: attributes["biocache"].update(place=successor_path(KEY)))
    with pytest.raises(StoreFormatError, match="was copied or moved here"):
        Run.open(root, KEY, successor=True)


def test_verify_says_that_a_run_was_replaced_meanwhile(root: Path, old: Synthetic, new: Synthetic) -> None:
    run = old.write_all(root)
    replace_by(new, root)
    assert list(verify_run(run)) != []
    assert list(verify_run(Run.open(root, KEY))) == []
