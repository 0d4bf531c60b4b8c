"""What a comparison found, in a sentence or two: which head and layer moved most with training, and which least."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from biocache.engine.report.figure import Row, by
from biocache.engine.report.story import Number, Statement, Study, changed, moved, state_of, unlike

__all__ = ["attention_statements"]

_PREFERRED = "cosine"


def attention_statements(
    settings: Mapping[str, Any], rows: Sequence[Row], task_heads: Mapping[str, str]
) -> Iterator[Statement]:
    """Yield what moved most at the largest training size, and what moved least.

    Parameters
    ----------
    settings
        What the rows share: ``task``, ``dataset``, ``model``, ``trained_on``, ``baseline_model``,
        ``baseline_training_size``, ``exclude_special`` and ``seeds``.
    rows
        A row a metric, training size, layer and head.
    task_heads
        Model to the trained head that its configuration names at training size 0.
    """
    known = [row for row in rows if np.isfinite(row["mean"]) and np.isfinite(row["layer_mean"])]
    metrics = by(known, "metric")
    if not metrics:
        return
    own = metrics.get((_PREFERRED,)) or next(iter(metrics.values()))
    sizes = by(own, "training_size")
    first, last = min(sizes)[0], max(sizes)[0]
    baseline, heads = settings["baseline_model"], task_heads
    itself = baseline == settings["model"]
    state = state_of(settings["baseline_training_size"], heads.get(baseline, ""))
    against = f"the model {state}" if itself else f"{baseline} {state}"
    facts: dict[str, Any] = {
        "study": Study(settings["task"], settings["dataset"], settings["model"], settings["trained_on"]),
        "rank": (int(itself), int(not settings["exclude_special"]), len(sizes), len(own)),
        "seeds": frozenset(map(int, settings["seeds"].split(", "))) if last else frozenset(),
    }
    layers = {row["layer"]: row for row in sizes[last,]}
    yield Statement(
        order=1, lead="What moved most: attention", text=_most(sizes[first,], sizes[last,], layers, against), **facts
    )
    if len(layers) > 1:
        yield Statement(order=3, lead="What moved least: attention", text=_least(layers, last), **facts)


def _number(row: Row, of: str = "") -> Number:
    mean = "mean" if not of else f"{of}_mean"
    bounds = ("ci_low", "ci_high") if not of else (f"{of}_ci_low", f"{of}_ci_high")
    return Number(row[mean], *(row[bound] for bound in bounds))


def _distance(row: Row, of: str = "") -> float:
    return abs(_number(row, of).value - float(row["identity"]))


def _most(before: Sequence[Row], after: Sequence[Row], layers: Mapping[int, Row], against: str) -> str:
    """Write which head and which layer moved most."""
    row = max(after, key=_distance)
    number, size = _number(row), row["training_size"]
    others = {f"{other['layer']}.{other['head']}": _number(other) for other in after if other is not row}
    close = [name for name, other in others.items() if not number.is_apart(other)]
    unit = "" if row["unit"] == "1" else f" {row['unit']}"
    text = f"At {size} %, compared with {against}, head {row['head']} of layer {row['layer']} moved most: "
    text += f"{row['title']} {number}{unit}{moved(number, row['identity'], row['chance'])}"
    if close:
        verb = "is" if len(close) == 1 else "are"
        text += f" Of the {len(others)} other heads {len(close)} {verb} not told apart from it."
    same = [other for other in before if (other["layer"], other["head"]) == (row["layer"], row["head"])]
    if same and same[0]["training_size"] != size:
        start = _number(same[0])
        text += f" At {same[0]['training_size']} % it was {start}: {changed('it', start, number)}."
    if len(layers) > 1:
        layer = max(layers, key=lambda each: _distance(layers[each], "layer"))
        text += f" Of the layers, layer {layer} moved most, with a mean over its heads of {_of_layer(layers, layer)}."
    return text


def _least(layers: Mapping[int, Row], size: int) -> str:
    """Write which layer moved least."""
    layer = min(layers, key=lambda each: _distance(layers[each], "layer"))
    row = layers[layer]
    number = _number(row, "layer")
    text = f"At {size} %, layer {layer} moved least, with a mean over its heads of {_of_layer(layers, layer)}"
    return text + moved(number, row["identity"], row["layer_chance"])


def _of_layer(layers: Mapping[int, Row], layer: int) -> str:
    number = _number(layers[layer], "layer")
    others = {str(each): _number(row, "layer") for each, row in layers.items() if each != layer}
    return f"{number}{unlike(number, others, 'layer')}"
