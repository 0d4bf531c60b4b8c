"""The variables of the result of a probing: dimensions, meaning and unit of each, and which fits give it."""

from collections.abc import Mapping
from typing import NamedTuple

import xarray as xr

from biocache.engine.analyses.probing.grid import Cell
from biocache.engine.analyses.probing.information import INFORMATION
from biocache.engine.analyses.probing.layers import Layers

__all__ = ["DIMS", "EXTRAS", "OF_CLASSES", "OF_PROBABILITIES", "UNITS", "VARIABLES", "Fits", "Place"]


class Place(NamedTuple):
    """A place in the grid of a result, labelled by its dimensions without the probe's seed."""

    model: str
    trained_on: str
    training_size: int
    seed: int
    layer: Layers

    @classmethod
    def of(cls, cell: Cell, layer: Layers) -> "Place":
        """Return the place of a layer of a cell."""
        return cls(cell.model, cell.trained_on, cell.training_size, cell.seed, layer)


#: Dimensions of a score; `seed` is that of the run, and `trained_on` is left out where no model is trained elsewhere.
DIMS = (*Place._fields, "probe_seed")

#: Goal, then place and seed of the probe, to the result of `run_fit`. Fits that no seed changes are one object.
Fits = Mapping[str, Mapping[tuple[Place, int], xr.Dataset]]

_OF_MEAN = "of the 95 % interval over groups of test samples, of the mean over probe seeds"
# Dimensions of a mean over the seeds of the runs.
_OVER_SEEDS = ("score", *(name for name in Place._fields if name != "seed"))

#: Dimensions and meaning of each variable, in the order of the result.
VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "accuracy": (DIMS, "share of the test rows whose label was predicted"),
    "macro_f1": (DIMS, "mean F1 of the classes that occur in the truth or the predictions"),
    "micro_f1": (DIMS, "F1 of all decisions for a class pooled, O left out"),
    "entity_f1": (DIMS, "F1 of entities that are right in type, first and last word"),
    "merged_entity_f1": (
        DIMS,
        "F1 of stretches of words of one type; entities of one type that touch are one stretch",
    ),
    "r2": (DIMS, "coefficient of determination of the predicted numbers"),
    "pearson": (DIMS, "Pearson's correlation of predicted and true numbers"),
    "spearman": (DIMS, "Spearman's rank correlation of predicted and true numbers"),
    "class_precision": ((*DIMS, "label"), "precision of a class"),
    "class_recall": ((*DIMS, "label"), "recall of a class"),
    "class_f1": ((*DIMS, "label"), "F1 of a class"),
    "support": (("label",), "test rows of a class"),
    "confusion": ((*DIMS, "label", "predicted_label"), "test rows by true and predicted class"),
    "ci_low": (("score", *Place._fields), f"lower bound {_OF_MEAN}"),
    "ci_high": (("score", *Place._fields), f"upper bound {_OF_MEAN}"),
    "over_seeds": (_OVER_SEEDS, "mean over the seeds of the runs, where there are several"),
    "over_seeds_ci_low": (_OVER_SEEDS, "lower bound of its 95 % interval over groups of test samples and seeds"),
    "over_seeds_ci_high": (_OVER_SEEDS, "upper bound of its 95 % interval over groups of test samples and seeds"),
    "majority": (
        ("score", *Place._fields[:-1]),
        "score of predicting the most frequent class, or the mean, of the train split",
    ),
    "entropy": (DIMS, "cross-entropy of the label frequencies of the fitted rows, on the scored rows"),
    "cross_entropy": (DIMS, "cross-entropy of the probe on the scored rows"),
    "v_information": (DIMS, "bits a row that the probe takes off the entropy"),
    "v_information_ci_low": (Place._fields, f"lower bound {_OF_MEAN}"),
    "v_information_ci_high": (Place._fields, f"upper bound {_OF_MEAN}"),
    "conditional_information": (DIMS, "bits a row that a layer adds to the given one"),
    "conditional_information_ci_low": (Place._fields, f"lower bound {_OF_MEAN}"),
    "conditional_information_ci_high": (Place._fields, f"upper bound {_OF_MEAN}"),
    "converged": (DIMS, "whether the solver reached its tolerance: 1, 0, or NaN where nothing was fitted"),
    "fit_seconds": (DIMS, "time to read the layer, fit and predict"),
    "train_rows": (DIMS, "rows that were fitted on"),
    "c": (DIMS, "inverse regularisation strength, as fixed or as chosen on the validation split"),
    "control": (("score", *DIMS), "score on the control task"),
    "control_majority": (("score", "probe_seed"), "score of predicting the control's most frequent label of train"),
    "selectivity": (("score", *DIMS), "score minus that on the control task"),
    "selectivity_ci_low": (
        ("score", *Place._fields),
        "lower bound of the 95 % paired cluster-bootstrap interval over test samples, of the mean over probe seeds",
    ),
    "selectivity_ci_high": (
        ("score", *Place._fields),
        "upper bound of the 95 % paired cluster-bootstrap interval over test samples, of the mean over probe seeds",
    ),
    "control_converged": (DIMS, "whether the solver of the control reached its tolerance"),
    "code_length": (DIMS, "online code length of the train labels"),
    "uniform_code_length": (DIMS, "length of the uniform code of the train labels"),
    "prior_code_length": (DIMS, "length of the code of the train labels by their frequencies, without features"),
    "compression": (DIMS, "uniform code length over online code length"),
    "prior_compression": (DIMS, "prior code length over online code length; up to 1 nothing was read"),
    "code_converged": (DIMS, "whether the solvers of all probes of the code reached their tolerance"),
    "control_code_length": (DIMS, "online code length of the control's train labels"),
    "control_code_converged": (DIMS, "whether the solvers of all probes of the control's code reached their tolerance"),
    "mix_weight": (DIMS, "weight of a layer in the learnt mean of all"),
    "mix_gamma": ((*Place._fields[:-1], "probe_seed"), "scale of the learnt mean of layers"),
    "seen_share": (Place._fields[:-1], "share of the train rows whose texts the model was fine-tuned on"),
    "texts_in_tuning": (Place._fields[:-1], "scored samples whose texts the model was fine-tuned on"),
    "training_steps": (Place._fields[:-1], "optimiser steps of the fine-tuning; 0 of a pre-trained model"),
}
#: Units of those that have one.
UNITS = {
    "fit_seconds": "s",
    **dict.fromkeys(("code_length", "uniform_code_length", "prior_code_length", "control_code_length"), "bit"),
}
#: Variables of probes that give probabilities, in bits a row.
OF_PROBABILITIES = {
    "entropy",
    "cross_entropy",
    *(f"{name}{end}" for name in INFORMATION for end in ("", "_ci_low", "_ci_high")),
}
UNITS |= dict.fromkeys(OF_PROBABILITIES, "bit")
#: Variables of predicted classes.
OF_CLASSES = {"class_precision", "class_recall", "class_f1", "support", "confusion"}
#: Goal to the variables that only its fits give.
EXTRAS = {
    "given": {f"conditional_information{end}" for end in ("", "_ci_low", "_ci_high")},
    "control": {
        "control",
        "control_majority",
        "selectivity",
        "selectivity_ci_low",
        "selectivity_ci_high",
        "control_converged",
    },
    "code": {
        "code_length",
        "uniform_code_length",
        "prior_code_length",
        "compression",
        "prior_compression",
        "code_converged",
    },
    "control_code": {"control_code_length", "control_code_converged"},
}
