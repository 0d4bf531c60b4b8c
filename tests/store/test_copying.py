"""Copying runs between stores, whole and thinned, against what was written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from crashes import killed_before_each_change
from store_factory import assert_holds, chunk_file, synthetic

from biocache.store import Run, Store, atomic
from biocache.store.copying import CopyReport, copy_run, thinned
from biocache.store.errors import IntegrityError, SettingError, SpecMismatchError
from biocache.store.integrity import verify_run
from biocache.store.storage import open_storage
from biocache.store.sweeping import sweep


@pytest.mark.slow
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_copy_holds_the_same(tmp_path: Path, dtype: str, causal: bool) -> None:
    source = synthetic(dtype=dtype, causal=causal)
    run = source.write_all(tmp_path / "from")
    report = copy_run(run, tmp_path / "to")
    copied = Store.open(tmp_path / "to").run()
    assert_holds(copied, source)
    assert (copied.spec, copied.provenance, copied.counts) == (run.spec, run.provenance, run.counts)
    assert copied.identity == run.identity
    copied_bytes = sum(record.stored_bytes for record in run.records().values())
    assert report == CopyReport(str(run.key), 3, 3, 3, copied_bytes)
    # Nothing is left to copy.
    assert copy_run(run, tmp_path / "to") == CopyReport(str(run.key), 3, 0, 3, 0)


@pytest.mark.parametrize(
    ("layers", "keep", "names"),
    [
        ((1,), None, ("hidden", "attention")),
        ((0, 2), None, ("hidden", "attention")),
        ((0,), None, ("hidden",)),
        (None, ("hidden",), ("hidden",)),
        ((2,), ("attention",), ("attention",)),
    ],
)
def test_a_thinned_copy_holds_its_layers(
    tmp_path: Path, layers: tuple[int, ...] | None, keep: tuple[str, ...] | None, names: tuple[str, ...]
) -> None:
    source = synthetic()
    run = source.write_all(tmp_path / "from")
    copy_run(run, tmp_path / "to", layers=layers, keep=keep)
    copied = Store.open(tmp_path / "to").run()
    assert copied.spec == replace(run.spec, layers=layers or run.spec.layers, keep=names)
    assert list(verify_run(copied)) == []
    for name in names:
        stored = run.spec.variable_layers(name)
        places = [stored.index(layer) for layer in copied.spec.variable_layers(name)]
        np.testing.assert_array_equal(
            copied.activations(name).compute(scheduler="synchronous"), source.truth(name)[places]
        )


@pytest.mark.slow
def test_parts_of_a_run_become_one(tmp_path: Path) -> None:
    source = synthetic()
    for place, packs in (("first", [0]), ("second", [1, 2])):
        run = source.create(tmp_path / place)
        source.write(run, packs)
    first, second = (Store.open(tmp_path / place).run() for place in ("first", "second"))
    assert copy_run(second, tmp_path / "first").packs_done == 3
    assert_holds(first, source)
    assert copy_run(first, tmp_path / "other").packs_copied == 3
    assert second.committed() == [1, 2]


def test_another_run_of_the_key_is_refused_and_stays(tmp_path: Path) -> None:
    source, other = synthetic(), synthetic(seed=1, feature_size=8)
    run = source.write_all(tmp_path / "from")
    other.write_all(tmp_path / "to")
    with pytest.raises(SpecMismatchError, match=r"has another run .*feature_size: stored 8, asked for 6") as told:
        copy_run(run, tmp_path / "to")
    assert "overwrite" not in str(told.value)
    assert_holds(Store.open(tmp_path / "to").run(), other)


def test_what_is_not_there_cannot_be_copied(tmp_path: Path) -> None:
    run = synthetic(keep=("hidden",), layers=(0, 2)).write_all(tmp_path / "from")
    for settings, told in (
        ({"layers": (0, 1)}, "has no layer 1; it has layers 0, 2 of hidden"),
        ({"keep": ("attention",)}, "has no attention"),
    ):
        with pytest.raises(SettingError, match=told):
            copy_run(run, tmp_path / "to", **settings)
    with pytest.raises(SettingError, match=r"nothing of run .* is left: its layers 1, 2 have attention"):
        thinned(synthetic().spec, (0,), ("attention",))
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("what", ["chunk", "table"])
def test_damage_is_not_copied(tmp_path: Path, what: str) -> None:
    source = synthetic()
    run = source.write_all(tmp_path / "from")
    file = chunk_file(run, "hidden", 1, 1) if what == "chunk" else run.path / "words/segment/c/0"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError):
        copy_run(Run.open(tmp_path / "from", run.key), tmp_path / "to")
    if what == "chunk":
        copied = Store.open(tmp_path / "to").run()
        assert copied.committed() == [0]
        np.testing.assert_array_equal(copied.read_sample("hidden", 0), source.hidden[0])
    else:
        assert not (tmp_path / "to").exists()


@pytest.mark.slow
@pytest.mark.parametrize("back", [False, True])
def test_runs_go_to_object_stores_and_back(tmp_path: Path, back: bool) -> None:
    source = synthetic()
    run = source.write_all(tmp_path / "from")
    place = open_storage(f"memory://copies/{tmp_path}")
    copy_run(run, place)
    copied = Store.open(place).run()
    assert_holds(copied, source)
    if back:
        copy_run(copied, tmp_path / "back")
        assert_holds(Store.open(tmp_path / "back").run(), source)


@pytest.mark.slow
def test_a_copy_killed_at_any_moment_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = synthetic([3, 2], 3, keep=("hidden",), layers=(0, 1))
    run = source.write_all(tmp_path / "from")
    for moment in killed_before_each_change(lambda: None, lambda: copy_run(run, tmp_path / str(moment_of())), every=3):
        target = tmp_path / str(moment_of())
        copy_run(run, target)
        assert_holds(Store.open(target).run(), source)
        with monkeypatch.context() as later:
            # Files of groups that a killed process was making are deleted when they are old.
            later.setattr(atomic, "QUIET_SECONDS", 0.0)
            sweep(open_storage(target))
        assert not [path for path in target.rglob("*") if "partial" in path.name or path.name.startswith(".")]
        MOMENTS.append(moment)
    assert len(MOMENTS) > 3


MOMENTS: list[int] = []


def moment_of() -> int:
    return len(MOMENTS)
