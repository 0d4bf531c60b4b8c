"""One fit: read one layer or several, fit a probe, return its predictions, in any process that reads the store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.classifiers import Scaled, backend_of, fit_scaled
from biocache.engine.analyses.probing.code_length import label_bits, mixed_bits, online_code
from biocache.engine.analyses.probing.concepts import Erasure, erased_digests, find_erasure
from biocache.engine.analyses.probing.controls import control_labels
from biocache.engine.analyses.probing.features import Rows, read_rows
from biocache.engine.analyses.probing.layers import MIX, Layers, MixedProbe, layers_of
from biocache.engine.analyses.probing.pooling import pooling_key
from biocache.engine.analyses.probing.request import C_GRID, PROTOCOL, ClassifierOptions, ProbeRequest
from biocache.engine.analyses.probing.scoring import scored_rows
from biocache.engine.analyses.probing.seen import TrainSamples, drawn_of
from biocache.engine.analyses.probing.target import Target
from biocache.engine.analyses.probing.tuning import fit_tuned
from biocache.engine.metrics import main_score
from biocache.store.errors import BusyError, DataError
from biocache.store.keys import RunKey
from biocache.store.reading import Run
from biocache.store.results import find_in
from biocache.store.storage import Storage
from biocache.store.text import shown

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.classifiers import Fitted

__all__ = ["FIT_KIND", "Fit", "fit_inputs", "forget_runs", "run_fit"]

#: Kind of the results that hold one fit.
FIT_KIND = "probe-fit"


@dataclass(frozen=True)
class Fit:
    """A fit: the arguments of one task.

    Attributes
    ----------
    goal
        ``task``, its ``control``, the online ``code`` of the task, or that of the control, ``control_code``.
    train, test
        Keys of the runs of the splits, one a view.
    layer
        The layer, or the label of several; see `layers_of`.
    seed
        Seed of the probe; 0 where the fit does not depend on it, so that all seeds share one fit.
    request
        Defines the rows and the classifier.
    target
        What is predicted.
    labels
        Digests of the labels of the rows of the splits, in the order of their runs.
    validation
        Keys of the runs of the validation split, on which C is chosen; none where it is fixed.
    erased
        Digests of the label sets that are erased, for the rows of the train split.
    chosen
        Samples of the train split that are fitted on; None for all.
    """

    goal: str
    train: tuple[RunKey, ...]
    test: tuple[RunKey, ...]
    layer: Layers
    seed: int
    request: ProbeRequest
    target: Target
    labels: tuple[str, ...]
    validation: tuple[RunKey, ...] = ()
    erased: tuple[str, ...] = ()
    chosen: TrainSamples | None = None

    @property
    def runs(self) -> tuple[RunKey, ...]:
        """Keys of all its runs, those of the train split first."""
        return (*self.train, *self.test, *self.validation)

    def probe_of(self, stored: Sequence[int]) -> "Fitted":
        """Return the probe of these layers, where a run has stored some."""
        return MixedProbe(self.target.probe, len(stored)) if self.layer == MIX else self.target.fitted


def fit_inputs(fit: Fit, identities: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Return everything that decides a fit, as JSON: the key of its kept result.

    Parameters
    ----------
    fit
        The fit.
    identities
        Identities of its runs, in the order of `Fit.runs`.
    """
    request, target = fit.request, fit.target
    options = request.options.used_by(target.probe)
    if "c" in options:
        options["c"] = list(C_GRID) if fit.validation else request.options.strength
    return {
        "protocol": PROTOCOL,
        "goal": fit.goal,
        "runs": list(identities),
        "layer": fit.layer,
        "seed": fit.seed,
        "labels": list(fit.labels),
        "probe": target.probe,
        **({} if target.own is None else {"own": target.own.identity}),
        "backend": backend_of(fit.probe_of(())),
        "options": options,
        "pooling": pooling_key(request.pooling, target.level),
        "combine": request.combine,
        "max_train_samples": request.max_train_samples,
        **({"erase": list(request.erase), "erased": list(fit.erased)} if request.erase else {}),
        **({} if fit.chosen is None else {"train_samples": fit.chosen.digest}),
    }


def run_fit(store: Storage, fit: Fit) -> xr.Dataset:
    """Fit a probe.

    Parameters
    ----------
    store
        Where the store is.
    fit
        The fit.

    Returns
    -------
    xarray.Dataset
        For ``task`` and ``control``: ``predicted`` (row), int32 classes or float64 numbers, of every row of
        the scored corpus; rows without tokens are predicted as the most frequent class, or the mean, of the rows that
        were fitted on, as are rows without label, which are not scored; of mixed layers also ``weight``
        (mixed_layer), and the attribute ``gamma``. For ``task`` with a probe that gives probabilities also ``bits``
        (row), float32, the cross-entropy of the label of each row, NaN without label, and ``label_bits`` (class), that
        of a probe without features, which rows without tokens have; see `mixed_bits` and `label_bits`. For ``code`` and
        ``control_code``: ``bits``, ``prior_bits`` and ``labels`` (block), see `OnlineCode`, and the attribute
        ``choice_bits``, those that name the chosen C.
        Attributes: ``backend``, ``converged`` (0 or 1: of all solvers), ``train_rows``, ``c`` of a probe that has one,
        and ``seconds`` of reading, fitting and predicting.
    """
    from biocache.engine.analyses.probing.own import OwnProbeError

    began = time.perf_counter()
    splits = _runs_of(store, fit)
    train = splits[0]
    try:
        found = _coded(store, fit, splits) if fit.goal.endswith("code") else _predicted(store, fit, splits)
    except OwnProbeError as error:
        raise DataError(
            f"--probe {shown(fit.target.probe)} {error}, fitted to layer {fit.layer} of run {train[0].key}; correct it"
        ) from error
    found.attrs["seconds"] = time.perf_counter() - began
    return found


def _runs_of(store: Storage, fit: Fit) -> list[list[Run]]:
    """Return the runs of all splits, whose labels are those that the fit was planned with."""
    wanted = [keys for keys in (fit.train, fit.test, fit.validation) if keys]
    runs = [[_opened(store, key) for key in keys] for keys in wanted]
    train, *_ = runs
    stale = erased_digests(fit.request, fit.target, train[0]) != fit.erased
    if stale or any(fit.target.aligned(own[0]).digest != digest for own, digest in zip(runs, fit.labels, strict=True)):
        # A process that lives longer than a command may know the labels that were there before.
        forget_runs()
        runs = [[_opened(store, key) for key in keys] for keys in wanted]
    for (run, *_), digest in zip(runs, fit.labels, strict=True):
        fit.target.require_same(run, digest)
    if erased_digests(fit.request, fit.target, runs[0][0]) != fit.erased:
        raise BusyError(
            "a label set that --erase names was replaced while this was computed from it, and nothing is kept; run the "
            "same command again"
        )
    return runs


def _opened(store: Storage, key: RunKey) -> Run:
    """Return a run whose tables all fits of this process share."""
    run = _kept(store, key)
    if not run.group.is_same():
        _kept.cache_clear()
        run = _kept(store, key)
    return run


@lru_cache(maxsize=6)
def _kept(store: Storage, key: RunKey) -> Run:
    # At most the splits and views of one model: tables of words are large.
    return Run.open(store, key)


def forget_runs() -> None:
    """Free the tables of runs that fits of this process have read."""
    _kept.cache_clear()


def _predicted(store: Storage, fit: Fit, splits: Sequence[Sequence[Run]]) -> xr.Dataset:
    train, test = splits[:2]
    rows, erasure = _train_rows(fit, train)
    target, count, stored = fit.target, len(rows), train[0].spec.layers
    usual = _usual(fit, rows)
    counts = None if target.numeric else np.bincount(rows.labels, minlength=len(target.names))
    if fit.goal == "task" and fit.validation:
        probe, c = _tuned(fit, rows, erasure, splits)
    else:
        options = _options(store, fit, splits)
        c = options.strength
        probe = fit_scaled(rows, fit.probe_of(stored), options, len(target.names), fit.seed)
    # Freed before the test split is read: the two are never in memory together.
    del rows
    unseen, position = _all_rows(fit, test, erasure)
    classifier = probe.classifier
    if len(unseen):
        unseen = probe.scaled(unseen)
    found = classifier.predict(unseen) if len(unseen) else None
    made = xr.Dataset(
        {"predicted": ("row", _filled(fit, test[0], usual, position, found))},
        attrs={
            "backend": classifier.backend,
            "converged": int(classifier.converged),
            "train_rows": count,
            **({"c": c} if _has_c(fit) else {}),
        },
    )
    if fit.goal == "task" and target.has_probabilities and counts is not None:
        prior, labels = label_bits(counts), target.aligned(test[0])
        bits = np.where(labels.known, prior[labels.values], np.nan)
        if len(unseen):
            bits[position] = mixed_bits(classifier.log_probability(unseen), unseen, count, len(counts))
        made = made.assign(bits=("row", bits.astype(np.float32)), label_bits=("class", prior))
    if classifier.mix is not None:
        weights, made.attrs["gamma"] = classifier.mix
        made = made.assign_coords(mixed_layer=list(stored)).assign(weight=("mixed_layer", weights))
    return made


def _usual(fit: Fit, rows: Rows) -> Any:
    """Return what is predicted of rows without tokens."""
    return rows.labels.mean() if fit.target.numeric else np.bincount(rows.labels).argmax()


def _all_rows(fit: Fit, runs: Sequence[Run], erasure: Erasure) -> tuple[Rows, NDArray[np.int64]]:
    """Read all rows of a split with their positions, and erase from them what was erased from those of train."""
    layers = layers_of(fit.layer, runs[0].spec.layers)
    rows, position = read_rows(runs, fit.target, fit.request, layers, np.arange(runs[0].counts.samples))
    erasure.erase(rows.features)
    return rows, position


def _filled(
    fit: Fit, run: Run, usual: Any, position: NDArray[np.int64], found: NDArray[Any] | None
) -> NDArray[np.generic]:
    """Return what is predicted of every row of a run, also of those that are not at the positions."""
    predicted = np.full(fit.target.rows(run), usual, np.float64 if fit.target.numeric else np.int32)
    if found is not None:
        predicted[position] = found
    return predicted


def _has_c(fit: Fit) -> bool:
    return "c" in fit.request.options.used_by(fit.target.probe)


def _tuned(fit: Fit, rows: Rows, erasure: Erasure, splits: Sequence[Sequence[Run]]) -> tuple[Scaled, float]:
    """Return the probe of the task with the C that is best on the validation split."""
    train, _, validation = splits
    target, usual = fit.target, _usual(fit, rows)
    held_out, position = _all_rows(fit, validation, erasure)
    known = scored_rows(target, validation[0])
    main = main_score(known.score_names)

    def score(found: NDArray[Any]) -> float:
        predicted = _filled(fit, validation[0], usual, position, found)
        return float(known.scores(predicted[known.position])[main])

    probe = fit.probe_of(train[0].spec.layers)
    return fit_tuned(rows, held_out, score, probe, fit.request.options, len(target.names), fit.seed)


def _options(store: Storage, fit: Fit, splits: Sequence[Sequence[Run]]) -> ClassifierOptions:
    """Return the settings of the probe, with the C that the task has chosen: a control is of the same probe."""
    options = fit.request.options
    if not fit.validation:
        return options
    seed = fit.seed if fit.target.is_random(fit.request) else 0
    task = replace(fit, goal="task", seed=seed)
    kept = find_in((store,), FIT_KIND, fit_inputs(task, [run.identity for own in splits for run in own]))
    c = kept.attrs["c"] if kept is not None else _tuned(task, *_train_rows(task, splits[0]), splits)[1]
    return replace(options, c=float(c))


def _coded(store: Storage, fit: Fit, splits: Sequence[Sequence[Run]]) -> xr.Dataset:
    train = splits[0]
    options = _options(store, fit, splits)
    rows, _ = _train_rows(fit, train)
    probe = fit.probe_of(train[0].spec.layers)
    code = online_code(rows, probe, options, len(fit.target.names), fit.seed)
    return xr.Dataset(
        {name: ("block", getattr(code, name)) for name in ("bits", "prior_bits", "labels")},
        attrs={
            "backend": backend_of(probe),
            "converged": int(code.converged),
            "train_rows": len(rows),
            # The receiver must know which C was chosen.
            "choice_bits": float(np.log2(len(C_GRID))) if fit.validation else 0.0,
        },
    )


def _train_rows(fit: Fit, train: Sequence[Run]) -> tuple[Rows, Erasure]:
    """Read the rows to fit on, with the labels of the goal, and erase from them what the request names."""
    run = train[0]
    samples = drawn_of(run.counts.samples, fit.chosen, fit.request.max_train_samples, fit.seed)
    layers = layers_of(fit.layer, run.spec.layers)
    rows, position = read_rows(train, fit.target, fit.request, layers, samples)
    if not len(rows):
        raise DataError(
            f"no row of the train run {run.key} has tokens and a label of {fit.target.labels}; extract it with a "
            "larger --max-length, or add labels with `biocache label`"
        )
    if fit.target.probe == "bilstm-crf" and not fit.target.aligned(run).known.all():
        raise DataError(
            f"bilstm-crf reads whole sentences, and some words of run {run.key} have no label of {fit.target.labels}; "
            "label them all, or use another --probe"
        )
    erasure = find_erasure(fit.request, fit.target, train, rows.features, position, len(layers))
    erasure.erase(rows.features)
    if not fit.goal.startswith("control"):
        return rows, erasure
    return Rows(rows.features, control_labels(fit.target, train, train, fit.seed)[position], rows.sample), erasure
