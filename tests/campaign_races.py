"""Races of `extract --overwrite` against what uses the run that it replaces."""

import random
from functools import partial
from hashlib import sha256

import numpy as np
import xarray as xr
from campaign_commands import (
    COMPARE,
    NEW,
    OLD,
    PROBE,
    REPLACED,
    Asked,
    check_keys,
    check_partial,
    check_runs,
    check_store,
    have_runs,
    names,
    run_compare,
    run_extract,
    run_probe,
    without_times,
)
from extractions import forget
from trials import REFUSED, Command, Ended, Place, Trial, call

from biocache.engine import AttentionRequest, ProbeRequest, Request
from biocache.engine.analysis import find
from biocache.store import BiocacheError, Store

LOOKS = 500
MODEL = {"model": "tiny", "split": "test"}


def have_parts(place: Place, rng: random.Random) -> None:
    """Begin with runs of which some packs are missing, for another process to finish."""
    have_runs(place, rng)
    for run in Store.open(place.store).select(model="tiny"):
        forget(run, rng.sample(range(run.counts.packs), rng.randint(0, run.counts.packs)))


def digest(view: xr.Dataset) -> str:
    """Compute a view, without threads: the process that forks the others must have none of Dask's."""
    values = view.hidden.compute(scheduler="synchronous").values
    return sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def look(place: Place) -> tuple[list[str], list[str]]:
    """Compute a view again and again until it has the new numbers; return the digests, and the errors."""
    last = digest(Store.open(NEW.source(place) / "store").run(**MODEL).words())
    seen: list[str] = []
    errors: list[str] = []
    for _ in range(LOOKS):
        try:
            view = Store.open(place.store).run(**MODEL).words()
            while last not in seen and len(seen) < LOOKS:
                seen.append(digest(view))
        except BiocacheError as error:
            errors.append(str(error))
        if last in seen:
            break
    return seen, errors


def check_replaced(place: Place) -> None:
    """Assert that the runs are the new ones, as the overwrite said."""
    model = Store.open(NEW.source(place) / "store").select(model="tiny")
    assert names(Store.open(place.store).select(model="tiny")) == names(model)


def judge_extract(place: Place, one: Ended, other: Ended) -> str:
    if one.code == REFUSED:
        assert "is being written by another process; wait for it" in one.answer, one.answer
        return "refused"
    check_replaced(place)
    return "rival refused" if other.code == REFUSED else "both ended"


def expected(request: Request, asked: Asked, place: Place) -> xr.Dataset:
    """Return what an analysis must give of the runs of some settings."""
    result = find(KINDS[type(request)], place.kept / f"{asked.name}-analysed" / "store", request).result()
    assert result is not None
    return without_times(result)


def judge_analysis(request: Request, place: Place, one: Ended, other: Ended) -> str:
    assert one.code == 0, one.answer
    check_replaced(place)
    if other.code == REFUSED:
        return "rival refused"
    given = without_times(other.answer)
    (asked,) = [asked for asked in (OLD, NEW) if given.identical(expected(request, asked, place))]
    return f"rival {asked.name}"


def judge_look(place: Place, one: Ended, other: Ended) -> str:
    assert one.code == other.code == 0, (one.answer, other.answer)
    check_replaced(place)
    seen, errors = other.answer
    old, new = (digest(Store.open(asked.source(place) / "store").run(**MODEL).words()) for asked in (OLD, NEW))
    assert seen == [old] * seen.count(old) + [new], "a view had numbers of neither run"
    assert not [error for error in errors if "\n" in error]
    return "view old, then new" if old in seen else "view new"


def check_again(request: Request, command: Command, place: Place) -> None:
    """Assert that the analysis, with what the race has left in the store, gives the numbers of the new run."""
    answer = call(place, command).answer
    xr.testing.assert_identical(without_times(answer), expected(request, NEW, place))
    check_store(place)
    check_runs(REPLACED, RESULTS[type(request)], place)


KINDS = {ProbeRequest: "probe", AttentionRequest: "compare-attention"}
RESULTS = {ProbeRequest: ("probe", "probe-fit"), AttentionRequest: ("compare-attention",)}
OVERWRITE = partial(run_extract, NEW, overwrite=True)


def _race(command: Command, request: Request) -> Trial:
    return Trial(
        OVERWRITE,
        have_runs,
        check_keys,
        partial(check_again, request, command),
        rival=command,
        judge=partial(judge_analysis, request),
    )


RACES = {
    "overwrite and extract": Trial(
        OVERWRITE,
        have_parts,
        check_partial,
        partial(check_runs, REPLACED, ()),
        rival=partial(run_extract, OLD),
        judge=judge_extract,
    ),
    "overwrite and probe": _race(run_probe, PROBE),
    "overwrite and compare": _race(run_compare, COMPARE),
    "overwrite and view": Trial(
        OVERWRITE, have_runs, check_keys, partial(check_runs, REPLACED, ()), rival=look, judge=judge_look
    ),
}
