"""Which differences between scores are more than chance: training sizes and layers, in pairs."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.concepts import erasure_title
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.analyses.probing.result import Fits, Place
from biocache.engine.analyses.probing.scoring import ScoredRows, mean_over_seeds
from biocache.engine.analyses.probing.transfer import FITTED_AT, fitted_title
from biocache.engine.metrics import SCORE_TITLES, chosen_score
from biocache.engine.statistics import SIGNIFICANCE, Estimates, holm
from biocache.store.errors import SettingError

__all__ = ["compared", "family_notes", "pair_rows", "refuse_single"]

_Pairs = list[tuple[Place, Place]]

# Parts of a place that two of a pair may differ in, to the type of their values.
_SIDES: dict[str, Any] = {"trained_on": object, "training_size": int, "layer": int}
# Numbers of a pair, and what they are.
_NUMBERS = {
    "difference": "score of b minus score of a",
    "ci_low": "lower bound of the 95 % interval",
    "ci_high": "upper bound of the 95 % interval",
    "p": "two-sided p-value of the paired test over groups of test samples",
    "p_holm": "p-value, corrected over the family",
}


def compared(request: ProbeRequest, test: ScoredRows, fits: Fits) -> xr.Dataset:
    """Return the comparisons of all places that have a fit; see `compare_probes`."""
    score = chosen_score(test.score_names, request.score)
    families = list(_families(list(dict.fromkeys(place for place, _ in fits["task"]))))
    # The smallest p-value of B resamples is 2 / (B + 1), and the largest family multiplies it by its size.
    needed = int(np.ceil(2 * max(len(pairs) for _, pairs in families) / SIGNIFICANCE))
    resamples = max(request.resamples, needed)
    scored = mean_over_seeds(test, fits["task"], (score,), resamples)
    numbers = np.hstack([_tested(pairs, scored) for _, pairs in families])
    flat = [(between, *pair) for between, pairs in families for pair in pairs]
    family = np.repeat(np.arange(len(families)), [len(pairs) for _, pairs in families])
    labels: dict[str, tuple[Any, str]] = {
        "family": (family, "number of the family that the pair is corrected in"),
        "between": (np.array([between for between, _, _ in flat], dtype=object), "what the pair differs in"),
        "model": (np.array([a.model for _, a, _ in flat], dtype=object), "model"),
        "seed": ([a.seed for _, a, _ in flat], "seed of the run"),
        **{
            f"{name}_{side}": (_labels([getattr(row[place], name) for row in flat], kind), name)
            for name, kind in _SIDES.items()
            for place, side in ((1, "a"), (2, "b"))
        },
    }
    if not any(place.trained_on for _, *pair in flat for place in pair):
        del labels["trained_on_a"], labels["trained_on_b"]
    return xr.Dataset(
        {
            name: ("comparison", values, {"long_name": meaning, "units": "1"})
            for (name, meaning), values in zip(_NUMBERS.items(), numbers, strict=True)
        },
        {name: ("comparison", values, {"long_name": meaning}) for name, (values, meaning) in labels.items()},
        {
            "score": score,
            "resamples": resamples,
            "group": test.group_name,
            "groups": test.groups,
            "title": f"paired differences in {score}{fitted_title(request.fit_at)}{erasure_title(request.erase)}",
            **({"erased": list(request.erase), "level": test.target.level} if request.erase else {}),
            **({} if request.fit_at is None else {FITTED_AT: request.fit_at}),
        },
    )


def _labels(values: list[Any], kind: type) -> NDArray[Any]:
    # Layers are labelled by text where some are seen together.
    return np.array(values, dtype=object if isinstance(values[0], str) else kind)


def refuse_single(places: list[Place]) -> None:
    """Refuse places without two that can be compared."""
    if next(_families(places), None) is None:
        raise SettingError("there is one training size and one layer: nothing to compare; name more of them")


def pair_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return a row a pair; ``difference`` is `b` minus `a`."""
    sides = [f"{name}_{side}" for side in "ab" for name in _SIDES]
    names = ("family", "between", "model", "seed", *sides, *_NUMBERS)
    return pd.DataFrame({name: result[name].to_numpy() for name in names if name in result.variables})


def family_notes(result: xr.Dataset) -> Iterator[str]:
    """Yield how many pairs of each family differ, since each is corrected by itself."""
    title, families = SCORE_TITLES[result.attrs["score"]], list(pair_rows(result).groupby("family"))
    for _, own in families:
        first, count = own.iloc[0].to_dict(), len(own)
        what, where = f"training sizes of {first['model']}", f"seed {first['seed']}"
        if first["between"] == "trained_on":
            what = f"datasets that {first['model']} was trained on"
        if first["between"] == "layer":
            elsewhere = f" of {first['trained_on_a']}" if first.get("trained_on_a") else ""
            what = f"layers of {first['model']}"
            where = f"training size {first['training_size_a']}{elsewhere}, {where}"
        differing = int((own.p_holm < SIGNIFICANCE).sum())
        yield (
            f"{differing} of {count:,} pair{'' if count == 1 else 's'} of {what}, {where}, differ in {title} "
            f"(p < {SIGNIFICANCE} after Holm's correction in this family)"
        )
    if len(families) > 1:
        yield (
            f"each of the {len(families)} families has its own {SIGNIFICANCE:.0%} chance of any false difference; for "
            "all of them together, compare fewer"
        )


def _families(places: list[Place]) -> Iterator[tuple[str, _Pairs]]:
    """Yield the families of pairs, with what their pairs differ in, in the order of the places."""
    families: dict[str, dict[tuple[Any, ...], _Pairs]] = {"training_size": {}, "trained_on": {}, "layer": {}}
    for first, second in combinations(places, 2):
        if (first.model, first.seed) != (second.model, second.seed):
            continue
        between = _between(first, second)
        if between:
            family = first[:-1] if between == "layer" else (first.model, first.seed)
            families[between].setdefault(family, []).append((first, second))
    yield from ((between, pairs) for between, own in families.items() for pairs in own.values())


def _between(first: Place, second: Place) -> str:
    """Return the one part that two places differ in, empty for several; a pre-trained model is trained on nothing."""
    sizes = first.training_size, second.training_size
    alike = {
        "layer": first.layer == second.layer,
        "trained_on": first.trained_on == second.trained_on or 0 in sizes,
        "training_size": first.training_size == second.training_size,
    }
    unlike = [name for name, same in alike.items() if not same]
    return unlike[0] if len(unlike) == 1 else ""


def _tested(pairs: _Pairs, scored: Mapping[Place, Estimates]) -> NDArray[np.float64]:
    """Return the numbers of the pairs of one family, in the order of `_NUMBERS` (number, pair)."""
    differences = [(scored[second] - scored[first])[0] for first, second in pairs]
    p = np.array([each.p() for each in differences])
    bounds = np.transpose([each.interval() for each in differences])
    return np.stack([np.array([each.whole for each in differences]), *bounds, p, holm(p)])
