"""The analysis `probe`: how well a classifier reads the labels of the task from each layer."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from biocache.engine.analyses.probing.request import C_GRID, PROTOCOL, ClassifierOptions, ProbeRequest
from biocache.engine.analysis import Analysis, compute
from biocache.engine.request import settings_of
from biocache.store.schema import SPANS

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from biocache.engine.analyses.probing.fitting import Fit
    from biocache.engine.analyses.probing.grid import Cell
    from biocache.engine.analyses.probing.layers import Layers
    from biocache.engine.analyses.probing.variables import Fits, Place
    from biocache.engine.executor import Memo, OnProgress, Task
    from biocache.engine.report.section import SectionBuilder
    from biocache.store.catalog import Store
    from biocache.store.reading import Run
    from biocache.store.storage import Storage, StorePlace

__all__ = ["ProbeAnalysis", "Probing", "probe"]

Cells = Mapping["Cell", "tuple[Layers, ...]"]


class ProbeAnalysis(Analysis[ProbeRequest, Cells]):
    """What analyses of probes share: the runs, and the fits."""

    Request = ProbeRequest
    version = PROTOCOL
    unit = "fits"
    lighter = "--max-train-samples"

    def select(self, store: "Store", request: ProbeRequest) -> Cells:
        """Return the models to probe, each with its runs, and the layers of each; refuse a score they lack."""
        from biocache.engine.analyses.probing.grid import find_cells, probed_layers
        from biocache.engine.analyses.probing.scoring import target_scores
        from biocache.engine.metrics import chosen_score

        runs = probed_layers(find_cells(store, request), request)
        chosen_score(target_scores(next(iter(runs)).target), request.score)
        return runs

    def inputs(self, request: ProbeRequest, runs: Cells) -> Mapping[str, Any]:
        """Return the identities of the runs and of their labels, the layers, and the library that fits."""
        from biocache.engine.analyses.probing.classifiers import backend_of
        from biocache.engine.analyses.probing.concepts import erased_digests
        from biocache.engine.analyses.probing.pooling import pooling_key
        from biocache.engine.analyses.probing.seen import seen_digest
        from biocache.engine.grouping import find_groups

        first = next(iter(runs))
        pooling = pooling_key(request.pooling, first.target.level)
        return {
            "label_digests": list(first.label_digests),
            "probe": first.target.probe,
            "cells": [
                {split: [run.identity for run in own] for split, own in cell.splits.items()}
                | {"layers": list(layers), "seen": seen_digest(cell)}
                for cell, layers in runs.items()
            ],
            **_strengths(request, first),
            "groups": [find_groups(runs[0]).digest for runs in (first.test, first.train)],
            "backend": backend_of(first.target.fitted),
            **({"level": first.target.level} if first.target.level in SPANS else {}),
            **({"pooling": pooling} if pooling != request.pooling else {}),
            **({"erased": list(erased_digests(request, first.target, first.train[0]))} if request.erase else {}),
        } | ({} if first.target.own is None else {"own": first.target.own.identity})

    def settings(self, request: ProbeRequest) -> dict[str, Any]:
        """Return the settings that decide the numbers, without options of other classifiers than the probe."""
        options = {setting.name for setting in settings_of(ClassifierOptions)}
        used = request.options.used_by(None if request.probe is None else str(request.probe))
        unused = options - used.keys()
        # What is left at None changes nothing.
        unused |= {name for name in ("fit_at", "erase") if getattr(request, name) is None}
        # C is among the inputs: it may have been chosen.
        return {name: value for name, value in super().settings(request).items() if name not in {*unused, "c"}}

    def goals(self, request: ProbeRequest) -> tuple[str, ...]:
        """Return what is fitted in each place; see `Fit.goal`."""
        return ("task",)

    def tasks(self, store: "Store", request: ProbeRequest, runs: Cells) -> "list[Task]":
        """Return a task for each distinct fit."""
        from biocache.engine.analyses.probing.fitting import run_fit
        from biocache.engine.analyses.probing.planning import fit_bytes
        from biocache.engine.executor import Task

        place = store.storage.absolute()
        kept = tuple(each.absolute() for each in store.result_places)
        memory = fit_bytes(runs, request)
        known = {run.key: run for cell in runs for run in cell.runs}
        return [
            Task(
                key=fit,
                call=run_fit,
                args=(place, fit),
                memory=memory,
                memo=_memo(kept, fit, [known[key] for key in fit.runs]),
            )
            for fit in dict.fromkeys(self._wanted(request, runs).values())
        ]

    def fits(self, request: ProbeRequest, runs: Cells, parts: Mapping[Any, Any]) -> "Fits":
        """Return the fits of every goal, place and seed of the probe."""
        from biocache.engine.analyses.probing.fitting import forget_runs

        forget_runs()
        found: dict[str, dict[tuple[Place, int], xr.Dataset]] = {goal: {} for goal in self.goals(request)}
        for (goal, place, seed), fit in self._wanted(request, runs).items():
            found[goal][place, seed] = parts[fit]
        return found

    def _wanted(self, request: ProbeRequest, runs: Cells) -> "dict[tuple[str, Place, int], Fit]":
        """Return the fit of every goal, place and seed of the probe; seeds that decide nothing share one."""
        from biocache.engine.analyses.probing.concepts import erased_digests
        from biocache.engine.analyses.probing.fitting import Fit
        from biocache.engine.analyses.probing.information import fitted_as
        from biocache.engine.analyses.probing.result import places_of

        places = places_of(runs)
        erased = {cell: erased_digests(request, cell.target, cell.train[0]) for cell in runs}
        return {
            (goal, places[cell][layer], seed): Fit(
                fitted[0],
                tuple(run.key for run in cell.train),
                tuple(run.key for run in cell.test),
                fitted[1],
                seed if cell.target.is_random(request) or fitted[0] != "task" else 0,
                request,
                cell.target,
                cell.label_digests,
                tuple(run.key for run in cell.validation),
                erased[cell],
                cell.chosen,
            )
            # The tasks first: controls and codes take over the C that they choose.
            for goal in self.goals(request)
            for cell, layers in runs.items()
            for layer in layers
            if (fitted := fitted_as(goal, layer, request.given))
            for seed in range(request.seeds)
        }


def _strengths(request: ProbeRequest, cell: "Cell") -> dict[str, Any]:
    """Return C, or the values that it is chosen from, of a probe that has one."""
    if "c" not in request.options.used_by(cell.target.probe):
        return {}
    return {"c": list(C_GRID) if cell.validation else request.options.strength}


def _memo(places: "tuple[Storage, ...]", fit: "Fit", runs: "list[Run]") -> "Memo":
    from biocache.engine.analyses.probing.fitting import FIT_KIND, fit_inputs
    from biocache.engine.executor import Memo

    groups = tuple(replace(run.group, storage=run.group.storage.absolute()) for run in runs)
    return Memo(places, FIT_KIND, fit_inputs(fit, [run.identity for run in runs]), groups)


class Probing(ProbeAnalysis):
    """Fit a classifier to the labels on the features of each layer, and score it on the test split.

    It needs the train and test runs of a store, and no model. A row is a word, sample, span or relation, as the labels
    are; with --level span each entity mention, whose type is predicted. Numbers are predicted by regression. The table
    has the 95 % interval of each score over groups of test samples (documents, premises, patients), the majority
    baseline and, with several --seeds, the standard deviation over them; the best layer is marked. C is chosen for each
    layer on the validation split where the store has its runs. --labels names a label set that `biocache label` added.
    Results that the store has are not computed again.
    """

    name = "probe"
    plots = ("scores", "confusion")
    examples = (
        "biocache probe --task ner --model bert,biobert --training-size 0,100 --max-train-samples 50 --plot layers.png",
        "biocache probe --task nli --features pair --probe svc --layers 0,3 --seeds 2 --max-train-samples 99",
    )

    def goals(self, request: ProbeRequest) -> tuple[str, ...]:
        """Return what is fitted in each place: the task, alone and beside a layer, its control, and their codes."""
        both = ("control_code",) if request.control and request.mdl else ()
        given = ("given",) if request.given is not None else ()
        return ("task", *given, *(("control",) if request.control else ()), *(("code",) if request.mdl else ()), *both)

    def combine(self, request: ProbeRequest, runs: Cells, parts: Mapping[Any, Any]) -> "xr.Dataset":
        """Return scores, intervals, baselines and controls; see `biocache.engine.probe`."""
        from biocache.engine.analyses.probing.result import assemble

        return assemble(request, runs, self.fits(request, runs, parts))

    def frame(self, result: "xr.Dataset", request: ProbeRequest) -> "pd.DataFrame":
        """Return a row for each layer of each model, training size and seed: means over the seeds of the probe."""
        from biocache.engine.analyses.probing.table import layer_rows

        return layer_rows(result, _score(result, request))

    def summary(self, result: "xr.Dataset", request: ProbeRequest) -> "pd.DataFrame":
        """Return the scores and controls of each layer, under a row of the majority baseline."""
        from biocache.engine.analyses.probing.table import with_baselines

        return with_baselines(self.frame(result, request), result.score.to_numpy().tolist(), _score(result, request))

    def notes(self, result: "xr.Dataset", request: ProbeRequest) -> Iterator[str]:
        """Yield what a reader of the scores must know."""
        from biocache.engine.analyses.probing.notes import probe_notes

        yield from probe_notes(result, _score(result, request))

    def draw(self, name: str, result: "xr.Dataset", request: ProbeRequest) -> "Figure | None":
        """Draw the scores over layers, or the confusion matrices of the best ones, which numbers do not have."""
        from biocache.engine.analyses.probing.figures import draw_confusion, draw_scores

        if name == "confusion" and "confusion" not in result:
            return None
        draw = draw_scores if name == "scores" else draw_confusion
        return draw(result, _score(result, request))

    def section(self) -> "SectionBuilder":
        """Return interactive curves over layers."""
        from biocache.engine.analyses.probing.section import ProbeSection

        return ProbeSection(self)


def _score(result: "xr.Dataset", request: ProbeRequest) -> str:
    from biocache.engine.metrics import chosen_score

    return chosen_score(result.score.to_numpy().tolist(), request.score)


def probe(
    store: "StorePlace",
    request: ProbeRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: "OnProgress | None" = None,
) -> "xr.Dataset":
    """Measure how well a probe reads a label set from each layer of the runs of a store.

    For each model, training size, seed of a run, layer and seed of the probe a classifier is fitted to the features of
    the train split, which alone decides their scaling, and scored once on the test split. No model is loaded. What is
    in the store already is not computed again: results and single fits are found by their runs and settings, so that an
    interrupted probing resumes, and one more layer or model costs the fits of that layer or model.

    Parameters
    ----------
    store
        Folder of the store.
    request
        What is probed, and how.
    workers
        Worker processes to start; None for threads of this process.
    scheduler_address
        Address of a Dask scheduler whose workers compute, and see the store under the same path.
    force
        Whether to compute again what the store has.
    on_progress
        Called with the number of fits that are done and of all fits.

    Returns
    -------
    xarray.Dataset
        Dimensions ``model``, ``training_size``, ``seed`` (of the run), ``layer`` and ``probe_seed``, and ``trained_on``
        after ``model`` where a model was fine-tuned on another dataset; NaN where there is no such run or layer. The
        coordinate ``layer`` has numbers, or where the request names layers that are seen together text: ``"0"``,
        ``"6"``, ``"0+6"``, ``"mix"``. ``accuracy``, ``macro_f1``, ``micro_f1`` and, for ``ner``, ``entity_f1`` or,
        where labels are merged by type, ``merged_entity_f1`` (see `score_names`), all in [0, 1], as `score_classes` and
        `score_entities` define them; ``class_precision``, ``class_recall``, ``class_f1`` (.., label) and ``confusion``
        (.., label, predicted_label); ``support`` (label). For numbers, instead of these, ``r2``, ``pearson`` and
        ``spearman``. ``ci_low`` and ``ci_high`` (score, ..) without
        ``probe_seed`` are the 95 % interval of the mean over the probe's seeds, over groups of test samples (see
        `biocache.engine.statistics`); the attributes ``group`` and ``groups`` say which and how many. ``majority``
        (score, ..) scores the most frequent class, or the mean, of the train split. ``train_rows``, ``converged`` (0 or
        1), ``c`` and ``fit_seconds`` describe the fits. With ``control``, ``control`` and ``selectivity`` (score, ..),
        the score minus that on the control, with ``selectivity_ci_low`` and ``selectivity_ci_high`` over the same
        groups, and ``control_majority`` (score, probe_seed); the attribute ``control_seen`` is the share of test rows
        whose type the train split has. With ``mdl``, ``code_length``, ``uniform_code_length`` and ``prior_code_length``
        in bits, ``compression`` and ``prior_compression``, the ratios of these two to the first; with both,
        ``control_code_length``. ``code_converged`` and ``control_converged`` are as ``converged``. With ``mix``,
        ``mix_weight`` (.., layer) in [0, 1], which sums to 1 over layers, and ``mix_gamma`` without ``layer``. The
        attribute ``backend`` names the library that fitted.

    Raises
    ------
    BiocacheError
        If runs are missing, incomplete or unlike, or a fit takes more memory than allowed.

    Notes
    -----
    Every row of the test corpus that has a label is scored, so that models whose tokenizers or
    ``max_length`` lose different words are scored on the same ones. Test rows without tokens are predicted as the most
    frequent class, or the mean, of the train rows; train rows without tokens or label are left out.

    C is chosen for each layer and seed on the validation split, among `C_GRID`, by the main score, unless it is given
    or a model has no validation run; the attribute ``c_fixed`` then says why. A control and a code use the C of the
    task. The test split takes no part.

    Probes that give probabilities also have ``entropy``, ``cross_entropy`` and ``v_information`` in bits a row, with
    ``v_information_ci_low`` and ``v_information_ci_high``, and with `given` ``conditional_information`` likewise: see
    `biocache.engine.analyses.probing.information` for what they are.

    The code length is of the train labels. A model that was fine-tuned on them has seen them: its compression measures
    how well it remembers them, and cannot be compared with that of a model that has not.
    """
    from biocache.engine.executor import Executor

    with Executor(workers, scheduler_address) as executor:
        return compute("probe", store, request, executor=executor, force=force, on_progress=on_progress)
