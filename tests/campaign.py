"""A campaign against the store: random commands, one to four at a time, killed at random moments.

    python tests/campaign.py --minutes 10 --seed 1

After each trial every run must hold what one of its writers wrote, whole or in whole packs; the same command must
finish what was begun; then `verify` finds nothing, and no temporary file is left.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import xarray as xr
from store_factory import PROVENANCE, Synthetic, synthetic

from biocache.store import BiocacheError, Run, Store, atomic
from biocache.store.copying import copy_run
from biocache.store.creating import create_successor, discard_run, install_successor
from biocache.store.errors import RunNotFoundError, StoreFormatError
from biocache.store.results import find_result, result_files, save_result
from biocache.store.storage import open_storage
from biocache.store.sweeping import sweep

OLD = synthetic(seed=1)
NEW = synthetic(seed=2, feature_size=4)
RESULT = {"kind": "campaign"}


def write(root: Path, source: Synthetic) -> None:
    source.write(source.create(root))


def overwrite(root: Path) -> None:
    with suppress(BiocacheError):
        if Store.open(root).run().spec == NEW.spec:
            NEW.write(Store.open(root).run())
            return
    made = create_successor(root, NEW.spec, PROVENANCE, NEW.plan, NEW.columns)
    NEW.write(made)
    install_successor(made)


def remove(root: Path) -> None:
    with suppress(RunNotFoundError):
        discard_run(root, OLD.spec.key)


def copy(root: Path) -> None:
    copy_run(Run.open(root.with_name("source"), OLD.spec.key), root)


def keep(root: Path) -> None:
    for number in (1.0, 2.0):
        save_result(root, "probe", RESULT, xr.Dataset({"x": ("y", np.full(3, number))}))


#: Name to the command, what is there before, and the runs of which one must be there after it has ended.
TRIALS: dict[str, tuple[Callable[[Path], None], Synthetic | None, tuple[Synthetic, ...]]] = {
    "write": (lambda root: write(root, OLD), None, (OLD,)),
    "overwrite": (overwrite, OLD, (NEW,)),
    "remove": (remove, OLD, ()),
    "copy": (copy, None, (OLD,)),
    "result": (keep, OLD, (OLD,)),
}


def _forked(root: Path, command: Callable[[Path], None]) -> int:
    child = os.fork()
    if not child:
        status = 1
        try:
            command(root)
            status = 0
        except BiocacheError:
            # Another process replaced, removed or wrote the run meanwhile: one line, nothing lost.
            status = 3
        finally:
            os._exit(status)
    return child


def _ended(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _check_between(root: Path, before: Synthetic | None, after: tuple[Synthetic, ...]) -> None:
    """Every pack that is there is one that was written, and what was there is whole until its successor is."""
    known = {source.spec: source for source in (OLD, NEW)}
    try:
        run = Store.open(root).run()
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


def trial(folder: Path, name: str, rng: random.Random, typical: dict[str, float]) -> str:
    """Run one trial; return what happened."""
    command, before, after = TRIALS[name]
    root = folder / "store"
    shutil.rmtree(root, ignore_errors=True)
    if before is not None:
        before.write_all(root)
    processes = rng.choice((1, 1, 2, 4)) if name != "copy" else rng.choice((1, 2))
    children = [_forked(root, command) for _ in range(processes)]
    time.sleep(rng.uniform(0, typical.get(name, 0.2) * processes))
    for child in children if rng.random() < 0.7 else children[:1]:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    codes = _ended(children)
    assert set(codes) <= {0, 3, -signal.SIGKILL}, f"a process ended with {codes}"
    if (root / "zarr.json").exists():
        _check_between(root, before, after)
        found = find_result(root, "probe", RESULT)
        assert found is None or set(found.x.values.tolist()) in ({1.0}, {2.0})
    # The same command finishes it.
    (code,) = _ended([_forked(root, command)])
    assert code == 0, f"the same command ended with {code}"
    # What is left of groups that were being made is deleted when it is old.
    atomic.QUIET_SECONDS, waited = 0.0, atomic.QUIET_SECONDS
    try:
        sweep(open_storage(root))
    finally:
        atomic.QUIET_SECONDS = waited
    store = Store.open(root)
    assert [run.spec for run in store.select()] == [source.spec for source in after]
    assert store.verify() == []
    left = [path.relative_to(root) for path in root.rglob("*") if path.name.startswith(".") or "partial" in path.name]
    assert not left, f"left over: {left}"
    assert len(result_files(store.storage)) == (name == "result")
    return "killed" if -signal.SIGKILL in codes else "ended"


def campaign(seconds: float, trials: int, seed: int) -> Counter[tuple[str, str]]:
    """Run trials until the time or their number is reached; return how many ended how."""
    rng = random.Random(seed)
    counts: Counter[tuple[str, str]] = Counter()
    folder = Path(tempfile.mkdtemp(prefix="biocache-campaign-"))
    try:
        OLD.write_all(folder / "source")
        typical: dict[str, float] = {}
        for name, (command, before, _) in TRIALS.items():
            root = folder / "store"
            shutil.rmtree(root, ignore_errors=True)
            if before is not None:
                before.write_all(root)
            began = time.perf_counter()
            _ended([_forked(root, command)])
            typical[name] = time.perf_counter() - began
        until = time.monotonic() + seconds
        while time.monotonic() < until and counts.total() < trials:
            name = rng.choice(list(TRIALS))
            try:
                counts[name, trial(folder, name, rng, typical)] += 1
            except BaseException as error:
                kept = shutil.copytree(folder, f"{folder}-failed")
                error.add_note(f"trial {counts.total()} of seed {seed}, {name}: the store is kept in {kept}")
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return counts


def main() -> None:
    """Run the campaign that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts = campaign(60 * asked.minutes, sys.maxsize, asked.seed)
    for name in TRIALS:
        killed, ended = counts[name, "killed"], counts[name, "ended"]
        print(f"{name:<10} {killed:>6} killed {ended:>6} ended before")
    print(f"{counts.total()} trials, nothing lost")


if __name__ == "__main__":
    main()
