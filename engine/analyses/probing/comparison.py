"""The analysis `compare-probes`: which differences between sizes, layers and models are more than chance."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from biocache.engine.analyses.probing.analysis import Cells, ProbeAnalysis
from biocache.engine.analyses.probing.request import PROTOCOL, ProbeRequest
from biocache.engine.analysis import compute
from biocache.store.errors import SettingError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from biocache.engine.executor import OnProgress
    from biocache.store.catalog import Store
    from biocache.store.storage import StorePlace

__all__ = ["ProbeComparison", "compare_probes"]


class ProbeComparison(ProbeAnalysis):
    """Compare training sizes and models in each layer, and layers at each training size, by paired tests.

    Both scores of a pair are taken on the same groups of test samples, or resamples of them, and are means over the
    seeds of the fine-tuning that both sides have. The table has the pairs
    that differ after Holm's correction; --json and --output have all. Fits that the store has, such as those of
    `probe`, are not repeated.
    """

    name = "compare-probes"
    version = PROTOCOL + 1
    examples = (
        "biocache compare-probes --task nli --features pair --model biogpt --training-size 0,100",
        "biocache compare-probes --task ner --model bert --max-train-samples 50 --score accuracy --json",
    )
    signed = ("difference",)

    def settings(self, request: ProbeRequest) -> dict[str, Any]:
        """Return the settings that decide the numbers; here the score is one of them."""
        found = super().settings(request) | {"score": request.score}
        return {name: value for name, value in found.items() if name not in ("control", "given", "mdl")}

    def select(self, store: "Store", request: ProbeRequest) -> Cells:
        """Return the models to probe; refuse them where there is nothing to compare."""
        from biocache.engine.analyses.probing.comparing import refuse_single
        from biocache.engine.analyses.probing.result import places_of

        if request.given is not None:
            raise SettingError("--given is measured by `biocache probe`, and not compared; leave it out")
        runs = super().select(store, request)
        refuse_single([place for own in places_of(runs).values() for place in own.values()], _random(runs))
        return runs

    def combine(self, request: ProbeRequest, runs: Cells, parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return the comparisons; see `biocache.engine.compare_probes`."""
        from biocache.engine.analyses.probing.comparing import compared
        from biocache.engine.analyses.probing.scoring import scored_rows

        first = next(iter(runs))
        run, target = first.test[0], first.target
        made = compared(request, scored_rows(target, run), self.fits(request, runs, parts), _random(runs))
        read = {"task": run.key.task, "dataset": run.key.dataset, "split": run.key.split}
        return made.assign_attrs(**read, views=", ".join(target.views), labels=request.labels, probe=target.probe)

    def frame(self, result: "xr.Dataset", request: ProbeRequest) -> "pd.DataFrame":
        """Return a row a pair; ``difference`` is `b` minus `a`."""
        from biocache.engine.analyses.probing.comparing import pair_rows

        return pair_rows(result)

    def summary(self, result: "xr.Dataset", request: ProbeRequest) -> "pd.DataFrame":
        """Return the pairs that differ after Holm's correction."""
        from biocache.engine.statistics import SIGNIFICANCE

        bounds = {name: f"difference_{name}" for name in ("ci_low", "ci_high")}
        frame = self.frame(result, request).rename(columns=bounds)
        return frame[frame.p_holm < SIGNIFICANCE].drop(columns="family_name")

    def notes(self, result: "xr.Dataset", request: ProbeRequest) -> Iterator[str]:
        """Say what is resampled, and how many pairs of each family differ."""
        from biocache.engine.analyses.probing.comparing import family_notes
        from biocache.engine.analyses.probing.concepts import erasure_note
        from biocache.engine.analyses.probing.transfer import FITTED_AT, transfer_note
        from biocache.engine.grouping import interval_note

        yield interval_note(result.attrs)
        if request.erase:
            yield erasure_note(request.erase, result.attrs["level"])
        if FITTED_AT in result.attrs:
            yield transfer_note(result.attrs)
        yield from family_notes(result)


def _random(runs: Cells) -> set[str]:
    """Return the names of the models whose weights are random."""
    return {cell.model for cell in runs if cell.train[0].provenance.random_weights}


def compare_probes(
    store: "StorePlace",
    request: ProbeRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: "OnProgress | None" = None,
) -> "xr.Dataset":
    """Compare training sizes and models in each layer, and layers at each training size, by paired tests.

    Both scores of a pair are taken on the same sets of groups of test samples [1]_, so that samples that are hard for
    both do not hide the difference; see `biocache.engine.statistics`. Differences are means over the seeds of the
    fine-tuning that both sides have, and where these are several the test holds their variance too
    (`Estimates.over_seeds`); the pre-trained model is the same for all. Holm's correction is over a family: all pairs
    of training sizes of a model, in all its layers; all pairs of models at a training size, in all layers that they
    share; or all pairs of layers of a model at a training size. Of resamples at least as many are drawn as the smallest
    corrected value needs to fall below 0.05.

    Parameters
    ----------
    store, workers, scheduler_address, force, on_progress
        As `probe`. Fits that the store has are not repeated.
    request
        As `probe`; `ProbeRequest.score` is what is compared. Controls and code lengths are not.

    Returns
    -------
    xarray.Dataset
        Dimension ``comparison``. ``difference`` is the score of ``b`` minus that of ``a``, in [-1, 1]; ``ci_low`` and
        ``ci_high`` its 95 % interval; ``p`` its two-sided value (`Estimates.p`), ``p_holm`` the corrected one.
        Coordinates: ``family`` and ``family_name``, the family that a pair is corrected in; ``between``
        (``training_size``, ``model`` or ``layer``); ``seeds`` that both have; ``model_a``, ``model_b``,
        ``training_size_a``, ``training_size_b``, ``layer_a`` and ``layer_b``; where a
        model was fine-tuned on another dataset also ``trained_on_a`` and ``trained_on_b``, and ``between`` may be
        ``trained_on``. The attribute ``resamples`` says how many were drawn.

    Raises
    ------
    SettingError
        If the task has no such score, or there is nothing to compare.
    BiocacheError
        As `probe`.

    References
    ----------
    .. [1] T. Berg-Kirkpatrick, D. Burkett and D. Klein, "An empirical investigation of statistical significance in
       NLP", EMNLP-CoNLL 2012. https://aclanthology.org/D12-1091
    """
    from biocache.engine.executor import Executor

    with Executor(workers, scheduler_address) as executor:
        return compute("compare-probes", store, request, executor=executor, force=force, on_progress=on_progress)
