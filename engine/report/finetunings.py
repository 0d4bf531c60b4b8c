"""Scores of fine-tuned checkpoints as figures: one for all checkpoints of the same settings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from biocache.engine.metrics import SCORE_TITLES
from biocache.engine.report.figure import Figure, Key, Panel, Recipe, Table, Variant, plain
from biocache.engine.report.palette import Palette
from biocache.engine.report.plots import GREY, Curve, curve_plot
from biocache.engine.report.request import ReportRequest
from biocache.engine.report.statements import Finding
from biocache.store.results import StoredResult

__all__ = ["FinetuneGroup", "group_finetunings"]

_SETTINGS = (
    *("task", "dataset", "label_scheme", "limit", "epochs", "learning_rate", "batch_size", "gradient_accumulation"),
    *("warmup", "weight_decay", "patience", "compute_dtype"),
)
_SCORES = ("entity_f1", "accuracy", "macro_f1", "micro_f1")
_NUMBERS = (*_SCORES, "entity_precision", "entity_recall")
_SPAN = 0.2
_READING = (
    "Each point is a checkpoint, fine-tuned on that percentage of the train split and scored whole, with its own head: "
    "lines are the test split, dashed ones validation. One training a point: differences between them have no interval."
)


@dataclass
class FinetuneGroup:
    """Checkpoints that differ in model, training size and seed only.

    Attributes
    ----------
    settings
        What they share.
    rows
        By (model, training size, seed, split).
    specs
        Specs of the checkpoints, by (model, training size, seed).
    """

    settings: Mapping[str, Any]
    rows: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    specs: dict[tuple[Any, ...], Mapping[str, Any]] = field(default_factory=dict)

    def add(self, spec: Mapping[str, Any], dataset: xr.Dataset) -> None:
        """Take the scores of a checkpoint."""
        place = (spec["model"], spec["training_size"], spec["seed"])
        self.specs[place] = spec
        for split in dataset.split.values.tolist():
            own = dataset.sel(split=split)
            self.rows[*place, split] = {
                "model": spec["model"],
                "training_size": spec["training_size"],
                "seed": spec["seed"],
                "split": split,
                "train_samples": spec["train_samples"],
                **{name: own[name].item() for name in _NUMBERS if name in own},
                "samples_per_second": own["samples_per_second"].item(),
            }

    @property
    def table(self) -> list[dict[str, Any]]:
        """All rows, in order."""
        return [self.rows[key] for key in sorted(self.rows)]

    @property
    def scores(self) -> list[str]:
        """Names of the scores, the one that models are told apart by first."""
        return [name for name in _SCORES if any(name in row for row in self.rows.values())]

    def figure(self, name: str, palette: Palette, recipes: Sequence[Recipe]) -> Figure:
        """Draw the scores over training sizes."""
        rows = self.table
        models = list(dict.fromkeys(row["model"] for row in rows))
        text = ", ".join(
            f"{part.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{part.replace('_', ' ')} {value}"
            for part, value in self.settings.items()
            if value is not None and part not in ("task", "dataset")
        )
        return Figure(
            name=name,
            title=f"Fine-tuning for {self.settings['task']} on {self.settings['dataset']}",
            settings=text,
            reading=_READING,
            variants=[
                Variant(SCORE_TITLES[score], [Panel(SCORE_TITLES[score], _plot(rows, score, palette))])
                for score in self.scores
            ],
            switch="score",
            keys=[*(palette.model_key(model) for model in models), Key("validation", GREY, "dashed")],
            data=Table.of(rows),
            extra=("Checkpoints", _shown(rows)),
            recipes=recipes,
        )

    def findings(self, figure: str) -> Iterator[Finding]:
        """Pick the training size at which each model scores highest on the test split; the smallest of equals."""
        score = self.scores[0]
        tested = [row for row in self.table if row["split"] == "test" and np.isfinite(row.get(score, np.nan))]
        for model, seed in dict.fromkeys((row["model"], row["seed"]) for row in tested):
            rows = [row for row in tested if (row["model"], row["seed"]) == (model, seed)]
            best = max(rows, key=lambda row: (row[score], -row["training_size"]))
            yield Finding(
                {
                    "task": self.settings["task"],
                    "data set": self.settings["dataset"],
                    "model": model,
                    "seed": seed,
                    "fine-tuned on": ", ".join(f"{row['training_size']} %" for row in rows),
                    "best training size": f"{best['training_size']} %",
                    "score": SCORE_TITLES[score],
                    "value": plain(float(best[score])),
                },
                figure,
            )


def group_finetunings(loaded: Sequence[tuple[StoredResult, xr.Dataset]], request: ReportRequest) -> list[FinetuneGroup]:
    """Put the scores of checkpoints of the same settings together, in the order of tasks and data sets."""
    groups: dict[str, FinetuneGroup] = {}
    for result, dataset in loaded:
        spec = result.inputs["checkpoint"]
        if request.wants(**{name: spec[name] for name in ("task", "dataset", "model", "training_size")}):
            settings = {name: spec[name] for name in _SETTINGS}
            groups.setdefault(json.dumps(list(settings.items())), FinetuneGroup(settings)).add(spec, dataset)
    return [groups[key] for key in sorted(groups)]


def _plot(rows: Sequence[Mapping[str, Any]], score: str, palette: Palette) -> dict[str, Any]:
    known = [row for row in rows if score in row and np.isfinite(row[score])]
    curves = []
    for model, seed, split in dict.fromkeys((row["model"], row["seed"], row["split"]) for row in known):
        own = [row for row in known if (row["model"], row["seed"], row["split"]) == (model, seed, split)]
        key: Key = palette.model_key(model)
        curves.append(
            Curve(
                name=f"{model}, {split}, seed {seed}",
                x=[row["training_size"] for row in own],
                y=[row[score] for row in own],
                low=[None] * len(own),
                high=[None] * len(own),
                color=key.color,
                marker=key.marker,
                dash="solid" if split == "test" else "dashed",
            )
        )
    values = [row[score] for row in known] or [0.0]
    # Scores that are close are not to look far apart.
    middle = (min(values) + max(values)) / 2
    low, high = min(*values, max(0.0, middle - _SPAN / 2)), max(*values, min(1.0, middle + _SPAN / 2))
    return curve_plot(
        curves,
        [],
        titles=("training size, % of the train split", SCORE_TITLES[score]),
        bounds=(low, high),
        ticks=sorted({row["training_size"] for row in rows}),
    )


def _shown(rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table.of([{name: value for name, value in row.items() if name != "samples_per_second"} for row in rows])
