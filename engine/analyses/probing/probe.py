"""`probe`: runs of a store in, scores of every layer out."""

import os
from collections.abc import Sequence

import xarray as xr

from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.analysis import compute
from biocache.engine.executor import Executor, OnProgress
from biocache.engine.scoring import main_score
from biocache.store.errors import SettingError

__all__ = ["chosen_score", "probe"]


def probe(
    store: str | os.PathLike[str],
    request: ProbeRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> xr.Dataset:
    """Measure how well a classifier reads the labels of the task from each layer of the runs of a store.

    For each model, training size, seed of a run, layer and seed of the probe a classifier is fitted to the features of
    the train split, which alone decides their scaling, and scored once on the test split. No model is loaded. What is
    in the store already is not computed again: a result is found by its runs and settings, and so is each fit in it,
    so that an interrupted probing goes on, and another layer or model costs that layer or model.

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
        Called with the fits that are done and all there are.

    Returns
    -------
    xarray.Dataset
        Dimensions ``model``, ``training_size``, ``seed`` (of the run), ``layer`` and ``probe_seed``; NaN where there is
        no such run or layer. ``accuracy``, ``macro_f1``, ``micro_f1`` and, for ``ner``, ``entity_f1`` or, where labels
        are merged by type, ``merged_entity_f1`` (see `score_names`), all in [0, 1], as `score_classes` and
        `score_entities` define them; ``class_precision``, ``class_recall``, ``class_f1`` (.., label) and ``confusion``
        (.., label, predicted_label); ``support`` (label). ``ci_low`` and ``ci_high`` (score, ..) without
        ``probe_seed`` are the 95 % percentile interval of the mean over the probe's seeds, on `resamples` draws of
        whole test samples. ``majority`` (score, ..) scores the most frequent class of the train split. ``train_rows``,
        ``converged`` (0 or 1) and ``fit_seconds`` describe the fits. With ``control``, ``control_accuracy`` and
        ``selectivity``; with ``mdl``, ``code_length`` and ``uniform_code_length`` in bits, and ``compression``. The
        attribute ``backend`` names the library that fitted.

    Raises
    ------
    BiocacheError
        If runs are missing, incomplete or unlike, or a fit takes more memory than allowed.

    Notes
    -----
    Every word or sample of the test corpus is scored, so that models whose tokenizers or ``max_length`` lose different
    words are scored on the same ones. What has no tokens is predicted as the most frequent class, for ``ner`` ``O``; of
    the train split it is left out.

    The code length is of the train labels. A model that was fine-tuned on them has seen them, so its compression says
    how well it holds them, and is not to be compared with that of a model that has not.
    """
    with Executor(workers, scheduler_address) as executor:
        return compute("probe", store, request, executor=executor, force=force, on_progress=on_progress)


def chosen_score(names: Sequence[str], asked: str | None) -> str:
    """Return the score by which layers are told apart: the one asked for, else that of entities, else the accuracy.

    Raises
    ------
    SettingError
        If there is no such score.
    """
    if asked is None or asked in names:
        return asked or main_score(names)
    schemes = {"entity_f1": "bio", "merged_entity_f1": "type"}
    remedy = f"; it is of runs extracted with --label-scheme={schemes[asked]}" if asked in schemes else ""
    raise SettingError(f"--score {asked!r} is not one of {', '.join(names)}, those of these runs{remedy}")
