"""What probes found, in a sentence or two: the best layer before and after fine-tuning, and what it is above."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from biocache.engine.analyses.probing.layers import is_single
from biocache.engine.metrics import NUMBER_SCORES, SCORE_TITLES
from biocache.engine.report.figure import Row, by
from biocache.engine.report.story import Number, Statement, Study, changed, state_of, unlike

__all__ = ["probe_statements"]

_LEAD = "What its layers hold"


def probe_statements(
    settings: Mapping[str, Any], rows: Sequence[Row], score: str, task_heads: Mapping[str, str]
) -> Iterator[Statement]:
    """Yield a statement on each model that is not randomly initialised.

    Parameters
    ----------
    settings
        What the rows share: ``task``, ``dataset``, and where they are there ``labels``, ``level``, ``erase`` and
        ``fit_at``.
    rows
        A row a model, dataset trained on, training size, seed and layer, with the score, its interval and its majority.
    score
        The score.
    task_heads
        Model to the trained head that its configuration names at training size 0.
    """
    known = [r for r in rows if np.isfinite(r[score]) and is_single(r["layer"]) and not r["random_weights"]]
    for (model, trained_on), own in by(known, "model", "trained_on").items():
        # What was fine-tuned elsewhere starts from the same model.
        start = [row for row in known if trained_on and (row["model"], row["training_size"]) == (model, 0)]
        sizes = by([*start, *own], "training_size")
        first, last = min(sizes)[0], max(sizes)[0]
        ends = {size: _layers(sizes[size,], score) for size in dict.fromkeys((first, last))}
        heads = task_heads.get(model, "")
        parts = [
            _best(layers, f"{SCORE_TITLES[score]}", state_of(size, heads), sizes[size,], score)
            for size, layers in ends.items()
        ]
        text = " ".join(parts)
        if last != first:
            before, after = (max(layers.values(), key=lambda number: number.value) for layers in ends.values())
            text += f" From {first} % to {last} %, {changed('the best score', before, after)}."
        plain = not settings.get("erase") and settings.get("fit_at") is None and settings.get("labels") == "gold"
        yield Statement(
            Study(settings["task"], settings["dataset"], model, trained_on),
            order=0,
            lead=_LEAD,
            text=text,
            rank=(int(plain), len(sizes), len(own)),
            seeds=frozenset(row["seed"] for row in own if row["training_size"]),
        )


def _layers(rows: Sequence[Row], score: str) -> dict[int, Number]:
    """Return the score of each layer, over all seeds of the training."""
    return {
        int(layer): Number.over([Number(r[score], r[f"{score}_ci_low"], r[f"{score}_ci_high"]) for r in own])
        for (layer,), own in sorted(by(rows, "layer").items())
    }


def _best(layers: Mapping[int, Number], title: str, state: str, rows: Sequence[Row], score: str) -> str:
    """Write which layer is the best, and what it is above."""
    layer = max(layers, key=lambda each: (layers[each].value, -each))
    best = layers[layer]
    known = [row[f"{score}_majority"] for row in rows if np.isfinite(row[f"{score}_majority"])]
    guess = "always predicting the mean" if score in NUMBER_SCORES else "always answering the most frequent label"
    said = []
    if layer and 0 in layers:
        said.append(_beside(best, layers[0], "layer 0, which has no context,"))
    if known:
        said.append(_beside(best, Number(max(known)), guess))
        if not best.is_apart(max(known)):
            said[-1] += " (not told apart)"
    text = f"{state[0].upper()}{state[1:]}, a probe reads the labels best from layer {layer}: {title} {best}"
    text += f", {' and '.join(said)}" if said else ""
    return f"{text}{unlike(best, {str(each): own for each, own in layers.items() if each != layer}, 'layer')}."


def _beside(best: Number, other: Number, what: str) -> str:
    return f"{abs(best.value - other.value):.3f} {'below' if best.value < other.value else 'above'} {what}"
