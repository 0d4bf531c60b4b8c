"""Metrics of one's own: a function of two maps, as a metric beside those of biocache."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biocache.engine.analyses.attention import kernels
from biocache.engine.analyses.attention.maps import Layout, Maps, Pairs
from biocache.engine.analyses.attention.metrics import Metric, Part, Values
from biocache.engine.fingerprints import described
from biocache.engine.plugins import Given, function_of
from biocache.store.errors import DataError, SettingError
from biocache.store.text import one_line, shown

__all__ = ["OwnMetric", "find_own"]

# Sizes of the maps that a function is tried on.
_TRIED = (2, 5, 9)


@dataclass(frozen=True)
class OwnMetric(Metric):
    """A metric of the user's own.

    Attributes
    ----------
    code
        The place of its function, ``module:function``, or what was given in Python.
    folder
        The folder whose modules are found.
    source
        All that tells it from other functions, as JSON.
    name, title, unit, identity, of_rows
        As in `Metric`.
    """

    code: str | Given
    folder: str
    source: str
    name: str  # type: ignore[misc]
    title: str  # type: ignore[misc]
    unit: str  # type: ignore[misc]
    identity: float  # type: ignore[misc]
    of_rows: bool  # type: ignore[misc]

    lowest = -np.inf
    highest = np.inf

    def measure(self, first: Part, second: Part, layout: Layout, pairs: Pairs) -> Values:
        """Measure every sample (sample, pair); see `Metric.measure`.

        Raises
        ------
        DataError
            If the function raises an error, or returns neither a number nor a number for each row.
        SettingError
            If another function has the name in this process.
        """
        function = self._function()
        values = np.full(pairs.left.shape, np.nan)
        for sample in range(len(layout.size)):
            skipped = kernels.first_row(first.maps, second.maps, int(layout.size[sample]))
            left, right = (_maps(part.maps, layout, sample, skipped) for part in (first, second))
            for pair, (own, other) in enumerate(zip(pairs.left[sample], pairs.right[sample], strict=True)):
                known = left[1][own] & right[1][other]
                if known.any():
                    values[sample, pair] = _value(function, self.name, left[0][own], right[0][other], known)
        return values

    def _function(self) -> Any:
        function = function_of(self.code, self.folder)
        # An object that was sent is the one that was planned with.
        if isinstance(self.code, str) and _source(function, self.name) != self.source:
            raise SettingError(
                f"--metric {shown(self.name)} is not the same in this process as where the comparison was planned; "
                "give all workers the same source, or start Python again"
            )
        return function


def find_own(code: str | Given) -> OwnMetric:
    """Return a metric of the user's own, tried on maps that are made up.

    The value for identical maps is that of the trial, or the function's attribute ``identity``; its attributes
    ``title`` and ``unit`` are those of the metric.

    Parameters
    ----------
    code
        The place of the function, or the function.

    Raises
    ------
    SettingError
        If there is no such function, or its value for identical maps depends on the map.
    DataError
        If it fails, or returns neither a number nor a number for each row.
    """
    folder, name = str(Path.cwd()), str(code)
    function = function_of(code, folder)
    found = getattr(function, "identity", None)
    tried = [_value(function, name, each, each, np.ones(len(each), bool)) for each in map(_made_up, _TRIED)]
    tried = [value for value in tried if not np.isnan(value)] or [np.nan]
    if found is None and not np.ptp(tried) < 1e-6:
        raise SettingError(
            f"--metric {shown(name)} gives {', '.join(f'{value:.3g}' for value in tried)} for pairs of identical maps, "
            "and a comparison needs one value for them; set an attribute of the function, such as f.identity = 0.0"
        )
    identity = round(float(np.mean(tried)), 6) if found is None else float(found)
    title, unit = str(getattr(function, "title", name)), str(getattr(function, "unit", "1"))
    of_rows = np.ndim(function(_made_up(_TRIED[0]), _made_up(_TRIED[0]))) > 0
    return OwnMetric(code, folder, _source(function, name), name, title, unit, identity, of_rows)


def _source(function: Any, name: str) -> str:
    facts = {key: str(getattr(function, key, None)) for key in ("identity", "title", "unit")}
    of = f"--metric {shown(name)}"
    return json.dumps({"function": described(function, of), "facts": facts}, sort_keys=True)


def _made_up(size: int) -> NDArray[np.float64]:
    rows = np.random.default_rng(size).random((size, size)) + 0.01
    return _read_only(rows / rows.sum(axis=1, keepdims=True))


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _maps(maps: Maps, layout: Layout, sample: int, skipped: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the maps of a sample (head, query, key), zeros in the rows skipped, and which have mass (head, query)."""
    size, row, first = (int(each[sample]) for each in (layout.size, layout.row_start, layout.entry_start))
    dense = np.zeros((len(maps.values), size, size))
    if layout.triangular:
        query, key = np.tril_indices(size)
        dense[:, query, key] = maps.values[:, first : first + len(query)]
    else:
        dense[:] = maps.values[:, first : first + size * size].reshape(dense.shape)
    dense[:, :skipped] = 0
    return _read_only(dense), (maps.mass[:, row : row + size] > 0) & (np.arange(size) >= skipped)


def _value(function: Any, name: str, first: Any, second: Any, known: NDArray[np.bool_]) -> float:
    """Return the value of two maps: what the function returns, or its mean over the rows that both maps have."""
    try:
        found = function(first, second)
    except (Exception, SystemExit) as error:
        raise DataError(
            f"--metric {shown(name)} failed ({type(error).__name__}: {one_line(error)}) for two maps of shape "
            f"{first.shape}; correct it"
        ) from error
    try:
        array = np.asarray(found)
    except Exception:
        array = np.empty(0, object)
    if array.dtype.kind not in "biuf" or array.shape not in ((), (len(first),)):
        what = type(found).__name__ if array.dtype.kind not in "biuf" else f"an array of shape {array.shape}"
        raise DataError(
            f"--metric {shown(name)} returned {what} for two maps of shape {first.shape}; return a number, or an array "
            f"of {len(first)}, one for each row"
        )
    if np.isinf(array).any():
        raise DataError(
            f"--metric {shown(name)} returned an infinite value for two maps of shape {first.shape}; return nan where "
            "there is nothing to measure"
        )
    rows = array[known] if array.ndim else array[np.newaxis]
    rows = rows[~np.isnan(rows.astype(np.float64))]
    return float(rows.mean(dtype=np.float64)) if len(rows) else np.nan
