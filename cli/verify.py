"""`biocache verify`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import json_option, run_selectors, store_option
from biocache.cli.progress import Bars
from biocache.cli.render import described_certificate, echo, print_json, run_facts
from biocache.cli.selection import chosen_keys, selection
from biocache.cli.values import FOLDER
from biocache.store.text import counted

if TYPE_CHECKING:
    from biocache.store import RunKey
    from biocache.store.integrity import Problem
    from biocache.store.storage import Storage

__all__ = ["verify"]

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache verify
  biocache verify --task ner --model biogpt --recompute 4"""


@click.command(epilog=_EXAMPLES, short_help="Check every file, record and value of a store.")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@store_option
@run_selectors
@click.option(
    "--recompute",
    type=click.IntRange(min=1),
    metavar="K",
    help="Also run K samples of each run through the model again.",
)
@click.option(
    "--from",
    "weights",
    metavar="FOLDER|FILE|HUB_ID",
    help="Where the weights are now, if they moved since the extraction.",
)
@click.option(
    "--checkpoints",
    type=FOLDER,
    metavar="FOLDER",
    help="Also check every file of the checkpoints of this folder, which `biocache finetune` made.",
)
@click.option("--device", help="Device of torch for --recompute.  [default: cuda where there is one]")
@click.option(
    "--repair",
    is_flag=True,
    help="Delete damaged results and the records of damaged packs, to be computed again; make lost groups again.",
)
@json_option
def verify(
    runs: tuple[str, ...],
    store: "Storage",
    *,
    recompute: int | None,
    weights: str | None,
    checkpoints: Path | None,
    device: str | None,
    repair: bool,
    as_json: bool,
    **selectors: Any,
) -> None:
    """Check everything stored of runs, results and label sets, by default of all: a line for each problem, exit code 1.

    RUN is a path as `biocache ls` prints it; selectors do as well. Results and label sets are checked where none is
    given.
    """
    if recompute is None and (weights or device):
        raise click.UsageError("--from and --device say how to --recompute; give it the number of samples")
    from biocache.store import Store
    from biocache.store.integrity import certificates, repair_groups
    from biocache.store.integrity import repair as repaired
    from biocache.store.label_sets import label_files
    from biocache.store.results import result_files

    if repair:
        store.require_writable()
    done = repair_groups(store) if repair else []
    wanted = selection(runs, store, selectors)
    opened = Store.open(store)
    chosen = chosen_keys(opened, wanted)
    _refuse_several_models(chosen, weights)
    problems = []
    packs = 0

    def on_pack(run: str, done: int, total: int) -> None:
        nonlocal packs
        packs += 1
        bars.update(run, done, total)

    def tell(problem: "Problem", alike: int | None = 0) -> None:
        """Write a problem; one line serves those that are `alike`, whose number it has, and None are told already."""
        problems.append(problem)
        if not as_json and alike is not None:
            where = problem.place if problem.pack is None else f"{problem.place}, pack {problem.pack}"
            more = f"; so do {alike:,} more layers and samples of this run, which --json lists" if alike else ""
            bars.echo(f"{where}: {' '.join(problem.message.split())}{more}")

    results = [] if any(wanted) else result_files(opened.storage)
    labels = [] if any(wanted) else label_files(opened.storage)
    folders = _checkpoint_folders(checkpoints)
    with Bars("packs") as bars:
        for problem in _stored(store, chosen, [*results, *labels], on_pack):
            tell(problem)
        # Before samples are computed again: what differs then is no damage.
        done += repaired(store, problems) if repair else []
        for problem, alike in chain(
            zip(_damaged_checkpoints(folders), repeat(0)), _recomputed(store, chosen, recompute, weights, device)
        ):
            tell(problem, alike)
    checked = {
        "runs": len(chosen),
        "packs": packs,
        "results": len(results),
        "label_sets": len(labels),
        "checkpoints": len(folders),
    }
    rounding = certificates(store, chosen)
    if as_json:
        totals = {**checked, "problems": len(problems), "repaired": done, "rounding": rounding}
        print_json([_record(problem, chosen) for problem in problems], totals=totals)
    else:
        _conclude(checked, problems, done, recompute)
        _show_rounding({} if problems else rounding)
    if problems:
        raise click.exceptions.Exit(1)


def _record(problem: "Problem", keys: "list[RunKey]") -> dict[str, Any]:
    of_run = next((run_facts(key) for key in keys if key.path == problem.place), {})
    return {**of_run, **asdict(problem)}


def _conclude(checked: dict[str, int], problems: "list[Problem]", done: list[str], recompute: int | None) -> None:
    for line in done:
        echo(line)
    again = "" if recompute is None else f", up to {counted(recompute, 'sample')} of each run recomputed"
    found = counted(len(problems), "problem") if problems else "no problems"
    told = {name: count for name, count in checked.items() if count or name in ("runs", "packs")}
    what = [counted(count, name.removesuffix("s").replace("_", " ")) for name, count in told.items()]
    echo(f"{', '.join(what)} checked{again}: {found}")


def _show_rounding(rounding: "Mapping[str, Mapping[str, Mapping[str, float]]]") -> None:
    """Write what the data types cost, the worst and the mean of all runs; the JSON has each run."""
    errors: dict[str, list[Mapping[str, float]]] = {}
    for certificate in rounding.values():
        for name, one in certificate.items():
            errors.setdefault(name, []).append(one)
    overall = {
        name: {"worst": max(one["worst"] for one in all_), "mean": sum(one["mean"] for one in all_) / len(all_)}
        for name, all_ in errors.items()
    }
    if overall:
        echo("rounding: " + "; ".join(f"{name} {text}" for name, text in described_certificate(overall).items()))


def _refuse_several_models(keys: "list[RunKey]", weights: str | None) -> None:
    models = sorted({f"{key.model} at {key.training}" for key in keys})
    if weights is not None and len(models) > 1:
        raise click.UsageError(
            f"--from names the weights of one model and the runs have {', '.join(models)}; "
            "select one with --model, --training-size and --trained-on"
        )


def _stored(
    store: "Storage", keys: "list[RunKey]", bundles: list[str], on_pack: Callable[[str, int, int], None]
) -> "Iterator[Problem]":
    from biocache.store.integrity import verify_bundles, verify_key

    for key in keys:
        yield from verify_key(store, key, partial(on_pack, str(key)))
    yield from verify_bundles(store, bundles)


def _checkpoint_folders(checkpoints: Path | None) -> list[Path]:
    from biocache.engine.finetuning.checkpoint import checkpoint_folders

    return [] if checkpoints is None else checkpoint_folders(checkpoints)


def _damaged_checkpoints(folders: list[Path]) -> "Iterator[Problem]":
    from biocache.engine.finetuning.checkpoint import Checkpoint
    from biocache.store.errors import IntegrityError, NewerFormatError
    from biocache.store.integrity import Problem

    for folder in folders:
        try:
            Checkpoint.read_sound(folder, read=True)
        except (IntegrityError, NewerFormatError) as error:
            yield Problem(str(folder), None, error.message)


def _recomputed(
    store: "Storage", keys: "list[RunKey]", count: int | None, weights: str | None, device: str | None
) -> "Iterator[tuple[Problem, int | None]]":
    """Yield what differs, with the first of each run the number of the others, and None with these."""
    for key in keys if count is not None else ():
        found = list(_recomputed_run(store, key, count or 0, weights, device))
        yield from ((problem, None if place else len(found) - 1) for place, problem in enumerate(found))


def _recomputed_run(
    store: "Storage", key: "RunKey", count: int, weights: str | None, device: str | None
) -> "Iterator[Problem]":
    from biocache.engine.recompute import recompute_samples
    from biocache.store import Run
    from biocache.store.errors import IncompleteRunError, IntegrityError, StoreFormatError
    from biocache.store.integrity import Problem

    try:
        yield from recompute_samples(Run.open(store, key), count, model=weights, device=device)
    except (IntegrityError, IncompleteRunError) as error:
        yield Problem(str(key), None, f"samples cannot be recomputed: {error.message}")
    except StoreFormatError:  # Told when what is stored was checked.
        return
