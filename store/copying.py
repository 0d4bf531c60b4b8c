"""Copying runs from one store to another: verified on the way, thinned where less is wanted, and resumed."""

from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from biocache.store import schema
from biocache.store.catalog import Store
from biocache.store.creating import create_run, described_difference
from biocache.store.data import RunData
from biocache.store.errors import SettingError, SpecMismatchError
from biocache.store.label_sets import copy_labels
from biocache.store.levels import row_counts
from biocache.store.reading import Run
from biocache.store.results import copy_result, runs_in
from biocache.store.spec import RunSpec
from biocache.store.storage import StorePlace, open_storage
from biocache.store.text import shown
from biocache.store.writing import EncodedLayer, RunWriter

__all__ = ["CopyReport", "copy_results", "copy_run", "thinned"]


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy did for one run.

    Attributes
    ----------
    run
        Path of the run below the store.
    packs
        Packs of the run.
    packs_copied
        Packs that were copied now.
    packs_done
        Packs that the copy has.
    copied_bytes
        Bytes of the chunks that were copied now.
    """

    run: str
    packs: int
    packs_copied: int
    packs_done: int
    copied_bytes: int


def thinned(
    spec: RunSpec, layers: Iterable[int] | None, keep: Iterable[str] | None, level: str | None = None
) -> RunSpec:
    """Return the spec of a run of which only some layers and variables are kept, hidden states of some level.

    Raises
    ------
    SettingError
        If the run lacks one of them, nothing is left, or another level cannot be made of it exactly.
    """
    chosen = spec.layers if layers is None else tuple(sorted(set(layers)))
    named = spec.keep if keep is None else tuple(name for name in schema.ACTIVATIONS if name in set(keep))
    lost = [f"layer {layer}" for layer in chosen if layer not in spec.layers]
    lost += [name for name in (keep or ()) if name not in spec.keep]
    if lost:
        raise SettingError(
            f"run {spec.key} has no {lost[0]}; it has layers {', '.join(map(str, spec.layers))} of "
            f"{', '.join(spec.keep)}"
        )
    maps = [layer for layer in spec.attention_layers if layer in chosen]
    kept = tuple(name for name in named if name == schema.HIDDEN.name or maps)
    if not kept:
        have = ", ".join(map(str, spec.attention_layers))
        raise SettingError(
            f"nothing of run {spec.key} is left: its layers {have} have {' and '.join(named)}; add one of them to "
            "--layers"
        )
    return replace(spec, layers=chosen, keep=kept, level=_level(spec, kept, level))


def _level(spec: RunSpec, kept: tuple[str, ...], level: str | None) -> str:
    """Return the level of a copy."""
    if level is None or level == spec.level or schema.HIDDEN.name not in kept:
        return spec.level
    if level not in schema.ROW_DIMS:
        raise SettingError(f"level {shown(level)} is not one of {', '.join(schema.ROW_DIMS)}")
    if spec.level != "token":
        raise SettingError(
            f"run {spec.key} keeps hidden states of each {spec.level}, and those of each {level} are made of tokens; "
            f"extract it with --level={level} into the other store"
        )
    if schema.STORED_TYPES[spec.dtype].coding:
        raise SettingError(
            f"run {spec.key} holds {spec.dtype} codes, and words and samples are made of values that are no codes; "
            f"extract it with --level={level} into the other store"
        )
    return level


def copy_run(
    run: Run,
    target: StorePlace,
    *,
    layers: Iterable[int] | None = None,
    keep: Iterable[str] | None = None,
    level: str | None = None,
    on_pack: Callable[[int, int], None] | None = None,
) -> CopyReport:
    """Copy a run, or the part of it that is there, to another store.

    The label sets of its split go along. Every table and chunk is compared with its checksum as it is read. Packs that
    the copy has already are left as they are: what was interrupted goes on, and runs of one spec that are complete in
    parts become one. In a repository of the Hugging Face hub the copy appears in one commit, when it is whole.

    Parameters
    ----------
    run
        The run.
    target
        The other store; made where it is missing, on the hub as a private dataset repository.
    layers, keep
        Layers and variables (``hidden``, ``attention``, ``norms``) to copy; None for all.
    level
        What the copy keeps a hidden state of, ``word`` or ``sample`` of a run of tokens in float16 or float32: exactly
        what extraction at that level gives; None for that of the run.
    on_pack
        Called after each pack with (packs done, packs to copy).

    Returns
    -------
    CopyReport
        What was done.

    Raises
    ------
    SettingError
        If the run lacks a layer or variable, or the other level cannot be made of it.
    SpecMismatchError
        If the other store has another run of this key.
    IntegrityError
        If something of the run is damaged; what was copied before stays, but on the hub, where nothing is seen then.
    ReadOnlyError, StorageError
        If the other store may not be written to or does not answer; the same call goes on.
    """
    spec = thinned(run.spec, layers, keep, level)
    columns = {variable.path: run.column(variable.path) for variable in schema.columns()}
    words = (columns["words/sample"], columns["words/token_count"])
    plan = run.plan.with_rows(row_counts(spec.level, run.counts.samples, *words))
    storage = open_storage(target).receiving()
    try:
        made = create_run(storage, spec, run.provenance, plan, columns)
    except SpecMismatchError as error:
        differences = described_difference(Run.open(storage, run.key).spec, spec)
        raise SpecMismatchError(
            f"{storage} has another run {run.key} ({differences}); copy to another store, or remove that run with "
            "`biocache rm` first"
        ) from error
    copy_labels(run.group.storage, storage, run.key)
    copied = stored = 0
    with closing(RunWriter(made)) as writer:
        there = set(run.committed())
        todo = [pack for pack in writer.pending() if pack in there]
        for place, pack in enumerate(todo, start=1):
            with writer.claim([pack], wait=True):
                # Another process may have copied it meanwhile.
                if writer.pending([pack]):
                    stored += writer.copy_pack(pack, _encoded(run, writer, pack)).stored_bytes
                    copied += 1
            if on_pack is not None:
                on_pack(place, len(todo))
        done = made.counts.packs - len(writer.pending())
    storage.commit(f"Copy run {run.key}: {done} of {made.counts.packs} packs")
    return CopyReport(str(run.key), made.counts.packs, copied, done, stored)


def copy_results(source: Store, target: StorePlace) -> tuple[int, int]:
    """Copy the results of one store to another that holds the runs which they were computed from, or that name none.

    Returns
    -------
    tuple of int
        Results that were copied, and those that were left out, because the target lacks one of their runs or has it
        with other settings or thinned.

    Raises
    ------
    IntegrityError
        If a result is damaged.
    """
    storage = open_storage(target).receiving()
    there = Store.open(storage)
    runs = {str(run.key): run.identity for run in there.select()}
    copied = left = 0
    for result in source.results():
        if all(runs.get(run["run"]) == run for run in runs_in(result.inputs)):
            with suppress(FileNotFoundError):  # Another process has removed it meanwhile.
                copied += copy_result(result, storage)
        else:
            left += 1
    storage.commit(f"Copy {copied} results")
    return copied, left


def _encoded(run: RunData, writer: RunWriter, pack: int) -> Iterable[EncodedLayer]:
    """Yield the layers of a pack that are copied, as they are stored."""
    spec = writer.run.spec
    for kept in spec.kept:
        chunks = run.chunks(kept.name)
        if kept is schema.HIDDEN and spec.level != run.spec.level:
            places = map(chunks.layers.index, spec.layers)
            yield from writer.encoded(pack, kept, (chunks.read_committed(place, pack) for place in places))
            continue
        for index, layer in enumerate(spec.variable_layers(kept.name)):
            place = chunks.layers.index(layer)
            stored, record = chunks.read_encoded(place, pack)
            checksums = {name: record.checksums[name][place] for name in stored}
            errors = {name: values[place] for name, values in record.errors.get(kept.name, {}).items()}
            yield EncodedLayer(kept, index, stored, checksums, errors)
