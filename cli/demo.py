"""`biocache demo`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biocache.cli.progress import Bars
from biocache.cli.render import echo, print_table
from biocache.cli.values import FOLDER

if TYPE_CHECKING:
    from biocache.engine.demo.demo import Demo
    from biocache.engine.demo.making import Step

__all__ = ["demo", "python_lines"]

_EXAMPLES = """\b
Examples:
  biocache demo
  biocache demo biocache-demo --workers 1"""
_MOST_WORKERS = 4


@click.command(epilog=_EXAMPLES, short_help="Do the whole study in small, offline, and report it.")
@click.argument("folder", type=FOLDER, default=Path("biocache-demo"))
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Models trained and extracted at the same time, each in a process.  [default: a core each, at most "
    f"{_MOST_WORKERS}]",
)
def demo(folder: Path, workers: int | None) -> None:
    """Do the whole study in small: invented datasets for both tasks, four small models, and every command on them.

    All of it goes into FOLDER (default: biocache-demo), offline and in some two minutes on two cores. BERT and GPT-2
    have read sentences of everyday life, their twins BioBERT and BioGPT biomedical ones. They are fine-tuned on 10, 30,
    50 and 100 % of the train split, extracted, probed, compared with what they were, and reported as one HTML page.
    Each command is shown, to be repeated by hand. What an earlier demo left there is kept.
    """
    from biocache.engine.demo.making import make_demo

    with Bars("parts") as bars:
        made = make_demo(
            folder,
            workers=workers or min(os.cpu_count() or 1, _MOST_WORKERS),
            on_step=lambda step: bars.echo(_shown(step)),
            on_progress=bars.update,
        )
    _print_scores(made)
    echo(f"\nThe report, to be opened in a browser: {made.report}\n\nThe store in Python:\n")
    echo("\n".join(python_lines(made)))


def _shown(step: "Step") -> str:
    if step.found is None or step.seconds is None:
        return f"\n$ {step.command}" if step.command else f"\n{step.name}"
    return "found" if step.found else f"done in {step.seconds:.1f} s"


def _print_scores(demo: "Demo") -> None:
    """Write the test scores of the fine-tuned models, a row each."""
    from biocache.engine.demo.demo import SCORES, SIZES

    rows = [
        (task, SCORES[task].replace("_f1", " F1"), model, *(scores[size] for size in SIZES))
        for task, model, scores in demo.scores()
    ]
    echo("\nFine-tuned models on the test split\n")
    print_table(("task", "score", "model", *(f"{size} %" for size in SIZES)), rows)


def python_lines(demo: "Demo") -> list[str]:
    """Return the lines of Python that open a demo's store."""
    return [
        "from biocache.store import Store",
        "",
        f"store = Store.open({str(demo.store)!r})",
        'print(store.catalog(model="biogpt", split="test"))',
        'run = store.run(task="ner", model="biogpt", training_size=100, split="test")',
        "words = run.words()",
        "print(words)",
        'print(words.hidden.sel(layer=3).groupby("label").mean().compute())',
    ]
