"""What the best layers confuse, on the page: confusion matrices, and precision, recall and F1 of each class."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from biocache.engine.analyses.probing.result import best_layers
from biocache.engine.palette import SIMILARITY
from biocache.engine.report.figure import Panel, Row, Scale, Table, Variant, by
from biocache.engine.report.plots import MAPS, heat_plot, heat_width

__all__ = ["best_places", "class_table", "confusion_variants"]

_SCALE = Scale("share of the true class, in the best layer", 0.0, 1.0, MAPS[SIMILARITY])
_TIPS = (("true", "@true"), ("predicted", "@predicted"), ("share", "@share{0.000}"), ("rows", "@rows"))
# Matrices of more classes are small pictures of nothing.
_MOST_CLASSES = 40
_CLASS_SCORES = ("precision", "recall", "f1")


def best_places(results: Sequence[xr.Dataset], score: str) -> list[tuple[Mapping[str, Any], xr.Dataset]]:
    """Return the numbers of the best layer of each model, dataset trained on, training size and seed.

    Parameters
    ----------
    results
        What `probe` returns, the oldest first; of one place the newest is taken. Those of numbers have no classes.
    score
        Score that decides which layer is the best.
    """
    found: dict[str, tuple[Mapping[str, Any], xr.Dataset]] = {}
    for result in results:
        if "confusion" not in result or result.sizes["label"] > _MOST_CLASSES:
            continue
        best = best_layers(result, score).reset_coords(drop=True)
        for place in best.to_series().dropna().rename("layer").reset_index().to_dict("records"):
            named = {str(name): value for name, value in place.items() if name != "layer"}
            # Beside places without a number, integers have become floats.
            layer = place["layer"] if result.layer.dtype == object else int(place["layer"])
            found[str(sorted(named.items()))] = ({**named, "layer": layer}, result.sel({**named, "layer": layer}))
    return list(found.values())


def confusion_variants(places: Sequence[tuple[Mapping[str, Any], xr.Dataset]]) -> Iterator[Variant]:
    """Yield the confusion matrices of each model, a panel for each training size and seed.

    Parameters
    ----------
    places
        From `best_places`.
    """
    for (model,), own in by(
        [{"model": place["model"], "at": (place, found)} for place, found in places], "model"
    ).items():
        panels = [_panel(*row["at"]) for row in own]
        yield Variant(f"confusion, {model}", panels, _SCALE)


def _panel(place: Mapping[str, Any], own: xr.Dataset) -> Panel:
    labels = own.label.to_numpy().tolist()
    counts = own.confusion.mean("probe_seed").transpose("label", "predicted_label").to_numpy()
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    cells: list[Row] = [
        {"true": true, "predicted": predicted, "share": shares[row, column], "rows": counts[row, column]}
        for row, true in enumerate(labels)
        for column, predicted in enumerate(labels)
    ]
    elsewhere = f" of {place['trained_on']}" if place.get("trained_on") else ""
    title = f"{place['training_size']} %{elsewhere}, seed {place['seed']}: layer {place['layer']}"
    plot = heat_plot(cells, value="share", axes=("predicted", "true"), scale=_SCALE, tips=_TIPS, names=(labels, labels))
    return Panel(title, plot, heat_width(len(labels)))


def class_table(places: Sequence[tuple[Mapping[str, Any], xr.Dataset]]) -> Table:
    """Return precision, recall and F1 of each class, means over the seeds of the probe, and its test rows.

    Parameters
    ----------
    places
        From `best_places`.
    """
    return Table.of(
        [
            {
                **place,
                "class": label,
                "test rows": int(own.support.sel(label=label)),
                **{name: float(own[f"class_{name}"].sel(label=label).mean("probe_seed")) for name in _CLASS_SCORES},
            }
            for place, own in places
            for label in own.label.to_numpy().tolist()
        ]
    )
