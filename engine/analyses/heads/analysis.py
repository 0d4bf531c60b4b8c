"""The analysis `describe-attention`: what each attention head attends to."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from biocache.engine.analyses.heads.request import TARGET, HeadsRequest
from biocache.engine.analysis import Analysis, compute
from biocache.engine.finetuning.updates import unequal_steps
from biocache.store.text import counted

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from biocache.engine.analyses.heads.runs import DescribedRuns
    from biocache.engine.executor import OnProgress, Task
    from biocache.engine.report.section import SectionBuilder
    from biocache.store.catalog import Store
    from biocache.store.storage import StorePlace

__all__ = ["AttentionDescription", "describe_attention"]


class AttentionDescription(Analysis[HeadsRequest, "DescribedRuns"]):
    """Describe what each attention head attends to: how evenly, how far, and on what, without loading a model.

    A row has the mean over the heads of a layer with its 95 % interval, the value of attention that is even over the
    keys that a query sees, and the head whose value is the highest. Several runs, such as training sizes, go into one
    result. The result is kept in the store, and found there by the same command.
    """

    name = "describe-attention"
    version = 1
    Request = HeadsRequest
    unit = "blocks"
    plots = ("heads",)
    examples = (
        "biocache describe-attention --task ner --model bert --training-size 0,100 --plot heads.png",
        "biocache describe-attention --task ner --model bert,gpt2 --metric mass:entities,mass:punctuation --by gold",
    )

    def select(self, store: "Store", request: HeadsRequest) -> "DescribedRuns":
        """Return the runs, which read the same samples."""
        from biocache.engine.analyses.heads.runs import find_runs

        return find_runs(store, request)

    def inputs(self, request: HeadsRequest, runs: "DescribedRuns") -> Mapping[str, Any]:
        """Return the identities of the runs, and of the labels that name groups, classes and targets."""
        found = {
            "runs": [run.identity for run in runs.runs],
            "groups": runs.groups.digest,
            "targets": {metric: labels.digest for metric, labels in runs.targets.items()},
        }
        return found if runs.labels is None else {**found, "labels": runs.labels.digest}

    def tasks(self, store: "Store", request: HeadsRequest, runs: "DescribedRuns") -> "list[Task]":
        """Return tasks for some packs of each layer of each run."""
        from biocache.engine.analyses.heads.runs import head_tasks

        return head_tasks(runs, request)

    def combine(self, request: HeadsRequest, runs: "DescribedRuns", parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return means and intervals; see `biocache.engine.describe_attention`."""
        from biocache.engine.analyses.heads.result import make_dataset

        return make_dataset(runs, request, parts)

    def frame(self, result: "xr.Dataset", request: HeadsRequest) -> "pd.DataFrame":
        """Return a row for each metric, run, class, layer and head that was measured."""
        from biocache.engine.analyses.heads.table import head_rows

        return head_rows(result)

    def summary(self, result: "xr.Dataset", request: HeadsRequest) -> "pd.DataFrame":
        """Return means over heads, a row for each metric, run, class and layer, and the highest head."""
        from biocache.engine.analyses.heads.table import layer_rows

        return layer_rows(result)

    def notes(self, result: "xr.Dataset", request: HeadsRequest) -> Iterator[str]:
        """Say what the numbers are means of, and what their intervals cover."""
        from biocache.engine.grouping import interval_note

        facts = result.attrs
        yield interval_note(facts)
        if (result["training_size"] > 0).any():
            yield "each row is one run: its interval does not hold what another seed of the training would change"
        yield from _steps(result)
        causal = sorted(set(result["model"].where(result["causal"] == 1, drop=True).to_numpy().tolist()))
        if causal and "next-mass" in request.metrics:
            yield f"queries of {', '.join(causal)} see no later key: next-mass is left out"
        whole = result.isel(label=0) if "label" in result.dims else result
        for metric in whole["metric"].to_numpy().tolist():
            counts = whole["count"].sel(metric=metric).to_numpy()
            least = int(counts[counts > 0].min()) if counts.any() else 0
            if metric.startswith(TARGET) and least < facts["samples"]:
                yield (
                    f"{metric} is measured on {least:,} of {facts['samples']:,} samples: in the others no query "
                    "sees both targets and other keys"
                )
        if facts.get("unlabelled_words"):
            yield f"{counted(facts['unlabelled_words'], 'word')} without a label of {request.by}: in no class"

    def draw(self, name: str, result: "xr.Dataset", request: HeadsRequest) -> "Figure":
        """Draw heat maps of layers and heads."""
        from biocache.engine.analyses.heads.figures import head_figure

        return head_figure(result)

    def section(self) -> "SectionBuilder":
        """Return tables and heat maps, one figure for each result."""
        from biocache.engine.analyses.heads.section import HeadsSection

        return HeadsSection(self)


def _steps(result: "xr.Dataset") -> Iterator[str]:
    """Yield how the optimiser steps of the training sizes of a model differ."""
    for model in dict.fromkeys(result["model"].to_numpy().tolist()):
        own = result.isel(run=result["model"].to_numpy() == model)
        steps = dict(zip(own["training_size"].values.tolist(), own["training_steps"].values.tolist(), strict=True))
        said = unequal_steps(steps)
        if said:
            yield f"{model}: {said}"


def describe_attention(
    store: "StorePlace",
    request: HeadsRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: "OnProgress | None" = None,
) -> "xr.Dataset":
    """Describe what the attention heads of runs attend to, from the store alone.

    Every chunk is read once for all metrics. The result is kept in the store; the same request finds it there. It does
    not depend on packs, workers or their order.

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
        In memory, with the dimensions (metric, run, layer, head): ``mean`` over samples of the mean over queries,
        ``std``, ``ci_low`` and ``ci_high`` (95 % interval over groups of samples, see `biocache.engine.statistics`) and
        ``count``, the samples that were measured; (metric, run, layer): ``layer_mean``, the mean over heads, with
        ``layer_ci_low`` and ``layer_ci_high``; and (metric, run): ``even``, the mean of attention that is even over the
        keys that a query sees. All but the distance are in [0, 1]; the coordinate ``unit`` says what it is in. Split by
        a label set, all have the dimension label before layer, whose first is all queries or samples. Of rolled-out
        maps there is one head. Coordinates along run: ``model``, ``trained_on``, ``training_size``, ``seed``,
        ``training_steps``, ``causal``. What a run has no layer or head for is NaN.

    Raises
    ------
    BiocacheError
        If a run is incomplete, without attention, or of other samples or another max length than the first, or a target
        or label set is not there; the message says what to do.

    References
    ----------
    Clark K, Khandelwal U, Levy O, Manning CD. What does BERT look at? BlackboxNLP 2019.
    https://doi.org/10.18653/v1/W19-4828
    """
    from biocache.engine.executor import Executor

    with Executor(workers, scheduler_address) as executor:
        return compute("describe-attention", store, request, executor=executor, force=force, on_progress=on_progress)
