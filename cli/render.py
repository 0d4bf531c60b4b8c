"""Output: tables and JSON on stdout, notes and progress on stderr."""

import json
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from biocache.store.text import format_bytes, one_line, printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Bars",
    "cell_text",
    "counted",
    "described_certificate",
    "echo",
    "note",
    "print_facts",
    "print_fields",
    "print_frame",
    "print_json",
    "print_table",
]

# Whole numbers that are names: written without separators.
_NAMES = {"seed", "layer", "head"}
# Wider than any table: a terminal wraps long rows, and a pipe gets whole ones.
_WIDTH = 10_000


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
    click.echo("\n".join(map(printable, text.split("\n"))) if color is None else text, err=err, color=color)


def note(text: str) -> None:
    """Write a note to stderr."""
    echo(f"note: {one_line(text)}", err=True)


def counted(count: int, noun: str) -> str:
    """Write a number of things, such as ``1 run`` or ``2,000 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def described_certificate(certificate: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """Write what the data types of a run cost, by variable; see `Run.certificate`."""
    from biocache.store.certificate import described_errors

    return {name: described_errors(name, errors) for name, errors in certificate.items()}


def print_json(value: Any) -> None:
    """Write JSON to stdout."""
    echo(json.dumps(value, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table to stdout, a line a row, never cut and never wrapped.

    Parameters
    ----------
    columns
        Their titles. A title that begins with ``bytes`` is of sizes, which are written with a unit.
    rows
        Their cells: texts; whole numbers, written with separators and on the right; other numbers, written with three
        decimals; lists, written with commas; None, written as ``-``.
    """
    from rich.table import Table

    cells = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, title in enumerate(columns):
        counts = not title.startswith("bytes") and all(isinstance(row[position], int) for row in cells)
        table.add_column(printable(title), justify="right" if cells and counts else "left", no_wrap=True)
    for row in cells:
        table.add_row(*map(cell_text, columns, row))
    _print(table)


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
    if frame.empty:
        return
    names = [str(name) for name in frame]
    beside = {f"{name}{end}" for name in names for end in ("_ci_low", "_ci_high", "_spread")}
    shown = [name for name in names if name not in beside]
    rows = [[_cell(row, name, "+" if name in signed else "") for name in shown] for row in frame.to_dict("records")]
    print_table([name.replace("_", " ") for name in shown], rows)


def _cell(row: Mapping[Any, Any], name: str, sign: str) -> str | int:
    value = row[name]
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return name.replace("_", " ") if value else ""
    if isinstance(value, int):
        return str(value) if name in _NAMES else int(value)
    if not isinstance(value, float):
        return "" if value is None else str(value)
    if math.isnan(value):
        return "-" if f"{name}_ci_low" in row else ""
    text = _number(value, sign)
    spread, low, high = (row.get(f"{name}{end}", math.nan) for end in ("_spread", "_ci_low", "_ci_high"))
    text += "" if math.isnan(spread) else f" ± {_number(spread)}"
    return text if math.isnan(low) else f"{text} [{_number(low, sign)}, {_number(high, sign)}]"


def _number(value: float, sign: str = "") -> str:
    if abs(value) >= 1000:
        return f"{value:{sign},.0f}"
    return f"{value:{sign}.3f}" if abs(value) >= 0.001 or not value else f"{value:{sign}.1e}"


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Write names and values to stdout, a line each; a field without a value is a heading."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for name, value in fields:
        table.add_row(printable(name), printable(value), style=None if value else "bold")
    _print(table)


def _print(table: Any) -> None:
    from rich.console import Console

    console = Console(width=_WIDTH, markup=False, emoji=False, highlight=False, soft_wrap=True)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        echo(line.rstrip(), color=console.is_terminal)


class Bars:
    """Progress on stderr, a bar a run; nothing if stderr is no terminal.

    Parameters
    ----------
    unit
        Name of what is counted, in the plural.
    """

    def __init__(self, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, highlight=False, emoji=False)
        self._unit = unit
        self._tasks: dict[str, Any] = {}
        self._noted: set[str] = set()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not sys.stderr.isatty(),
            transient=True,
            # Redirected, stdout would be written where the bars are and not to the user's pipe.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def echo(self, text: str) -> None:
        """Write a line to stdout, with the bars hidden meanwhile."""
        self._progress.stop()
        echo(text)
        self._progress.start()

    def notes(self, texts: Iterable[str]) -> None:
        """Write notes to stderr, each once, with the bars hidden meanwhile."""
        self._progress.stop()
        for text in texts:
            if text not in self._noted:
                self._noted.add(text)
                note(text)
        self._progress.start()

    def update(self, run: str, done: int, total: int, unit: str | None = None) -> None:
        """Set the progress of a run; its first call draws its bar. The unit is that of the bars, unless given."""
        if run not in self._tasks:
            self._tasks[run] = self._progress.add_task(printable(run), total=total, rate="")
        task = self._progress.tasks[self._progress.task_ids.index(self._tasks[run])]
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f} {unit or self._unit}/s" if speed else ""
        self._progress.update(self._tasks[run], completed=done, total=total, rate=rate)
