"""Output: tables and JSON on stdout, notes and progress on stderr."""

import json
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from biocache.cli.tables import Styled, field_lines, table_lines
from biocache.store.text import format_bytes, one_line, printable

if TYPE_CHECKING:
    import pandas as pd

    from biocache.store.keys import RunKey

__all__ = [
    "cell_text",
    "described_certificate",
    "echo",
    "is_quiet",
    "is_verbose",
    "note",
    "print_facts",
    "print_fields",
    "print_frame",
    "print_json",
    "print_table",
    "run_facts",
    "set_loudness",
]

# Exit code of a process whose reader has gone, as shells count it: 128 and the number of SIGPIPE.
_CLOSED_PIPE = 141
# Where a command keeps that -q or -v was given.
_LOUDNESS = "biocache.loudness"
# Where a command keeps its notes, for its JSON.
_NOTES = "biocache.notes"
# Settings that are of the output alone.
_OF_OUTPUT = ("as_json", "yes")


def echo(text: str = "", *, err: bool = False, color: bool | None = None) -> None:
    """Write lines; characters that control a terminal are escaped, except for the colours of a table.

    Parameters
    ----------
    text
        The lines.
    err
        Whether they go to stderr.
    color
        None to escape the text; otherwise the text is a line of a table, already escaped, with colours if True.
    """
    try:
        click.echo("\n".join(map(printable, text.split("\n"))) if color is None else text, err=err, color=color)
    except BrokenPipeError:
        # Whoever reads has read enough, as `head` has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stderr if err else sys.stdout).fileno())
        raise SystemExit(_CLOSED_PIPE) from None


def set_loudness(ctx: click.Context, loudness: int) -> None:
    """Let a command write less (-1) or more (1) than usual."""
    ctx.meta[_LOUDNESS] = loudness


def is_quiet() -> bool:
    """Return whether the command that runs was given -q."""
    return _loudness() < 0


def is_verbose() -> bool:
    """Return whether the command that runs was given -v."""
    return _loudness() > 0


def _loudness() -> int:
    ctx = click.get_current_context(silent=True)
    return 0 if ctx is None else int(ctx.meta.get(_LOUDNESS, 0))


def note(text: str) -> None:
    """Write a note to stderr, unless the command was given -q; `print_json` writes it too."""
    ctx = click.get_current_context(silent=True)
    if ctx is not None:
        ctx.meta.setdefault(_NOTES, []).append(one_line(text))
    if is_quiet():
        return
    echo(f"note: {one_line(text)}", err=True)


def described_certificate(certificate: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Write what the data types of a run cost, by variable; see `Run.certificate`."""
    from biocache.store.certificate import described_errors

    return {name: described_errors(name, errors) for name, errors in certificate.items()}


def print_json(
    rows: Iterable[Mapping[str, Any]],
    *,
    settings: Mapping[str, Any] | None = None,
    totals: Mapping[str, Any] | None = None,
) -> None:
    """Write what a command found as JSON to stdout: the same shape for every command. Call it after the last `note`.

    It is an object of ``command``, the name; ``settings``, what was asked, by the names of the options, such as
    ``training_size``; ``notes``, the texts that stderr shows too; ``rows``; and ``totals``, where there are some.

    Parameters
    ----------
    rows
        The records. Those about a run begin with `run_facts`; bytes are ``*_bytes``, seconds ``seconds``.
    settings
        Settings that were decided on the way, by their names in Python, in the place of those that were given.
    totals
        What holds for all records together.
    """
    ctx = click.get_current_context()
    asked = ctx.params | dict(settings or {})
    names = {param.name: _setting_name(param) for param in ctx.command.params}
    whole = {
        "command": ctx.command.name,
        "settings": {names.get(name, name): value for name, value in asked.items() if name not in _OF_OUTPUT},
        "notes": ctx.meta.get(_NOTES, []),
        "rows": list(rows),
        **({} if totals is None else {"totals": totals}),
    }
    echo(json.dumps(_plain(whole), indent=2, allow_nan=False))


def _setting_name(param: click.Parameter) -> str:
    """Return the name of a setting: that of its option with underscores, which all commands share."""
    if isinstance(param, click.Argument):
        return str(param.name)
    return max(param.opts, key=len).lstrip("-").replace("-", "_")


def run_facts(key: "RunKey") -> dict[str, Any]:
    """Return how a record names its run: by its path, ``run``, and the parts of its key."""
    return {"run": key.path, **dict(key.items())}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: null for what is not a number, texts for paths and stores."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table to stdout: a line a row; in a terminal as `biocache.cli.tables.table_lines` lays it out.

    Parameters
    ----------
    columns
        Their titles. A title that begins with ``bytes`` is of sizes, which are written with a unit.
    rows
        Their cells: texts; whole numbers, written with separators and on the right; other numbers, written with three
        decimals; lists, written with commas; None, written as ``-``.
    """
    values = [list(row) for row in rows]
    counts = [
        bool(values) and not title.startswith("bytes") and all(isinstance(row[place], int) for row in values)
        for place, title in enumerate(columns)
    ]
    cells = [list(map(cell_text, columns, row)) for row in values]
    _print(lambda width: table_lines(list(map(printable, columns)), cells, counts, width))


def cell_text(title: str, value: Any) -> str:
    """Write the cell of a table; see `print_table`."""
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return printable(",".join(map(str, value)))
    if isinstance(value, str):
        return printable(value)
    if title.startswith("bytes"):
        return format_bytes(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def print_facts(columns: Mapping[str, str], facts: Iterable[Mapping[str, Any]]) -> None:
    """Write some of what `print_json` writes as a table.

    Parameters
    ----------
    columns
        Title of each column to the name of the fact that it shows; see `print_table`.
    facts
        The facts of each row by their names.
    """
    print_table(tuple(columns), [[row[name] for name in columns.values()] for row in facts])


def print_frame(frame: "pd.DataFrame", signed: Collection[str] = ()) -> None:
    """Write a table to stdout, each value with its spread and interval; see `Analysis.frame`.

    Parameters
    ----------
    frame
        The table.
    signed
        Columns whose positive numbers have a sign too.
    """
    from biocache.engine.tables import table_cells

    if not frame.empty:
        print_table(*table_cells(frame, signed))


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Write names and values to stdout, a line each; a field without a value is a heading.

    In a terminal, long values go on below themselves.
    """
    _print(lambda width: field_lines([(printable(name), printable(value)) for name, value in fields], width))


def _print(lines: Callable[[int | None], Iterable[Styled]]) -> None:
    """Write lines that are laid out for the width of the terminal; None for whatever else stdout is."""
    from rich.console import Console

    console = Console()
    shows = console.is_terminal
    for line in lines(console.width if shows else None):
        echo(click.style(line.text, bold=True) if shows and line.bold and line.text else line.text, color=shows)
