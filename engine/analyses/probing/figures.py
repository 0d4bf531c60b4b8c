"""Figures of a probing: scores over layers, and confusion matrices."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from biocache.engine.analyses.probing.result import best_layers
from biocache.engine.figures import new_figure
from biocache.engine.metrics import SCORE_TITLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_confusion", "draw_scores"]


_WIDTH, _HEIGHT = 4.6, 3.6
_COLUMNS = 2
_BASELINE = "0.45"


def draw_scores(result: xr.Dataset, score: str) -> "Figure":
    """Draw a score over the layers: a panel a model, a curve a training size with its 95 % interval.

    The dotted line is the majority baseline, dashed ones continue the score of layer 0. A randomly initialised twin is
    drawn in grey in the panel of its model.

    Parameters
    ----------
    result
        What `probe` returns.
    score
        Name of the score.
    """
    panels = list(_panels(result))
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(_WIDTH * columns + 1.0, _HEIGHT * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    colors = _colors(result)
    for axes, (model, twins) in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, result.sel(model=model), score, colors)
        for twin in twins:
            _draw_panel(axes, result.sel(model=twin), score, dict.fromkeys(colors, _BASELINE), twin)
        axes.set_title(model)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(f"test {SCORE_TITLES[score]}")
    legends = [axes.get_legend_handles_labels() for axes in grid.flat]
    entries = {label: handle for found in legends for handle, label in zip(*found, strict=True)}
    # The baselines after the training sizes that the title is of.
    entries = dict(sorted(entries.items(), key=lambda entry: not entry[0].endswith("%")))
    figure.legend(entries.values(), entries.keys(), loc="outside right upper", frameon=False, title="training size")
    figure.suptitle(result.attrs["title"])
    return figure


def _panels(result: xr.Dataset) -> Iterator[tuple[str, list[str]]]:
    """Yield the models that have a panel of their own, with their randomly initialised twins."""
    names = result.model.to_numpy().tolist()
    random = dict(zip(names, result.random_weights.to_numpy().tolist(), strict=True))
    twins = {name: name.removesuffix("-random") for name in names if random[name]}
    for name in names:
        if twins.get(name, name) == name or twins[name] not in names:
            yield name, [twin for twin, own in twins.items() if own == name and twin != name]


def _colors(result: xr.Dataset) -> dict[int, Any]:
    from matplotlib import colormaps

    sizes = result.training_size.to_numpy().tolist()
    # Short of the palest end, which white paper swallows.
    return {size: colormaps["viridis"](0.85 * place / max(1, len(sizes) - 1)) for place, size in enumerate(sizes)}


def _draw_panel(axes: "Axes", result: xr.Dataset, score: str, colors: dict[int, Any], name: str | None = None) -> None:
    style = "-" if name is None else "--"
    drawn = [(size, seed) for size in result.training_size.to_numpy() for seed in result.seed.to_numpy()]
    for size, seed in drawn:
        curve = result.sel(training_size=size, seed=seed)
        means = curve[score].mean("probe_seed")
        there = means.notnull().to_numpy()
        if not there.any():
            continue
        layers, values, color = curve.layer.to_numpy()[there], means.to_numpy()[there], colors[int(size)]
        low, high = (curve[bound].sel(score=score).to_numpy()[there] for bound in ("ci_low", "ci_high"))
        axes.fill_between(layers, low, high, color=color, alpha=0.18, linewidth=0)
        label = f"{size} %" if name is None else "random weights"
        axes.plot(layers, values, style, color=color, marker="o", markersize=3.5, label=label)
        if layers[0] == 0 and name is None:
            axes.axhline(values[0], color=color, linestyle="--", linewidth=0.8, alpha=0.6, label="layer 0")
        if name is None:
            majority = float(curve.majority.sel(score=score))
            axes.axhline(majority, color=_BASELINE, linestyle=":", linewidth=1.2, label="majority")
    axes.set_xlabel("layer")
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def draw_confusion(result: xr.Dataset, score: str) -> "Figure":
    """Draw the confusion matrix of the best layer of each model, training size and seed, as shares of the true class.

    Parameters
    ----------
    result
        What `probe` returns. Predictions of all seeds of the probe are added.
    score
        Score by which a layer is the best.
    """
    best = best_layers(result, score)
    places = [place for place in _stacked(best) if not np.isnan(best.sel(place))]
    columns = min(_COLUMNS + 1, len(places))
    rows = -(-len(places) // columns)
    side = 1.6 + 0.42 * result.sizes["label"]
    figure = new_figure(side * columns + 0.8, (side + 0.5) * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False)
    image: Any = None
    for axes, place in zip(grid.flat, places, strict=False):
        layer = int(best.sel(place))
        counts = result.confusion.sel(place).sel(layer=layer).sum("probe_seed").to_numpy()
        image = _draw_matrix(axes, counts, result.label.to_numpy().tolist())
        axes.set_title(f"{place['model']}, {place['training_size']} %, layer {layer}", fontsize="medium")
    for axes in grid.flat[len(places) :]:
        axes.set_visible(False)
    figure.colorbar(image, ax=grid, label="share of the true class", shrink=0.8)
    figure.suptitle(result.attrs["title"])
    return figure


def _stacked(best: xr.DataArray) -> Iterator[dict[str, Any]]:
    for model in best.model.to_numpy():
        for size in best.training_size.to_numpy():
            for seed in best.seed.to_numpy():
                yield {"model": model, "training_size": size, "seed": seed}


def _draw_matrix(axes: "Axes", counts: Any, labels: list[str]) -> Any:
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = np.arange(len(labels))
    axes.set_xticks(places, labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if share > 0.6 else "black"
        axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=color, fontsize=7)
    return image
