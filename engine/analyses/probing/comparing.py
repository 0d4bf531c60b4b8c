"""Which differences between scores are more than chance: training sizes, layers and models, in pairs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.concepts import erasure_title
from biocache.engine.analyses.probing.layers import Layers
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.analyses.probing.scoring import ScoredRows, mean_over_seeds
from biocache.engine.analyses.probing.transfer import FITTED_AT, fitted_title
from biocache.engine.analyses.probing.variables import Fits, Place
from biocache.engine.estimates import Estimates
from biocache.engine.grouping import ONE_SEED
from biocache.engine.metrics import SCORE_TITLES, chosen_score
from biocache.engine.statistics import SIGNIFICANCE, holm
from biocache.store.errors import SettingError

__all__ = ["compared", "family_notes", "pair_rows", "refuse_single"]


class _Side(NamedTuple):
    """What is compared: a place of whatever seed of the run."""

    model: str
    trained_on: str
    training_size: int
    layer: Layers


@dataclass(frozen=True)
class _Pair:
    """Two sides, with their places by the seeds that both have.

    A pre-trained model is the same for every seed, and has those of the other side.
    """

    first: _Side
    second: _Side
    places: Mapping[int, tuple[Place, Place]]

    @property
    def seeds(self) -> str:
        return ", ".join(map(str, self.places))


@dataclass(frozen=True)
class _Family:
    """Pairs that are corrected together, and what they differ in."""

    name: str
    between: str
    pairs: list[_Pair]


# Parts that two of a pair may differ in, to the type of their values.
_SIDES: dict[str, Any] = {"model": object, "trained_on": object, "training_size": int, "layer": int}
# Numbers of a pair, and what they are.
_NUMBERS = {
    "difference": "score of b minus score of a",
    "ci_low": "lower bound of the 95 % interval",
    "ci_high": "upper bound of the 95 % interval",
    "p": "two-sided p-value of the paired test over groups of test samples, and seeds where there are several",
    "p_holm": "p-value, corrected over the family",
}


def compared(request: ProbeRequest, test: ScoredRows, fits: Fits, random: Collection[str]) -> xr.Dataset:
    """Return the comparisons of all places that have a fit; see `compare_probes`.

    Parameters
    ----------
    request
        The request.
    test
        The rows that are scored.
    fits
        The fits.
    random
        Names of the models whose weights are random, and so depend on the seed.
    """
    score = chosen_score(test.score_names, request.score)
    families = list(_families(list(dict.fromkeys(place for place, _ in fits["task"])), random))
    # The smallest p-value of B resamples is 2 / (B + 1), and the largest family multiplies it by its size.
    needed = int(np.ceil(2 * max(len(family.pairs) for family in families) / SIGNIFICANCE))
    resamples = max(request.resamples, needed)
    scored = mean_over_seeds(test, fits["task"], (score,), resamples)
    numbers = np.hstack([_tested(family.pairs, scored) for family in families])
    flat = [(number, family, pair) for number, family in enumerate(families) for pair in family.pairs]
    labels: dict[str, tuple[Any, str]] = {
        "family": ([number for number, *_ in flat], "number of the family that the pair is corrected in"),
        "family_name": (_texts(family.name for _, family, _ in flat), "what the pairs of the family are of"),
        "between": (_texts(family.between for _, family, _ in flat), "what the pair differs in"),
        "seeds": (_texts(pair.seeds for *_, pair in flat), "seeds of the runs that both sides have"),
        **{
            f"{name}_{side}": (_labels([getattr(own, name) for own in sides], kind), name.replace("_", " "))
            for side, sides in (("a", [p.first for *_, p in flat]), ("b", [p.second for *_, p in flat]))
            for name, kind in _SIDES.items()
        },
    }
    if not any(side.trained_on for *_, pair in flat for side in (pair.first, pair.second)):
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


def _texts(texts: Any) -> NDArray[Any]:
    return np.array(list(texts), dtype=object)


def _labels(values: list[Any], kind: type) -> NDArray[Any]:
    # Layers are labelled by text where some are seen together.
    return np.array(values, dtype=object if isinstance(values[0], str) else kind)


def refuse_single(places: list[Place], random: Collection[str]) -> None:
    """Refuse places without two that can be compared; see `compared`."""
    if next(_families(places, random), None) is None:
        raise SettingError(
            "there is one model, training size and layer, or no seed that two have: nothing to compare; name more of "
            "them"
        )


def pair_rows(result: xr.Dataset) -> pd.DataFrame:
    """Return a row a pair; ``difference`` is `b` minus `a`."""
    sides = [f"{name}_{side}" for side in "ab" for name in _SIDES]
    names = ("family", "family_name", "between", "seeds", *sides, *_NUMBERS)
    return pd.DataFrame({name: result[name].to_numpy() for name in names if name in result.variables})


def family_notes(result: xr.Dataset) -> Iterator[str]:
    """Yield which tests hold the seeds, and how many pairs of each family differ: each is corrected by itself."""
    frame = pair_rows(result)
    title, families = SCORE_TITLES[result.attrs["score"]], list(frame.groupby("family"))
    alone = int((~frame.seeds.str.contains(",")).sum())
    if alone == len(frame):
        yield ONE_SEED
    else:
        yield "differences are means over the seeds that both sides have: tests hold what other seeds would change"
        if alone:
            yield f"training variance is not in {alone:,} of {len(frame):,} tests, whose sides share one seed"
    for _, own in families:
        count, seeds = len(own), own.seeds.unique().tolist()
        which = f"seed{'s' if ',' in seeds[0] else ''} {seeds[0]}" if len(seeds) == 1 else "each pair of its seeds"
        differing, name = int((own.p_holm < SIGNIFICANCE).sum()), own.family_name.iloc[0]
        yield (
            f"{differing} of {count:,} pair{'' if count == 1 else 's'} of {name}, {which}, differ in {title} "
            f"(p < {SIGNIFICANCE} after Holm's correction in this family)"
        )
    if len(families) > 1:
        yield (
            f"each of the {len(families)} families has its own {SIGNIFICANCE:.0%} chance of any false difference; for "
            "all of them together, compare fewer"
        )


def _families(places: Sequence[Place], random: Collection[str]) -> Iterator[_Family]:
    """Yield the families of pairs, in the order of the places."""
    sides: dict[_Side, dict[int, Place]] = {}
    for place in places:
        side = _Side(place.model, place.trained_on, place.training_size, place.layer)
        sides.setdefault(side, {})[place.seed] = place
    families: dict[str, dict[str, list[_Pair]]] = {"training_size": {}, "trained_on": {}, "model": {}, "layer": {}}
    for first, second in combinations(sides, 2):
        between = _between(first, second)
        shared = _shared((first, second), (sides[first], sides[second]), random) if between else {}
        if shared:
            name = _family_name(between, first, second)
            families[between].setdefault(name, []).append(_Pair(first, second, shared))
    for between, found in families.items():
        yield from (_Family(name, between, pairs) for name, pairs in found.items())


def _shared(
    sides: tuple[_Side, _Side], places: tuple[dict[int, Place], dict[int, Place]], random: Collection[str]
) -> dict[int, tuple[Place, Place]]:
    """Return the places of two sides by the seeds that both have."""
    first, second = places
    fixed = [side.training_size == 0 and side.model not in random for side in sides]
    if all(fixed):
        return {min(first): (first[min(first)], second[min(second)])}
    if fixed[0]:
        first = dict.fromkeys(second, first[min(first)])
    elif fixed[1]:
        second = dict.fromkeys(first, second[min(second)])
    return {seed: (first[seed], second[seed]) for seed in sorted({*first} & {*second})}


def _between(first: _Side, second: _Side) -> str:
    """Return the one part that two sides differ in, empty for several; a pre-trained model is trained on nothing."""
    sizes = first.training_size, second.training_size
    alike = {
        "model": first.model == second.model,
        "layer": first.layer == second.layer,
        "trained_on": first.trained_on == second.trained_on or 0 in sizes,
        "training_size": first.training_size == second.training_size,
    }
    unlike = [name for name, same in alike.items() if not same]
    return unlike[0] if len(unlike) == 1 else ""


def _family_name(between: str, first: _Side, second: _Side) -> str:
    """Return what the pairs of a family are of; it is another for each family."""
    elsewhere = f" of {first.trained_on}" if first.trained_on else ""
    at = f"training size {first.training_size}{elsewhere}"
    return {
        "training_size": f"training sizes of {first.model}",
        "trained_on": f"datasets that {first.model} was trained on",
        "model": f"models at {at}",
        "layer": f"layers of {first.model}, {at}",
    }[between]


def _tested(pairs: Sequence[_Pair], scored: Mapping[Place, Estimates]) -> NDArray[np.float64]:
    """Return the numbers of the pairs of one family, in the order of `_NUMBERS` (number, pair)."""
    differences = [
        Estimates.over_seeds([(scored[b] - scored[a])[0] for a, b in pair.places.values()]) for pair in pairs
    ]
    p = np.array([each.p() for each in differences])
    bounds = np.transpose([each.interval() for each in differences])
    return np.stack([np.array([each.whole for each in differences]), *bounds, p, holm(p)])
