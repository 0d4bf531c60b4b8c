"""`biocache demo`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from biocache.engine.demo.demo import Demo, Step
    from biocache.engine.extraction.request import ExtractionRequest

__all__ = ["demo", "extract_command", "python_lines"]

_EXAMPLES = """\b
Examples:
  biocache demo
  biocache demo /tmp/biocache-demo"""


@click.command(epilog=_EXAMPLES, short_help="Make a corpus, tiny models and a store of them, offline.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("biocache-demo"))
def demo(folder: Path) -> None:
    """Make the whole in small: a corpus for each task, a tiny model of each family, and a store of their activations.

    All of it goes into FOLDER (default: biocache-demo), offline and within a minute. Each command that it stands for is
    shown. What an earlier demo left there is kept.
    """
    from biocache.cli.ls import print_catalog
    from biocache.cli.render import Bars
    from biocache.engine.demo.demo import make_demo
    from biocache.store import Store

    with Bars("tokens") as bars:
        made = make_demo(
            folder,
            on_step=lambda step: bars.echo(_shown(step)),
            on_progress=lambda progress: bars.update(progress.run, progress.tokens_done, progress.tokens_total),
        )
    ls = shlex.join(["biocache", "ls", "--store", str(made.store)])
    click.echo(f"\n$ {ls}")
    print_catalog(Store.open(made.store).catalog())
    click.echo("\nOpen it in Python:\n")
    click.echo("\n".join(python_lines(made)))


def _shown(step: "Step") -> str:
    if step.request is None:
        return f"{step.kind}  {step.target}{' (found)' if step.found else ''}"
    outcome = "all runs are there and complete" if step.found else "extracting ..."
    return f"\n$ {extract_command(step.target, step.request)}\n{outcome}"


def extract_command(store: Path, request: "ExtractionRequest") -> str:
    """Return the command that does what a request of the demo asks for, over several lines.

    Parameters
    ----------
    store
        Folder of the store.
    request
        A request with a task, a dataset and models; everything else is as the command has it by default.
    """
    head = shlex.join(["biocache", "extract", "--store", str(store), "--task", request.task])
    dataset = shlex.join(["--dataset", request.dataset or ""])
    models = [shlex.join(["--model", model]) for model in request.models]
    return " \\\n    ".join([head, dataset, *models])


def python_lines(demo: "Demo") -> list[str]:
    """Return the lines of Python that open a demo's store."""
    return [
        "from biocache.store import Store",
        "",
        f"store = Store.open({str(demo.store)!r})",
        "print(store.catalog())",
        'run = store.run(task="ner", model="bert", split="test")',
        "tokens = run.tokens()",
        "print(tokens)",
        'print(tokens.hidden.sel(layer=2).astype("float32").mean("token").values)',
    ]
