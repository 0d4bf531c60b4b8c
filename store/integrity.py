"""Verifying: every file, record, checksum and value of runs and results; and what can be repaired."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biocache.store import schema
from biocache.store.checks import all_finite
from biocache.store.coding import HALF_LEVEL
from biocache.store.digests import digest_encoding, digest_samples, sample_rows, stored_encoding
from biocache.store.errors import REMAKE, BiocacheError, IntegrityError, NewerFormatError, StoreFormatError
from biocache.store.groups import RESULTS, check_store, read_group_attributes, subfolders
from biocache.store.hierarchy import create_parents, parents
from biocache.store.keys import RUN_DEPTH, RunKey
from biocache.store.label_sets import read_labels
from biocache.store.metadata import MetadataError
from biocache.store.reading import Run
from biocache.store.records import Records, record_path, recorded_packs
from biocache.store.results import load_result
from biocache.store.runs import is_run
from biocache.store.schema import ATTENTION, NORMS
from biocache.store.storage import Storage, below
from biocache.store.text import counted, one_line

__all__ = [
    "Problem",
    "certificates",
    "repair",
    "repair_groups",
    "row_sum_tolerance",
    "verify_bundles",
    "verify_key",
    "verify_run",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a run or a result.

    Attributes
    ----------
    place
        Path of the run or result below the store.
    pack
        The pack; None for a fault of the whole run.
    message
        The fault and the next step, on one line.
    """

    place: str
    pack: int | None
    message: str


# Machine epsilons of the data types that a model computes in.
_COMPUTE_STEP = {"float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}


def row_sum_tolerance(tokens: NDArray[np.integer], dtype: str, compute_dtype: str = "float32") -> NDArray[np.float64]:
    """Return how far from 1 the sum of an attention row of rounded probabilities may be.

    Rounding moves a probability p by at most p * eps / 2 and, below the smallest normal number, by half of the smallest
    subnormal; the probabilities sum to 1, so that a row of n keys moves by at most eps / 2 plus n halves. The tolerance
    is twice that, and as much again for the rounding of the model's own softmax. A code of a square root is at most
    h = 1 / 510 off, which moves p by at most 2 h sqrt(p) + h * h; the roots of a row sum to at most sqrt(n).

    Parameters
    ----------
    tokens
        Keys of the row (...).
    dtype
        Data type of stored maps: ``float16``, ``float32`` or ``uint8``.
    compute_dtype
        Data type that the model computes in.
    """
    keys = np.asarray(tokens)
    if dtype == "uint8":
        rounding = 2 * HALF_LEVEL * np.sqrt(keys) + keys * HALF_LEVEL**2
    else:
        info = np.finfo(dtype)
        rounding = float(info.eps) + keys * float(info.smallest_subnormal)
    granted: NDArray[np.float64] = rounding + _COMPUTE_STEP[compute_dtype] + 1e-5
    return granted


def verify_run(run: Run, on_pack: Callable[[int, int], None] | None = None) -> Iterator[Problem]:
    """Check all that is stored of a run.

    Reads every file and compares the checksums. The texts, labels and tokens in the tables must be those of the spec,
    and the tables agree with each other; every activation must be finite, every attention probability in [0, 1], every
    row of a map sum to 1 within rounding, every norm be 0 or more.

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
    place = str(run.key)
    faults = list(_file_faults(run))
    try:
        faults += [] if faults else _table_faults(run)
        # Without its tables nothing says where the activations are.
        readable = bool(run.plan)
    except BiocacheError as error:
        faults, readable = faults or [error.message], False
    yield from (Problem(place, None, message) for message in faults)
    if not readable:
        return
    recorded = set(recorded_packs(run.group.storage, run.group.folder))
    for pack in range(run.counts.packs):
        if pack not in recorded:
            yield Problem(place, pack, "not committed: run the same `biocache extract` again to finish it")
        else:
            yield from (Problem(place, pack, message) for message in _pack_faults(run, pack))
        if on_pack is not None:
            on_pack(pack + 1, run.counts.packs)


def verify_key(storage: Storage, key: RunKey, on_pack: Callable[[int, int], None] | None = None) -> Iterator[Problem]:
    """Check the run of a key, which may be damaged; see `verify_run`."""
    try:
        run = Run.open(storage, key)
    except StoreFormatError as error:
        yield Problem(str(key), None, error.message)
        return
    yield from verify_run(run, on_pack)


def certificates(storage: Storage, keys: Iterable[RunKey]) -> dict[str, dict[str, dict[str, float]]]:
    """Return what the data types of runs cost, by their paths; see `Run.certificate`. Damaged runs are left out."""
    found = {}
    for key in keys:
        with suppress(BiocacheError):
            found[str(key)] = Run.open(storage, key).certificate()
    return found


def verify_bundles(storage: Storage, files: Iterable[str]) -> Iterator[Problem]:
    """Check results and label sets of a store, by their paths; yield a problem for each that cannot be read."""
    for file in files:
        if (error := _bundle_fault(storage, file)) is not None:
            yield Problem(file, None, error.message)


def _bundle_fault(storage: Storage, file: str) -> IntegrityError | NewerFormatError | None:
    try:
        (load_result if file.startswith(f"{RESULTS}/") else read_labels)(storage, file)
    except FileNotFoundError:  # Another process has removed it meanwhile.
        return None
    except (IntegrityError, NewerFormatError) as error:
        return error
    return None


def repair(storage: Storage, problems: Iterable[Problem]) -> list[str]:
    """Remove what is damaged and can be made again by the command that made it.

    That is: commit records of packs with a fault, so that they are computed again, and results. A run whose own tables
    are damaged stays as it is, and so does all that a newer release wrote.

    Parameters
    ----------
    storage
        The store.
    problems
        What `verify_run` and `verify_bundles` found.

    Returns
    -------
    list of str
        What was done, a line each.
    """
    done = []
    for problem in problems:
        if problem.pack is not None:
            path = f"{problem.place}/{record_path(problem.pack)}"
            if storage.exists(path):
                storage.delete(path)
                done.append(f"{problem.place}, pack {problem.pack}: its record was deleted; extract the run again")
        elif _is_result(problem) and isinstance(_bundle_fault(storage, problem.place), IntegrityError):
            storage.delete(problem.place)
            done.append(f"{problem.place}: deleted; run the command that computed it again")
    return done


def _is_result(problem: Problem) -> bool:
    # A label set is what a user gave; no command computes it again.
    return problem.place.startswith(f"{RESULTS}/")


def repair_groups(storage: Storage) -> list[str]:
    """Make the ``zarr.json`` of a store and of the groups above its runs again where it is lost or damaged.

    Raises
    ------
    StoreFormatError
        If the folder holds no runs, or is the store of a newer release.
    """
    runs = [path for path in subfolders(storage, RUN_DEPTH) if is_run(storage, path)]
    try:
        check_store(storage)
    except NewerFormatError:
        raise
    except (FileNotFoundError, StoreFormatError):
        if not any(_is_sound(storage, path) for path in runs):
            raise StoreFormatError(f"{storage} is not a biocache store: it holds no run of this format") from None
    done = []
    for group in sorted({group for run in runs for group in parents(run)}):
        try:
            sound = "biocache" in read_group_attributes(storage, group) if not group else True
            read_group_attributes(storage, group)
        except (FileNotFoundError, StoreFormatError):
            sound = False
        if not sound:
            storage.delete(below(group, "zarr.json"))
            done.append(f"{storage.place(group)}: its zarr.json was made again")
    for run in runs:
        create_parents(storage, run)
    return done


def _is_sound(storage: Storage, run: str) -> bool:
    with suppress(BiocacheError):
        return bool(Run.open(storage, RunKey.from_path(run)))
    return False


def _file_faults(run: Run) -> Iterator[str]:
    """Yield which files of a run, but activations and records, are not what was written."""
    for path in run.sealed.files:
        try:
            run.sealed.read_file(path)
        except OSError as error:
            yield f"{path} cannot be read ({one_line(error)}); {REMAKE}"
        except MetadataError as error:
            yield f"{error}; {REMAKE}"


def _table_faults(run: Run) -> Iterator[str]:
    columns = {v.path: run.column(v.path) for v in schema.columns()}
    plan = run.plan
    positions = plan.tokens.positions()
    lengths = {"sample": run.counts.samples, "token": plan.tokens.length, "word": run.counts.words}
    for variable in schema.columns():
        if len(columns[variable.path]) != lengths[variable.dims[0]]:
            count = counted(len(columns[variable.path]), "row")
            yield f"{variable.path} has {count} instead of {lengths[variable.dims[0]]}"
            return
    word, words, samples = columns["tokens/word"][positions], run.counts.words, run.counts.samples
    context = run.context
    word_start = np.where(context.start >= 0, positions[context.start], -1)
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
        "words/token_count": np.array_equal(context.count, columns["words/token_count"]) and _is_whole(run),
    }
    yield from (f"table column {path} does not agree with the others" for path, sound in checks.items() if not sound)
    if not all(checks.values()):
        return
    if digest_encoding(stored_encoding(run)) != run.spec.encoding_digest:
        yield f"the tokens in its tables are not those of its spec; {REMAKE}"
    if run.key.view in schema.WHOLE_VIEWS and digest_samples(sample_rows(run)) != run.spec.dataset_digest:
        yield f"the texts in its tables are not those of its spec; {REMAKE}"


def _is_whole(run: Run) -> bool:
    """Return whether a word has all its tokens in each window that has some, and these are together."""
    word, window = run.token_column("tokens/word").astype(np.int64), run.windows.of_token
    inside = (word >= 0) & (word < run.counts.words)
    pairs, sizes = np.unique(window[inside] * (run.counts.words + 1) + word[inside], return_counts=True)
    return np.array_equal(sizes, run.context.count[pairs % (run.counts.words + 1)])


def _pack_faults(run: Run, pack: int) -> Iterator[str]:
    try:
        record = Records(run.group).read(pack)
    except IntegrityError as error:
        yield error.message
        return
    for kept in run.spec.kept:
        chunks = run.chunks(kept.name)
        for index, layer in enumerate(chunks.layers):
            try:
                arrays = chunks.read_arrays(index, pack)
                values = chunks.decoded(arrays)
            except IntegrityError as error:
                yield error.message
                continue
            where = f"layer {layer} of {kept.name}"
            if not all(record.matches(name, index, array) for name, array in arrays.items()):
                yield (
                    f"{where}: values are not those that were committed; run `biocache verify --repair` and extract "
                    "the run again"
                )
            if not all_finite(values):
                yield f"{where}: values are not finite"
            elif kept is ATTENTION:
                yield from (f"{where}: {fault}" for fault in _attention_faults(run, pack, values))
            elif kept is NORMS and values.min() < 0:
                yield f"{where}: norms are negative"


def _attention_faults(run: Run, pack: int, values: NDArray[np.floating]) -> Iterator[str]:
    plan = run.windows.plan
    windows = plan.samples_of(pack)
    tokens = plan.tokens.count[windows.start : windows.stop]
    keys = run.map_rows(pack)
    starts = np.cumsum(keys) - keys
    with np.errstate(over="ignore"):
        sums = np.add.reduceat(values.astype(np.float32), starts, axis=1)
    dtype = run.spec.stored_dtype(ATTENTION)
    allowed = row_sum_tolerance(keys, dtype, run.spec.compute_dtype)
    # With a sink a part of the attention, from none to nearly all, goes to no token.
    off = (sums - 1.0 > allowed) | (sums <= 0) if run.spec.sink else np.abs(sums - 1.0) > allowed
    if off.any():
        head, row = (int(i) for i in np.argwhere(off)[0])
        sample = run.windows.sample[windows[int(np.searchsorted(np.cumsum(tokens), row, side="right"))]]
        yield (
            f"{int(off.sum())} attention rows do not sum to 1, first head {head} of sample "
            f"{run.column('samples/sample_id')[sample]!r}: {float(sums[head, row]):.4f}"
        )
    if values.min() < 0 or values.max() > 1 + float(np.finfo(values.dtype).eps):
        yield "attention probabilities lie outside [0, 1]"
