"""The analysis `compare-attention`: how alike the attention maps of runs are, head by head."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from biocache.engine.analyses.attention.request import CHANGES, METRIC_NAMES, AttentionRequest
from biocache.engine.analysis import Analysis, compute
from biocache.engine.finetuning.updates import unequal_steps
from biocache.store.text import counted

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from biocache.engine.analyses.attention.runs import ComparedRuns
    from biocache.engine.executor import OnProgress, Task
    from biocache.engine.report.section import SectionBuilder
    from biocache.store.catalog import Store
    from biocache.store.storage import StorePlace

__all__ = ["AttentionComparison", "compare_attention"]

# Sums of distances that differ by less are equal but for rounding.
_TIE = 1e-6


class AttentionComparison(Analysis[AttentionRequest, "ComparedRuns"]):
    """Compare the attention maps of runs with those of a baseline run, head by head, without loading a model.

    Selectors name the runs; what they leave open is that of the one baseline run that has attention. Runs of other
    tokenizers are compared by word. The result is kept in the store, and found there by the same command.
    """

    name = "compare-attention"
    version = 3
    Request = AttentionRequest
    unit = "blocks"
    plots = ("means", "above-chance", "between-seeds")
    examples = (
        "biocache compare-attention --task ner --model biobert --training-size 10,30,50,100 --plot heads.png",
        "biocache compare-attention --task nli --model bert --against gpt2 --metric js,entropy --by gold",
    )

    def select(self, store: "Store", request: AttentionRequest) -> "ComparedRuns":
        """Return the baseline and the runs that are compared with it."""
        from biocache.engine.analyses.attention.runs import find_runs

        return find_runs(store, request)

    def inputs(self, request: AttentionRequest, runs: "ComparedRuns") -> Mapping[str, Any]:
        """Return the identities of the runs, of the labels that name groups or classes, and of the user's metrics."""
        labels = {} if runs.labels is None else {"labels": runs.labels.digest}
        found = {
            **runs.identities,
            "groups": runs.groups.digest,
            **labels,
        }
        own = [metric for metric in request.metrics if metric not in METRIC_NAMES]
        if not own:
            # Compiled code is not loaded for a result that the store has.
            return found
        from biocache.engine.analyses.attention.own import find_own

        return found | {"own": {str(metric): find_own(metric).source for metric in own}}

    def tasks(self, store: "Store", request: AttentionRequest, runs: "ComparedRuns") -> "list[Task]":
        """Return tasks for each layer, or of all pairs each two, and some packs of the baseline."""
        from biocache.engine.analyses.attention.comparison import layer_tasks

        return layer_tasks(runs, request)

    def combine(self, request: AttentionRequest, runs: "ComparedRuns", parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return means, intervals, chance levels and matches; see `biocache.engine.compare_attention`."""
        from biocache.engine.analyses.attention.result import make_dataset

        return make_dataset(runs, request, parts)

    def frame(self, result: "xr.Dataset", request: AttentionRequest) -> "pd.DataFrame":
        """Return all numbers; those of each seed in columns of their own."""
        from biocache.engine.analyses.attention.table import all_rows

        return all_rows(result)

    def summary(self, result: "xr.Dataset", request: AttentionRequest) -> "pd.DataFrame":
        """Return means over heads, a row a layer, and the head that changed most; of all pairs, a row two layers."""
        from biocache.engine.analyses.attention.table import head_rows, pair_rows

        return pair_rows(result) if "pair_mean" in result else head_rows(result)

    def notes(self, result: "xr.Dataset", request: AttentionRequest) -> Iterator[str]:
        """Say what intervals hold, which matchings are not identified, and what could not be measured."""
        from biocache.engine.analyses.seed_floor import floor_notes, seed_counts
        from biocache.engine.grouping import interval_note, seed_note

        if "pair_mean" not in result:
            yield interval_note(result.attrs)
            yield seed_note(seed_counts(result))
            yield from floor_notes(result, "layer", "layer_between_seeds")
            yield from _matching_notes(result)
        counts = result["pair_count" if "pair_mean" in result else "count"]
        samples = int(result.attrs["samples"])
        if int(counts.min()) < samples:
            yield (f"up to {samples - int(counts.min()):,} of {samples:,} samples have nothing to measure in a head")
        if "training_steps" in result.coords:
            steps = dict(zip(result.training_size.values.tolist(), result.training_steps.values.tolist(), strict=True))
            yield from filter(None, [unequal_steps(steps)])
        if result.attrs.get("split_by") == "words":
            yield "means are split by words: all of them compare runs word by word, not token by token"
        if result.attrs.get("unlabelled_words"):
            yield f"{counted(result.attrs['unlabelled_words'], 'word')} without a label of {request.by}: in no class"
        if result.attrs.get("not_split"):
            yield f"{result.attrs['not_split']} measures whole maps, and is not split by the classes of words"

    def draw(self, name: str, result: "xr.Dataset", request: AttentionRequest) -> "Figure | None":
        """Draw means, how far they are above the chance level, or the means between seeds."""
        from biocache.engine.analyses.attention.figures import above_chance_figure, between_seeds_figure, mean_figure

        drawn = {"means": mean_figure, "above-chance": above_chance_figure, "between-seeds": between_seeds_figure}
        return drawn[name](result)

    def section(self) -> "SectionBuilder":
        """Return interactive heat maps of layers and heads."""
        from biocache.engine.analyses.attention.section import AttentionSection

        return AttentionSection(self)


def _matching_notes(result: "xr.Dataset") -> Iterator[str]:
    """Yield the metrics that do not tell which heads belong together."""
    if "matched_gap" not in result:
        return
    for metric in result["metric"].to_numpy().tolist():
        gap = result["matched_gap"].sel(metric=metric)
        known, tied = int(gap.notnull().sum()), int((gap < _TIE).sum())
        if tied:
            yield f"{metric} does not identify the matches of {tied:,} of {known:,} heads: other matchings are as good"
        if metric in CHANGES:
            yield f"{metric} is one number of a head: heads that it matches need not attend alike"


def compare_attention(
    store: "StorePlace",
    request: AttentionRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: "OnProgress | None" = None,
) -> "xr.Dataset":
    """Compare the attention maps of runs with those of a baseline run, head by head, from the store alone.

    Every chunk of the baseline is read once for all metrics, training sizes and seeds. The result is kept in the store;
    the same request finds it there. It does not depend on packs, workers or their order.

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
        In memory, with the dimensions (metric, training_size, layer, head): ``mean`` over samples, ``std``, ``ci_low``
        and ``ci_high`` (95 % interval over groups of samples, see `biocache.engine.statistics`; the attributes
        ``group`` and ``groups`` say which and how many), ``chance`` (mean of all mismatched heads of the layer, NaN for
        changes), ``chance_ci_low``, ``chance_ci_high``, ``above_chance`` (0 at the chance level, 1 for identical maps)
        and ``count``; and (metric, training_size, layer): ``layer_mean`` and ``layer_chance``, means over heads, with
        ``_ci_low`` and ``_ci_high``. Where a training size has runs of several seeds, all numbers are means over them,
        their intervals hold the variance between seeds too (`Estimates.over_seeds`), ``std`` is within a seed and
        ``count`` the least; ``seed_mean`` and ``seed_layer_mean`` are those of each seed, with the dimension seed; and
        ``between_seeds`` and ``layer_between_seeds``, with their intervals, are the seed floor: the same metric between
        the runs of two seeds, the mean over all pairs, of changes without their sign. By label
        also ``label_mean``, ``label_std``, ``label_ci_low``, ``label_ci_high`` and ``label_count``, with the dimension
        label; of words these are of each sample's mean over the rows of its words of the label, and NaN for metrics of
        whole maps, which the attribute ``not_split`` names. Matched,
        ``matched_head``, ``matched_mean``, ``matched_std`` and ``matched_gap``, 0 for a match that is not identified;
        per sample, ``value`` with the dimension sample. With all pairs only ``pair_mean``, ``pair_std`` and
        ``pair_count`` (metric, training_size, layer, head, other_layer, other_head).

    Raises
    ------
    BiocacheError
        If a run is missing, incomplete, without attention, or of other samples or another max length than the baseline;
        the message says what to extract.
    """
    from biocache.engine.executor import Executor

    with Executor(workers, scheduler_address) as executor:
        return compute("compare-attention", store, request, executor=executor, force=force, on_progress=on_progress)
