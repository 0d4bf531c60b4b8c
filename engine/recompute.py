"""Recomputing: single samples pass the model again and are compared with the store."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biocache.engine.extraction.batches import Batch
from biocache.engine.extraction.forward import Forward
from biocache.engine.extraction.running import token_table
from biocache.engine.machine import choose_device
from biocache.engine.models.adapters import with_adapter
from biocache.engine.models.loading import load_model
from biocache.engine.models.sources import ModelSource, parse_model
from biocache.engine.models.trial import COMPUTE_STEP
from biocache.engine.sources import folder_of
from biocache.engine.stages import stage
from biocache.store.chunks import dense_maps
from biocache.store.coding import HALF_LEVEL
from biocache.store.errors import SettingError, SpecMismatchError
from biocache.store.integrity import Problem
from biocache.store.levels import reduction
from biocache.store.paths import resolved
from biocache.store.reading import Run
from biocache.store.schema import ATTENTION, HIDDEN, NORMS, Activation

__all__ = ["recompute_samples", "rounding_tolerance"]

# A batch of another shape sums in another order, and blocks pass the difference on: the largest value of a layer may
# change by this number of steps of the compute type.
_COMPUTE_STEPS = 64


def rounding_tolerance(
    values: NDArray[np.floating],
    dtype: str,
    compute_dtype: str,
    *,
    steps: NDArray[np.float64] | None = None,
    certified: float | NDArray[np.float64] = np.inf,
) -> NDArray[np.float64]:
    """Return the largest difference by rounding between stored values and values computed again.

    Parameters
    ----------
    values
        One layer of one sample, computed again (...).
    dtype
        Data type of the store, which rounds by at most half a step, or half its smallest number.
    compute_dtype
        Data type that the model computes in: other batches change a layer by some steps of its largest value.
    steps
        Distance between neighbouring codes of each value (...), for ``int8``.
    certified
        Largest error of the layer in the pack, or of each value (...), as it was measured when the pack was written.
    """
    size = np.abs(values.astype(np.float64))
    if dtype == "int8":
        stored = 0.5 * np.asarray(steps) + size * float(np.finfo(np.float32).eps)
    elif dtype == "uint8":
        stored = 2 * HALF_LEVEL * np.sqrt(size) + HALF_LEVEL**2
    else:
        info = np.finfo(dtype)
        stored = size * float(info.eps) + float(info.smallest_subnormal)
    largest = float(size.max(initial=0.0))
    return np.asarray(np.minimum(stored, certified) + _COMPUTE_STEPS * COMPUTE_STEP[compute_dtype] * largest)


def recompute_samples(
    run: Run, count: int, *, seed: int = 0, model: str | None = None, device: str | None = None
) -> Iterator[Problem]:
    """Run random samples through the model, alone and without padding, and compare with the store.

    Parameters
    ----------
    run
        The run; its packs with the chosen samples must be committed.
    count
        Number of samples; all samples if the run has fewer.
    seed
        Seed of the choice.
    model
        Hub id, folder or file of the weights; None for the source that the run names.
    device
        Device of torch; None for CUDA if there is one.

    Yields
    ------
    Problem
        One for each sample and layer that differs by more than rounding.

    Raises
    ------
    ModelError
        If the weights are missing.
    SpecMismatchError
        If the weights are not those of the run.
    SettingError
        If `count` is not positive.
    """
    if count < 1:
        raise SettingError(f"the number of samples to recompute is {count}; give 1 or more")
    run.require_complete()
    source = _source_of(run, model)
    with stage(f"loading {source.name}"):
        loaded = load_model(source, choose_device(device), run.spec.compute_dtype)
    if loaded.digest != run.spec.model_digest:
        raise SpecMismatchError(
            f"the weights in {source.weights} are not those that run {run.key} was made from; pass --from with the "
            "folder or hub id that holds them"
        )
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(run.counts.samples, size=min(count, run.counts.samples), replace=False))
    forward = Forward(loaded.model, run.spec, token_table(run))
    size = run.windows.plan.tokens.count
    windows = [window for sample in chosen.tolist() for window in run.windows.of_sample(sample)]
    states: list[NDArray[np.float32]] = []
    for activations in forward.run(Batch(np.array([window]), size[[window]]) for window in windows):
        window = int(activations.batch.samples[0])
        sample = int(run.windows.sample[window])
        for kept, values in activations.arrays.items():
            if kept is ATTENTION:
                yield from _of_window(run, kept, window, dense_maps(values, int(size[window]), run.spec.causal))
            elif kept is NORMS or run.spec.level == "token":
                yield from _of_window(run, kept, window, values)
            else:
                states.append(values)
                if len(states) == run.windows.count[sample]:
                    yield from _of_rows(run, sample, np.concatenate(states, axis=1))
                    states.clear()


def _source_of(run: Run, model: str | None) -> ModelSource:
    provenance = run.provenance
    weights = provenance.model_source if model is None else _place_of(model)
    place = Path(weights)
    checkpoint = place if place.is_file() or (place.exists() and run.key.training_size) else None
    base = provenance.tokenizer_source if checkpoint is not None else weights
    source = ModelSource(
        run.key.model,
        base,
        run.key.training_size,
        run.key.seed,
        checkpoint,
        random_weights=provenance.random_weights,
        part=provenance.part,
        adapter="" if model else provenance.adapter,
    )
    # Given may be the folder of the adapter, or of the merged model.
    return with_adapter(source, merge=bool(provenance.adapter)) if model else source


def _place_of(text: str) -> str:
    """Return where weights are; a file needs no configuration beside it: that of the run serves."""
    place = folder_of(text, "--from")
    return str(resolved(place)) if place is not None and place.is_file() else parse_model(text)[1]


def _of_window(run: Run, kept: Activation, window: int, computed: NDArray[np.floating]) -> Iterator[Problem]:
    sample = int(run.windows.sample[window])
    number = window - int(run.windows.first[sample])
    part = f" in window {number}" if run.windows.count[sample] > 1 else ""
    stored, steps = run.read_window(kept.name, window), run.read_steps(kept.name, window)
    yield from _differences(run, kept, sample, stored, computed, np.abs(computed), steps=steps, part=part)


def _of_rows(run: Run, sample: int, states: NDArray[np.float32]) -> Iterator[Problem]:
    """Compare the rows of a sample, in a run of words or samples, with its tokens (layer, token, feature)."""
    rows = reduction(run, range(sample, sample + 1))
    if rows is None:
        raise ValueError(f"run {run.key} keeps tokens")
    # Each token was rounded, by no more than a step of its size.
    computed, size = (np.stack([rows.of(layer, "float32") for layer in values]) for values in (states, np.abs(states)))
    stored, steps = run.read_sample(HIDDEN.name, sample), run.read_steps(HIDDEN.name, sample)
    yield from _differences(run, HIDDEN, sample, stored, computed, size, steps=steps)


def _differences(
    run: Run,
    kept: Activation,
    sample: int,
    stored: NDArray[np.floating],
    computed: NDArray[np.floating],
    size: NDArray[np.floating],
    *,
    steps: NDArray[np.float64] | None,
    part: str = "",
) -> Iterator[Problem]:
    pack, dtype = int(run.plan.sample_pack[sample]), run.spec.stored_dtype(kept)
    certified = run.records_of([pack])[pack].errors.get(kept.name, {}).get("absolute")
    # A certificate of rows is of these alone: their tokens were rounded before, each by half a step at most.
    before = run.spec.level != "token" and kept is HIDDEN and dtype == "float16"
    for index, layer in enumerate(run.spec.variable_layers(kept.name)):
        limit = np.inf if certified is None else certified[index]
        if before:
            limit = limit + 2.0**-11 * size[index].astype(np.float64) + 2.0**-25
        off = np.abs(stored[index].astype(np.float64) - computed[index].astype(np.float64))
        allowed = rounding_tolerance(
            size[index],
            dtype,
            run.spec.compute_dtype,
            steps=None if steps is None else steps[index],
            certified=limit,
        )
        if not (off <= allowed).all():
            identifier = run.column("samples/sample_id")[sample]
            yield Problem(
                str(run.key),
                pack,
                f"{kept.name} of layer {layer} of sample {identifier!r}{part} differs by up to "
                f"{float(np.nanmax(off)):.3g} from what the model gives now; extract the run again with --overwrite",
            )
