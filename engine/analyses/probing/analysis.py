"""The analysis `probe`: how well a classifier reads the labels of the task from each layer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from biocache.engine.analyses.probing.request import PROTOCOL, ClassifierOptions, ProbeRequest
from biocache.engine.analysis import Analysis
from biocache.engine.request import settings_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from biocache.engine.analyses.probing.evaluation import Fits, Place
    from biocache.engine.analyses.probing.fitting import Fit
    from biocache.engine.analyses.probing.grid import Cell
    from biocache.engine.executor import Task
    from biocache.store.catalog import Store
    from biocache.store.reading import Run

__all__ = ["ProbeAnalysis", "ProbeComparison", "Probing"]

Cells = Mapping["Cell", tuple[int, ...]]


class ProbeAnalysis(Analysis[ProbeRequest, Cells]):
    """What analyses of probes share: the runs, and the fits."""

    Request = ProbeRequest
    version = PROTOCOL
    unit = "fits"
    lighter = "--max-train-samples"

    def select(self, store: "Store", request: ProbeRequest) -> Cells:
        """Return the models that are probed, each with its runs, and the layers of each; refuse a score they lack."""
        from biocache.engine.analyses.probing.grid import find_cells, probed_layers

        runs = probed_layers(find_cells(store, request), request)
        self.score_of(request, scores_of(next(iter(runs)).test[0]))
        return runs

    def inputs(self, request: ProbeRequest, runs: Cells) -> Mapping[str, Any]:
        """Return the identities of the runs, the layers, and the library that fits."""
        from biocache.engine.analyses.probing.classifiers import backend_of

        return {
            "cells": [
                {"train": _identities(cell.train), "test": _identities(cell.test), "layers": list(layers)}
                for cell, layers in runs.items()
            ],
            "backend": backend_of(request.probe),
        }

    def settings(self, request: ProbeRequest) -> dict[str, Any]:
        """Return the settings that decide the numbers, of the classifier's those that the probe uses."""
        unused = {setting.name for setting in settings_of(ClassifierOptions)} - set(
            request.options.used_by(request.probe)
        )
        return {name: value for name, value in super().settings(request).items() if name not in unused}

    @staticmethod
    def score_of(request: ProbeRequest, names: Sequence[str]) -> str:
        """Return the score by which layers are told apart."""
        from biocache.engine.analyses.probing.probe import chosen_score

        return chosen_score(names, request.score)

    def goals(self, request: ProbeRequest) -> tuple[str, ...]:
        """Return what is fitted in each place; see `Fit.goal`."""
        return ("task",)

    def tasks(self, store: "Store", request: ProbeRequest, runs: Cells) -> "list[Task]":
        """Return a task for each fit; seeds that decide nothing share one."""
        from biocache.engine.analyses.probing.fitting import FIT_KIND, fit_inputs, run_fit
        from biocache.engine.analyses.probing.planning import fit_bytes
        from biocache.engine.executor import Memo, Task
        from biocache.store.paths import resolved

        root = str(resolved(store.path))
        memory = fit_bytes(list(runs), request)
        known = {run.key: identity for cell in runs for run, identity in _identified(cell)}
        fits = {fit: place for place, fit in self._wanted(request, runs).items()}
        return [
            Task(
                key=fit,
                call=run_fit,
                args=(root, fit),
                memory=memory,
                memo=Memo(root, FIT_KIND, fit_inputs(fit, [known[key] for key in (*fit.train, *fit.test)])),
            )
            for fit in fits
        ]

    def fits(self, request: ProbeRequest, runs: Cells, parts: Mapping[Any, Any]) -> "Fits":
        """Return the fit of every place, seed of the probe and goal."""
        from biocache.engine.analyses.probing.fitting import forget_runs

        forget_runs()
        return {place: parts[fit] for place, fit in self._wanted(request, runs).items()}

    def _wanted(self, request: ProbeRequest, runs: Cells) -> "dict[tuple[Place, int, str], Fit]":
        from biocache.engine.analyses.probing.evaluation import Place
        from biocache.engine.analyses.probing.fitting import Fit

        return {
            (Place(cell.model, cell.training_size, cell.seed, layer), seed, goal): Fit(
                goal,
                tuple(run.key for run in cell.train),
                tuple(run.key for run in cell.test),
                layer,
                seed if request.is_random or goal != "task" else 0,
                request,
            )
            for cell, layers in runs.items()
            for layer in layers
            for seed in range(request.seeds)
            for goal in self.goals(request)
        }


class Probing(ProbeAnalysis):
    """Fit a classifier to the labels on the features of each layer, and score it on the test split.

    It needs the train and test runs of a store, and no model. `ner` reads words, `nli` pairs. The table has the 95 %
    interval of each score over the test samples, the majority baseline and, with several --seeds, the standard
    deviation over them; the best layer is marked. What the store has the result of is not computed again.
    """

    name = "probe"
    plots = ("scores", "confusion")
    examples = (
        "biocache probe --task ner --model bert,biobert --training-size 0,100 --max-train-samples 50 --plot layers.png",
        "biocache probe --task nli --features pair --probe svc --layers 0,3 --seeds 2 --max-train-samples 99",
    )

    def goals(self, request: ProbeRequest) -> tuple[str, ...]:
        """Return what is fitted in each place: the task, its control and its code."""
        return ("task", *(("control",) if request.control else ()), *(("code",) if request.mdl else ()))

    def combine(self, request: ProbeRequest, runs: Cells, parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return scores, intervals, baselines and controls; see `biocache.engine.probe`."""
        from biocache.engine.analyses.probing.assembling import assemble

        return assemble(request, runs, self.fits(request, runs, parts))

    def ordered(self, result: "xr.Dataset") -> "xr.Dataset":
        """Return a result with its variables in the order of their weight."""
        from biocache.engine.analyses.probing.assembling import ordered

        return ordered(result)

    def frame(self, result: "xr.Dataset", request: ProbeRequest) -> "pd.DataFrame":
        """Return a row for each layer of each model, training size and seed: means over the seeds of the probe."""
        from biocache.engine.analyses.probing.table import layer_rows

        return layer_rows(result, self.score_of(request, result.score.to_numpy().tolist()))

    def summary(self, result: "xr.Dataset", request: ProbeRequest) -> "pd.DataFrame":
        """Return the scores and controls of each layer, under a row of the majority baseline."""
        from biocache.engine.analyses.probing.table import with_baselines

        return with_baselines(self.frame(result, request), result.score.to_numpy().tolist())

    def notes(self, result: "xr.Dataset", request: ProbeRequest) -> Iterator[str]:
        """Yield what must be known to read the scores right."""
        if request.seeds > 1 and not request.is_random:
            yield (
                f"the scores of {request.probe} are the same for all --seeds, since nothing in its fit is random "
                "without --max-train-samples"
            )
        unfinished = int((result.converged == 0).sum())
        if unfinished:
            yield (
                f"{unfinished:,} fit{'' if unfinished == 1 else 's'} stopped at --max-iterations before the solver "
                "converged; raise it"
            )
        if "merged_entity_f1" in result:
            yield (
                "merged-entity F1 takes words of one type that touch for one entity, since these runs hold merged "
                "types; runs of --label-scheme bio have the entity F1 that finetune reports"
            )
        if "code_length" in result and (result.training_size > 0).any():
            yield "fine-tuned models have seen the train labels whose code is measured; it says nothing of unseen text"

    def draw(self, name: str, result: "xr.Dataset", request: ProbeRequest) -> "Figure | None":
        """Draw the scores over layers, or the confusion matrices of the best ones."""
        from biocache.engine.analyses.probing.figures import draw_confusion, draw_scores

        draw = draw_scores if name == "scores" else draw_confusion
        return draw(result, self.score_of(request, result.score.to_numpy().tolist()))


class ProbeComparison(ProbeAnalysis):
    """Compare training sizes in each layer, and layers at each training size, by paired bootstrap.

    Both scores of a pair are taken on the same draws of whole test samples. The table has the pairs that differ after
    Holm's correction; --json and --output have all. Fits that the store has, as those of `probe`, are not repeated.
    """

    name = "compare-probes"
    examples = (
        "biocache compare-probes --task nli --features pair --model biogpt --training-size 0,100",
        "biocache compare-probes --task ner --model bert --max-train-samples 50 --score accuracy --json",
    )
    signed = ("difference",)

    def settings(self, request: ProbeRequest) -> dict[str, Any]:
        """Return the settings that decide the numbers; here the score is one of them."""
        found = super().settings(request) | {"score": request.score}
        return {name: value for name, value in found.items() if name not in ("control", "mdl")}

    def select(self, store: "Store", request: ProbeRequest) -> Cells:
        """Return the models that are probed; refuse them where there is nothing to compare."""
        from biocache.engine.analyses.probing.comparing import refuse_single
        from biocache.engine.analyses.probing.evaluation import Place

        runs = super().select(store, request)
        refuse_single(
            [Place(cell.model, cell.training_size, cell.seed, layer) for cell in runs for layer in runs[cell]]
        )
        return runs

    def combine(self, request: ProbeRequest, runs: Cells, parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return the comparisons; see `biocache.engine.compare_probes`."""
        from biocache.engine.analyses.probing.comparing import compared
        from biocache.engine.analyses.probing.evaluation import TestSplit

        return compared(request, TestSplit.of(next(iter(runs)).test[0]), self.fits(request, runs, parts))

    def frame(self, result: "xr.Dataset", request: ProbeRequest) -> "pd.DataFrame":
        """Return a row a pair; the difference is `b` minus `a`."""
        from biocache.engine.analyses.probing.comparing import pair_rows

        return pair_rows(result)

    def summary(self, result: "xr.Dataset", request: ProbeRequest) -> "pd.DataFrame":
        """Return the pairs that differ after Holm's correction."""
        from biocache.engine.analyses.probing.comparing import LEVEL

        bounds = {name: f"difference_{name}" for name in ("ci_low", "ci_high")}
        frame = self.frame(result, request).rename(columns=bounds)
        return frame[frame.p_holm < LEVEL]

    def notes(self, result: "xr.Dataset", request: ProbeRequest) -> Iterator[str]:
        """Say how many pairs differ."""
        from biocache.engine.analyses.probing.comparing import LEVEL
        from biocache.engine.scoring import SCORE_TITLES

        count = result.sizes["comparison"]
        yield (
            f"{len(self.summary(result, request))} of {count:,} pair{'' if count == 1 else 's'} differ in "
            f"{SCORE_TITLES[result.attrs['score']]} (p < {LEVEL} after Holm's correction)"
        )


def scores_of(run: "Run") -> tuple[str, ...]:
    """Return the names of the scores of predictions for a run; see `score_names`."""
    from biocache.engine.scoring import score_names

    return score_names(run.spec.label_scheme if run.labelled == "words" else None)


def _identities(runs: Iterable["Run"]) -> list[dict[str, str]]:
    from biocache.store.results import run_identity

    return [run_identity(run) for run in runs]


def _identified(cell: "Cell") -> Iterator[tuple["Run", dict[str, str]]]:
    runs = (*cell.train, *cell.test)
    yield from zip(runs, _identities(runs), strict=True)
