"""The report section of `probe`: curves over layers, one figure for all results of the same settings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from biocache.engine.analyses.probing.concepts import erasure_note, erasure_title
from biocache.engine.analyses.probing.confusion import best_places, class_table, confusion_variants
from biocache.engine.analyses.probing.controls import CONTROLS
from biocache.engine.analyses.probing.information import INFORMATION
from biocache.engine.analyses.probing.layers import is_single
from biocache.engine.analyses.probing.notes import SEVERAL_SEEDS
from biocache.engine.analyses.probing.pooling import written_pooling
from biocache.engine.analyses.probing.request import ProbeRequest
from biocache.engine.analyses.probing.result import predicted_of
from biocache.engine.analyses.probing.story import probe_statements
from biocache.engine.analyses.probing.table import mean_rows
from biocache.engine.analyses.probing.transfer import FITTED_AT, fitted_title, transfer_note
from biocache.engine.corpora.base import TASKS
from biocache.engine.grouping import ONE_SEED, interval_note
from biocache.engine.metrics import SCORE_TITLES, main_score
from biocache.engine.palette import GREY
from biocache.engine.report.figure import Figure, Key, Panel, Plot, Row, Table, Variant, by, interval, plain, written
from biocache.engine.report.inventory import Inventory
from biocache.engine.report.plots import Curve, curve_plot, keys_of
from biocache.engine.report.section import AnalysisSection, Asked, Kept, grouped
from biocache.engine.sources import RANDOM_WEIGHTS
from biocache.store.keys import RunKey
from biocache.store.sealing import digest_of

__all__ = ["ProbeSection"]

# Largest score, and the smallest that is drawn.
_HIGHEST, _LOWEST = 1.0, -1.0
_READING = (
    "Each point is the score on the test split of a classifier fitted to the features of one layer; bands are 95 % "
    "intervals. The dotted line is the majority baseline; dashed lines show the score of layer 0, "
    "which sees the tokens without context."
)
_MERGED = (
    " Merged-entity F1 counts consecutive words of one type as one entity, in the truth and in the predictions, since "
    "these runs hold merged types: adjacent entities of one type count as one."
)
_MIXED = (
    " The weights of the mean of layers are learnt together with its classifier and sum to 1; they say what helps "
    "beside the other layers, not what a layer holds."
)
_CODES = (
    " Compression is the length of the prior code of the train labels, which knows how often each label was and no "
    "features, over their online code length: up to 1 the probe read nothing from the layer."
)
_INFORMATION = (
    " V-information is what the probe takes off the cross-entropy of the label frequencies of the train split, in "
    "bits a row (Xu et al. 2020)."
)
_CONDITIONAL = (
    " Conditional information is what a probe of a layer and layer {given} side by side takes off the cross-entropy of "
    "one of layer {given} alone (Hewitt et al. 2021)."
)
_SELECTIVITY = (
    " Selectivity is the score minus the score on a control task, {control}, which only memorising helps; Hewitt and "
    "Liang (2019) took the accuracy. Where the control is at or below the score of its own most frequent label,"
    " nothing was memorised, and the selectivity says nothing of the layer, however large or small it is."
)
_RANDOM = Key("random weights", GREY, "dashed", "circle")
_LAYER_0 = Key("layer 0", GREY, "dashed")
_TOGETHER = Key("layers seen together", GREY, "dashdot")
_MAJORITY = Key("majority", GREY, "dotted")
_SPLITS = ("train", "test", "validation")
_PLACE = ("model", "trained_on", "training_size", "seed")


class ProbeSection(AnalysisSection):
    """Probes over layers: one panel per model, one curve per training size."""

    title = "Probes"
    rule = (
        "Probes: the best layer",
        "The layer with the highest score, for each model and training size. It is chosen on the test split, so its "
        "interval is too optimistic.",
    )

    def suggestion(self, inventory: Inventory) -> tuple[str, ProbeRequest]:
        """Probe the first corpus with complete runs."""
        if not inventory.complete:
            return self.kind, ProbeRequest(task=next(iter(TASKS)))
        key = inventory.complete[0]
        views = {other.view for other in inventory.complete if (other.task, other.dataset) == (key.task, key.dataset)}
        features = "pair" if views == {"pair"} else None
        return self.kind, ProbeRequest(task=key.task, dataset=key.dataset, features=features)

    def figures(self, results: Sequence[Kept], asked: Asked) -> Iterator[tuple[Figure, Sequence[Kept]]]:
        """Yield a figure for each group of results of the same settings, with one panel per model and score."""
        groups = [(settings, shown, self._merged(shown, asked)) for settings, shown in grouped(results, _settings)]
        sizes = [row["training_size"] for *_, rows in groups for row in rows]
        keys = keys_of([*sizes, *(run.key.training_size for run in asked.inventory.runs)], " %")
        for settings, shown, rows in groups:
            if rows:
                yield self._with_classes(_figure(settings, rows, keys, asked.inventory.task_heads), shown, asked), shown

    def _with_classes(self, figure: Figure, results: Sequence[Kept], asked: Asked) -> Figure:
        """Add what the best layers confuse, and the scores of each class."""
        datasets = [kept.dataset for kept in results]
        found = [
            (place, own)
            for place, own in best_places(datasets, main_score(datasets[0].score.to_numpy().tolist()))
            if asked.request.wants(**place) and asked.request.wants_training(place.get("trained_on", ""))
        ]
        if not found:
            return figure
        return replace(
            figure,
            switch="score or matrix",
            variants=[*figure.variants, *confusion_variants(found)],
            extras=[("Classes, in the best layers", class_table(found))],
        )

    def _merged(self, results: Sequence[Kept], asked: Asked) -> list[Row]:
        """Return the rows of some results, sorted; for each place the newest row."""
        merged: dict[tuple[Any, ...], tuple[Any, Row]] = {}
        for kept in results:
            origins = {_place(cell): [cell.get(split) for split in _SPLITS] for cell in kept.stored.inputs["cells"]}
            for found in self.rows(kept, asked):
                row = {**found, "trained_on": found.get("trained_on", "")}
                place = tuple(row[name] for name in _PLACE)
                origin, known = merged.get((*place, row["layer"]), (None, {}))
                # A later result without a control keeps the selectivity that an earlier one has for the same runs.
                same = known if origin == origins.get(place) else {}
                # The best layer of one result may not be the best of the figure.
                own = {name: value for name, value in row.items() if name != "best"}
                merged[*place, row["layer"]] = (origins.get(place), {**same, **own})
        return [merged[place][1] for place in sorted(merged, key=_in_order)]


def _in_order(place: tuple[Any, ...]) -> tuple[Any, ...]:
    """Order layers by number, and after them what sees several."""
    *where, layer = place
    return (*where, (0, layer, "") if is_single(layer) else (1, 0, layer))


def _settings(kept: Kept) -> dict[str, Any]:
    """Return the settings that the results of a figure share; the scores depend on the label scheme of the runs."""
    inputs = kept.stored.inputs
    return {
        "task": kept.dataset.attrs["task"],
        "dataset": kept.dataset.attrs["dataset"],
        "views": kept.dataset.attrs["views"],
        "level": kept.dataset.attrs["level"],
        "split": kept.dataset.attrs["split"],
        "backend": inputs["backend"],
        **{name: value for name, value in inputs["settings"].items() if name not in ("control", "mdl")},
        "c": inputs.get("c"),
        "probe": inputs["probe"],
        **{name: value for name, value in kept.dataset.attrs.items() if name in ("group", "groups", FITTED_AT)},
        # Results of one name and other code are other figures.
        "own": inputs.get("own"),
        "scores": kept.dataset.score.to_numpy().tolist(),
    }


def _figure(
    settings: Mapping[str, Any], rows: Sequence[Row], keys: Mapping[int, Key], task_heads: Mapping[str, str]
) -> Figure:
    main = main_score(settings["scores"])
    scores = [main, *(score for score in settings["scores"] if score != main)]
    what = predicted_of(settings["task"], settings["labels"], settings["level"])
    several = len({row["seed"] for row in rows}) > 1
    means = mean_rows(rows, scores)
    rows = [*rows, *means]
    codes, weights = list(_codes(rows, keys)), list(_weights(rows, keys))
    bits = {name: list(_bits(rows, name, keys)) for name in INFORMATION}
    controlled = any(np.isfinite(row.get(f"selectivity_{main}", np.nan)) for row in rows)
    erased = settings.get("erase")
    notes = [
        interval_note(settings),
        *([erasure_note(erased, settings["level"])] if erased else []),
        *([transfer_note(settings)] if FITTED_AT in settings else []),
        *([] if several else [ONE_SEED]),
        *([SEVERAL_SEEDS] if means else []),
    ]
    return Figure(
        title=f"Probe of {what} on {settings['dataset']}: {settings['probe']}{fitted_title(settings.get('fit_at'))}"
        f"{erasure_title(settings.get('erase'))}",
        settings=_written(settings),
        reading=_READING
        + (_MERGED if "merged_entity_f1" in scores else "")
        + (_SELECTIVITY.format(control=_control(settings)) if controlled else "")
        + (_CODES if codes else "")
        + (_MIXED if weights else "")
        + (_INFORMATION if bits["v_information"] else "")
        + (_CONDITIONAL.format(given=settings["given"]) if bits["conditional_information"] else "")
        + "".join(f" {note[0].upper()}{note[1:]}." for note in notes),
        data=Table.of(_written_rows(rows)),
        variants=[
            Variant(
                SCORE_TITLES[score],
                [*_panels(rows, score, keys), *_selectivity(rows, score, keys), *codes, *weights],
            )
            for score in scores
        ]
        + [Variant(INFORMATION[name], panels) for name, panels in bits.items() if panels],
        switch="score",
        keys=[
            *(keys[size] for size in sorted({row["training_size"] for row in rows if not row["random_weights"]})),
            *([_RANDOM] if any(row["random_weights"] for row in rows) else []),
            _LAYER_0,
            *([_TOGETHER] if not all(is_single(row["layer"]) for row in rows) else []),
            _MAJORITY,
        ],
        findings=list(_findings(settings, rows, main)),
        statements=list(probe_statements(settings, rows, main, task_heads)),
    )


def _findings(settings: Mapping[str, Any], rows: Sequence[Row], score: str) -> Iterator[Row]:
    """Pick the layer with the highest score of each model, training size and seed; ties go to the first layer."""
    alone = (row for row in rows if np.isfinite(row[score]) and is_single(row["layer"]))
    for (model, trained_on, size, seed), own in by(alone, *_PLACE).items():
        best = max(own, key=lambda row: (row[score], -row["layer"]))
        yield {
            "task": settings["task"],
            "dataset": settings["dataset"],
            "probe": settings["probe"],
            "model": model,
            "training size": f"{size} %{_elsewhere(' of ', trained_on)}",
            "seed": seed,
            "best layer": best["layer"],
            "score": SCORE_TITLES[score],
            "value": plain(best[score]),
            "95 % interval": interval(best[f"{score}_ci_low"], best[f"{score}_ci_high"]),
            "majority": plain(best[f"{score}_majority"]),
        }


def _place(cell: Mapping[str, Any]) -> tuple[str, str, int, int]:
    key = RunKey.from_path(cell["test"][0]["run"])
    return key.model, key.trained_on, key.training_size, key.seed


def _elsewhere(before: str, trained_on: str) -> str:
    """Write the dataset that a model was fine-tuned on where it is not the one that it reads."""
    return f"{before}{trained_on}" if trained_on else ""


def _written_rows(rows: Sequence[Row]) -> list[Row]:
    """Return rows with the dataset trained on where one of them has another than it reads."""
    first = ("model", "trained_on") if any(row["trained_on"] for row in rows) else ("model",)
    return [
        {name: row[name] for name in first} | {name: value for name, value in row.items() if name != "trained_on"}
        for row in rows
    ]


def _written(settings: Mapping[str, Any]) -> str:
    of_pairs = f"views {settings['views']} ({settings['combine']})"
    rows = of_pairs if "," in settings["views"] else settings["views"]
    if settings["level"] != "samples":
        rows = settings["level"]
    if settings["level"] == "relations":
        rows = f"relations ({settings['combine']})"
    known = {
        "C": settings["c"] if not isinstance(settings["c"], list) else "chosen on validation",
        **{name: settings.get(name) for name in ("gamma", "hidden_size", "epochs", "learning_rate", "batch_size")},
        "maximum iterations": settings.get("max_iterations"),
        "maximum train samples": settings["max_train_samples"],
        "train rows": None if settings.get("train_on") in (None, "all") else settings["train_on"],
        "given layer": settings.get("given"),
        "seeds of the probe": settings["seeds"],
        "resamples": settings["resamples"],
        "code": settings["own"] and f"{digest_of(settings['own'])[:8]}",
    }
    return ", ".join([rows, written_pooling(settings["pooling"]), settings["backend"], written(known)])


def _panels(rows: Sequence[Row], score: str, keys: Mapping[int, Key]) -> Iterator[Panel]:
    """Draw the score of every model, with its baselines."""
    values = [row[f"{score}{part}"] for row in rows for part in ("", "_ci_low", "_ci_high", "_majority")]
    known = [value for value in values if np.isfinite(value)]
    # R² has no smallest value.
    bounds = max(_LOWEST, min(known, default=0.0)), min(_HIGHEST, max(known, default=1.0))
    for model, own in _of_panels(rows).items():
        lines = [
            (row[score], replace(_LAYER_0, color=keys[row["training_size"]].color))
            for row, *_ in by(own, *_PLACE).values()
            if row["layer"] == 0 and not row["random_weights"]
        ]
        lines += [
            (row[score], replace(_TOGETHER, color=keys[row["training_size"]].color))
            for row in own
            if not is_single(row["layer"]) and not row["random_weights"] and np.isfinite(row[score])
        ]
        lines += [(majority, _MAJORITY) for (majority,) in by(own, f"{score}_majority")]
        yield Panel(model, _plot(own, score, lines, f"test {SCORE_TITLES[score]}", bounds, keys))


def _control(settings: Mapping[str, Any]) -> str:
    return f"a {CONTROLS[settings['level']]}"


def _selectivity(rows: Sequence[Row], score: str, keys: Mapping[int, Key]) -> Iterator[Panel]:
    """Draw the selectivity of every model that has one."""
    title = f"{SCORE_TITLES[score]} minus control"
    yield from _signed(rows, f"selectivity_{score}", "selectivity", title, keys)


def _bits(rows: Sequence[Row], name: str, keys: Mapping[int, Key]) -> Iterator[Panel]:
    """Draw the information of every model that has it, in bits a row."""
    yield from _signed(rows, name, INFORMATION[name], f"{INFORMATION[name]}, bits a row", keys)


def _signed(rows: Sequence[Row], name: str, what: str, title: str, keys: Mapping[int, Key]) -> Iterator[Panel]:
    """Draw a number of every model that has it, about 0, that of its baseline."""
    known = [row for row in rows if np.isfinite(row.get(name, np.nan))]
    values = [0.0, *(row[f"{name}{end}"] for row in known for end in ("", "_ci_low", "_ci_high"))]
    bounds = (min(values), max(values))
    for model, own in _of_panels(known).items():
        yield Panel(f"{model}: {what}", _plot(own, name, [(0.0, _MAJORITY)], title, bounds, keys))


def _codes(rows: Sequence[Row], keys: Mapping[int, Key]) -> Iterator[Panel]:
    """Draw the code length of every model that has one, as a part of the prior code's."""
    known = [row for row in rows if np.isfinite(row.get("prior_compression", np.nan))]
    values = [1.0, *(row["prior_compression"] for row in known)]
    bounds, title = (min(values), max(values)), "prior code length over code length"
    for model, own in _of_panels(known).items():
        yield Panel(f"{model}: compression", _plot(own, "prior_compression", [(1.0, _MAJORITY)], title, bounds, keys))


def _weights(rows: Sequence[Row], keys: Mapping[int, Key]) -> Iterator[Panel]:
    """Draw the weights of the learnt mean of layers of every model that has one."""
    known = [row for row in rows if np.isfinite(row.get("mix_weight", np.nan))]
    highest = max((row["mix_weight"] for row in known), default=1.0)
    for model, own in _of_panels(known).items():
        yield Panel(
            f"{model}: mean of layers", _plot(own, "mix_weight", [], "weight of the layer", (0.0, highest), keys)
        )


def _of_panels(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of every model, including those of its randomly initialised twin.

    What was trained elsewhere has a panel a dataset, with those of the pre-trained model.
    """
    names = {row["model"] for row in rows}
    panels: dict[str, list[Row]] = {}
    for row in rows:
        owner = row["model"].removesuffix(RANDOM_WEIGHTS) if row["random_weights"] else row["model"]
        panel = f"{row['model'] if owner not in names else owner}{_elsewhere(', trained on ', row['trained_on'])}"
        if row["trained_on"] and panel not in panels:
            panels[panel] = [other for other in rows if (other["model"], other["training_size"]) == (row["model"], 0)]
        panels.setdefault(panel, []).append(row)
    return panels


def _plot(
    rows: Sequence[Row],
    score: str,
    lines: Sequence[tuple[float, Key]],
    title: str,
    bounds: tuple[float, float],
    keys: Mapping[int, Key],
) -> Plot:
    # Later curves are drawn on top.
    alone = [row for row in rows if is_single(row["layer"])]
    ordered = sorted(alone, key=lambda row: not row["random_weights"])
    curves = [
        Curve(
            f"{model}, {size} %{_elsewhere(' of ', trained_on)}, seed {seed}",
            _RANDOM if own[0]["random_weights"] else keys[size],
            own,
        )
        for (model, trained_on, size, seed), own in by(ordered, *_PLACE).items()
    ]
    ticks = sorted({row["layer"] for row in alone})
    return curve_plot(curves, lines, axes=("layer", score), titles=("layer", title), bounds=bounds, ticks=ticks)
