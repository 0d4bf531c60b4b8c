"""The seed floor of a comparison: how far apart runs are that differ in nothing but the seed of the fine-tuning."""

from collections.abc import Iterator

import xarray as xr

__all__ = ["floor_notes", "seed_counts"]


def seed_counts(result: xr.Dataset) -> dict[int, int]:
    """Return the number of seeds of each training size of a comparison."""
    sizes = result["training_size"].values.tolist()
    counts = result["seed_count"].values.tolist() if "seed_count" in result.coords else [1] * len(sizes)
    return dict(zip(sizes, counts, strict=True))


def floor_notes(result: xr.Dataset, mean: str, floor: str) -> Iterator[str]:
    """Yield for each metric in how many layers training sizes are farther from the baseline than seeds are apart.

    A layer is where the intervals of the two do not overlap, as distances from the value for identical runs.

    Parameters
    ----------
    result
        With ``{mean}_ci_low``, ``{mean}_ci_high``, ``{floor}_ci_low`` and ``{floor}_ci_high`` (metric, training_size,
        and one dimension of layers), and ``identity`` (metric).
    mean, floor
        Names of the variables of what is compared with the baseline, and of the seed floor.
    """
    if f"{floor}_ci_low" not in result:
        return
    identity = result["identity"]
    low, high, least, most = (result[f"{name}_{end}"] for name in (mean, floor) for end in ("ci_low", "ci_high"))
    apart = (low - identity) * (high - identity) > 0
    # Distances from identical runs: the least of the mean, 0 where its interval holds it, and the most of the floor.
    nearest = abs(low - identity).clip(max=abs(high - identity)).where(apart, 0.0)
    farthest = abs(least - identity).clip(min=abs(most - identity))
    known = least.notnull() & most.notnull() & low.notnull()
    beyond = (nearest > farthest) & known
    (layers,) = set(map(str, known.dims)) - {"metric", "training_size"}
    for metric in result["metric"].values.tolist():
        counts = [
            f"at {size} % in {int(beyond.sel(metric=metric, training_size=size).sum())} of {count} layers"
            for size in result["training_size"].values.tolist()
            if (count := int(known.sel(metric=metric, training_size=size).sum(layers)))
        ]
        if counts:
            yield f"{metric} is farther from the baseline than between two seeds {', '.join(counts)} (intervals apart)"
