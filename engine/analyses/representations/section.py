"""The report section of `compare-representations`: for each result its table, heat maps and curves."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from biocache.engine.report.figure import Row, by
from biocache.engine.report.section import AnalysisSection, Asked, Kept
from biocache.engine.report.story import Number, Statement, Study, changed, moved, state_of, unlike

__all__ = ["RepresentationSection"]

_PREFERRED = "cka"


class RepresentationSection(AnalysisSection):
    """The figures and the table of each comparison of representations."""

    title = "Representations"

    def statements(self, kept: Kept, asked: Asked) -> Iterator[Statement]:
        """Yield which layer changed most at the largest training size, and which least."""
        equal = [row for row in self.rows(kept, asked) if row["layer"] == row["other_layer"]]
        metrics = by((row for row in equal if np.isfinite(row["value"])), "metric")
        own = metrics.get((_PREFERRED,)) or next(iter(metrics.values()), [])
        if not own:
            return
        facts, sizes = kept.dataset.attrs, by(own, "training_size")
        first, last = min(sizes)[0], max(sizes)[0]
        layers = {row["layer"]: row for row in sizes[last,]}
        order = sorted(layers, key=lambda layer: _distance(layers[layer]))
        baseline = facts["baseline_model"]
        itself = baseline == facts["model"]
        state = state_of(facts["baseline_training_size"], asked.inventory.task_heads.get(baseline, ""))
        against = f"the model {state}" if itself else f"{baseline} {state}"
        shared: dict[str, Any] = {
            "study": Study(facts["task"], facts["dataset"], facts["model"], facts.get("trained_on", "")),
            "rank": (int(itself), len(sizes), len(own)),
            "seeds": frozenset(run.seed for run in kept.runs if run.training_size),
        }
        most = layers[order[-1]]
        text = f"At {last} %, compared with {against}, layer {order[-1]} changed most: {_written(layers, order[-1])}"
        same = [row for row in sizes[first,] if row["layer"] == order[-1] and first != last]
        if same:
            start = _number(same[0])
            text += f" At {first} % it was {start}: {changed('it', start, _number(most))}."
        yield Statement(order=2, lead="What moved most: representations", text=text, **shared)
        if len(order) > 1:
            text = f"At {last} %, layer {order[0]} changed least: {_written(layers, order[0])}"
            yield Statement(order=4, lead="What moved least: representations", text=text, **shared)


def _number(row: Row) -> Number:
    return Number(row["value"], row["value_ci_low"], row["value_ci_high"])


def _distance(row: Row) -> float:
    return float(abs(row["value"] - row["identity"]))


def _written(layers: Mapping[int, Row], layer: int) -> str:
    row = layers[layer]
    others = {str(each): _number(other) for each, other in layers.items() if each != layer}
    number = _number(row)
    return f"{row['title']} {number}{unlike(number, others, 'layer')}{moved(number, row['identity'], row['chance'])}"
