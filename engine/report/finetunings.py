"""The report section of fine-tuning: scores over training sizes, one figure per group of equal settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from biocache.engine.finetuning.request import FinetuneRequest
from biocache.engine.metrics import SCORE_TITLES
from biocache.engine.palette import GREY
from biocache.engine.report.figure import Figure, Key, Panel, Plot, Recipe, Row, Table, Variant, by, plain, written
from biocache.engine.report.inventory import Inventory
from biocache.engine.report.plots import Curve, curve_plot, keys_of
from biocache.engine.report.recipes import finetune_recipe
from biocache.engine.report.request import ReportRequest
from biocache.engine.report.section import Asked, Kept, SectionBuilder, grouped
from biocache.engine.report.story import Statement, Study
from biocache.store.metadata import MetadataError, as_type
from biocache.store.results import StoredResult

__all__ = ["FinetuneSection"]

_SETTINGS = (
    *("task", "dataset", "label_scheme", "limit", "epochs", "max_steps", "learning_rate", "batch_size"),
    *("gradient_accumulation", "warmup", "weight_decay", "patience", "compute_dtype"),
)
_SCORES = ("entity_f1", "accuracy", "macro_f1", "micro_f1")
_NUMBERS = (*_SCORES, "entity_precision", "entity_recall")
_SPAN = 0.2
_READING = (
    "Each point is a checkpoint, fine-tuned on that percentage of the train split and scored with its own head: solid "
    "lines are the test split, dashed lines validation. Each point is one training run, so it has no interval."
)


# Most steps of a curve of losses.
_MOST_STEPS = 200
_VALIDATION = Key("validation", GREY, "dashed")


class FinetuneSection(SectionBuilder):
    """Scores of fine-tuned checkpoints over training sizes: one curve per model and split."""

    kind = "finetune"
    title = "Fine-tuning"
    rule = (
        "Fine-tuning: the best training size",
        "The training size with the highest score on the test split, for each model.",
    )

    def is_current(self, stored: StoredResult) -> bool:
        """Return whether this release reads the spec of the checkpoint."""
        from biocache.engine.finetuning.spec import FinetuneSpec

        with suppress(MetadataError):
            return bool(as_type(stored.inputs.get("checkpoint"), FinetuneSpec))
        return False

    def wants(self, kept: Kept, request: ReportRequest) -> bool:
        """Return whether the page asks for a checkpoint."""
        return request.wants(**{name: _spec(kept)[name] for name in ("task", "dataset", "model", "training_size")})

    def suggestion(self, inventory: Inventory) -> tuple[str, FinetuneRequest]:
        """Fine-tune the first model of the store."""
        return self.kind, FinetuneRequest(**inventory.corpus)

    def recipes(self, results: Sequence[Kept], asked: Asked) -> list[Recipe]:
        """Return a recipe for all seeds of the same models and training sizes."""
        grids: dict[Any, list[Mapping[str, Any]]] = {}
        for own in by(map(_spec, results), "seed").values():
            grids.setdefault(frozenset((spec["model"], spec["training_size"]) for spec in own), []).extend(own)
        return [finetune_recipe(asked.store, specs, asked.inventory) for specs in grids.values()]

    def figures(self, results: Sequence[Kept], asked: Asked) -> Iterator[tuple[Figure, Sequence[Kept]]]:
        """Yield a figure for each group of checkpoints that differ only in model, training size and seed."""
        keys = keys_of(_spec(kept)["model"] for kept in results)
        for settings, shown in grouped(results, lambda kept: {name: _spec(kept).get(name) for name in _SETTINGS}):
            yield _figure(settings, _rows(shown), keys), shown
            losses = _losses(shown)
            if losses:
                yield _loss_figure(settings, losses), shown


def _spec(kept: Kept) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = kept.stored.inputs["checkpoint"]
    return spec


def _rows(results: Sequence[Kept]) -> list[Row]:
    """Return one row per checkpoint and split, sorted; for each checkpoint the newest."""
    rows: dict[tuple[Any, ...], Row] = {}
    for kept in results:
        spec = _spec(kept)
        for split in kept.dataset.split.values.tolist():
            own = kept.dataset.sel(split=split)
            rows[spec["model"], spec["training_size"], spec["seed"], split] = {
                **{name: spec[name] for name in ("model", "training_size", "seed")},
                "split": split,
                "train_samples": spec["train_samples"],
                "steps": int(own.steps) if "steps" in own else None,
                **{name: own[name].item() for name in (*_NUMBERS, "samples_per_second") if name in own},
            }
    return [rows[place] for place in sorted(rows)]


def _figure(settings: Mapping[str, Any], rows: Sequence[Row], keys: Mapping[str, Key]) -> Figure:
    scores = [name for name in _SCORES if any(name in row for row in rows)]
    return Figure(
        title=f"Fine-tuning for {settings['task']} on {settings['dataset']}",
        settings=written({name: value for name, value in settings.items() if name not in ("task", "dataset")}),
        reading=_READING,
        data=Table.of(rows),
        variants=[
            Variant(SCORE_TITLES[score], [Panel(SCORE_TITLES[score], _plot(rows, score, keys))]) for score in scores
        ],
        switch="score",
        keys=[*(keys[model] for (model,) in by(rows, "model")), _VALIDATION],
        extras=[
            ("Checkpoints", Table.of([{n: v for n, v in row.items() if n != "samples_per_second"} for row in rows]))
        ],
        findings=list(_findings(settings, rows, scores[0])),
        statements=list(_statements(settings, rows, scores[0])),
    )


def _losses(results: Sequence[Kept]) -> list[Row]:
    """Return the loss of each checkpoint and step, in training and on validation, of few steps of long trainings."""
    rows: dict[tuple[Any, ...], list[Row]] = {}
    for kept in results:
        spec = _spec(kept)
        place = {name: spec[name] for name in ("model", "training_size", "seed")}
        for part, name, dim in (("training", "loss", "step"), ("validation", "validation_loss", "evaluation_step")):
            if name not in kept.dataset:
                continue
            own = kept.dataset[name].dropna(dim)
            own = own.isel({dim: slice(None, None, -(-own.sizes[dim] // _MOST_STEPS) or 1)})
            steps = zip(own[dim].to_numpy().tolist(), own.to_numpy().tolist(), strict=True)
            rows[(*place.values(), part)] = [
                {**place, "part": part, "step": step, "loss": loss} for step, loss in steps
            ]
    return [row for place in sorted(rows) for row in rows[place]]


def _loss_figure(settings: Mapping[str, Any], rows: Sequence[Row]) -> Figure:
    """Draw the loss over the steps: a panel a model, a curve a training size and seed."""
    keys = keys_of([row["training_size"] for row in rows], " %")
    keys = {size: replace(key, marker="", dash="solid") for size, key in keys.items()}
    highest = max(row["loss"] for row in rows)
    return Figure(
        title=f"Loss of fine-tuning for {settings['task']} on {settings['dataset']}",
        settings=written({name: value for name, value in settings.items() if name not in ("task", "dataset")}),
        reading="The loss over the optimiser steps, in nats where classes are predicted: solid lines are the training "
        "batches, dashed lines the validation split at the ends of epochs, where it was measured.",
        data=Table.of(rows),
        variants=[
            Variant(
                "loss", [Panel(model, _loss_plot(own, keys, highest)) for (model,), own in by(rows, "model").items()]
            )
        ],
        keys=[*keys.values(), *([_VALIDATION] if any(row["part"] == "validation" for row in rows) else [])],
    )


def _loss_plot(rows: Sequence[Row], keys: Mapping[int, Key], highest: float) -> Plot:
    curves = [
        Curve(
            f"{size} %, seed {seed}, {part}",
            replace(keys[size], dash="solid" if part == "training" else _VALIDATION.dash),
            own,
        )
        for (size, seed, part), own in by(rows, "training_size", "seed", "part").items()
    ]
    last = max(row["step"] for row in rows)
    ticks = sorted({0, *range(0, last + 1, max(1, last // 5)), last})
    return curve_plot(
        curves, axes=("step", "loss"), titles=("optimiser step", "loss"), bounds=(0.0, highest), ticks=ticks
    )


def _statements(settings: Mapping[str, Any], rows: Sequence[Row], score: str) -> Iterator[Statement]:
    """Yield the test scores of each model at the smallest and the largest training size."""
    tested = [row for row in rows if row["split"] == "test" and np.isfinite(row.get(score, np.nan))]
    for (model,), own in by(tested, "model").items():
        sizes = by(own, "training_size")
        ends = sorted({min(sizes)[0], max(sizes)[0]})
        said = [f"{_over_seeds(sizes[size,], score)} fine-tuned on {size} %" for size in ends]
        single = any(len(sizes[size,]) == 1 for size in ends)
        untold = ": these data do not tell the sizes apart" if len(ends) > 1 else ""
        limit = f" Each is one training run, without an interval{untold}." if single else ""
        yield Statement(
            Study(settings["task"], settings["dataset"], model),
            order=5,
            lead="What the fine-tuned model scores",
            text=f"With its own head, its {SCORE_TITLES[score]} on the test split is {' and '.join(said)}.{limit}",
            rank=(len(sizes), len(own)),
            seeds=frozenset(row["seed"] for row in own),
            steps={size: at[0]["steps"] for (size,), at in sizes.items()},
        )


def _over_seeds(rows: Sequence[Row], score: str) -> str:
    values = [row[score] for row in rows]
    mean = f"{np.mean(values):.3f}"
    return f"{mean} (from {min(values):.3f} to {max(values):.3f} over {len(values)} seeds)" if len(values) > 1 else mean


def _findings(settings: Mapping[str, Any], rows: Sequence[Row], score: str) -> Iterator[Row]:
    """Pick the training size with the highest test score of each model; ties go to the smallest."""
    tested = [row for row in rows if row["split"] == "test" and np.isfinite(row.get(score, np.nan))]
    for (model, seed), own in by(tested, "model", "seed").items():
        best = max(own, key=lambda row: (row[score], -row["training_size"]))
        yield {
            "task": settings["task"],
            "dataset": settings["dataset"],
            "model": model,
            "seed": seed,
            "fine-tuned on": ", ".join(f"{row['training_size']} %" for row in own),
            "best training size": f"{best['training_size']} %",
            "score": SCORE_TITLES[score],
            "value": plain(best[score]),
        }


def _plot(rows: Sequence[Row], score: str, keys: Mapping[str, Key]) -> Plot:
    known = [row for row in rows if np.isfinite(row.get(score, np.nan))]
    curves = [
        Curve(
            f"{model}, {split}, seed {seed}",
            replace(keys[model], dash="solid" if split == "test" else _VALIDATION.dash),
            own,
        )
        for (model, seed, split), own in by(known, "model", "seed", "split").items()
    ]
    values = [row[score] for row in known] or [0.0]
    # A minimum range, so that scores that are close do not look far apart.
    middle = (min(values) + max(values)) / 2
    low, high = min(*values, max(0.0, middle - _SPAN / 2)), max(*values, min(1.0, middle + _SPAN / 2))
    return curve_plot(
        curves,
        axes=("training_size", score),
        titles=("training size, % of the train split", SCORE_TITLES[score]),
        bounds=(low, high),
        ticks=sorted({row["training_size"] for row in rows}),
    )
