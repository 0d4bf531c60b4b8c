"""The analysis `compare-representations`: how alike layers of runs represent the same words or samples."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from biocache.engine.analyses.representations.request import RepresentationRequest
from biocache.engine.analysis import Analysis, compute
from biocache.engine.finetuning.updates import unequal_steps

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from biocache.engine.analyses.representations.runs import ComparedRuns
    from biocache.engine.executor import OnProgress, Task
    from biocache.engine.report.section import SectionBuilder
    from biocache.store.catalog import Store
    from biocache.store.storage import StorePlace

__all__ = ["RepresentationComparison", "compare_representations"]

# Fewer groups give an interval that is itself uncertain.
_ROUGH_BELOW = 10


class RepresentationComparison(Analysis[RepresentationRequest, "ComparedRuns"]):
    """Compare the hidden states of runs with those of a baseline run, layer by layer, without loading a model.

    Each layer of the baseline is compared with each of the other run, over the words or samples that both read.
    Selectors name the runs; what they leave open is that of the one baseline run that has hidden states. Debiased CKA
    is 0 for unrelated representations, however few the samples. The result is kept in the store, and found there by
    the same command.
    """

    name = "compare-representations"
    version = 2
    Request = RepresentationRequest
    unit = "layers"
    lighter = "fewer --blocks, or a smaller --sample"
    plots = ("layers", "curves")
    examples = (
        "biocache compare-representations --task ner --model biobert --training-size 10,30,50,100 --plot layers.png",
        "biocache compare-representations --task ner --model bert --against biobert --metric cka,procrustes,rsa,knn",
    )

    def select(self, store: "Store", request: RepresentationRequest) -> "ComparedRuns":
        """Return the baseline and the runs that are compared with it."""
        from biocache.engine.analyses.representations.runs import find_runs

        return find_runs(store, request)

    def inputs(self, request: RepresentationRequest, runs: "ComparedRuns") -> Mapping[str, Any]:
        """Return the identities of the runs, and of the labels that name the groups."""
        return {
            **runs.identities,
            "groups": runs.groups.digest,
        }

    def tasks(self, store: "Store", request: RepresentationRequest, runs: "ComparedRuns") -> "list[Task]":
        """Return a task for each layer of each run, and for some layers of each two runs."""
        from biocache.engine.analyses.representations.comparison import all_tasks
        from biocache.engine.analyses.representations.runs import shared_units

        return all_tasks(runs, shared_units(runs, request), request)

    def combine(self, request: RepresentationRequest, runs: "ComparedRuns", parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return values, intervals and chance levels; see `biocache.engine.compare_representations`."""
        from biocache.engine.analyses.representations.result import make_dataset
        from biocache.engine.analyses.representations.runs import shared_units

        return make_dataset(runs, shared_units(runs, request), request, parts)

    def frame(self, result: "xr.Dataset", request: RepresentationRequest) -> "pd.DataFrame":
        """Return a row for each metric, training size and pair of layers."""
        from biocache.engine.analyses.representations.table import pair_rows

        return pair_rows(result)

    def summary(self, result: "xr.Dataset", request: RepresentationRequest) -> "pd.DataFrame":
        """Return a row for each training size and layer: the values at equal layers, and the most similar layers."""
        from biocache.engine.analyses.representations.table import layer_rows

        return layer_rows(result)

    def notes(self, result: "xr.Dataset", request: RepresentationRequest) -> Iterator[str]:
        """Say what the numbers are computed from, what their intervals cover, and where seeds differ as much."""
        import numpy as np
        import xarray as xr

        from biocache.engine.analyses.seed_floor import floor_notes, seed_counts
        from biocache.engine.grouping import seed_note

        facts = result.attrs
        of = f"{facts['units']:,} {facts['level']}s"
        if facts["units_lost"]:
            of += f" ({facts['units_lost']:,} that a run lost are left out)"
        by_pairs = " and ".join(metric for metric in request.metrics if metric in ("rsa", "knn"))
        if by_pairs and facts["drawn_units"] < facts["units"]:
            of += f"; {by_pairs} of {facts['drawn_units']:,} of them, drawn with seed {facts['sampling_seed']}"
        yield f"values are of {of}"
        if facts["blocks"] < 2:
            yield "there are no intervals: all units are of one group"
        else:
            named = "samples, taken as independent" if facts["group"] == "samples" else "groups of the dataset"
            few = "; so few give a rough interval" if facts["groups"] < _ROUGH_BELOW else ""
            yield f"intervals are over {facts['groups']:,} {named}, in {facts['blocks']} blocks{few}"
            yield seed_note(seed_counts(result))
        layers = np.intersect1d(result["layer"], result["other_layer"])
        equal = xr.DataArray(layers, dims="equal")
        yield from floor_notes(result.sel(layer=equal, other_layer=equal), "value", "between_seeds")
        if "cka" in request.metrics and request.biased:
            yield "biased cka grows as features outnumber units: compare it with chance"
        steps = dict(zip(result.training_size.values.tolist(), result.training_steps.values.tolist(), strict=True))
        yield from filter(None, [unequal_steps(steps)])

    def draw(self, name: str, result: "xr.Dataset", request: RepresentationRequest) -> "Figure | None":
        """Draw heat maps of layers against layers, or curves over equal layers."""
        from biocache.engine.analyses.representations.figures import curve_figure, layer_figure

        return layer_figure(result) if name == "layers" else curve_figure(result)

    def section(self) -> "SectionBuilder":
        """Return tables, heat maps and curves, one figure for each result."""
        from biocache.engine.analyses.representations.section import RepresentationSection

        return RepresentationSection(self)


def compare_representations(
    store: "StorePlace",
    request: RepresentationRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: "OnProgress | None" = None,
) -> "xr.Dataset":
    """Compare the hidden states of runs with those of a baseline run, layers against layers, from the store alone.

    Packs are read one after another, and memory does not grow with their number. The result is kept in the store; the
    same request finds it there. It does not depend on packs, workers or their order.

    Parameters
    ----------
    store
        Folder of the store.
    request
        Which runs, and how.
    workers
        Processes to compute in; None for threads of this one.
    scheduler_address
        Address of a Dask scheduler whose workers compute and see the store under the same path; None to compute here.
    force
        Whether to compute again what the store has the result of.
    on_progress
        Called with the number of tasks that are done and of all tasks.

    Returns
    -------
    xarray.Dataset
        In memory, with the dimensions (metric, training_size, layer, other_layer): ``value`` (of ``cka`` and ``rsa`` at
        most 1, of ``knn`` in [0, 1], of the distance ``procrustes`` in [0, 2]), ``value_ci_low`` and ``value_ci_high``
        (95 % jackknife interval over blocks of groups) and ``chance`` (the units of one run shuffled: the mean over all
        orders, of ``procrustes`` one order in chunks). Where a training size has runs of several seeds these are means
        over them, and intervals hold the variance between seeds too (`Estimates.over_seeds`); ``seed_value`` is the
        value of each, with the dimension seed, and ``between_seeds`` (metric, training_size, other_layer), with its
        interval, the seed floor: the mean value of the runs of every two seeds, at equal layers.

    Raises
    ------
    BiocacheError
        If a run is missing, incomplete, without hidden states, or of other samples or another max length than the
        baseline, or the runs share no words; the message says what to extract.

    References
    ----------
    S. Kornblith, M. Norouzi, H. Lee and G. Hinton, "Similarity of neural network representations revisited", ICML 2019.
    https://proceedings.mlr.press/v97/kornblith19a.html A. Murphy, J. Zylberberg and A. Fyshe, "Correcting biased
    centered kernel alignment measures in biological and artificial neural networks", 2024.
    https://arxiv.org/abs/2405.01012
    """
    from biocache.engine.executor import Executor

    with Executor(workers, scheduler_address) as executor:
        return compute(
            "compare-representations", store, request, executor=executor, force=force, on_progress=on_progress
        )
