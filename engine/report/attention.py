"""Comparisons of attention of a store as figures: heat maps of layers and heads, one figure for all of one kind."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from biocache.engine.report.figure import Figure, Panel, Recipe, Scale, Table, Variant, plain
from biocache.engine.report.plots import SIGNED, UNSIGNED, heat_plot, heat_width
from biocache.engine.report.request import ReportRequest
from biocache.engine.report.statements import Finding, interval
from biocache.store.keys import RunKey
from biocache.store.results import StoredResult

__all__ = ["MOST_CHANGED", "AttentionGroup", "attention_rows", "group_comparisons"]

#: Heads in the table of those that changed most, of each metric and training size.
MOST_CHANGED = 5

_NUMBERS = ("mean", "std", "ci_low", "ci_high", "chance", "above_chance", "count")
_READING = (
    "Each cell is a head of a layer, its colour the mean over test samples of how alike its attention maps are in the "
    "two models. Point at a cell for its interval and chance level, which is the mean of mismatched heads of the "
    "layer; “above chance” puts that level at 0 and equal maps at 1."
)
_PAIRS = (
    "Each cell is a layer of the baseline and a layer of the other model, its colour the mean of best matches: over "
    "the baseline's heads, the value of the head of the other layer that is most like it."
)
_ATTRIBUTES = (
    "task",
    "dataset",
    "view",
    "split",
    "model",
    "baseline_model",
    "baseline_training_size",
    "level",
    "samples",
)
# What else was kept beside the means does not change them.
_FLAGS = ("exclude_special", "all_pairs", "resamples", "resampling_seed")


def attention_rows(dataset: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Yield a row for each metric, training size, layer and head of a comparison.

    Parameters
    ----------
    dataset
        What `biocache.engine.compare_attention` returns. Of all pairs, the rows are of layers and other layers:
        ``mean`` of best matches.

    Yields
    ------
    dict
        The place and its numbers; None: not known.
    """
    if "pair_mean" in dataset:
        from biocache.engine.analyses.attention.figures import mean_best_match

        values = {"mean": mean_best_match(dataset)}
        across = "other_layer"
    else:
        values = {name: dataset[name] for name in _NUMBERS}
        across = "head"
    dims = ("metric", "training_size", "layer", across)
    numbers = {name: array.transpose(*dims).to_numpy() for name, array in values.items()}
    labels = [dataset[dim].to_numpy().tolist() for dim in dims]
    for place in np.ndindex(*(len(names) for names in labels)):
        at = {dim: names[position] for dim, names, position in zip(dims, labels, place, strict=True)}
        yield at | {name: array[place].item() for name, array in numbers.items()}


@dataclass
class AttentionGroup:
    """Comparisons of one model with one baseline that differ in training sizes and metrics only.

    Attributes
    ----------
    settings
        What they share.
    rows
        By (metric, training size, layer, head or other layer); the newest result's.
    metrics
        Title, unit and value of equal maps of each metric.
    layers
        Means over heads by (metric, training size, layer).
    results
        What the rows are from.
    """

    settings: Mapping[str, Any]
    rows: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    metrics: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    layers: dict[tuple[Any, ...], dict[str, float]] = field(default_factory=dict)
    results: list[tuple[StoredResult, xr.Dataset]] = field(default_factory=list)

    @property
    def across(self) -> str:
        """What lies beside the layers."""
        return "other_layer" if self.settings["all_pairs"] else "head"

    def add(self, result: StoredResult, dataset: xr.Dataset, request: ReportRequest) -> None:
        """Take the rows of a comparison, which is newer than those before."""
        self.results.append((result, dataset))
        for metric in dataset["metric"].values.tolist():
            own = dataset.sel(metric=metric)
            self.metrics[metric] = (own["title"].item(), own["unit"].item(), float(own["identity"]))
        for row in attention_rows(dataset):
            if request.wants(training_size=row["training_size"]):
                self.rows[row["metric"], row["training_size"], row["layer"], row[self.across]] = row
        if "layer_mean" in dataset:
            for place in np.ndindex(*dataset["layer_mean"].shape):
                at = dataset[["layer_mean", "layer_ci_low", "layer_ci_high"]].isel(
                    dict(zip(dataset["layer_mean"].dims, place, strict=True))
                )
                size = at["training_size"].item()
                if request.wants(training_size=size):
                    self.layers[at["metric"].item(), size, at["layer"].item()] = {
                        name: at[name].item() for name in ("layer_mean", "layer_ci_low", "layer_ci_high")
                    }

    @property
    def sizes(self) -> list[int]:
        """Training sizes, ascending."""
        return sorted({row["training_size"] for row in self.rows.values()})

    def figure(self, name: str, recipes: Sequence[Recipe]) -> Figure:
        """Draw a panel a training size, for each metric and for what is above its chance level."""
        part = self.settings
        pairs = self.across == "other_layer"
        other = "itself" if part["baseline_model"] == part["model"] else part["baseline_model"]
        against = f"{other} at {part['baseline_training_size']} %"
        special = ", special positions left out" if part["exclude_special"] else ""
        return Figure(
            name=name,
            title=f"Attention of {part['model']} against {against}: {part['task']} on {part['dataset']}",
            settings=f"view {part['view']}, {part['split']} split, {part['samples']:,} samples, seed {part['seed']}, "
            f"by {part['level']}{special}, {part['resamples']:,} bootstrap resamples",
            reading=_PAIRS if pairs else _READING,
            variants=list(self._variants()),
            switch="metric",
            data=Table.of([self.rows[key] for key in sorted(self.rows)]),
            extra=None if pairs else ("Most changed heads", self.most_changed()),
            recipes=recipes,
            shown_runs={at: part[at] for at in ("task", "dataset", "model", "view", "seed")},
        )

    def most_changed(self) -> Table:
        """Return, of each metric and training size, the heads whose mean is farthest from that of equal maps."""
        found = []
        for metric in self.metrics:
            for size in self.sizes:
                own = [row for row in self._of(metric, size) if np.isfinite(row["mean"])]
                identity = self.metrics[metric][2]
                own.sort(key=lambda row, same=identity: -abs(row["mean"] - same))  # type: ignore[misc]
                found += own[:MOST_CHANGED]
        names = ("metric", "training_size", "layer", "head", "mean", "ci_low", "ci_high", "chance", "above_chance")
        return Table.of([{name: row[name] for name in names} for row in found])

    def findings(self, figure: str) -> Iterator[Finding]:
        """Pick the training size and layer of each metric whose mean over heads is farthest from that of equal maps."""
        part = self.settings
        for metric, (_, unit, identity) in self.metrics.items():
            known = [
                (abs(value["layer_mean"] - identity), size, layer, value)
                for (name, size, layer), value in self.layers.items()
                if name == metric and np.isfinite(value["layer_mean"])
            ]
            if not known:
                continue
            _, size, layer, value = max(known, key=lambda one: one[0])
            yield Finding(
                {
                    "task": part["task"],
                    "data set": part["dataset"],
                    "view": f"{part['view']}{', no special' if part['exclude_special'] else ''}",
                    "model": part["model"],
                    "against": f"{part['baseline_model']} at {part['baseline_training_size']} %",
                    "metric": metric if unit == "1" else f"{metric}, {unit}",
                    "of equal maps": identity,
                    "training size": f"{size} %",
                    "layer": layer,
                    "mean over heads": plain(value["layer_mean"]),
                    "95 % interval": interval(value["layer_ci_low"], value["layer_ci_high"]),
                },
                figure,
            )

    def _of(self, metric: str, size: int) -> list[dict[str, Any]]:
        rows = self.rows.values()
        return [row for row in rows if (row["metric"], row["training_size"]) == (metric, size)]

    def _variants(self) -> Iterator[Variant]:
        for metric, (title, unit, identity) in self.metrics.items():
            scale = self._scale(metric, f"{title}{'' if unit == '1' else f', {unit}'}", identity)
            yield Variant(metric, list(self._panels(metric, "mean", scale)), scale)
            above = [row.get("above_chance") for row in self.rows.values() if row["metric"] == metric]
            if any(value is not None and np.isfinite(value) for value in above):
                signed = Scale("0: chance, 1: equal maps", -1.0, 1.0, SIGNED)
                yield Variant(f"{metric}, above chance", list(self._panels(metric, "above_chance", signed)), signed)

    def _scale(self, metric: str, title: str, identity: float) -> Scale:
        """Return the colours: of a change even about 0, else from the farthest value to that of equal maps."""
        own = [row for row in self.rows.values() if row["metric"] == metric]
        known = [row["mean"] for row in own if np.isfinite(row["mean"])] or [identity]
        low, high = min(*known, identity), max(*known, identity)
        # A change may fall on either side of equal maps.
        if identity not in (low, high) or (low < 0 and identity == 0):
            farthest = max(-low, high)
            return Scale(title, -farthest, farthest, SIGNED)
        # Dark is changed, bright is equal, whichever end equal maps are at.
        colors = UNSIGNED if identity == high else UNSIGNED[::-1]
        return Scale(title, low, high if high > low else low + 1.0, colors)

    def _panels(self, metric: str, value: str, scale: Scale) -> Iterator[Panel]:
        tips = [("layer", "@layer"), (self.across.replace("_", " "), f"@{self.across}"), ("mean", "@mean{0.000}")]
        if self.across == "head":
            tips += [("95 % interval", "@ci_low{0.000} to @ci_high{0.000}"), ("chance", "@chance{0.000}")]
            tips += [("above chance", "@above_chance{0.000}"), ("samples", "@count")]
        for size in self.sizes:
            cells = [
                {name: cell for name, cell in row.items() if name not in ("metric", "training_size", "std")}
                for row in self._of(metric, size)
            ]
            width = heat_width(len({cell[self.across] for cell in cells}))
            item = heat_plot(cells, value=value, across=self.across, scale=scale, tips=tips)
            yield Panel(f"training size {size} %", item, width)


def group_comparisons(
    loaded: Sequence[tuple[StoredResult, xr.Dataset]], request: ReportRequest
) -> list[AttentionGroup]:
    """Put comparisons of the same settings together, in the order of tasks, data sets and other settings."""
    groups: dict[str, AttentionGroup] = {}
    for result, dataset in loaded:
        settings = {name: dataset.attrs[name] for name in _ATTRIBUTES} | {"seed": _seed(result)}
        settings |= {name: result.inputs["settings"][name] for name in _FLAGS}
        models = {settings["model"], settings["baseline_model"]}
        if not request.wants(task=settings["task"], dataset=settings["dataset"]):
            continue
        if not all(request.wants(model=model) for model in models):
            continue
        group = groups.setdefault(json.dumps(list(settings.items())), AttentionGroup(settings))
        group.add(result, dataset, request)
    return [groups[key] for key in sorted(groups) if groups[key].rows]


def _seed(result: StoredResult) -> int:
    return RunKey.from_path(result.inputs["runs"][0]["run"]).seed
