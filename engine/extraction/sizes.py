"""Sizes: the bytes of planned runs in every data type and at every level."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from biocache.engine.extraction.plans import RunPlan
from biocache.engine.extraction.request import ATTENTION_DTYPES, DTYPES, LEVELS, NORM_DTYPES
from biocache.store.levels import row_counts
from biocache.store.packing import PackPlan
from biocache.store.schema import ATTENTION, HIDDEN, NORMS

__all__ = ["Choice", "choices", "compressed_bytes"]

_DTYPES: Final = {HIDDEN.name: DTYPES, ATTENTION.name: ATTENTION_DTYPES, NORMS.name: NORM_DTYPES}

#: Share of bytes that compression leaves, by variable, level and data type: on MiniLM's activations of sentences of
#: JNLPBA and of pairs of SciFact, the mean of both (`tests/benchmarks/bench_codecs.py`).
_LEFT: Final = {
    ("hidden", "token"): {"float32": 0.87, "float16": 0.91, "int8": 0.86},
    ("hidden", "word"): {"float32": 0.87, "float16": 0.91, "int8": 0.89},
    ("hidden", "sample"): {"float32": 0.80, "float16": 0.83, "int8": 0.70},
    ("attention", "token"): {"float32": 0.85, "float16": 0.86, "uint8": 0.67},
    ("norms", "token"): {"float32": 0.89, "float16": 0.89},
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to store a variable of planned runs.

    Attributes
    ----------
    variable
        ``hidden``, ``attention`` or ``norms``.
    level
        What a value is kept of; only hidden states have another than ``token``.
    dtype
        Data type on disk.
    activation_bytes
        Bytes before compression.
    compressed_bytes
        Bytes after it, if these activations compress as those of MiniLM do.
    """

    variable: str
    level: str
    dtype: str
    activation_bytes: int
    compressed_bytes: int


def choices(runs: Iterable[RunPlan]) -> list[Choice]:
    """Return every way to store the variables that some planned runs keep, whatever they ask for themselves."""
    found: dict[tuple[str, str, str], int] = {}
    # Training sizes of a model share their layout.
    layouts: dict[tuple[int, str], PackPlan] = {}
    for run in runs:
        for kept in run.spec.kept:
            for level in LEVELS if kept is HIDDEN else ("token",):
                if (id(run.layout), level) not in layouts:
                    layouts[id(run.layout), level] = _at_level(run, level)
                for dtype in _DTYPES[kept.name]:
                    as_stored: dict[str, Any] = {"attention_dtype" if kept is ATTENTION else "dtype": dtype}
                    spec = replace(run.spec, keep=(kept.name,), level=level, **as_stored)
                    place = (kept.name, level, dtype)
                    found[place] = found.get(place, 0) + spec.activation_bytes(layouts[id(run.layout), level])
    return [Choice(*place, size, _compressed(*place, size)) for place, size in found.items()]


def compressed_bytes(runs: Iterable[RunPlan]) -> int:
    """Return the bytes of planned runs after compression, if it does what it does to activations of MiniLM."""
    total = 0
    for run in runs:
        for kept in run.spec.kept:
            level = run.spec.level if kept is HIDDEN else "token"
            size = replace(run.spec, keep=(kept.name,)).activation_bytes(run.layout)
            total += _compressed(kept.name, level, run.spec.stored_dtype(kept), size)
    return total


def _compressed(variable: str, level: str, dtype: str, size: int) -> int:
    return round(size * _LEFT[variable, level][dtype])


def _at_level(run: RunPlan, level: str) -> PackPlan:
    words = run.encoding.words
    return run.layout.with_rows(row_counts(level, len(run.layout.tokens.count), *words))
