"""The report section of `compare-attention`: heat maps of layers and heads, one figure per pair of models."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from biocache.engine.analyses.attention.details import detail_tables
from biocache.engine.analyses.attention.figures import mean_best_match
from biocache.engine.analyses.attention.request import AttentionRequest
from biocache.engine.analyses.attention.story import attention_statements
from biocache.engine.extraction.request import ExtractionRequest
from biocache.engine.grouping import interval_note, seed_note
from biocache.engine.palette import CHANGE, DIFFERENCE, SIMILARITY
from biocache.engine.report.figure import Figure, Panel, Row, Scale, Table, Variant, by, interval, plain
from biocache.engine.report.inventory import Inventory
from biocache.engine.report.plots import MAPS, heat_plot, heat_width
from biocache.engine.report.request import ReportRequest
from biocache.engine.report.section import AnalysisSection, Asked, Kept, grouped
from biocache.engine.request import Request

__all__ = ["AttentionSection"]

# Heads in the table of the most changed ones, for each metric and training size.
_MOST_CHANGED = 5
_NUMBERS = (
    *("mean", "std", "ci_low", "ci_high", "chance", "chance_ci_low", "chance_ci_high", "above_chance"),
    *("between_seeds", "between_seeds_ci_low", "between_seeds_ci_high", "count"),
)
_READING = (
    "Each cell is a head of a layer; its colour is the mean over test samples of the similarity of its attention maps "
    "in the two models. Point at a cell for its interval and its chance level, the mean of all mismatched heads of the "
    "layer; “above chance” maps that level to 0 and identical maps to 1."
)
_FLOOR = (
    " “Between seeds” is the same between the runs of two seeds of a training size: a difference as large need not come"
    " from the training size."
)
_PAIRS = (
    "Each cell is a layer of the baseline and a layer of the other model; its colour is the mean of best matches: the "
    "mean, over the baseline's heads, of the value of the most similar head of the other layer."
)
_ATTRIBUTES = (
    "task",
    "dataset",
    "view",
    "split",
    "model",
    "seeds",
    "baseline_model",
    "baseline_training_size",
    "level",
    "samples",
    "special_positions",
    "group",
    "groups",
)
# The settings that change the means; others only add variables.
_FLAGS = ("exclude_special", "all_pairs", "resamples", "resampling_seed")
_PLACE = ("metric", "training_size", "layer")
_SHOWN = ("mean", "ci_low", "ci_high", "chance", "above_chance", "between_seeds")


class AttentionSection(AnalysisSection):
    """Heat maps of compared attention: one per training size, for each metric and its value above chance."""

    title = "Attention"
    rule = (
        "Attention: the most changed layer",
        "The most changed training size and layer, by the mean over samples and heads.",
    )

    def wants(self, kept: Kept, request: ReportRequest) -> bool:
        """Return whether the page asks for all models of a comparison; training sizes are selected by row."""
        alike = all(request.wants(task=key.task, dataset=key.dataset, model=key.model) for key in kept.runs)
        return alike and request.wants_training(kept.dataset.attrs.get("trained_on", ""))

    def suggestion(self, inventory: Inventory) -> tuple[str, Request]:
        """Compare fine-tuned with pre-trained runs; without those, two models; else extract runs to compare."""
        keys = [key for key in inventory.with_attention if key.split == "test"]
        for first in keys:
            same = [key for key in keys if (key.task, key.dataset, key.view) == (first.task, first.dataset, first.view)]
            named: dict[str, Any] = {name: getattr(first, name) for name in ("task", "dataset", "model", "view")}
            if first.training_size == 0 and any(key.model == first.model and key.training_size for key in same):
                return self.kind, AttentionRequest(**named)
            # Keys are in the order of models: a pair of models is found only where no sizes of the first are.
            others = [key for key in same if key.model != first.model and key.training_size == first.training_size == 0]
            if others and not any(key.training_size for key in keys):
                return self.kind, AttentionRequest(**named, against=others[0].model, all_pairs=True)
        return "extract", ExtractionRequest(**inventory.corpus, training_sizes=(0, 10, 100))

    def figures(self, results: Sequence[Kept], asked: Asked) -> Iterator[tuple[Figure, Sequence[Kept]]]:
        """Yield a figure of all comparisons that differ only in training sizes and metrics."""
        for settings, shown in grouped(results, _settings):
            across = "other_layer" if settings["all_pairs"] else "head"
            # The newest result's row for each place.
            rows = {
                tuple(row[name] for name in (*_PLACE, across)): row
                for kept in shown
                for row in self.rows_of(kept, asked, across)
            }
            if rows:
                ordered = [rows[place] for place in sorted(rows)]
                details = [] if across == "other_layer" else list(detail_tables([kept.dataset for kept in shown]))
                yield _figure(settings, across, ordered, asked.inventory.task_heads, details), shown

    def rows_of(self, kept: Kept, asked: Asked, across: str) -> list[Row]:
        """Return a row per layer and head; of all pairs, one per pair of layers, with the ``mean`` of best matches."""
        result = kept.dataset
        if across == "other_layer":
            result = result.assign(mean=mean_best_match(result))
        return self.rows(kept, asked, result.drop_dims([dim for dim in result.dims if dim not in (*_PLACE, across)]))


def _settings(kept: Kept) -> dict[str, Any]:
    chosen = kept.stored.inputs["settings"]
    return {
        **{name: kept.dataset.attrs[name] for name in _ATTRIBUTES},
        "trained_on": kept.dataset.attrs.get("trained_on", ""),
        **{name: chosen[name] for name in _FLAGS},
    }


def _figure(
    settings: Mapping[str, Any],
    across: str,
    rows: Sequence[Row],
    task_heads: Mapping[str, str],
    details: Sequence[tuple[str, Table]] = (),
) -> Figure:
    model, baseline = settings["model"], settings["baseline_model"]
    elsewhere = f", trained on {settings['trained_on']}," if settings["trained_on"] else ""
    against = f"{'itself' if baseline == model else baseline} at {settings['baseline_training_size']} %"
    special = f", special positions {settings['special_positions']}"
    pairs = across == "other_layer"
    counts = {row["training_size"]: int(row.get("seed_count", 1)) for row in rows}
    notes = [] if pairs else [interval_note(settings), seed_note(counts)]
    columns = [*_PLACE, across, *(name for name in _NUMBERS if name in rows[0])]
    reading = _PAIRS if pairs else _READING + (_FLOOR if "between_seeds" in rows[0] else "")
    seeds = settings["seeds"].split(", ")
    return Figure(
        title=f"Attention of {model}{elsewhere} against {against}: {settings['task']} on {settings['dataset']}",
        settings=f"view {settings['view']}, {settings['split']} split, {settings['samples']:,} samples, "
        f"seed{'s' if len(seeds) > 1 else ''} {settings['seeds']}, by {settings['level']}{special}",
        reading=" ".join([reading, *(f"{note[0].upper()}{note[1:]}." for note in notes)]),
        data=Table.of([{name: row[name] for name in columns} for row in rows]),
        variants=list(_variants(rows, across)),
        switch="metric",
        extras=[] if pairs else [("Most changed heads", _most_changed(rows)), *details],
        findings=[] if pairs else list(_findings(settings, rows)),
        statements=[] if pairs else list(attention_statements(settings, rows, task_heads)),
        shown_runs={name: settings[name] for name in ("task", "dataset", "model", "trained_on", "view")}
        | {"seed": int(seeds[0])},
    )


def _distance(row: Row, name: str = "mean") -> float:
    """Return the distance of a mean from the value for identical maps."""
    return float(abs(row[name] - row["identity"]))


def _most_changed(rows: Sequence[Row]) -> Table:
    """Return the most changed heads of each metric and training size."""
    known = [row for row in rows if np.isfinite(row["mean"])]
    groups = by(known, "metric", "training_size").values()
    found = [row for own in groups for row in sorted(own, key=_distance, reverse=True)[:_MOST_CHANGED]]
    return Table.of([{name: row[name] for name in (*_PLACE, "head", *_SHOWN) if name in row} for row in found])


def _findings(settings: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[Row]:
    """Pick the most changed training size and layer of each metric, by the mean over heads."""
    for own in by((row for row in rows if np.isfinite(row["layer_mean"])), "metric").values():
        row = max(own, key=lambda row: _distance(row, "layer_mean"))
        yield {
            "task": settings["task"],
            "dataset": settings["dataset"],
            "view": f"{settings['view']}{', no special' if settings['exclude_special'] else ''}",
            "model": settings["model"],
            "against": f"{settings['baseline_model']} at {settings['baseline_training_size']} %",
            "metric": row["metric"] if row["unit"] == "1" else f"{row['metric']}, {row['unit']}",
            "identical maps": row["identity"],
            "training size": f"{row['training_size']} %"
            + (f" of {settings['trained_on']}" if settings["trained_on"] else ""),
            "layer": row["layer"],
            "mean over heads": plain(row["layer_mean"]),
            "95 % interval": interval(row["layer_ci_low"], row["layer_ci_high"]),
            **_between_seeds(row),
        }


def _between_seeds(row: Row) -> Row:
    """Return the seed floor of a layer; nothing where no size has several seeds."""
    if "layer_between_seeds" not in row:
        return {}
    return {
        "between seeds": plain(row["layer_between_seeds"]),
        "95 % interval between seeds": interval(row["layer_between_seeds_ci_low"], row["layer_between_seeds_ci_high"]),
    }


def _variants(rows: Sequence[Row], across: str) -> Iterator[Variant]:
    for (metric, title, unit), own in by(rows, "metric", "title", "unit").items():
        scale = _scale(own, title if unit == "1" else f"{title}, {unit}")
        yield Variant(metric, list(_panels(own, across, "mean", scale)), scale)
        if any(np.isfinite(row.get("above_chance", np.nan)) for row in own):
            signed = Scale("0: chance, 1: identical maps", -1.0, 1.0, MAPS[CHANGE])
            yield Variant(f"{metric}, above chance", list(_panels(own, across, "above_chance", signed)), signed)
        seeded = [row for row in own if np.isfinite(row.get("between_seeds", np.nan))]
        if seeded:
            yield Variant(f"{metric}, between seeds", list(_panels(seeded, across, "between_seeds", scale)), scale)


def _scale(rows: Sequence[Row], title: str) -> Scale:
    """Return the colours: symmetric about 0 for a change, else up to the value for identical maps."""
    identity = rows[0]["identity"]
    values = [row[name] for row in rows for name in ("mean", "between_seeds") if name in row]
    known = [value for value in values if np.isfinite(value)]
    low, high = min([*known, identity]), max([*known, identity])
    # A change may be positive or negative.
    if identity not in (low, high) or (low < 0 and identity == 0):
        farthest = max(-low, high)
        return Scale(title, -farthest, farthest, MAPS[CHANGE])
    # Bright is identical, at whichever end the identical maps are; the maps of colours tell the ends apart.
    kind = SIMILARITY if identity == high else DIFFERENCE
    return Scale(title, low, high if high > low else low + 1.0, MAPS[kind])


def _panels(rows: Sequence[Row], across: str, value: str, scale: Scale) -> Iterator[Panel]:
    tips = [("layer", "@layer"), (across.replace("_", " "), f"@{across}"), ("mean", "@mean{0.000}")]
    if across == "head":
        tips += [("95 % interval", "@ci_low{0.000} to @ci_high{0.000}"), ("chance", "@chance{0.000}")]
        tips += [("above chance", "@above_chance{0.000}"), ("samples", "@count")]
        if "between_seeds" in rows[0]:
            tips.append(("between seeds", "@between_seeds{0.000}"))
    for (size,), own in by(rows, "training_size").items():
        names = [name for name in ("layer", across, *_SHOWN, "count") if name in own[0]]
        cells = [{name: row[name] for name in names} for row in own]
        width = heat_width(len({cell[across] for cell in cells}))
        yield Panel(
            f"training size {size} %",
            heat_plot(cells, value=value, axes=(across, "layer"), scale=scale, tips=tips),
            width,
        )
