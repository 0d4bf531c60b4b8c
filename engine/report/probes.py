"""Probes of a store as figures: one for all results of the same settings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from biocache.engine.analyses.probing.table import layer_rows
from biocache.engine.metrics import SCORE_TITLES, main_score
from biocache.engine.report.figure import Figure, Key, Panel, Recipe, Table, Variant, plain
from biocache.engine.report.palette import Palette
from biocache.engine.report.plots import GREY, Curve, Line, curve_plot
from biocache.engine.report.request import ReportRequest
from biocache.engine.report.statements import Finding, interval
from biocache.store.keys import RunKey
from biocache.store.results import StoredResult

__all__ = ["ProbeGroup", "group_probes", "probe_rows"]

_BAND = (0.0, 1.0)
_READING = (
    "Each point is the score on the test split of a classifier fitted to the features of one layer; bands are 95 % "
    "intervals over test samples. The dotted line is the majority class, dashed ones continue the score of layer 0, "
    "which knows the tokens but no context."
)
_MERGED = (
    " Merged-entity F1 takes a stretch of words of one type for one entity, in the truth as in the predictions, since "
    "these runs hold merged types: entities of one type that touch count as one."
)
_SELECTIVITY = {
    "ner": " Selectivity is the accuracy minus the accuracy on a control task, in which each word type has a random "
    "label: only memorising words helps there. Where the control accuracy is at or below the share of its most "
    "frequent label, little was memorised, whatever the selectivity.",
    "nli": " The control task permutes the labels of each split, so that nothing learned in train holds in test: its "
    "accuracy is at chance by construction, and the accuracy minus it is that above chance, not the layer's part.",
}


def probe_rows(dataset: xr.Dataset) -> Iterator[dict[str, Any]]:
    """Yield a row for each model, training size, seed and layer of a result: means over the seeds of the probe.

    Parameters
    ----------
    dataset
        What `biocache.engine.probe` returns.

    Yields
    ------
    dict
        The place, ``random_weights``, and for each score its value, ``_spread`` (standard deviation over the seeds of
        the probe), ``_ci_low``, ``_ci_high`` and ``_majority``; then what the controls say. None: not known.
    """
    scores = dataset.score.to_numpy().tolist()
    for row in layer_rows(dataset, main_score(scores)).to_dict("records"):
        spreads = {f"{name}_spread": row.get(f"{name}_spread") for name in scores}
        known = {
            str(name): value for name, value in row.items() if name != "best" and not str(name).startswith("class_")
        }
        yield known | spreads


@dataclass
class ProbeGroup:
    """Results of probes that differ in their runs and layers only.

    Attributes
    ----------
    settings
        What they share.
    scores
        Names of the scores.
    rows
        By (model, training size, seed, layer): the row, and the runs it was computed from; the newest result's.
    results
        What the rows are from.
    """

    settings: Mapping[str, Any]
    scores: tuple[str, ...]
    rows: dict[tuple[Any, ...], tuple[Any, dict[str, Any]]] = field(default_factory=dict)
    results: list[tuple[StoredResult, xr.Dataset]] = field(default_factory=list)

    def add(self, result: StoredResult, dataset: xr.Dataset, request: ReportRequest) -> None:
        """Take the rows of a result, which is newer than those before."""
        self.results.append((result, dataset))
        origins = {_place(cell): [cell["train"], cell["test"]] for cell in result.inputs["cells"]}
        for row in probe_rows(dataset):
            if not request.wants(model=row["model"], training_size=row["training_size"]):
                continue
            place = (row["model"], row["training_size"], row["seed"])
            key = (*place, row["layer"])
            origin, known = self.rows.get(key, (None, {}))
            # A later call without a control takes nothing away from what an earlier one said of the same runs.
            same = known if origin == origins.get(place) else {}
            self.rows[key] = (origins.get(place), {**same, **row})

    @property
    def table(self) -> list[dict[str, Any]]:
        """All rows, in order."""
        return [self.rows[key][1] for key in sorted(self.rows)]

    @property
    def main(self) -> str:
        """The score by which layers are told apart."""
        return main_score(self.scores)

    def figure(self, name: str, palette: Palette, recipes: Sequence[Recipe]) -> Figure:
        """Draw a panel a model, for each score."""
        rows = self.table
        order = [self.main, *(score for score in self.scores if score != self.main)]
        selective = any("selectivity" in row for row in rows)
        random = any(row["random_weights"] for row in rows)
        sizes = sorted({row["training_size"] for row in rows if not row["random_weights"]})
        task, dataset, probe = (self.settings[part] for part in ("task", "dataset", "probe"))
        extra = list(_selectivity(rows, palette))
        return Figure(
            name=name,
            title=f"Probe of {task} on {dataset}: {probe}",
            settings=_written(self.settings),
            reading=_READING
            + (_MERGED if "merged_entity_f1" in self.scores else "")
            + (_SELECTIVITY[task] if selective else ""),
            variants=[Variant(SCORE_TITLES[score], [*_panels(rows, score, palette), *extra]) for score in order],
            switch="score",
            keys=[
                *(palette.size_key(size) for size in sizes),
                *([Key("random weights", GREY, "dashed", "circle")] if random else []),
                Key("layer 0", GREY, "dashed"),
                Key("majority", GREY, "dotted"),
            ],
            data=Table.of(rows),
            recipes=recipes,
        )

    def findings(self, figure: str) -> Iterator[Finding]:
        """Pick the layer of the highest score of each model, training size and seed; the first of equals."""
        known = [row for row in self.table if np.isfinite(row[self.main])]
        for (model, size, seed), rows in _by_place(known).items():
            best = max(rows, key=lambda row: (row[self.main], -row["layer"]))
            yield Finding(
                {
                    "task": self.settings["task"],
                    "data set": self.settings["dataset"],
                    "probe": self.settings["probe"],
                    "model": model,
                    "training size": f"{size} %",
                    "seed": seed,
                    "best layer": best["layer"],
                    "score": SCORE_TITLES[self.main],
                    "value": plain(float(best[self.main])),
                    "95 % interval": interval(best[f"{self.main}_ci_low"], best[f"{self.main}_ci_high"]),
                    "majority": plain(float(best[f"{self.main}_majority"])),
                },
                figure,
            )


def group_probes(loaded: Sequence[tuple[StoredResult, xr.Dataset]], request: ReportRequest) -> list[ProbeGroup]:
    """Put results of the same settings together, in the order of tasks, data sets and other settings."""
    groups: dict[str, ProbeGroup] = {}
    for result, dataset in loaded:
        settings = {
            "task": dataset.attrs["task"],
            "dataset": dataset.attrs["dataset"],
            "views": dataset.attrs["views"],
            "backend": result.inputs["backend"],
            **{name: value for name, value in result.inputs["settings"].items() if name not in ("control", "mdl")},
        }
        if request.wants(task=settings["task"], dataset=settings["dataset"]):
            scores = tuple(dataset.score.to_numpy().tolist())
            # Runs of one data set may have labels of two schemes, whose scores differ.
            key = json.dumps([list(settings.items()), scores])
            group = groups.setdefault(key, ProbeGroup(settings, scores))
            group.add(result, dataset, request)
    return [groups[key] for key in sorted(groups) if groups[key].rows]


def _place(cell: Mapping[str, Any]) -> tuple[str, int, int]:
    key = RunKey.from_path(cell["test"][0]["run"])
    return key.model, key.training_size, key.seed


def _written(settings: Mapping[str, Any]) -> str:
    rows = "words" if settings["task"] == "ner" else f"views {settings['views']} ({settings['combine']})"
    known = {
        "C": settings.get("c"),
        **{name: settings.get(name) for name in ("gamma", "hidden_size", "epochs", "learning_rate", "batch_size")},
        "most iterations": settings.get("max_iterations"),
        "most train samples": settings["max_train_samples"],
        "seeds of the probe": settings["seeds"],
        "resamples": settings["resamples"],
    }
    written = [f"{name.replace('_', ' ')} {value}" for name, value in known.items() if value is not None]
    return ", ".join([rows, f"{settings['pooling']} of tokens", settings["backend"], *written])


def _panels(rows: Sequence[Mapping[str, Any]], score: str, palette: Palette) -> Iterator[Panel]:
    """Draw the score of every model."""
    shared = _bounds(rows, score)
    for model, own in _of_panels(rows).items():
        titles = ("layer", f"test {SCORE_TITLES[score]}")
        yield Panel(model, _plot(own, score, list(_levels(own, score, palette)), titles, shared, palette))


def _selectivity(rows: Sequence[Mapping[str, Any]], palette: Palette) -> Iterator[Panel]:
    """Draw the selectivity of every model that has one."""
    values = [row["selectivity"] for row in rows if row.get("selectivity") is not None]
    for model, own in _of_panels(rows).items():
        selective = [row for row in own if row.get("selectivity") is not None]
        if selective:
            span = (min(0.0, *values), max(0.0, *values))
            titles = ("layer", "accuracy minus control")
            line = [Line(0.0, GREY, "dotted")]
            yield Panel(f"{model}: selectivity", _plot(selective, "selectivity", line, titles, span, palette))


def _of_panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows of every model, those of its randomly initialised twin among them."""
    names = dict.fromkeys(row["model"] for row in rows)
    random = {row["model"] for row in rows if row["random_weights"]}
    owners = {name: name.removesuffix("-random") for name in random}
    panels: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        owner = owners.get(row["model"], row["model"])
        panels.setdefault(owner if owner in names else row["model"], []).append(row)
    return panels


def _plot(
    rows: Sequence[Mapping[str, Any]],
    score: str,
    lines: Sequence[Line],
    titles: tuple[str, str],
    span: tuple[float, float],
    palette: Palette,
) -> dict[str, Any]:
    # What is drawn later lies on top.
    ordered = sorted(rows, key=lambda row: not row["random_weights"])
    ticks = sorted({row["layer"] for row in rows})
    return curve_plot(list(_curves(ordered, score, palette)), lines, titles=titles, bounds=span, ticks=ticks)


def _bounds(rows: Sequence[Mapping[str, Any]], score: str) -> tuple[float, float]:
    values = [row[f"{score}{part}"] for row in rows for part in ("", "_ci_low", "_ci_high", "_majority")]
    known = [value for value in values if value is not None and np.isfinite(value)]
    return max(_BAND[0], min(known, default=0.0)), min(_BAND[1], max(known, default=1.0))


def _curves(rows: Sequence[Mapping[str, Any]], score: str, palette: Palette) -> Iterator[Curve]:
    for (model, size, seed), own in _by_place(rows).items():
        random = bool(own[0]["random_weights"])
        key = palette.size_key(size)
        yield Curve(
            name=f"{model}, {size} %, seed {seed}",
            x=[row["layer"] for row in own],
            y=[row[score] for row in own],
            low=[row.get(f"{score}_ci_low") for row in own],
            high=[row.get(f"{score}_ci_high") for row in own],
            color=GREY if random else key.color,
            marker="circle" if random else key.marker,
            dash="dashed" if random else "solid",
        )


def _levels(rows: Sequence[Mapping[str, Any]], score: str, palette: Palette) -> Iterator[Line]:
    for (_, size, _), own in _by_place(rows).items():
        if own[0]["layer"] == 0 and not own[0]["random_weights"]:
            yield Line(own[0][score], palette.size_key(size).color, "dashed")
    for majority in dict.fromkeys(row[f"{score}_majority"] for row in rows):
        yield Line(majority, GREY, "dotted")


def _by_place(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int, int], list[Mapping[str, Any]]]:
    places: dict[tuple[str, int, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        places.setdefault((row["model"], row["training_size"], row["seed"]), []).append(row)
    return places
