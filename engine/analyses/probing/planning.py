"""The memory of a fit, by arithmetic, before any fit starts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from biocache.engine.analyses.probing.classifiers import backend_of
from biocache.engine.analyses.probing.concepts import concept_size
from biocache.engine.analyses.probing.erasure import erasing_memory
from biocache.engine.analyses.probing.features import feature_size
from biocache.engine.analyses.probing.grid import Cell
from biocache.engine.analyses.probing.layers import MIX, Layers, MixedProbe, beside, is_single, layers_of
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.analyses.probing.seen import drawn_of
from biocache.engine.analyses.probing.target import Target
from biocache.engine.machine import machine_memory
from biocache.store.errors import ResourceError
from biocache.store.reading import Run
from biocache.store.schema import SPANS
from biocache.store.text import format_bytes

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.classifiers import Fitted

__all__ = ["BLOCK_ROWS", "OWN_COPIES", "FitShape", "fit_bytes", "fit_memory"]

# Probes that compare all pairs of rows.
_KERNEL = ("svc", "svr")
# Bytes alive at once for each entry of the train features: float32 itself; libsvm's copy in float64 and its support
# vectors; liblinear's copy in float64 and its nodes of an index and a value.
_ENTRY_BYTES = {
    ("svc", "scikit-learn"): 4 + 8 + 8,
    ("svc", "scikit-learn-intelex"): 4 + 4 + 4,
    ("svr", "scikit-learn"): 4 + 8 + 8,
    ("linear-svc", "scikit-learn"): 4 + 8 + 16,
}
#: What an estimator of the user's own is assumed to make of the rows that it is given: copies in float64.
OWN_COPIES = 3
_FLOAT = 4
# Arrays of (row, class) that the solver of the logistic regression has at once, in float64 at most.
_LOGISTIC_ARRAYS = 6
# Cache of kernel rows of svc in both libraries.
_KERNEL_CACHE = 200 * 2**20
# Maximum number of float32 copies of a pack's block of a layer: its bytes as stored, its values, the rows that they are
# reduced to, and the chosen rows.
_BLOCK_COPIES = 4
# Weights, gradients and both moments of Adam.
_WEIGHT_COPIES = 4
# Values in memory for each word of a batch and unit of the network, forward and backward.
_STATE_COPIES = 24
#: Rows of all layers that are mixed at once.
BLOCK_ROWS = 1024
# Vectors of the weights that L-BFGS keeps: ten pairs, gradients and directions.
_HISTORY = 2 * 10 + 6
# Everything else: tables of the run, thread stacks, allocator slack.
_SLACK = 64 * 2**20


@dataclass(frozen=True)
class FitShape:
    """Sizes that decide the memory of a fit.

    Attributes
    ----------
    train_rows, test_rows
        Words, samples, spans or relations.
    features
        Length of a row, that of all layers that a probe sees.
    classes
        Number of classes; 1 for numbers.
    block
        Values of one pack's block of a layer.
    validation_rows
        Rows that C is chosen on; 0 where it is fixed.
    """

    train_rows: int
    test_rows: int
    features: int
    classes: int
    block: int
    validation_rows: int = 0


def fit_memory(shape: FitShape, request: ProbeRequest, probe: "Fitted") -> int:
    """Return the bytes that one fit adds to the memory of the process.

    Parameters
    ----------
    shape
        Sizes of the fit.
    request
        Says whether the code length is measured, and the settings of the probe.
    probe
        The probe. An estimator of the user's own is assumed to hold `OWN_COPIES` of the rows, and as many values as the
        logistic regression for each class.
    """
    entry, copies = _FLOAT, 2 * _FLOAT
    if isinstance(probe, str):
        entry = _ENTRY_BYTES.get((probe, backend_of(probe)), _FLOAT)
    elif not isinstance(probe, MixedProbe):
        entry = copies = _FLOAT + 8 * OWN_COPIES
    train = shape.train_rows * shape.features
    fitting = entry * train + _working_memory(shape, request, probe)
    if request.mdl:
        # The portions are copies: at most half of the rows to fit on and half to code.
        fitting += _FLOAT * train
    if shape.validation_rows:
        # Beside the train rows lie the validation rows, a copy of them, and what is kept of the best fit so far.
        fitting += copies * shape.validation_rows * shape.features + (entry - _FLOAT) * train
    # Support vectors, and what an estimator of one's own keeps, stay while the test split is read.
    stays = 0 if isinstance(probe, str) and probe not in _KERNEL else (entry - _FLOAT) * train
    scoring = stays + copies * shape.test_rows * shape.features
    return max(fitting, scoring) + _FLOAT * _BLOCK_COPIES * shape.block + _SLACK


def _working_memory(shape: FitShape, request: ProbeRequest, probe: "Fitted") -> int:
    hidden = request.options.hidden_size
    if isinstance(probe, MixedProbe):
        return _mixing_memory(shape, request, probe)
    rows = max(shape.train_rows, shape.test_rows, shape.validation_rows)
    if probe in _KERNEL:
        return min(_KERNEL_CACHE, 8 * shape.train_rows**2)
    if probe == "ridge":
        # The features in float64, centred, and their products.
        return 8 * (2 * shape.train_rows * shape.features + 3 * min(shape.features, shape.train_rows) ** 2)
    if probe == "bilstm-crf":
        weights = 8 * hidden * (shape.features + hidden + 2)
        batch = (request.options.batch_size or 32) * 128
        return _FLOAT * (_WEIGHT_COPIES * weights + batch * (2 * shape.features + _STATE_COPIES * hidden))
    if probe == "mlp":
        # The hidden layer processes all test rows at once.
        return _FLOAT * (_WEIGHT_COPIES * hidden * (shape.features + shape.classes) + rows * (hidden + shape.classes))
    return 8 * _LOGISTIC_ARRAYS * rows * shape.classes


def _mixing_memory(shape: FitShape, request: ProbeRequest, probe: MixedProbe) -> int:
    """Return the memory of a block of rows of all layers, as they are and mixed, and of the weights of the probe."""
    mixed, batch = shape.features // probe.layers, request.options.batch_size or BLOCK_ROWS
    if probe.probe == "logistic":
        return _FLOAT * (BLOCK_ROWS * (2 * shape.features + 4 * mixed) + _HISTORY * mixed * shape.classes)
    hidden = request.options.hidden_size
    block = max(batch, BLOCK_ROWS) * (2 * shape.features + 4 * mixed + 4 * hidden)
    return _FLOAT * (block + _WEIGHT_COPIES * hidden * (mixed + shape.classes))


def fit_bytes(cells: Mapping[Cell, tuple[Layers, ...]], request: ProbeRequest) -> int:
    """Return the memory of the largest fit, in bytes.

    Parameters
    ----------
    cells
        The models to probe, each with its layers.
    request
        Its `max_memory` limits all running fits together with what this process holds already.

    Raises
    ------
    ResourceError
        If the kernel matrix of ``svc`` or ``svr`` would not fit.
    """
    shapes = {cell: fit_shape(cell, request) for cell in cells}
    target = next(iter(cells)).target
    if target.probe in _KERNEL:
        allowed = machine_memory() // 2 if request.max_memory is None else request.max_memory
        _refuse_kernel(max(shape.train_rows for shape in shapes.values()), request, allowed, target)
    _load_libraries(target.fitted)
    features = max(shape.features for shape in shapes.values())
    dimensions = max(concept_size(request, target, cell.train) for cell in cells)
    erasing = erasing_memory(features, dimensions) if dimensions else 0
    return erasing + max(
        _of_layers(shape, request, target, label, cell.layers)
        for cell, shape in shapes.items()
        for label in dict.fromkeys(0 if is_single(label) else label for label in _seen(cells[cell], request.given))
    )


def _seen(labels: tuple[Layers, ...], given: int | None) -> tuple[Layers, ...]:
    """Return what fits see: the labels, and each beside the given layer."""
    return labels if given is None else (*labels, *(beside(given, label) for label in labels if label != MIX))


def _of_layers(shape: FitShape, request: ProbeRequest, target: Target, label: Layers, stored: tuple[int, ...]) -> int:
    """Return the memory of a fit that sees some layers."""
    count = len(layers_of(label, stored))
    probe = MixedProbe(target.probe, count) if label == MIX else target.fitted
    return fit_memory(replace(shape, features=shape.features * count), request, probe)


def fit_shape(cell: Cell, request: ProbeRequest) -> FitShape:
    """Return the sizes of the fits of one layer of a cell, the largest over the seeds' draws."""
    run = cell.train[0]
    return FitShape(
        train_rows=max(_drawn_rows(cell, request, seed) for seed in range(request.seeds)),
        test_rows=cell.target.rows(cell.test[0]),
        features=feature_size(cell.train, cell.target, request),
        classes=max(1, len(cell.target.names)),
        block=max(_block_rows(run, cell.target) for run in cell.runs) * run.spec.feature_size,
        validation_rows=cell.target.rows(cell.validation[0]) if cell.validation else 0,
    )


def _block_rows(run: Run, target: Target) -> int:
    """Return the rows of hidden states that a block has, or that it is reduced to: spans may share words."""
    rows = run.plan.rows.chunk
    if target.level not in SPANS:
        return rows
    spans = np.bincount(run.plan.sample_pack[target.samples(run)], minlength=1)
    return max(rows, int(spans.max()) * SPANS[target.level])


def _drawn_rows(cell: Cell, request: ProbeRequest, seed: int) -> int:
    run = cell.train[0]
    samples = drawn_of(run.counts.samples, cell.chosen, request.max_train_samples, seed)
    return int(np.bincount(cell.target.samples(run), minlength=run.counts.samples)[samples].sum())


def _refuse_kernel(rows: int, request: ProbeRequest, allowed: int, target: Target) -> None:
    kernel = 8 * rows**2
    if kernel > allowed:
        limit = "half of the machine" if request.max_memory is None else "--max-memory"
        fitting = int(np.sqrt(allowed / 8))
        raise ResourceError(
            f"{target.probe} compares all pairs of {rows:,} train {target.level}: {rows:,} x {rows:,} x 8 bytes are "
            f"{format_bytes(kernel)}, and {limit} is {format_bytes(allowed)}, enough for {fitting:,}; pass "
            f"--max-train-samples, or --probe={'ridge' if target.numeric else 'linear-svc'}"
        )


def _load_libraries(probe: "Fitted") -> None:
    """Import the libraries of the fits, so that their memory counts as this process's own."""
    import sklearn.linear_model
    import sklearn.neural_network
    import sklearn.preprocessing  # noqa: F401

    if probe == "bilstm-crf":
        import biocache.engine.analyses.probing.bilstm_crf  # noqa: F401
    elif backend_of(probe) == "scikit-learn-intelex":
        import sklearnex.svm  # noqa: F401
