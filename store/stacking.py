"""Stacking runs: training sizes, seeds or models as one dimension of one Dataset."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd
import xarray as xr

from biocache.store.errors import SettingError, SpecMismatchError
from biocache.store.reading import Run
from biocache.store.schema import LEVELS
from biocache.store.text import shortened

__all__ = ["stack_runs", "view_options"]

# Parts of a key along which the same text is read, so that rows can be aligned.
STACKED = ("model", "trained_on", "training_size", "seed")


def stack_runs(
    find: Callable[..., Run],
    level: str,
    pooling: str | None,
    selection: Mapping[str, Any],
    labels: str | Sequence[str] | None = None,
) -> xr.Dataset:
    """Stack the views of several runs, which `find` opens; see `Store.stack`."""
    options: dict[str, Any] = {**view_options(level, pooling), "labels": labels}
    axes = {
        name: list(value)
        for name, value in selection.items()
        if isinstance(value, Iterable) and not isinstance(value, str | set)
    }
    for name, values in axes.items():
        if name not in STACKED:
            raise SettingError(f"{name} cannot be stacked; runs of the same text differ in {', '.join(STACKED)}")
        if not values or len(set(values)) < len(values):
            raise SettingError(f"{name}={values!r} is empty or names a value twice")
    if not axes:
        raise SettingError("nothing to stack: give a list for " + ", ".join(STACKED))
    fixed = {name: value for name, value in selection.items() if name not in axes}
    runs = [find(**fixed, **dict(zip(axes, point, strict=True))) for point in product(*axes.values())]
    _refuse_unlike(runs, level)
    dim = level.removesuffix("s")
    views = _alike([getattr(run, level)(**options) for run in runs], dim)
    # The last axis first, whose values follow each other.
    for name, values in reversed(axes.items()):
        views = [
            xr.concat(
                views[first : first + len(values)],
                # Text as in every other coordinate, of a data type that Zarr has a specification for.
                pd.Index(values, name=name, dtype=object if isinstance(values[0], str) else None),
                data_vars="all",
                coords="minimal",
                compat="override",
                join="override",
                combine_attrs="drop_conflicts",
            )
            for first in range(0, len(views), len(values))
        ]
    (stacked,) = views
    rows = getattr(runs[0].counts, level)
    return stacked.assign_attrs({f"{level}_left_out": rows - stacked.sizes[dim]})


def view_options(level: str, pooling: str | None) -> dict[str, str]:
    """Return the arguments of the view of a level.

    Raises
    ------
    SettingError
        If the level is not known, or the pooling is of tokens.
    """
    if level not in LEVELS:
        raise SettingError(f"level {level!r} is not one of {', '.join(LEVELS)}")
    if pooling is not None and level == "tokens":
        raise SettingError(f"pooling {pooling!r} reduces words or samples; tokens are taken as they are")
    return {} if pooling is None else {"pooling": pooling}


def _refuse_unlike(runs: Sequence[Run], level: str) -> None:
    first = runs[0]
    for run in runs[1:]:
        for what, own, other, remedy in (
            ("samples", first.spec.dataset_digest, run.spec.dataset_digest, "extract both from the same data"),
            ("features", first.spec.feature_size, run.spec.feature_size, "compare them one by one"),
            ("layers", first.spec.layers, run.spec.layers, "extract both with the same --layers"),
        ):
            if own != other:
                raise SpecMismatchError(
                    f"runs {first.key} and {run.key} cannot be stacked: their {what} differ ({shortened(own)} and "
                    f"{shortened(other)}); {remedy}"
                )
        if level == "tokens" and first.spec.encoding_digest != run.spec.encoding_digest:
            raise SpecMismatchError(
                f"runs {first.key} and {run.key} cannot be stacked by token: their tokenizers cut the text "
                "differently; stack level='words'"
            )


def _alike(views: Sequence[xr.Dataset], dim: str) -> list[xr.Dataset]:
    """Leave out rows that not all views have (words that a tokenizer lost), then coordinates that differ."""
    aligned = xr.align(*views, join="inner", copy=False)
    first = aligned[0]
    unlike = [
        name
        for name, values in first.coords.items()
        if name != dim
        and dim in values.dims
        and not all(values.variable.equals(other[name].variable) for other in aligned[1:])
    ]
    return [view.drop_vars(unlike) for view in aligned]
