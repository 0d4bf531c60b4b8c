"""Trials of what a store does, with synthetic runs: no model, many a second."""

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np
import xarray as xr
from store_factory import Synthetic, synthetic
from trials import Place, Trial

from biocache.store import BiocacheError, Run, Store
from biocache.store.copying import copy_run
from biocache.store.creating import discard_run, install_successor
from biocache.store.errors import RunNotFoundError, StoreFormatError
from biocache.store.results import find_result, result_files, save_result
from biocache.store.writing import RunWriter

OLD = synthetic(seed=1)
NEW = synthetic(seed=2, feature_size=4)
RESULT = {"kind": "campaign"}


def fill(source: Synthetic, run: Run) -> None:
    """Write what is missing of a run, each pack by one process at a time, as an extraction does."""
    writer = RunWriter(run)
    try:
        for pack in writer.pending():
            with writer.claim([pack], wait=True):
                if writer.pending([pack]):
                    writer.write_pack(pack, source.buffer(pack))
    finally:
        writer.close()


def write(place: Place) -> None:
    fill(OLD, OLD.create(place.store))


def overwrite(place: Place) -> None:
    with suppress(BiocacheError):
        if Store.open(place.store).run().spec == NEW.spec:
            fill(NEW, Store.open(place.store).run())
            return
    made = NEW.create_successor(place.store)
    fill(NEW, made)
    install_successor(made)


def remove(place: Place) -> None:
    with suppress(RunNotFoundError):
        discard_run(place.store, OLD.spec.key)


def copy(place: Place) -> None:
    copy_run(Run.open(place.kept / "synthetic", OLD.spec.key), place.store)


def keep(place: Place) -> None:
    for number in (1.0, 2.0):
        save_result(place.store, "probe", RESULT, xr.Dataset({"x": ("y", np.full(3, number))}))


def make_kept(place: Place) -> None:
    OLD.write_all(place.kept / "synthetic")


def _prepare(before: Synthetic | None, place: Place, _: random.Random) -> None:
    if before is not None:
        before.write_all(place.store)


def _check_between(before: Synthetic | None, after: tuple[Synthetic, ...], place: Place) -> None:
    """Every pack that is there is one that was written, and what was there is whole until its successor is."""
    if not (place.store / "zarr.json").exists():
        assert before is None, "the store is gone"
        return
    found = find_result(place.store, "probe", RESULT)
    assert found is None or set(found.x.values.tolist()) in ({1.0}, {2.0})
    known = {source.spec: source for source in (OLD, NEW)}
    try:
        run = Store.open(place.store).run()
    except (RunNotFoundError, StoreFormatError):
        run = None
    if run is None:
        assert before is None or not after, "the run is gone"
        return
    source = known[run.spec]
    for pack in run.committed():
        for name in source.spec.keep:
            for sample in source.plan.samples_of(pack):
                expected = (source.hidden if name == "hidden" else source.maps)[sample]
                np.testing.assert_array_equal(run.read_sample(name, sample), expected)
    if before is not None:
        assert run.complete, "neither the old run nor the new one is whole"


def _check_after(after: tuple[Synthetic, ...], results: int, place: Place) -> None:
    store = Store.open(place.store)
    assert [run.spec for run in store.select()] == [source.spec for source in after]
    assert len(result_files(store.storage)) == results


def _trial(
    command: Callable[[Place], None],
    before: Synthetic | None,
    *after: Synthetic,
    results: int = 0,
    processes: tuple[int, ...] = (1, 1, 2, 4),
) -> Trial:
    return Trial(
        command,
        partial(_prepare, before),
        partial(_check_between, before, after),
        partial(_check_after, after, results),
        processes,
    )


STORE_TRIALS = {
    "store write": _trial(write, None, OLD),
    "store overwrite": _trial(overwrite, OLD, NEW),
    "store remove": _trial(remove, OLD),
    "store copy": _trial(copy, None, OLD, processes=(1, 2)),
    "store result": _trial(keep, OLD, OLD, results=1),
}
