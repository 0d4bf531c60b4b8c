"""The runs to probe: the grid of models, training sizes and seeds, each with its train and test runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from biocache.engine.analyses.probing.features import view_of
from biocache.engine.analyses.probing.layers import MIX, Layers, is_single, layers_of
from biocache.engine.analyses.probing.pooling import CLS
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.analyses.probing.seen import TrainSamples, chosen_samples
from biocache.engine.analyses.probing.target import Target, find_target
from biocache.engine.analyses.probing.transfer import fitted_keys, own_splits
from biocache.engine.selection import refuse_unlike, select_keys
from biocache.engine.sources import named
from biocache.store.catalog import Store
from biocache.store.errors import (
    AmbiguousRunError,
    DataError,
    IncompleteRunError,
    RunNotFoundError,
    SettingError,
    SpecMismatchError,
)
from biocache.store.keys import RunKey
from biocache.store.reading import Run
from biocache.store.text import shown

__all__ = ["Cell", "find_cells", "probed_layers"]

# What the hidden states of train and test must share. The runs may differ in what else they keep, and so in the kernel
# of the attention.
_SPACE = (
    "model_digest",
    "tokenizer_digest",
    "max_length",
    "stride",
    "token_types",
    "layers",
    "feature_size",
    "causal",
    "dtype",
    "compute_dtype",
)
_DATA = ("dataset_digest",)
_REMEDY = "extract both with the same settings"


@dataclass(frozen=True, eq=False)
class Cell:
    """The runs of one fine-tuned or pre-trained model: those to fit on and those to score.

    Attributes
    ----------
    model, trained_on, training_size, seed
        Parts of the key that its runs share.
    train, test
        Runs of the splits, one a view; `test` those that are scored.
    target
        What is predicted, of all cells.
    validation
        Runs of the validation split, on which C is chosen; none where it is not chosen.
    untuned
        Why C is not chosen; empty where it is, or was given, or the probe has none.
    chosen
        Samples of the train split that are fitted on, those of all cells; None for all.
    """

    model: str
    trained_on: str
    training_size: int
    seed: int
    train: tuple[Run, ...]
    test: tuple[Run, ...]
    target: Target
    validation: tuple[Run, ...] = ()
    untuned: str = ""
    chosen: TrainSamples | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs: those of train, then those that are scored, then those of validation."""
        return tuple(run for own in self.splits.values() for run in own)

    @property
    def splits(self) -> dict[str, tuple[Run, ...]]:
        """Its runs by what they are for: ``train``, ``test`` and, where C is chosen, ``validation``."""
        return {name: own for name in ("train", "test", "validation") if (own := getattr(self, name))}

    @property
    def label_digests(self) -> tuple[str, ...]:
        """Digests of the labels of the rows that are fitted on, of those that are scored, and of validation."""
        return tuple(self.target.aligned(own[0]).digest for own in self.splits.values())

    @property
    def layers(self) -> tuple[int, ...]:
        """The stored layers."""
        return self.train[0].spec.layers


def find_cells(store: Store, request: ProbeRequest) -> list[Cell]:
    """Find the runs of a request, and refuse those that are incomplete or differ.

    Parameters
    ----------
    store
        The store.
    request
        The request.

    Returns
    -------
    list of Cell
        Models in the order of the request, else of their names; then by training size and seed.

    Raises
    ------
    RunNotFoundError
        If there is no such run, one of a split or view is missing, or has no hidden states.
    AmbiguousRunError
        If no dataset is named and there are several.
    SpecMismatchError
        If runs differ in what makes them comparable; the message names it.
    IncompleteRunError
        If a run still has packs without a record.
    SettingError
        If the rows do not follow from the level at which a run keeps hidden states.
    DataError, SettingError
        As `chosen_samples`.
    """
    models = named("model", request.models)
    wanted = {
        "task": request.task,
        "dataset": named("dataset", None if request.dataset is None else [request.dataset]),
        "model": models,
        "trained_on": named("trained_on", request.trained_on),
        "training_size": request.training_sizes,
        "seed": request.run_seeds,
        "split": own_splits(request),
    }
    keys = select_keys(store, wanted)
    _refuse_absent(store, keys, request)
    for split in own_splits(request):
        if not any(key.split == split for key in keys):
            first = keys[0]
            raise RunNotFoundError(
                f"{first.model} at training size {first.training}, seed {first.seed} has no {split} run; extract it "
                f"with --split={split}, or name other models with --model"
            )
    target = find_target(store.storage, request, keys[0].dataset)
    keys = select_keys(store, {**wanted, "view": target.views})
    _refuse_absent(store, keys, request, target.views)
    groups: dict[tuple[str, str, int, int], dict[tuple[str, str], RunKey]] = {}
    for key in keys:
        name = (key.model, key.trained_on, key.training_size, key.seed)
        groups.setdefault(name, {})[key.view, key.split] = key
    order = list(models or sorted({key.model for key in keys}))
    cells = [
        Cell(*name, *_opened(store, found, request, target), target)
        for name, found in sorted(groups.items(), key=lambda item: (order.index(item[0][0]), *item[0][1:]))
    ]
    for cell in cells:
        for run in (*cell.train, *cell.test):
            _require_rows(run, target, request)
        _refuse_other_space(cell, request)
    for part in ("train", "test"):
        runs = [run for cell in cells for run in getattr(cell, part)]
        refuse_unlike(runs, dict.fromkeys(_DATA, _REMEDY), "probed together", "runs ")
    for run in (cells[0].train[0], cells[0].test[0]):
        if not target.aligned(run).known.any():
            raise DataError(
                f"label set {target.labels} has no label for the {target.level} of run {run.key}; add labels with "
                f"`biocache label {target.labels}`, or name another set with --labels"
            )
    chosen = chosen_samples(cells, request)
    return _with_validation(store, request, [replace(cell, chosen=chosen) for cell in cells])


def _refuse_other_space(cell: Cell, request: ProbeRequest) -> None:
    """Refuse runs whose features are not of one model, or with ``--fit-at`` of one model before its fine-tuning."""
    space = [name for name in _SPACE if request.fit_at is None or name != "model_digest"]
    for runs, parts in (((*cell.train, *cell.test), space), (cell.train, _SPACE), (cell.test, _SPACE)):
        refuse_unlike(runs, dict.fromkeys(parts, _REMEDY), "probed together", "runs ")


def _with_validation(store: Store, request: ProbeRequest, cells: Sequence[Cell]) -> list[Cell]:
    """Return cells with their validation runs where C is to be chosen and each of them has such runs.

    C is chosen in all cells or in none, so that they can be compared.
    """
    target = cells[0].target
    if "c" not in request.options.used_by(target.probe):
        if request.tune:
            raise SettingError(f"--tune chooses C, and {target.probe} has none; leave it out")
        return list(cells)
    if request.options.c is not None:
        return list(cells)
    if request.score_on == "validation":
        return [replace(cell, untuned="the validation split is scored") for cell in cells]
    try:
        return [replace(cell, validation=_validation(store, cell, request)) for cell in cells]
    except (RunNotFoundError, IncompleteRunError, SpecMismatchError, DataError) as error:
        if request.tune:
            raise
        reason = error.message
        return [replace(cell, untuned=reason) for cell in cells]


def _validation(store: Store, cell: Cell, request: ProbeRequest) -> tuple[Run, ...]:
    """Return the validation runs of a cell."""
    target, key = cell.target, cell.train[0].key
    parts = ("task", "dataset", "model", "trained_on", "training_size", "seed")
    keys = store.keys(**{part: [getattr(key, part)] for part in parts}, split=["validation"], view=target.views)
    found = {(each.view, each.split): each for each in keys}
    if not found:
        raise RunNotFoundError(
            f"{key.model} at training size {key.training}, seed {key.seed} has no validation run; extract it with "
            "--split=validation, or fix --C"
        )
    runs = _open(store, found, target.views, "validation")
    refuse_unlike((*cell.train, *runs), dict.fromkeys(_SPACE, _REMEDY), "probed together", "runs ")
    own, fitted = target.own_labels(runs[0]), target.own_labels(cell.train[0])
    if (own.level, own.kind) != (fitted.level, fitted.kind):
        raise DataError(f"label set {target.labels} is of another kind in run {runs[0].key} than in train; fix --C")
    new = [name for name in own.names if name not in target.names]
    if new and not target.numeric:
        raise DataError(
            f"run {runs[0].key} has labels {shown(new[0])}, which neither the train nor the {request.score_on} split "
            "has; fix --C"
        )
    if not target.aligned(runs[0]).known.any():
        raise DataError(
            f"label set {target.labels} has no label for the {target.level} of run {runs[0].key}; add labels with "
            f"`biocache label {target.labels}`, or fix --C"
        )
    for run in runs:
        _require_rows(run, target, request)
    return runs


def _require_rows(run: Run, target: Target, request: ProbeRequest) -> None:
    """Refuse a run of which the rows cannot be made."""
    if run.spec.level != "token" or request.pooling == CLS:
        view_of(run, target, request)


def _opened(
    store: Store,
    found: Mapping[tuple[str, str], RunKey],
    request: ProbeRequest,
    target: Target,
) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    fitted = found
    if request.fit_at is not None:
        fitted = fitted_keys(store, next(iter(found.values())), request.fit_at, target.views)
    return _open(store, fitted, target.views, "train"), _open(store, found, target.views, request.score_on)


def probed_layers(cells: Sequence[Cell], request: ProbeRequest) -> dict[Cell, tuple[Layers, ...]]:
    """Return the layers to probe of each cell, layer 0 among them where it is stored.

    Layers that are seen together come after each of them alone.

    Raises
    ------
    RunNotFoundError
        If layers that were asked for are stored in no run.
    """
    stored = {layer for cell in cells for layer in cell.layers}
    asked: Sequence[Layers] = sorted(stored) if request.layers is None else request.layers
    for label in asked:
        if not any(set(layers_of(label, cell.layers)) <= set(cell.layers) for cell in cells):
            raise RunNotFoundError(
                f"layer {label} is in no run of {', '.join(sorted({cell.model for cell in cells}))}; stored are "
                f"{', '.join(map(str, sorted(stored)))}"
            )
    if request.given is not None:
        lacking = next((cell for cell in cells if request.given not in cell.layers), None)
        if lacking is not None:
            raise RunNotFoundError(
                f"--given {request.given} is no layer of run {lacking.train[0].key}; stored are "
                f"{', '.join(map(str, lacking.layers))}"
            )
    return {cell: _layers_of_cell(cell, asked, request.given) for cell in cells}


def _layers_of_cell(cell: Cell, asked: Sequence[Layers], given: int | None) -> tuple[Layers, ...]:
    wanted = {0, given, *(layer for label in asked for layer in layers_of(label, cell.layers))}
    together = [label for label in asked if not is_single(label)]
    return (
        *(layer for layer in sorted(cell.layers) if layer in wanted),
        *(label for label in together if label == MIX or set(layers_of(label, ())) <= set(cell.layers)),
    )


def _refuse_absent(
    store: Store, keys: Sequence[RunKey], request: ProbeRequest, views: Sequence[str] | None = None
) -> None:
    """Refuse a selection that finds nothing, too little, or more than one dataset."""
    datasets = sorted({key.dataset for key in keys})
    if len(datasets) > 1:
        raise AmbiguousRunError(
            f"{store.storage} holds {request.task} runs of {', '.join(datasets)}; name one with --dataset"
        )
    asked = {
        "model": named("model", request.models),
        "trained_on": named("trained_on", request.trained_on),
        "training_size": request.training_sizes,
        "seed": request.run_seeds,
    }
    both = " and ".join(own_splits(request))
    missing = [
        f"{part.replace('_', ' ')} {value} among the {both} runs"
        for part, values in asked.items()
        for value in values or ()
        if not any(key.matches({part: [value]}) for key in keys)
    ]
    if missing or not keys:
        where = f"{request.task} of {request.dataset}" if request.dataset else request.task
        seen = f", view {', '.join(views)}" if views else ""
        raise RunNotFoundError(
            f"{store.storage} has no {[*missing, f'{both} runs'][0]} for {where}"
            f"{seen}; `biocache ls` lists what there is, `biocache extract` adds to it"
        )


def _open(store: Store, found: Mapping[tuple[str, str], RunKey], views: Iterable[str], split: str) -> tuple[Run, ...]:
    runs = []
    for view in views:
        if (view, split) not in found:
            first = next(iter(found.values()))
            raise RunNotFoundError(
                f"{first.model} at training size {first.training}, seed {first.seed} has no {split} run of "
                f"view {view}; extract it with --split={split} --view={view}, or name other models with --model"
            )
        run = Run.open(store.storage, found[view, split])
        run.require_complete()
        run.require_kept("hidden")
        runs.append(run)
    return tuple(runs)
