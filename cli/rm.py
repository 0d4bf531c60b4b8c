"""`biocache rm`."""

from typing import TYPE_CHECKING, Any

import click

from biocache.cli.options import run_selectors, store_option
from biocache.cli.render import counted, echo, note, print_table
from biocache.cli.selection import chosen_keys, selection
from biocache.store.text import format_bytes

if TYPE_CHECKING:
    from biocache.store.storage import Storage

__all__ = ["rm"]

_EXAMPLES = """\b
Examples, in the folder that a demo made:
  biocache rm ner/demo/bert/size-020/seed-42/sentence/train
  biocache rm --model gpt2 --training-size 20 --yes"""


@click.command(epilog=_EXAMPLES, short_help="Remove runs.")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@store_option
@run_selectors
@click.option("--all", "everything", is_flag=True, help="Remove all runs, where no selector is given.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def rm(runs: tuple[str, ...], store: "Storage", *, everything: bool, yes: bool, **selectors: Any) -> None:
    """Remove runs and free their bytes, after listing them and asking.

    RUN is a path as `biocache ls` prints it; selectors do as well. A run that is being written is refused. What
    interrupted commands left in the store is freed too.
    """
    if not (runs or everything or any(selectors.values())):
        raise click.UsageError("nothing says which runs to remove: give RUN, selectors, or --all")
    if everything and (runs or any(selectors.values())):
        raise click.UsageError("--all removes every run: give it alone, or RUN or selectors without it")
    from biocache.store import Store
    from biocache.store.creating import refuse_claimed
    from biocache.store.sweeping import stored_bytes

    wanted = selection(runs, store, selectors)
    opened = Store.open(store)
    # First: whoever repeats an interrupted removal names runs that are gone.
    swept = opened.sweep()
    if swept:
        note(f"{format_bytes(swept)} that interrupted commands had left were freed")
    chosen = chosen_keys(opened, wanted)
    for key in chosen:
        refuse_claimed(opened.storage, key)
    sizes = [stored_bytes(opened.storage, key.path) for key in chosen]
    if chosen:
        print_table(("run", "bytes"), zip(map(str, chosen), sizes, strict=True))
    if chosen and not yes:
        click.confirm(f"Remove {counted(len(chosen), 'run')}, {format_bytes(sum(sizes))}?", abort=True, err=True)
    for key in chosen:
        opened.remove(key)
    echo(f"{counted(len(chosen), 'run')} removed, {format_bytes(sum(sizes))} freed")
