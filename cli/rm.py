"""`biocache rm`."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, run_selectors, store_option
from biocache.cli.render import echo, note, print_json, print_table, run_facts
from biocache.cli.selection import chosen_keys, label_selection, selection
from biocache.store.text import counted, format_bytes

if TYPE_CHECKING:
    from biocache.store import Store
    from biocache.store.storage import Storage

__all__ = ["rm"]

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache rm ner/demo/bert/size-020/seed-42/sentence/train
  biocache rm --model gpt2 --training-size 20 --yes"""


@click.command(epilog=_EXAMPLES, short_help="Remove runs, label sets or results.")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@store_option
@run_selectors
@click.option("--all", "everything", is_flag=True, help="Remove all runs; takes neither RUN nor selectors.")
@click.option("--results", is_flag=True, help="Remove all results.")
@click.option("--labels", multiple=True, metavar="NAME", help="Remove label sets of this name.")
@click.option("--unused-results", is_flag=True, help="Remove results of runs that are not there any more.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
def rm(
    runs: tuple[str, ...],
    store: "Storage",
    *,
    everything: bool,
    results: bool,
    labels: tuple[str, ...],
    unused_results: bool,
    yes: bool,
    as_json: bool,
    **selectors: Any,
) -> None:
    """Remove runs, results or label sets and free their bytes, after listing runs and label sets, and asking.

    RUN is a path as `biocache ls` prints it; selectors do as well. A run that is being written is refused. What
    interrupted commands left in the store is freed too.
    """
    selected = bool(runs or any(selectors.values()))
    if not (selected or everything or results or labels or unused_results):
        raise click.UsageError(
            "nothing says what to remove: give RUN, selectors, --all, --labels, --results or --unused-results"
        )
    if labels and (runs or everything):
        raise click.UsageError("--labels removes label sets, and RUN and --all runs; give one of them")
    if everything and selected:
        raise click.UsageError("--all removes every run: give it alone, or RUN or selectors without it")
    if as_json and not yes:
        raise click.UsageError("--json cannot ask before it removes; add --yes")
    from biocache.store import Store

    store.require_writable()
    opened = Store.open(store)
    # First: whoever repeats an interrupted removal names runs that are gone.
    swept = opened.sweep()
    if swept:
        note(f"{format_bytes(swept)} that interrupted commands had left were freed")
    removed: list[dict[str, Any]] = []
    if labels:
        removed += _remove_labels(opened, labels, selectors, yes=yes, quiet=as_json)
    elif selected or everything:
        removed += _remove_runs(opened, selection(runs, store, selectors), yes=yes, quiet=as_json)
    if results or unused_results:
        removed += _remove_results(opened, unused=not results, yes=yes, quiet=as_json)
    if as_json:
        freed = sum(each["freed_bytes"] for each in removed)
        print_json(removed, totals={"removed": len(removed), "freed_bytes": freed, "swept_bytes": swept})


def _remove_runs(store: "Store", wanted: list[dict[str, Any]], *, yes: bool, quiet: bool) -> list[dict[str, Any]]:
    from biocache.store.claims import sees_writers
    from biocache.store.creating import refuse_claimed
    from biocache.store.sweeping import stored_bytes

    chosen = chosen_keys(store, wanted)
    for key in chosen:
        refuse_claimed(store.storage, key)
    if chosen and not sees_writers(store.storage):
        note(f"{store.storage} has no locks: whether another process is writing to these runs cannot be seen")
    sizes = [stored_bytes(store.storage, key.path) for key in chosen]
    if chosen and not quiet:
        print_table(("run", "bytes"), zip(map(str, chosen), sizes, strict=True))
    if chosen and not yes:
        click.confirm(f"Remove {counted(len(chosen), 'run')}, {format_bytes(sum(sizes))}?", abort=True, err=True)
    for key in chosen:
        store.remove(key)
    _conclude(len(chosen), "run", sum(sizes), quiet=quiet)
    return [{**run_facts(key), "freed_bytes": size} for key, size in zip(chosen, sizes, strict=True)]


def _remove_labels(
    store: "Store", names: tuple[str, ...], selectors: dict[str, Any], *, yes: bool, quiet: bool
) -> list[dict[str, Any]]:
    from biocache.store.errors import RunNotFoundError
    from biocache.store.label_sets import label_places

    chosen = label_places(store.storage, name=list(names), **label_selection(selectors))
    absent = [name for name in names if all(place.name != name for place in chosen)]
    if absent:
        raise RunNotFoundError(f"{store.storage} has no label set {absent[0]!r}; `biocache ls --labels` lists them")
    sizes = [store.storage.size(place.file) for place in chosen]
    if not quiet:
        print_table(("label set", "bytes"), zip(map(str, chosen), sizes, strict=True))
    if not yes:
        click.confirm(f"Remove {counted(len(chosen), 'label set')}?", abort=True, err=True)
    _conclude(len(chosen), "label set", store.remove_labels(chosen), quiet=quiet)
    return [
        {"label_set": str(place), **asdict(place), "freed_bytes": size}
        for place, size in zip(chosen, sizes, strict=True)
    ]


def _remove_results(store: "Store", *, unused: bool, yes: bool, quiet: bool) -> list[dict[str, Any]]:
    chosen = store.unused_results() if unused else store.results(problems=[])
    if chosen and not yes:
        what = " of runs that are gone" if unused else ""
        click.confirm(f"Remove {counted(len(chosen), 'result')}{what}?", abort=True, err=True)
    sizes = [result.storage.size(result.file) for result in chosen]
    _conclude(len(chosen), "result", store.remove_results(chosen), quiet=quiet)
    return [
        {"result": result.file, "kind": result.kind, "created": result.created, "freed_bytes": size}
        for result, size in zip(chosen, sizes, strict=True)
    ]


def _conclude(count: int, what: str, freed: int, *, quiet: bool) -> None:
    if not quiet:
        echo(f"{counted(count, what)} removed, {format_bytes(freed)} freed")
