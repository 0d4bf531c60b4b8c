"""Stacking runs: training sizes, seeds or models as one dimension of one Dataset."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from biocache.store.errors import SettingError, SpecMismatchError

if TYPE_CHECKING:
    from biocache.store.catalog import Store
    from biocache.store.reading import Run

__all__ = ["stack_runs"]

LEVELS = ("tokens", "words", "samples")
# Parts of a key along which the same text is read, so that rows can be aligned.
STACKED = ("model", "training_size", "seed")


def stack_runs(store: "Store", level: str, pooling: str | None, selection: Mapping[str, Any]) -> xr.Dataset:
    """Stack the views of several runs; see `Store.stack`."""
    if level not in LEVELS:
        raise SettingError(f"level {level!r} is not one of {', '.join(LEVELS)}")
    if pooling is not None and level == "tokens":
        raise SettingError(f"pooling {pooling!r} reduces words or samples; tokens are stacked as they are")
    options = {} if pooling is None else {"pooling": pooling}
    axes = {name: list(value) for name, value in selection.items() if isinstance(value, list | tuple | range)}
    for name, values in axes.items():
        if name not in STACKED:
            raise SettingError(f"{name} cannot be stacked: its runs hold other samples; stack {', '.join(STACKED)}")
        if not values or len(set(values)) < len(values):
            raise SettingError(f"{name}={values!r} is empty or names a value twice")
    if not axes:
        raise SettingError("nothing to stack: give a list for " + ", ".join(STACKED))
    fixed = {name: value for name, value in selection.items() if name not in axes}
    runs = {point: store.run(**fixed, **dict(zip(axes, point, strict=True))) for point in product(*axes.values())}
    _refuse_unlike(list(runs.values()), level)
    views = {point: getattr(run, level)(**options) for point, run in runs.items()}
    return _nested_concat(views, list(axes.items()), level.removesuffix("s"))


def _refuse_unlike(runs: "Sequence[Run]", level: str) -> None:
    first = runs[0]
    for run in runs[1:]:
        for what, own, other, remedy in (
            ("samples", first.spec.dataset_digest, run.spec.dataset_digest, "extract both from the same data"),
            ("features", first.spec.feature_size, run.spec.feature_size, "compare them one by one"),
            ("layers", first.spec.layers, run.spec.layers, "extract both with the same --layers"),
        ):
            if own != other:
                raise SpecMismatchError(
                    f"runs {first.key} and {run.key} cannot be stacked: their {what} differ ({_short(own)} and "
                    f"{_short(other)}); {remedy}"
                )
        if level == "tokens" and first.spec.encoding_digest != run.spec.encoding_digest:
            raise SpecMismatchError(
                f"runs {first.key} and {run.key} cannot be stacked by token: their tokenizers cut the text "
                "differently; stack level='words'"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def _nested_concat(
    views: Mapping[tuple[Any, ...], xr.Dataset], axes: Sequence[tuple[str, list[Any]]], dim: str
) -> xr.Dataset:
    """Concatenate along the first axis what is concatenated along the others."""
    if not axes:
        return views[()]
    (name, values), rest = axes[0], axes[1:]
    parts = [
        _nested_concat({point[1:]: view for point, view in views.items() if point[0] == value}, rest, dim)
        for value in values
    ]
    # Rows that not all runs have (words that a tokenizer lost) are left out. What differs between the runs is
    # no coordinate of all of them.
    shared = parts[0].coords
    unlike = [
        key
        for key in shared
        if key != dim
        and dim in shared[key].dims
        and any(not _same(part, parts[0], str(key), dim) for part in parts[1:])
    ]
    stacked = xr.concat(
        [part.drop_vars(unlike) for part in parts],
        pd.Index(values, name=name),
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="inner",
        combine_attrs="drop_conflicts",
    )
    return stacked.assign_attrs({f"{dim}s_left_out": max(part.sizes[dim] for part in parts) - stacked.sizes[dim]})


def _same(one: xr.Dataset, other: xr.Dataset, name: str, dim: str) -> bool:
    left, right = xr.align(one[name], other[name], join="inner", exclude=set(one[name].dims) - {dim})
    return bool((left.to_numpy() == right.to_numpy()).all())
