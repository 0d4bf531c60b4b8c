"""What `biocache probe` says: scores with intervals and baselines, and which differences are more than chance."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from biocache.cli.render import counted, echo, note, print_json, print_table

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["print_result"]

_EXTRAS = {
    "control_accuracy": "control accuracy",
    "selectivity": "selectivity",
    "code_length": "code, bits",
    "compression": "compression",
}
_PLACE = ("model", "training_size", "seed", "layer")


def print_result(
    result: "xr.Dataset", pairs: "xr.Dataset | None", score: str, *, from_store: bool, as_json: bool
) -> None:
    """Write scores, and comparisons where there are any; what was computed earlier or did not converge is noted.

    Parameters
    ----------
    result
        What `probe` returned.
    pairs
        What `compare_probes` returned.
    score
        Score by which a layer is the best.
    from_store
        Whether the store had the result.
    as_json
        Whether to write JSON.
    """
    if from_store:
        note("the store has this result; --force computes it again")
    unfinished = int((result.converged == 0).sum())
    if unfinished:
        note(f"{counted(unfinished, 'fit')} stopped at --max-iterations before the solver converged; raise it")
    if "merged_entity_f1" in result:
        note(
            "merged-entity F1 takes words of one type that touch for one entity, since these runs hold merged types; "
            "runs of --label-scheme bio have the entity F1 that finetune reports"
        )
    if "code_length" in result and (result.training_size > 0).any():
        note("fine-tuned models have seen the train labels whose code is measured; it says nothing of unseen text")
    if as_json:
        print_json(_as_json(result, pairs, score))
        return
    from biocache.engine.scoring import SCORE_TITLES

    scores = result.score.to_numpy().tolist()
    extras = [name for name in _EXTRAS if name in result]
    titles = [SCORE_TITLES[name] for name in scores] + [_EXTRAS[name] for name in extras]
    rows = list(_rows(result, score))
    print_table(
        ("model", "training size", "seed", "layer", "", *titles),
        [_cells(row, scores, extras) for row in rows],
    )
    if pairs is not None:
        _print_pairs(pairs, score)


def _rows(result: "xr.Dataset", score: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each layer of each model, training size and seed, after one for its majority baseline."""
    from biocache.engine.probing.assembling import best_layers

    best = best_layers(result, score)
    scores = result.score.to_numpy().tolist()
    for model in result.model.to_numpy().tolist():
        for size in result.training_size.to_numpy().tolist():
            for seed in result.seed.to_numpy().tolist():
                where = {"model": model, "training_size": size, "seed": seed}
                cell = result.sel(where)
                if not cell[scores[0]].notnull().any():
                    continue
                baseline = {name: cell.majority.sel(score=name).item() for name in scores}
                yield {**where, "layer": None, "baseline": "majority", **baseline}
                for layer in cell.layer.to_numpy().tolist():
                    row = _layer_row(cell.sel(layer=layer), scores)
                    if row:
                        random = bool(cell.random_weights)
                        marks = {"best": layer == int(best.sel(where)), "random_weights": random}
                        yield {**where, "layer": layer, **marks, **row}


def _layer_row(layer: "xr.Dataset", scores: list[str]) -> dict[str, Any]:
    """Return means over the seeds of the probe, their spread and intervals; nothing where the layer is not stored."""
    row: dict[str, Any] = {}
    for name in scores:
        values = layer[name]
        if not values.notnull().any():
            return {}
        row[name] = values.mean().item()
        row[f"{name}_spread"] = values.std(ddof=1).item() if values.size > 1 else None
        row[f"{name}_interval"] = [layer[bound].sel(score=name).item() for bound in ("ci_low", "ci_high")]
    return row | {name: layer[name].mean().item() for name in _EXTRAS if name in layer}


def _cells(row: dict[str, Any], scores: list[str], extras: list[str]) -> list[str | int]:
    mark = "best" if row.get("best") else ""
    place: list[str | int] = [row["model"], f"{row['training_size']} %", str(row["seed"])]
    if row["layer"] is None:
        return [*place, "majority", "", *(f"{row[name]:.3f}" for name in scores), *("" for _ in extras)]
    shown = [_score(row[name], row[f"{name}_spread"], row[f"{name}_interval"]) for name in scores]
    others = [f"{row[name]:,.0f}" if name == "code_length" else f"{row[name]:.3f}" for name in extras]
    return [*place, str(row["layer"]), mark, *shown, *others]


def _score(value: float, spread: float | None, interval: list[float]) -> str:
    deviation = "" if spread is None else f" ± {spread:.3f}"
    return f"{value:.3f}{deviation} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _print_pairs(pairs: "xr.Dataset", score: str) -> None:
    """Write the pairs that differ after Holm's correction, and how many do not."""
    from biocache.engine.probing.comparing import LEVEL
    from biocache.engine.scoring import SCORE_TITLES

    rows = [_pair_row(pairs.isel(comparison=place)) for place in range(pairs.sizes["comparison"])]
    sure = [row for row in rows if row["p_holm"] < LEVEL]
    echo()
    if sure:
        print_table(
            ("model", "seed", "a", "b", f"{SCORE_TITLES[score]}, b less a", "p", "p, Holm"),
            [_pair_cells(row) for row in sure],
        )
    echo(f"{len(sure)} of {counted(len(rows), 'pair')} differ (p < {LEVEL} after Holm's correction)")


def _pair_row(pair: "xr.Dataset") -> dict[str, Any]:
    coordinates = {str(name): pair[name].item() for name in pair.coords if name != "comparison"}
    return coordinates | {str(name): pair[name].item() for name in pair.data_vars}


def _pair_cells(row: dict[str, Any]) -> list[str]:
    sides = [f"{row[f'training_size_{side}']} %, layer {row[f'layer_{side}']}" for side in "ab"]
    difference = f"{row['difference']:+.3f} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"
    return [row["model"], str(row["seed"]), *sides, difference, f"{row['p']:.4f}", f"{row['p_holm']:.4f}"]


def _as_json(result: "xr.Dataset", pairs: "xr.Dataset | None", score: str) -> dict[str, Any]:
    settings = {name: value for name, value in result.attrs.items() if name != "title"}
    rows = [{name: _finite(value) for name, value in row.items()} for row in _rows(result, score)]
    answer: dict[str, Any] = {"settings": settings, "score": score, "rows": rows}
    if pairs is not None:
        places = range(pairs.sizes["comparison"])
        answer["comparisons"] = [_pair_row(pairs.isel(comparison=place)) for place in places]
    return answer


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
