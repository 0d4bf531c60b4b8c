"""What a reader of a probing must know, a line each."""

from collections.abc import Iterator

import numpy as np
import xarray as xr

from biocache.engine.analyses.probing.concepts import erasure_note
from biocache.engine.analyses.probing.information import information_notes
from biocache.engine.analyses.probing.leaks import leak_notes
from biocache.engine.analyses.probing.request import NUMBER_PROBES, PROBES
from biocache.engine.analyses.probing.seen import seen_notes
from biocache.engine.analyses.probing.table import PLACE
from biocache.engine.analyses.probing.transfer import FITTED_AT, transfer_note
from biocache.engine.finetuning.updates import unequal_steps
from biocache.engine.grouping import ONE_SEED, interval_note
from biocache.engine.metrics import SCORE_TITLES

__all__ = ["SEVERAL_SEEDS", "probe_notes"]

#: What intervals of runs of several seeds hold.
SEVERAL_SEEDS = (
    "intervals of a seed hold what other samples would change; those of means over seeds also what other seeds of the "
    "training would"
)

# Goal of a fit to the variable that says whether its solver converged.
_CONVERGED = {
    "the task": "converged",
    "the control": "control_converged",
    "the code": "code_converged",
    "the control's code": "control_code_converged",
}


def probe_notes(result: xr.Dataset, score: str) -> Iterator[str]:
    """Yield what a reader of the scores must know.

    Parameters
    ----------
    result
        What `probe` returns.
    score
        The score that ranks layers.
    """
    yield interval_note(result.attrs)
    if result.sizes["seed"] == 1:
        yield ONE_SEED
    elif "over_seeds" in result:
        yield SEVERAL_SEEDS
    yield from _row_notes(result)
    yield from _strength_notes(result)
    yield from _mix_notes(result)
    yield from _steps_notes(result)
    yield from seen_notes(result)
    yield from leak_notes(result)
    for goal, name in _CONVERGED.items():
        unfinished = int((result[name] == 0).sum()) if name in result else 0
        if unfinished:
            yield (
                f"{unfinished:,} fit{'' if unfinished == 1 else 's'} of {goal} stopped at --max-iterations before the "
                "solver converged; raise it"
            )
    if "merged_entity_f1" in result:
        yield (
            "merged-entity F1 takes words of one type that touch for one entity, since the tags are merged by "
            "type; --label-scheme bio has the entity F1 that finetune reports"
        )
    yield from _control_notes(result, score)
    yield from _code_notes(result)
    yield from information_notes(result)


def _row_notes(result: xr.Dataset) -> Iterator[str]:
    facts = result.attrs
    if "erased" in facts:
        yield erasure_note(np.atleast_1d(facts["erased"]).tolist(), facts["level"])
    if FITTED_AT in facts:
        yield transfer_note(facts)
    if "head_token" in facts:
        yield f"a row is the token that a classification head reads: the {facts['head_token']}"
    if result.sizes["probe_seed"] > 1 and not facts.get("random", 1):
        yield (
            f"the scores of {facts['probe']} are the same for all --seeds, since nothing in its fit is random without "
            "--max-train-samples"
        )
    if facts["unlabelled_rows"]:
        yield (
            f"{facts['unlabelled_rows']:,} {facts['level']} of the {facts['split']} split have no label: they are not "
            "scored"
        )
    if "support" in result and int((result.support > 0).sum()) < 2:
        yield f"the {facts['split']} split has labels of one class only: scores say nothing about what a layer holds"
    if facts["probe"] not in (*PROBES, *NUMBER_PROBES):
        yield (
            f"each fit of {facts['probe']} is assumed to take three copies of its rows in float64; where it takes "
            "more, pass a smaller --max-memory than the machine has, or --max-train-samples"
        )


def _strength_notes(result: xr.Dataset) -> Iterator[str]:
    """Say how C was set, and where the best value may lie outside of the grid."""
    if "c_fixed" in result.attrs:
        yield f"C is {result.attrs['c']:g} in every layer, not chosen on validation: {result.attrs['c_fixed']}"
    if "c_grid" not in result.attrs:
        return
    grid = np.atleast_1d(result.attrs["c_grid"])
    ends = [int((result.c == end).sum()) for end in (grid[0], grid[-1])]
    at_ends = f"; {sum(ends)} of {int(result.c.notnull().sum())} lie at its ends" if sum(ends) else ""
    yield (
        f"C was chosen for each layer by {SCORE_TITLES[result.attrs['c_chosen_by']]} on the validation split, from "
        f"{', '.join(f'{value:g}' for value in grid)}{at_ends}; --C fixes it"
    )


def _control_notes(result: xr.Dataset, score: str) -> Iterator[str]:
    """Say what the control can show: which share of it can be learnt, and where it was not."""
    if "control" not in result:
        return
    title, facts = SCORE_TITLES[score], result.attrs
    yield (
        f"control: {facts['control']}; {100 * facts['control_seen']:.0f} % of the {facts['split']} rows have a type "
        "that the train split has, and the labels of the others cannot be known"
    )
    own = result.control.sel(score=score).mean("probe_seed")
    below = int((own <= result.control_majority.sel(score=score).mean("probe_seed")).sum())
    if below:
        yield (
            f"the control's {title} is not above that of its most frequent label in {below} of "
            f"{int(own.notnull().sum())} places: nothing was memorised, and the selectivity says nothing of the layer"
        )


def _code_notes(result: xr.Dataset) -> Iterator[str]:
    if "code_length" not in result:
        return
    ratio = result.prior_compression.mean("probe_seed")
    for row in _places(ratio.where(ratio <= 1)):
        layers = ", ".join(map(str, row[1].layer.to_numpy().tolist()))
        yield (
            f"the code of {row[0]} is not shorter than the prior code, which needs no features, at layer {layers}: "
            "the probe read nothing there"
        )
    if (result.training_size > 0).any():
        yield "fine-tuned models have seen the train labels whose code is measured; it says nothing of unseen text"


def _places(values: xr.DataArray) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield what names each model, training and seed with a value, and its values over layers that are not NaN."""
    dims = [name for name in PLACE[:-1] if name in values.dims]
    for row in values.stack(place=dims).transpose("place", "layer").dropna("place", how="all"):
        place = dict(zip(dims, row.place.item(), strict=True))
        where = f" of {place['trained_on']}" if place.get("trained_on") else ""
        yield (
            f"{place['model']} at training size {place['training_size']}{where}, seed {place['seed']}",
            row.dropna("layer"),
        )


def _mix_notes(result: xr.Dataset) -> Iterator[str]:
    """Yield where the weights of a learnt mean of layers lie, for each model, training and seed."""
    if "mix_weight" not in result:
        return
    weights = result.mix_weight.mean("probe_seed").dropna("layer", how="all")
    for place, own in _places(weights):
        layers = own.layer.to_numpy().astype(int)
        centre = float((layers * own.to_numpy()).sum())
        most = int(layers[own.to_numpy().argmax()])
        yield (
            f"the mean of layers of {place} has its centre at layer {centre:.1f} and most weight, "
            f"{float(own.max()):.3f}, on layer {most}"
        )


def _steps_notes(result: xr.Dataset) -> Iterator[str]:
    """Yield which models' training sizes differ in optimiser steps."""
    if "training_steps" not in result:
        return
    dims = [name for name in result.training_steps.dims if name != "training_size"]
    for row in result.training_steps.stack(place=dims).transpose("place", "training_size"):
        place = dict(zip(dims, row.place.item(), strict=True))
        line = unequal_steps(dict(zip(row.training_size.values.tolist(), row.values.tolist(), strict=True)))
        if line:
            where = f", trained on {place['trained_on']}" if place.get("trained_on") else ""
            yield f"{place['model']}{where}, seed {place['seed']}: {line}"
