"""Verifying a run: every record, checksum and value on disk."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import zarr
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.arrays import UNREADABLE
from biocache.store.checks import all_finite
from biocache.store.errors import REMAKE, BiocacheError, IntegrityError
from biocache.store.paths import require_file
from biocache.store.reading import Run
from biocache.store.records import read_record
from biocache.store.schema import ATTENTION
from biocache.store.text import one_line

__all__ = ["Problem", "row_sum_tolerance", "verify_run"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a run.

    Attributes
    ----------
    run
        Path of the run below the store.
    pack
        The pack; None for a fault of the whole run.
    message
        The fault and the next step, on one line.
    """

    run: str
    pack: int | None
    message: str


# Machine epsilons of the data types that a model computes in.
_COMPUTE_STEP = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}


def row_sum_tolerance(tokens: NDArray[np.integer], dtype: str, compute_dtype: str = "float32") -> NDArray[np.float64]:
    """Return how far from 1 the sum of an attention row of rounded probabilities may be.

    Rounding moves a probability p by at most p * eps / 2 and, below the smallest normal number, by half of the smallest
    subnormal; the probabilities sum to 1, so that a row of n keys moves by at most eps / 2 plus n halves. The tolerance
    is twice that, and as much again for the rounding of the model's own softmax.

    Parameters
    ----------
    tokens
        Keys of the row (...).
    dtype
        Data type of the store, ``float16`` or ``float32``.
    compute_dtype
        Data type that the model computes in.
    """
    info = np.finfo(dtype)
    granted: NDArray[np.float64] = (
        float(info.eps) + _COMPUTE_STEP[compute_dtype] + np.asarray(tokens) * float(info.smallest_subnormal) + 1e-5
    )
    return granted


def verify_run(run: Run, on_pack: Callable[[int, int], None] | None = None) -> Iterator[Problem]:
    """Check all that is stored of a run.

    Reads every record and every chunk and compares the checksums. Every activation must be finite, every attention
    probability in [0, 1], every row of a map sum to 1 within rounding, and the tables must agree with each other.

    Parameters
    ----------
    run
        The run.
    on_pack
        Called after each pack with (packs checked, packs of the run).

    Yields
    ------
    Problem
        One for each fault; none for a sound and complete run.
    """
    try:
        yield from (Problem(str(run.key), None, message) for message in _table_faults(run))
    except BiocacheError as error:
        yield Problem(str(run.key), None, error.message)
        return
    done = set(run.committed())
    yield from (Problem(str(run.key), None, message) for message in _array_faults(run, done))
    for pack in range(run.counts.packs):
        if pack not in done:
            yield Problem(str(run.key), pack, "not committed: run the same `biocache extract` again to finish it")
        else:
            yield from (Problem(str(run.key), pack, message) for message in _pack_faults(run, pack))
        if on_pack is not None:
            on_pack(pack + 1, run.counts.packs)


def _table_faults(run: Run) -> Iterator[str]:
    columns = {v.path: run.column(v.path) for v in schema.columns(run.key.task)}
    plan = run.plan
    positions = plan.tokens.positions()
    lengths = {"sample": run.counts.samples, "token": plan.tokens.length, "word": run.counts.words}
    for variable in schema.columns(run.key.task):
        if len(columns[variable.path]) != lengths[variable.dims[0]]:
            yield f"{variable.path} has {len(columns[variable.path])} rows instead of {lengths[variable.dims[0]]}"
            return
    word, words, samples = columns["tokens/word"][positions], run.counts.words, run.counts.samples
    inside = (word >= 0) & (word < words)
    # Of several tokens of a word the last assignment stays, which is that of its first token.
    word_start = np.full(words, -1)
    word_start[word[inside][::-1]] = positions[inside][::-1]
    ids = columns["samples/sample_id"]
    word_count = columns["samples/word_count"].astype(np.int64)
    checks = {
        "samples/sample_id": len(set(ids)) == len(ids),
        "samples/word_count": int(word_count.sum()) == words,
        "samples/word_start": np.array_equal(columns["samples/word_start"], np.cumsum(word_count) - word_count),
        "words/sample": np.array_equal(
            np.bincount(columns["words/sample"].clip(0, samples), minlength=samples), word_count
        )
        and bool((np.diff(columns["words/sample"]) >= 0).all()),
        "tokens/token_id": bool((columns["tokens/token_id"][positions] >= 0).all()),
        "tokens/word": bool(((word >= -1) & (word < words)).all()),
        "tokens/special": np.array_equal(word < 0, columns["tokens/special"][positions]),
        "words/token_start": np.array_equal(columns["words/token_start"], word_start),
        "words/token_count": np.array_equal(np.bincount(word[inside], minlength=words), columns["words/token_count"]),
    }
    yield from (f"table column {path} does not agree with the others" for path, sound in checks.items() if not sound)


def _array_faults(run: Run, done: set[int]) -> Iterator[str]:
    """Yield where another Zarr reader, which uses an array's metadata, would not find what is stored."""
    for kept in run.spec.kept:
        chunks = run.chunks(kept.name)
        try:
            require_file(run.path / kept.path / "zarr.json")
            array = zarr.open_array(run.path / kept.path, mode="r")
            for pack in sorted(done)[:1]:
                require_file(chunks.path(0, pack))
                values = kept.part(np.asarray(array.blocks[kept.index(0, pack)])[0], slice(chunks.used[pack]))
                if not np.array_equal(values, chunks.read(0, pack)):
                    yield f"{kept.path} reads as other values by its zarr.json; {REMAKE}"
        except IntegrityError:
            pass  # Reported with its pack.
        except UNREADABLE as error:
            yield f"{kept.path} cannot be read as a Zarr array ({one_line(error)}); {REMAKE}"
        try:
            if tuple(run.column(f"{kept.name}/layer").tolist()) != chunks.layers:
                yield f"{kept.name}/layer does not hold the layers of the run's spec; {REMAKE}"
        except IntegrityError as error:
            yield error.message


def _pack_faults(run: Run, pack: int) -> Iterator[str]:
    try:
        record = read_record(run.path, pack)
    except IntegrityError as error:
        yield error.message
        return
    for kept in run.spec.kept:
        chunks = run.chunks(kept.name)
        for index, layer in enumerate(chunks.layers):
            try:
                values = chunks.read(index, pack)
            except IntegrityError as error:
                yield error.message
                continue
            where = f"layer {layer} of {kept.name}"
            if not record.matches(kept.name, index, values):
                yield f"{where}: values are not those that were committed; delete the record and extract the pack again"
            if not all_finite(values):
                yield f"{where}: values are not finite"
            elif kept is ATTENTION:
                yield from (f"{where}: {fault}" for fault in _attention_faults(run, pack, values))


def _attention_faults(run: Run, pack: int, values: NDArray[np.floating]) -> Iterator[str]:
    plan = run.plan
    samples = plan.samples_of(pack)
    tokens = plan.tokens.count[samples.start : samples.stop]
    # Keys of every row of every map of the pack: all tokens, or those up to the query.
    keys = np.concatenate([np.arange(1, n + 1) if run.spec.causal else np.full(n, n) for n in tokens])
    starts = np.cumsum(keys) - keys
    sums = np.add.reduceat(values.astype(np.float32), starts, axis=1)
    off = np.abs(sums - 1.0) > row_sum_tolerance(keys, run.spec.dtype, run.spec.compute_dtype)
    if off.any():
        head, row = (int(i) for i in np.argwhere(off)[0])
        sample = samples[int(np.searchsorted(np.cumsum(tokens), row, side="right"))]
        yield (
            f"{int(off.sum())} attention rows do not sum to 1, first head {head} of sample "
            f"{run.column('samples/sample_id')[sample]!r}: {float(sums[head, row]):.4f}"
        )
    if values.min() < 0 or values.max() > 1 + float(np.finfo(run.spec.dtype).eps):
        yield "attention probabilities lie outside [0, 1]"
