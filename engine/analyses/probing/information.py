r"""Usable information: how many bits a probe takes off the uncertainty of a label.

With the cross-entropy on the scored rows as the uncertainty [1]_,

.. math:: I_V(X \to Y) = H_V(Y) - H_V(Y | X)

is the V-information of a layer X, in bits a row: V are the probes of one kind, :math:`H_V(Y)` is the cross-entropy of
the probe without features, the label frequencies of the rows that were fitted on. It is below 0 where a probe is sure
of what is wrong. What X adds to a given layer B is [2]_

.. math:: I_V(X \to Y | B) = H_V(Y | B) - H_V(Y | B, X)

of a probe of the features of B and X side by side and one of B. The baseline is the probe of B alone. The paper has
zeros in the place of X there: weights of zeros are not learnt, so that both are one probe, but for the size of the
initial weights of ``mlp`` and ``bilstm-crf``. Of B itself it is 0 by that definition.

Probabilities are mixed with the uniform one as in `online_code`, so that a class that the fitted rows lack is not
infinitely unlikely. C is chosen by the main score, as for all probes, and for each set of layers.

References
----------
.. [1] Y. Xu et al., "A theory of usable information under computational constraints", ICLR 2020.
   https://openreview.net/forum?id=r1eBeyHFDH
.. [2] J. Hewitt, K. Ethayarajh, P. Liang and C. D. Manning, "Conditional probing: measuring usable information beyond a
   baseline", EMNLP 2021. https://doi.org/10.18653/v1/2021.emnlp-main.122
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.layers import MIX, Layers, beside
from biocache.engine.analyses.probing.request import CODERS, ProbeRequest
from biocache.engine.estimates import Estimates, estimate
from biocache.engine.statistics import ratio

if TYPE_CHECKING:
    from biocache.engine.analyses.probing.scoring import ScoredRows
    from biocache.engine.analyses.probing.variables import Fits, Place

__all__ = ["INFORMATION", "fitted_as", "information_notes", "information_numbers"]

#: Columns of a table that are in bits a row and have an interval, to their titles.
INFORMATION = {"v_information": "V-information", "conditional_information": "conditional information"}


def fitted_as(goal: str, layer: Layers, given: int | None) -> tuple[str, Layers] | None:
    """Return the goal and the layers of the fit of a goal at a layer; None where there is none.

    What a layer adds to a given one is a fit of the task to both. A mean of layers is beside no other.
    """
    if goal != "given":
        return goal, layer
    return None if given is None or layer == MIX else ("task", beside(given, layer))


def information_numbers(
    request: ProbeRequest, rows: "ScoredRows", fits: "Fits"
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield places with their information; nothing for probes without probabilities.

    Parameters
    ----------
    request
        Its `given` and `resamples` are used.
    rows
        The rows that are scored.
    fits
        Fits of the goal ``task``, and where a layer is given ``given``.

    Yields
    ------
    where
        Labels of the place, with ``probe_seed`` where the numbers are of one seed of the probe.
    numbers
        Bits a row, by variable.
    """
    if not rows.target.has_probabilities:
        return
    task, joined, given = fits["task"], fits.get("given", {}), request.given or 0
    measured = _measured(rows, (*task.values(), *joined.values()), request.resamples)
    gains: dict[str, dict[Place, list[Estimates]]] = {name: {} for name in INFORMATION}
    for (place, seed), fit in task.items():
        found = measured[id(fit)]
        cross_entropy, entropy = found.whole.tolist()
        gain = found[1] - found[0]
        gains["v_information"].setdefault(place, []).append(gain)
        numbers = {"entropy": entropy, "cross_entropy": cross_entropy, "v_information": float(gain.whole)}
        yield {**place._asdict(), "probe_seed": seed}, numbers
    for (place, seed), fit in joined.items():
        alone = task[place._replace(layer=type(place.layer)(given)), seed]
        gain = measured[id(alone)][0] - measured[id(fit)][0]
        gains["conditional_information"].setdefault(place, []).append(gain)
        yield {**place._asdict(), "probe_seed": seed}, {"conditional_information": float(gain.whole)}
    for name, of_places in gains.items():
        for place, of_seeds in of_places.items():
            low, high = Estimates.mean(of_seeds).interval()
            yield place._asdict(), {f"{name}_ci_low": low, f"{name}_ci_high": high}


def _measured(rows: "ScoredRows", fits: Iterable[xr.Dataset], resamples: int) -> dict[int, Estimates]:
    """Return the cross-entropy of each distinct fit, and of its label frequencies (2), in bits a row."""
    distinct: Mapping[int, xr.Dataset] = {id(fit): fit for fit in fits}
    sums = np.array(
        [
            [
                np.bincount(rows.group, bits.astype(np.float64), rows.groups)
                for bits in (fit.bits.to_numpy()[rows.position], fit.label_bits.to_numpy()[rows.gold])
            ]
            for fit in distinct.values()
        ]
    )
    sizes = rows.sizes()

    def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        held = np.tensordot(weights, sums, (1, 2))
        return ratio(held, np.broadcast_to((weights @ sizes)[:, np.newaxis, np.newaxis], held.shape))

    found = estimate(score, sizes, resamples)
    return {identity: found[number] for number, identity in enumerate(distinct)}


def information_notes(result: xr.Dataset) -> Iterator[str]:
    """Yield what a reader of information must know: which probes have none, what a given layer is, what is below 0."""
    if "v_information" not in result:
        if "confusion" in result:
            yield f"{result.attrs['probe']} gives no probabilities, and so no V-information; {', '.join(CODERS)} do"
        return
    if "conditional_information" in result:
        given = result.attrs["given"]
        yield (
            f"conditional information is what a probe of a layer and layer {given} side by side knows beyond a probe "
            f"of layer {given} alone, in bits a row (Hewitt et al. 2021)"
        )
    means = result.v_information.mean("probe_seed")
    below = int((means <= 0).sum())
    if below:
        yield (
            f"V-information is not above 0 in {below} of {int(means.notnull().sum())} places: the probe is no better "
            "there, in bits, than the label frequencies of the train split"
        )
