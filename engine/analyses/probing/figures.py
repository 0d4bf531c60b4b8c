"""Figures of a probing: scores over layers, and confusion matrices."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from biocache.engine.analyses.probing.layers import is_single
from biocache.engine.analyses.probing.result import best_layers
from biocache.engine.figures import new_panels
from biocache.engine.metrics import SCORE_TITLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_confusion", "draw_scores"]


_WIDTH, _HEIGHT = 4.6, 3.6
_COLUMNS = 2
_BASELINE = "0.45"


def draw_scores(result: xr.Dataset, score: str) -> "Figure":
    """Draw a score over the layers: a panel a model and dataset trained on, a curve a training size.

    Bands are 95 % intervals. The dotted line is the majority baseline, dashed ones continue the score of layer 0, and
    layers that are seen together are lines with dots and dashes. A randomly initialised twin is drawn in grey in the
    panel of its model.

    Parameters
    ----------
    result
        What `probe` returns.
    score
        Name of the score.
    """
    panes = [
        (model, twins, name, own)
        for name, own in _by_training(result[[score, "ci_low", "ci_high", "majority", "random_weights"]])
        for model, twins in _models(own)
        if _is_drawn(own[score].sel(model=model), name)
    ]
    figure, panels = new_panels(len(panes), _COLUMNS, (_WIDTH, _HEIGHT), (1.0, 0.0), sharey=True)
    colors = _colors(result)
    for axes, (model, twins, name, own) in zip(panels, panes, strict=True):
        _draw_panel(axes, own.sel(model=model), score, colors)
        for twin in twins:
            _draw_panel(axes, own.sel(model=twin), score, dict.fromkeys(colors, _BASELINE), twin)
        axes.set_title(f"{model}, trained on {name}" if name else model)
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel(f"test {SCORE_TITLES[score]}")
    legends = [axes.get_legend_handles_labels() for axes in panels]
    entries = {label: handle for found in legends for handle, label in zip(*found, strict=True)}
    # Baselines after the training sizes, which the title names.
    entries = dict(sorted(entries.items(), key=lambda entry: not entry[0].endswith("%")))
    figure.legend(entries.values(), entries.keys(), loc="outside right upper", frameon=False, title="training size")
    figure.suptitle(result.attrs["title"])
    return figure


def _models(result: xr.Dataset) -> Iterator[tuple[str, list[str]]]:
    """Yield each model that has its own panel, with its randomly initialised twins."""
    names = result.model.to_numpy().tolist()
    random = dict(zip(names, result.random_weights.to_numpy().tolist(), strict=True))
    twins = {name: name.removesuffix("-random") for name in names if random[name]}
    for name in names:
        if twins.get(name, name) == name or twins[name] not in names:
            yield name, [twin for twin, own in twins.items() if own == name and twin != name]


def _by_training(result: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the datasets trained on, empty for the one that is read; each with the scores of the pre-trained model."""
    if "trained_on" not in result.dims:
        yield "", result
        return
    for name in result.trained_on.to_numpy().tolist():
        own = result.sel(trained_on=name, drop=True)
        if name and "" in result.trained_on:
            usual = result.sel(trained_on="", drop=True)
            own = own.map(lambda values, usual=usual: _with_pre_trained(values, usual[values.name]))
        yield name, own


def _is_drawn(values: xr.DataArray, trained_on: str) -> bool:
    """Return whether a model has a score; one that is trained elsewhere, beyond those of the pre-trained model."""
    own = values.sel(training_size=values.training_size > 0) if trained_on else values
    return bool(own.notnull().any())


def _with_pre_trained(values: xr.DataArray, usual: xr.DataArray) -> xr.DataArray:
    return values.where(values.training_size > 0, usual) if "training_size" in values.dims else values


def _colors(result: xr.Dataset) -> dict[int, Any]:
    from matplotlib import colormaps

    sizes = result.training_size.to_numpy().tolist()
    # Skip the palest colours: unreadable on white.
    return {size: colormaps["viridis"](0.85 * place / max(1, len(sizes) - 1)) for place, size in enumerate(sizes)}


def _draw_panel(axes: "Axes", result: xr.Dataset, score: str, colors: dict[int, Any], name: str | None = None) -> None:
    style = "-" if name is None else "--"
    alone = np.array([is_single(label) for label in result.layer.to_numpy().tolist()])
    drawn = [(size, seed) for size in result.training_size.to_numpy() for seed in result.seed.to_numpy()]
    for size, seed in drawn:
        curve = result.sel(training_size=size, seed=seed)
        means = curve[score].mean("probe_seed")
        there = means.notnull().to_numpy()
        if not there.any():
            continue
        color = colors[int(size)]
        for place in np.flatnonzero(there & ~alone):
            # Seen together, layers are no point of the axis.
            text = f"layers {curve.layer.item(place)}" if "+" in curve.layer.item(place) else "mean of layers"
            axes.axhline(means.item(place), color=color, linestyle="-.", linewidth=1.0, label=text)
        there &= alone
        layers, values = curve.layer.to_numpy()[there].astype(int), means.to_numpy()[there]
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
    """Draw the confusion matrix of the best layer of each model, training and seed, as shares of the true class.

    Parameters
    ----------
    result
        What `probe` returns. Predictions of all seeds of the probe are added.
    score
        Score that decides which layer is the best.
    """
    best = best_layers(result, score).to_series().dropna().rename("layer").astype(result.layer.dtype)
    side = 1.6 + 0.42 * result.sizes["label"]
    figure, panels = new_panels(len(best), _COLUMNS + 1, (side, side + 0.5), (0.8, 0.3))
    image: Any = None
    for axes, row in zip(panels, best.reset_index().to_dict("records"), strict=True):
        counts = result.confusion.sel(row).sum("probe_seed").to_numpy()
        image = _draw_matrix(axes, counts, result.label.to_numpy().tolist())
        where = f" of {row['trained_on']}" if row.get("trained_on") else ""
        axes.set_title(f"{row['model']}, {row['training_size']} %{where}, layer {row['layer']}", fontsize="medium")
    figure.colorbar(image, ax=figure.axes, label="share of the true class", shrink=0.8)
    figure.suptitle(result.attrs["title"])
    return figure


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
