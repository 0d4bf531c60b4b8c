"""Tables of a comparison beside its heat maps: heads that another head matches better, and means by label."""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from biocache.engine.report.figure import Row, Table

__all__ = ["detail_tables"]

_PLACE = ("metric", "training_size", "layer")
_BY_LABEL = ("label_mean", "label_ci_low", "label_ci_high", "label_count")
_MATCHED = ("matched_head", "mean", "matched_mean", "matched_gap")


def detail_tables(results: Sequence[xr.Dataset]) -> Iterator[tuple[str, Table]]:
    """Yield the tables that the results have, with their titles.

    Parameters
    ----------
    results
        From `compare_attention`, not of all pairs, the oldest first; of one place the newest number is shown.
    """
    matched = _rows([own for own in results if "matched_head" in own], _MATCHED, ("head",))
    moved = [row for row in matched if row["matched_head"] != row["head"]]
    if matched:
        title = f"Matched heads: {len(moved)} of {len(matched)} heads are matched with a head of another number"
        yield title, Table.of(moved or matched)
    labels = _rows([own for own in results if "label_mean" in own], _BY_LABEL, ("label", "head"))
    if labels:
        yield "Means by label, over the heads of a layer", Table.of(_over_heads(labels))


def _rows(results: Sequence[xr.Dataset], names: Sequence[str], across: Sequence[str]) -> list[Row]:
    """Return the numbers as rows, without those that are not known."""
    rows: dict[tuple[object, ...], Row] = {}
    for result in results:
        part = result[list(names)].reset_coords(drop=True)
        for row in part.to_dataframe(dim_order=[*_PLACE, *across]).reset_index().to_dict("records"):
            named = {str(name): value for name, value in row.items()}
            if np.isfinite(named[names[0]]):
                rows[tuple(named[name] for name in (*_PLACE, *across))] = named
    return [rows[place] for place in sorted(rows, key=str)]


def _over_heads(rows: Sequence[Row]) -> list[Row]:
    """Return the mean, the smallest and the largest head of each layer and label."""
    places: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        places.setdefault(tuple(row[name] for name in (*_PLACE, "label")), []).append(row)
    return [
        {
            **dict(zip((*_PLACE, "label"), place, strict=True)),
            "mean": float(np.mean([row["label_mean"] for row in own])),
            "smallest head": min(row["label_mean"] for row in own),
            "largest head": max(row["label_mean"] for row in own),
            "samples": int(max(row["label_count"] for row in own)),
        }
        for place, own in places.items()
    ]
