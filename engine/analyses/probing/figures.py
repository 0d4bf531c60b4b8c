"""Figures of a probing: scores over layers, and confusion matrices."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from biocache.engine.analyses.probing.layers import is_single
from biocache.engine.analyses.probing.result import best_layers
from biocache.engine.figures import SMALL, figure_width, new_panels
from biocache.engine.metrics import SCORE_TITLES
from biocache.engine.palette import GREY, SIMILARITY, LineStyle, ink_on, line_style
from biocache.engine.sources import RANDOM_WEIGHTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_confusion", "draw_scores"]

Values = NDArray[np.floating]

# Inches: smallest width and height of a panel of curves, and what a figure adds for its legend and title.
_PANEL, _MARGIN = (2.2, 1.9), (1.0, 0.4)
# Inches of a cell of a confusion matrix with its share and count, and without; of the gaps between matrices, and of the
# names of classes at their edge.
_CELL, _SMALL_CELL, _GAPS, _NAMES = 0.36, 0.14, (0.15, 0.45), (1.5, 1.3)
# Most inches of a figure of matrices with numbers in their cells.
_PAGE = 9.5
# Words of a class below which shares are of few.
_FEW = 30


def draw_scores(result: xr.Dataset, score: str) -> "Figure":
    """Draw a score over the layers: a panel a model and dataset trained on, a curve a training size.

    Bands are 95 % intervals; of several seeds of the fine-tuning the curve is the mean, and the band the mean and the
    standard deviation between seeds. The dotted line is the majority baseline, thin dashed ones continue the score of
    layer 0, and layers that are seen together are lines with dots and dashes. A randomly initialised twin is drawn in
    grey in the panel of its model.

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
    figure, panels = new_panels(len(panes), least=_PANEL[0], height=_PANEL[1], margin=_MARGIN, most=4, sharey=True)
    styles = {size: line_style(place) for place, size in enumerate(result.training_size.to_numpy().tolist())}
    for axes, (model, twins, name, own) in zip(panels, panes, strict=True):
        _draw_panel(axes, own.sel(model=model), score, styles)
        for twin in twins:
            grey = {size: replace(style, color=GREY) for size, style in styles.items()}
            _draw_panel(axes, own.sel(model=twin), score, grey, twin)
        axes.set_title(f"{model}, trained on {name}" if name else model)
        place = axes.get_subplotspec()
        if place is not None and place.is_first_col():
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
    twins = {name: name.removesuffix(RANDOM_WEIGHTS) for name in names if random[name]}
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


def _draw_panel(
    axes: "Axes", result: xr.Dataset, score: str, styles: dict[int, LineStyle], name: str | None = None
) -> None:
    alone = np.array([is_single(label) for label in result.layer.to_numpy().tolist()])
    for size, style in styles.items():
        means, low, high = _curve(result.sel(training_size=size), score)
        there = np.isfinite(means)
        if not there.any():
            continue
        for place in np.flatnonzero(there & ~alone):
            # Seen together, layers are no point of the axis.
            label = str(result.layer.item(place))
            text = f"layers {label}" if "+" in label else "mean of layers"
            axes.axhline(means[place], color=style.color, linestyle="-.", linewidth=0.8, label=text)
        there &= alone
        layers, values = result.layer.to_numpy()[there].astype(int), means[there]
        axes.fill_between(layers, low[there], high[there], color=style.color, alpha=0.18, linewidth=0)
        axes.plot(
            layers,
            values,
            color=style.color,
            linestyle=(0, style.dash) if style.dash else "-",
            marker=style.marker,
            label=f"{size} %" if name is None else "random weights",
        )
        if name is not None:
            continue
        if layers[0] == 0:
            axes.axhline(values[0], color=style.color, linestyle="--", linewidth=0.7, alpha=0.6, label="layer 0")
        majority = float(result.majority.sel(training_size=size, score=score).max())
        axes.axhline(majority, color=GREY, linestyle=":", linewidth=1.0, label="majority")
    axes.set_xlabel("layer")
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y", color="0.9", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _curve(own: xr.Dataset, score: str) -> tuple[Values, Values, Values]:
    """Return the scores of the layers, and the bounds of their band: of the interval, or of several seeds."""
    by_seed = own[score].mean("probe_seed")
    known = by_seed.notnull().any("layer").to_numpy()
    if known.sum() > 1:
        mean, spread = by_seed.mean("seed"), by_seed.std("seed", ddof=1)
        return mean.to_numpy(), (mean - spread).to_numpy(), (mean + spread).to_numpy()
    one = own.isel(seed=int(known.argmax()))
    low, high = (one[bound].sel(score=score).to_numpy() for bound in ("ci_low", "ci_high"))
    return one[score].mean("probe_seed").to_numpy(), low, high


def draw_confusion(result: xr.Dataset, score: str) -> "Figure":
    """Draw the confusion matrix of the best layer of each model, training and seed, as shares of the true class.

    Cells have the share and, below, the number of rows, where there is room. A class of few rows says so.

    Parameters
    ----------
    result
        What `probe` returns. Predictions of all seeds of the probe are added.
    score
        Score that decides which layer is the best.
    """
    best = best_layers(result, score).to_series().dropna().rename("layer").astype(result.layer.dtype)
    classes = result.sizes["label"]

    def height_of(cell: float) -> float:
        columns = max(1, int((figure_width() - _NAMES[0]) // (classes * cell + _GAPS[0])))
        return -(-len(best) // columns) * (classes * cell + _GAPS[1]) + _NAMES[1]

    written = classes * _CELL <= figure_width() - _NAMES[0] and height_of(_CELL) <= _PAGE
    side = max(classes * (_CELL if written else _SMALL_CELL), 0.9)
    figure, panels = new_panels(
        len(best), least=side + _GAPS[0], height=side + _GAPS[1], margin=_NAMES, most=6, sharex=True, sharey=True
    )
    seeds = result.sizes["probe_seed"]
    for axes, row in zip(panels, best.reset_index().to_dict("records"), strict=True):
        counts = result.confusion.sel(row).sum("probe_seed").to_numpy()
        image = _draw_matrix(axes, counts, result.label.to_numpy().tolist(), seeds, written=written)
        where = f" of {row['trained_on']}" if row.get("trained_on") else ""
        seed = f", seed {row['seed']}" if result.sizes["seed"] > 1 else ""
        axes.set_title(f"{row['model']}, {row['training_size']} %{where}{seed}\nlayer {row['layer']}")
    bar = figure.colorbar(image, ax=figure.axes, aspect=30, fraction=0.03, label="share of the true class")
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(result.attrs["title"])
    return figure


def _draw_matrix(axes: "Axes", counts: Values, labels: list[str], seeds: int, *, written: bool) -> Any:
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    image = axes.imshow(shares, cmap=SIMILARITY, vmin=0, vmax=1)
    places = np.arange(len(labels))
    # Of several seeds of the probe, each row was predicted as often.
    rows = (total[:, 0] / seeds).astype(int)
    # All models have the same rows, so that matrices of a row share the names.
    named = [f"{label} (only {count:,})" if count < _FEW else label for label, count in zip(labels, rows, strict=True)]
    axes.set_xticks(places, labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, named)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.label_outer()
    if written:
        for (row, column), share in np.ndenumerate(shares):
            text = f"{share:.2f}\n{counts[row, column] / seeds:,.0f}"
            color = ink_on(image.cmap(image.norm(share)))
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=6, linespacing=0.95)
    return image
