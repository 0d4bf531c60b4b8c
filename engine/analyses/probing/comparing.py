"""Which differences between scores are more than chance: training sizes and layers, in pairs."""

import os
from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.bootstrap import holm, interval, paired_p
from biocache.engine.analyses.probing.evaluation import Fits, Place, TestSplit, distributions
from biocache.engine.analyses.probing.probe import chosen_score
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.analysis import compute
from biocache.engine.executor import Executor, OnProgress
from biocache.store.errors import SettingError

__all__ = ["LEVEL", "compare_probes", "compared", "pair_rows", "refuse_single"]

#: Probability of an error in a family of comparisons.
LEVEL = 0.05

_NUMBERS = ("ci_low", "ci_high", "p", "p_holm")

_Family = tuple[str, list[tuple[Place, Place]]]


def compared(request: ProbeRequest, test: TestSplit, fits: Fits) -> xr.Dataset:
    """Return the comparisons of all places that have a fit; see `compare_probes`."""
    score = chosen_score(test.score_names, request.score)
    families = list(_families(list(dict.fromkeys(place for place, _, _ in fits))))
    # The least p-value of B resamples is 2 / (B + 1), and the largest family multiplies it by its size.
    needed = int(np.ceil(2 * max(len(pairs) for _, pairs in families) / LEVEL))
    resamples = max(request.resamples, needed)
    scored = {place: scores[:, 0] for place, scores in distributions(test, fits, (score,), resamples).items()}
    observed = _observed(test, score, fits)
    made = [_compared(between, pairs, scored, observed) for between, pairs in families]
    dataset = xr.concat(made, "comparison", combine_attrs="override")
    return dataset.assign_attrs(score=score, resamples=resamples, title=f"paired differences in {score}")


def refuse_single(places: list[Place]) -> None:
    """Refuse places of which no two can be compared."""
    if next(_families(places), None) is None:
        raise SettingError("there is one training size and one layer: nothing to compare; name more of them")


def pair_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return a row a pair, of which `b` less `a` is the difference."""
    names = ("between", "model", "seed", "training_size_a", "layer_a", "training_size_b", "layer_b", "difference")
    return pd.DataFrame({name: result[name].to_numpy() for name in (*names, *_NUMBERS)})


def compare_probes(
    store: str | os.PathLike[str],
    request: ProbeRequest,
    *,
    workers: int | None = None,
    scheduler_address: str | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> xr.Dataset:
    """Compare training sizes in each layer, and layers at each training size, by paired bootstrap.

    Both scores of a pair are taken on the same draws of whole test samples [1]_, so that what is hard for both does not
    hide the difference. Holm's correction is over a family: all pairs of training sizes of a model and seed, in all its
    layers; or all pairs of layers of a model, training size and seed. There are enough resamples for the smallest
    corrected value to fall below 0.05.

    Parameters
    ----------
    store, workers, scheduler_address, force, on_progress
        As `probe`. Fits that the store has are not repeated.
    request
        As `probe`; `ProbeRequest.score` is what is compared. Controls and code lengths are not.

    Returns
    -------
    xarray.Dataset
        Dimension ``comparison``. ``difference`` is the score of ``b`` less that of ``a``, in [-1, 1]; ``ci_low`` and
        ``ci_high`` its 95 % percentile interval; ``p`` its two-sided value (`paired_p`), ``p_holm`` the corrected one.
        Coordinates: ``model``, ``seed``, ``between`` (``training_size`` or ``layer``), ``training_size_a``,
        ``training_size_b``, ``layer_a`` and ``layer_b``. The attribute ``resamples`` says how many were drawn.

    Raises
    ------
    SettingError
        If the task has no such score, or there is nothing to compare.
    BiocacheError
        As `probe`.

    References
    ----------
    .. [1] T. Berg-Kirkpatrick, D. Burkett and D. Klein, "An empirical investigation of statistical significance in
       NLP", EMNLP-CoNLL 2012. https://aclanthology.org/D12-1091
    """
    with Executor(workers, scheduler_address) as executor:
        return compute("compare-probes", store, request, executor=executor, force=force, on_progress=on_progress)


def _families(places: list[Place]) -> Iterator[_Family]:
    """Yield the families of pairs, in the order of the places."""
    by_size: dict[tuple[object, ...], list[tuple[Place, Place]]] = {}
    by_layer: dict[tuple[object, ...], list[tuple[Place, Place]]] = {}
    for first, second in combinations(places, 2):
        if (first.model, first.seed) != (second.model, second.seed):
            continue
        if first.layer == second.layer:
            by_size.setdefault((first.model, first.seed), []).append((first, second))
        elif first.training_size == second.training_size:
            by_layer.setdefault(first[:3], []).append((first, second))
    yield from (("training_size", pairs) for pairs in by_size.values())
    yield from (("layer", pairs) for pairs in by_layer.values())


def _observed(test: TestSplit, score: str, fits: Mapping[tuple[Place, int, str], xr.Dataset]) -> dict[Place, float]:
    """Return the score of each place, the mean over the seeds of the probe."""
    found: dict[Place, list[float]] = {}
    for (place, _, goal), fit in fits.items():
        if goal == "task":
            found.setdefault(place, []).append(test.scores(fit.predicted.to_numpy())[score])
    return {place: float(np.mean(values)) for place, values in found.items()}


def _compared(
    between: str,
    pairs: list[tuple[Place, Place]],
    scored: Mapping[Place, NDArray[np.float64]],
    observed: Mapping[Place, float],
) -> xr.Dataset:
    """Compare the pairs of one family."""
    differences = np.stack([scored[second] - scored[first] for first, second in pairs])
    low, high = interval(differences, axis=-1)
    p = paired_p(differences)

    def labelled(values: list[object], name: str) -> tuple[str, NDArray[np.object_] | list[object], dict[str, str]]:
        text = isinstance(values[0], str)
        return "comparison", np.array(values, dtype=object) if text else values, {"long_name": name}

    return xr.Dataset(
        {
            "difference": (
                "comparison",
                np.array([observed[second] - observed[first] for first, second in pairs]),
                {"long_name": "score of b less score of a", "units": "1"},
            ),
            "ci_low": ("comparison", low, {"long_name": "lower bound of the 95 % interval", "units": "1"}),
            "ci_high": ("comparison", high, {"long_name": "upper bound of the 95 % interval", "units": "1"}),
            "p": ("comparison", p, {"long_name": "two-sided p-value of the paired bootstrap", "units": "1"}),
            "p_holm": ("comparison", holm(p), {"long_name": "p-value, corrected over the family", "units": "1"}),
        },
        {
            "between": labelled([between] * len(pairs), "what the pair differs in"),
            "model": labelled([a.model for a, _ in pairs], "model"),
            "seed": labelled([a.seed for a, _ in pairs], "seed of the run"),
            **{
                f"{name}_{side}": labelled([getattr(pair[i], name) for pair in pairs], name)
                for name in ("training_size", "layer")
                for i, side in enumerate("ab")
            },
        },
    )
