"""Running the fits: a Dask task each, as many at once as the plan allows."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import dask
import xarray as xr
from dask.callbacks import Callback

from biocache.engine.probing.fitting import Fit, forget_runs, run_fit
from biocache.engine.probing.planning import FitPlan
from biocache.engine.threads import capped_threads
from biocache.store.errors import BiocacheError, ResourceError

__all__ = ["run_fits"]

#: Told how many fits are done, and how many there are.
OnProgress = Callable[[int, int], None]


def run_fits(
    fits: Sequence[Fit], plan: FitPlan, client: Any | None, on_progress: OnProgress | None
) -> list[xr.Dataset]:
    """Run fits.

    Parameters
    ----------
    fits
        What to fit.
    plan
        How many at once.
    client
        A `distributed.Client`, whose workers see the store under the same path; None for threads of this process.
    on_progress
        Called with the fits that are done and all there are, as they are.

    Returns
    -------
    list of xarray.Dataset
        Of every fit, as `run_fit`.

    Raises
    ------
    ResourceError
        If a worker dies.
    """
    if not fits:
        return []
    tell = on_progress or (lambda _done, _total: None)
    tell(0, len(fits))
    return _run_here(fits, plan, tell) if client is None else _run_on_workers(fits, plan, client, tell)


class _Counting(Callback):  # type: ignore[misc]
    """Tell of every fit that is done."""

    def __init__(self, keys: Sequence[str], tell: OnProgress) -> None:
        super().__init__(posttask=self._after)
        self._left = set(keys)
        self._total = len(keys)
        self._tell = tell

    def _after(self, key: Any, *_: Any) -> None:
        if key in self._left:
            self._left.remove(key)
            self._tell(self._total - len(self._left), self._total)


def _run_here(fits: Sequence[Fit], plan: FitPlan, tell: OnProgress) -> list[xr.Dataset]:
    task = dask.delayed(run_fit, pure=False)
    tasks = [task(fit, plan.threads) for fit in fits]
    with ExitStack() as stack:
        # Around all of them: the limit of linear algebra is the process's, and the first fit to end would lift it.
        stack.enter_context(capped_threads(plan.threads))
        # Solvers that stop early are counted in the result; the filters of warnings are the process's as well.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(_Counting([task.key for task in tasks], tell))
        stack.callback(forget_runs)
        return list(dask.compute(*tasks, scheduler="threads", num_workers=plan.at_once))


def _run_quietly(fit: Fit, threads: int) -> xr.Dataset | BiocacheError:
    """Return what a fit found, or the user's error: of one that is raised a worker prints the traceback."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return run_fit(fit, threads)
        except BiocacheError as error:
            return error


def _run_on_workers(fits: Sequence[Fit], plan: FitPlan, client: Any, tell: OnProgress) -> list[xr.Dataset]:
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    waiting = list(enumerate(fits))[::-1]
    found: dict[int, xr.Dataset] = {}
    places: dict[Any, int] = {}

    def submit() -> Any:
        place, fit = waiting.pop()
        future = client.submit(_run_quietly, fit, plan.threads, pure=False)
        places[future] = place
        return future

    try:
        # No more at once than fit into memory: a worker takes the next fit when one is done.
        running = as_completed([submit() for _ in range(min(plan.at_once, len(fits)))], loop=client.loop)
        for future in running:
            answer = future.result()
            if isinstance(answer, BiocacheError):
                raise answer
            found[places.pop(future)] = answer
            tell(len(found), len(fits))
            if waiting:
                running.add(submit())
    except KilledWorker as error:
        raise ResourceError(
            f"workers died under a fit ({' '.join(str(error).split())[:160]}), which is mostly a lack of memory; pass "
            "fewer --workers or --max-train-samples"
        ) from error
    finally:
        client.cancel(list(places))
    return [found[place] for place in range(len(fits))]
