"""Which runs of a store are probed: the grid of models, training sizes and seeds, each with its train and test runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.selection import one_dataset, opened, refuse_unlike
from biocache.engine.sources import named
from biocache.store.catalog import Store
from biocache.store.errors import RunNotFoundError
from biocache.store.keys import RunKey
from biocache.store.reading import Run

__all__ = ["Cell", "find_cells", "probed_layers"]

_SPLITS = ("train", "test")
# What the numbers of two runs must share to lie in one space. Train and test may differ in what is kept beside the
# hidden states, and so in the kernel of the attention.
_SPACE = (
    "label_names",
    "label_scheme",
    "model_digest",
    "tokenizer_digest",
    "max_length",
    "token_types",
    "layers",
    "feature_size",
    "causal",
    "dtype",
    "compute_dtype",
)
_DATA = ("dataset_digest", "label_names", "label_scheme")


@dataclass(frozen=True, eq=False)
class Cell:
    """One fine-tuned or pre-trained model: what is fitted on and what is scored.

    Attributes
    ----------
    model, training_size, seed
        Parts of the key that its runs share.
    train, test
        Runs of the splits, one a view.
    """

    model: str
    training_size: int
    seed: int
    train: tuple[Run, ...]
    test: tuple[Run, ...]

    @property
    def layers(self) -> tuple[int, ...]:
        """The stored layers."""
        return self.train[0].spec.layers


def find_cells(store: Store, request: ProbeRequest) -> list[Cell]:
    """Find the runs that a request is about, complete and alike.

    Parameters
    ----------
    store
        The store.
    request
        The request.

    Returns
    -------
    list of Cell
        In the order of the models as they were asked for, else of their names; then by training size and seed.

    Raises
    ------
    RunNotFoundError
        If there is no such run, one of a split or view is missing, or has no hidden states.
    AmbiguousRunError
        If no data set is named and there are several.
    SpecMismatchError
        If runs differ in what makes them comparable; the message names it.
    IncompleteRunError
        If a run still has packs without a record.
    """
    models = named("model", request.models)
    keys = store.keys(
        task=request.task,
        dataset=named("dataset", None if request.dataset is None else [request.dataset]),
        model=models,
        training_size=request.training_sizes,
        seed=request.run_seeds,
        view=request.views,
        split=_SPLITS,
    )
    _refuse_absent(store, keys, request)
    groups: dict[tuple[str, int, int], dict[tuple[str, str], RunKey]] = {}
    for key in keys:
        groups.setdefault((key.model, key.training_size, key.seed), {})[key.view, key.split] = key
    order = list(models or sorted({key.model for key in keys}))
    cells = [
        Cell(*name, *(_open(store, name, found, request.views, split) for split in _SPLITS))
        for name, found in sorted(groups.items(), key=lambda item: (order.index(item[0][0]), *item[0][1:]))
    ]
    for cell in cells:
        refuse_unlike((*cell.train, *cell.test), _SPACE, "probed together", "runs ")
    for split in _SPLITS:
        refuse_unlike([run for cell in cells for run in getattr(cell, split)], _DATA, "probed together", "runs ")
    return cells


def probed_layers(cells: Sequence[Cell], request: ProbeRequest) -> dict[Cell, tuple[int, ...]]:
    """Return the layers to probe of each cell, layer 0 among them where it is stored.

    Raises
    ------
    RunNotFoundError
        If a layer that was asked for is stored in no run.
    """
    stored = {layer for cell in cells for layer in cell.layers}
    missing = [layer for layer in request.layers or () if layer not in stored]
    if missing:
        raise RunNotFoundError(
            f"layer {missing[0]} is in no run of {', '.join(sorted({cell.model for cell in cells}))}; stored are "
            f"{', '.join(map(str, sorted(stored)))}"
        )
    wanted = stored if request.layers is None else {0, *request.layers}
    return {cell: tuple(layer for layer in sorted(cell.layers) if layer in wanted) for cell in cells}


def _refuse_absent(store: Store, keys: Sequence[RunKey], request: ProbeRequest) -> None:
    """Refuse a selection that finds nothing, too little, or more than one data set."""
    one_dataset(store, (key.dataset for key in keys), request.task)
    for option, part, asked in (
        ("model", "model", named("model", request.models)),
        ("training size", "training_size", request.training_sizes),
        ("seed", "seed", request.run_seeds),
    ):
        for value in asked or ():
            if not any(getattr(key, part) == value for key in keys):
                raise _not_found(store, request, f"{option} {value} among the train and test runs")
    if not keys:
        raise _not_found(store, request, "train and test runs")


def _not_found(store: Store, request: ProbeRequest, what: str) -> RunNotFoundError:
    where = f"{request.task} of {request.dataset}" if request.dataset else request.task
    return RunNotFoundError(
        f"{store.path} has no {what} for {where}, view {', '.join(request.views)}; `biocache ls` lists what there is, "
        "`biocache extract` adds to it"
    )


def _open(
    store: Store,
    name: tuple[str, int, int],
    found: Mapping[tuple[str, str], RunKey],
    views: Iterable[str],
    split: str,
) -> tuple[Run, ...]:
    runs = []
    for view in views:
        if (view, split) not in found:
            model, size, seed = name
            raise RunNotFoundError(
                f"{model} at training size {size}, seed {seed} has no {split} run of view {view}; extract it with "
                f"--split={split} --view={view}, or name other models with --model"
            )
        runs.append(opened(store, found[view, split], "hidden"))
    return tuple(runs)
