"""The analysis `compare-attention`: how alike the attention maps of runs are, head by head."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analysis import Analysis

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from biocache.engine.analyses.attention.runs import ComparedRuns
    from biocache.engine.executor import Task
    from biocache.engine.report.section import SectionBuilder
    from biocache.store.catalog import Store

__all__ = ["METHOD", "AttentionComparison"]

#: Version of the method: a change of what is computed makes older results those of another question.
METHOD = 1


class AttentionComparison(Analysis[AttentionRequest, "ComparedRuns"]):
    """Compare the attention maps of runs with those of a baseline run, head by head, without loading a model.

    Selectors name the runs; what they leave open is that of the one baseline run that has attention. Runs of other
    tokenizers are compared by word. The result is kept in the store, and found there by the same command.
    """

    name = "compare-attention"
    version = METHOD
    Request = AttentionRequest
    unit = "blocks"
    plots = ("means", "above-chance")
    examples = (
        "biocache compare-attention --task ner --model biobert --training-size 10,30,50,100 --plot heads.png",
        "biocache compare-attention --task nli --model bert --against gpt2 --metric js,entropy --by label",
    )

    def select(self, store: "Store", request: AttentionRequest) -> "ComparedRuns":
        """Return the baseline run and those that are compared with it."""
        from biocache.engine.analyses.attention.runs import find_runs

        return find_runs(store, request)

    def inputs(self, request: AttentionRequest, runs: "ComparedRuns") -> Mapping[str, Any]:
        """Return the identities of the runs."""
        from biocache.store.results import run_identity

        return {"baseline": run_identity(runs.baseline), "runs": [run_identity(run) for run in runs.others]}

    def tasks(self, store: "Store", request: AttentionRequest, runs: "ComparedRuns") -> "list[Task]":
        """Return tasks for each layer, or of all pairs each two, and some packs of the baseline."""
        from biocache.engine.analyses.attention.comparison import layer_tasks

        return layer_tasks(runs, request)

    def combine(self, request: AttentionRequest, runs: "ComparedRuns", parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return means, intervals, chance levels and matches; see `biocache.engine.compare_attention`."""
        from biocache.engine.analyses.attention.comparison import layer_pairs, measures_of
        from biocache.engine.analyses.attention.dataset import make_dataset
        from biocache.engine.analyses.attention.outcome import finish

        measures = measures_of(runs, request)
        numbers = [[finish(sums, measures) for sums in parts[pair].runs] for pair in layer_pairs(runs, request)]
        return make_dataset(runs, request, measures, numbers)

    def summary(self, result: "xr.Dataset", request: AttentionRequest) -> "pd.DataFrame":
        """Return means over heads, a row a layer, and the head that changed most; of all pairs, a row two layers."""
        from biocache.engine.analyses.attention.table import head_rows, pair_rows

        return pair_rows(result) if "pair_mean" in result else head_rows(result)

    def notes(self, result: "xr.Dataset", request: AttentionRequest) -> Iterator[str]:
        """Say how many samples had nothing to measure."""
        counts = result["pair_count" if "pair_mean" in result else "count"]
        samples = int(result.attrs["samples"])
        if int(counts.min()) < samples:
            yield (f"up to {samples - int(counts.min()):,} of {samples:,} samples have nothing to measure in a head")

    def draw(self, name: str, result: "xr.Dataset", request: AttentionRequest) -> "Figure | None":
        """Draw means, or how far they are above the chance level."""
        from biocache.engine.analyses.attention.figures import above_chance_figure, mean_figure

        return mean_figure(result) if name == "means" else above_chance_figure(result)

    def section(self) -> "SectionBuilder":
        """Return interactive heat maps of layers and heads."""
        from biocache.engine.analyses.attention.section import AttentionSection

        return AttentionSection(self)
