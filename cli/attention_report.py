"""What `biocache compare-attention` says: a table by layer, or by two layers."""

from typing import TYPE_CHECKING, Any

from biocache.cli.render import note, print_table

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["as_plain", "print_heads", "print_pairs"]


def print_heads(result: "xr.Dataset") -> None:
    """Write means over samples and heads, a row a training size and layer, and the head that changed most."""
    metrics = [str(name) for name in result["metric"].values]
    columns = ["training size", "layer"]
    for name in metrics:
        columns += _titles(result, name)
    rows = []
    for size in result["training_size"].values:
        for layer in result["layer"].values:
            row: list[str | int] = [int(size), int(layer)]
            for name in metrics:
                row += _cells(result.sel(metric=name, training_size=size, layer=layer), _has_chance(result, name))
            rows.append(row)
    print_table(columns, rows)
    _note_uncounted(result)


def _has_chance(result: "xr.Dataset", name: str) -> bool:
    return bool(result["chance"].sel(metric=name).notnull().any())


def _titles(result: "xr.Dataset", name: str) -> list[str]:
    chance = ["chance"] if _has_chance(result, name) else []
    labels = [str(label) for label in result["label"].values] if "label_mean" in result else []
    return [_titled(result, name), "95 %", *chance, *labels, "most changed head"]


def _cells(own: "xr.Dataset", has_chance: bool) -> list[str]:
    import numpy as np

    low, high = float(own["layer_ci_low"]), float(own["layer_ci_high"])
    cells = [_number(float(own["layer_mean"])), f"{_number(low)} to {_number(high)}"]
    if has_chance:
        cells.append(_number(float(own["chance"].mean())))
    if "label_mean" in own:
        cells += [_number(float(mean)) for mean in own["label_mean"].mean("head").values]
    change = np.abs(own["mean"].to_numpy() - float(own["identity"]))
    return [*cells, _head(own, None if np.isnan(change).all() else int(np.nanargmax(change)))]


def _titled(result: "xr.Dataset", name: str) -> str:
    unit = str(result["unit"].sel(metric=name).item())
    return name if unit == "1" else f"{name} ({unit})"


def _head(own: "xr.Dataset", head: int | None) -> str:
    if head is None:
        return "-"
    text = f"{int(own['head'][head])}: {_number(float(own['mean'][head]))}"
    if "matched_head" in own:
        text += f" (matches {int(own['matched_head'][head])}: {_number(float(own['matched_mean'][head]))})"
    return text


def _note_uncounted(result: "xr.Dataset") -> None:
    left_out = int(result.attrs["samples"]) - int(result["count"].min())
    if left_out:
        note(f"up to {left_out:,} of {int(result.attrs['samples']):,} samples have nothing to measure in a head")


def print_pairs(result: "xr.Dataset") -> None:
    """Write of every two layers the means of all pairs of heads and of best matches, and the best pair."""
    import numpy as np

    from biocache.engine.attention.figures import mean_best_match

    matches = mean_best_match(result)
    rows = []
    for name in result["metric"].values:
        for size in result["training_size"].values:
            for layer in result["layer"].values:
                for other in result["other_layer"].values:
                    mean = result["pair_mean"].sel(metric=name, training_size=size, layer=layer, other_layer=other)
                    off = np.abs(mean.to_numpy() - float(mean["identity"]))
                    if np.isnan(off).all():
                        continue
                    head, other_head = np.unravel_index(int(np.nanargmin(off)), off.shape)
                    best = f"{head} and {other_head}: {_number(float(mean[head, other_head]))}"
                    matched = matches.sel(metric=name, training_size=size, layer=layer, other_layer=other)
                    means = (_number(float(mean.mean())), _number(float(matched)))
                    rows.append((str(name), int(size), int(layer), int(other), *means, best))
    columns = ("metric", "training size", "layer", "other layer", "mean of all pairs", "mean of best matches")
    print_table((*columns, "best pair"), rows)


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.3f}"


def as_plain(result: "xr.Dataset") -> dict[str, Any]:
    """Return a result as JSON has it: variables, coordinates and attributes; what is not a number is null."""
    return {
        "attributes": result.attrs,
        "dims": {str(dim): size for dim, size in result.sizes.items()},
        "coordinates": {str(name): _plain(array.values.tolist()) for name, array in result.coords.items()},
        "variables": {
            str(name): {"dims": list(array.dims), "values": _plain(array.values.tolist())}
            for name, array in result.data_vars.items()
        },
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value
