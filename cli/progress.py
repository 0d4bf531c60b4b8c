"""Progress on stderr: bars in a terminal, else lines that a log can keep."""

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from biocache.cli.render import echo, is_quiet, is_verbose, note
from biocache.engine.stages import listening
from biocache.store.text import counted, printable

__all__ = ["Bars"]

# Seconds of work for which a log needs no line.
_SOON = 2.0
# Seconds between two lines of one run.
_SELDOM = 60.0
# Terminals of fewer columns have neither a bar nor a rate: the percent and the time left are what is needed.
_NARROW = 80


@dataclass
class _Line:
    """What a log was told of a run.

    Attributes
    ----------
    begun, told
        Times of the first call and of the last line.
    first
        What was done at the first call.
    share
        Share that was done at the last line; None before the first.
    """

    begun: float
    told: float
    first: int
    share: float | None = None


class Bars:
    """Progress on stderr: a bar a run in a terminal; else a line at a run's start, each tenth or minute, and its end.

    Of tenths and minutes the later one. What takes less than two seconds has no line. Stages without a count
    (`biocache.engine.stages`) are shown by name.

    Parameters
    ----------
    unit
        Name of what is counted, in the plural.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._noted: set[str] = set()
        self._lines: dict[str, _Line] = {}
        self._stages: dict[str, tuple[Any, float]] = {}
        self._tasks: dict[str, Any] = {}
        self._held = ExitStack()
        self._draws = sys.stderr.isatty() and not is_quiet()
        self._begun = time.monotonic()
        self._progress = _drawn() if self._draws else None

    def __enter__(self) -> Self:
        self._held.enter_context(listening(self._stage))
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()
        if self._progress is not None:
            self._progress.stop()

    def echo(self, text: str) -> None:
        """Write a line to stdout, with the bars hidden meanwhile."""
        self._between(lambda: echo(text))

    def notes(self, texts: Iterable[str]) -> None:
        """Write notes to stderr, each once, with the bars hidden meanwhile."""
        new = [text for text in dict.fromkeys(texts) if text not in self._noted]
        self._noted.update(new)
        for text in new:
            self._between(lambda text=text: note(text))

    def update(self, run: str, done: int, total: int, unit: str | None = None) -> None:
        """Set the progress of a run; its first call draws its bar. The unit is that of the bars, unless given."""
        if self._progress is None:
            if not is_quiet():
                self._tell(run, done, total, unit or self._unit)
            return
        if run not in self._tasks:
            self._tasks[run] = self._progress.add_task(printable(run), total=total, completed=done, rate="")
        task = self._progress.tasks[self._progress.task_ids.index(self._tasks[run])]
        speed = task.finished_speed or task.speed
        rate = _speed(speed, unit or self._unit) if speed else ""
        self._progress.update(self._tasks[run], completed=done, total=total, rate=rate)

    def _between(self, write: Any) -> None:
        if self._progress is not None:
            self._progress.stop()
        write()
        if self._progress is not None:
            self._progress.start()

    def _stage(self, name: str, begins: bool) -> None:
        now = time.monotonic()
        if begins:
            drawn = None if self._progress is None else self._progress.add_task(printable(name), total=None, rate="")
            self._stages[name] = drawn, now
            return
        drawn, begun = self._stages.pop(name, (None, now))
        if self._progress is not None and drawn is not None:
            self._progress.remove_task(drawn)
        if is_verbose() or (self._progress is None and not is_quiet() and now - begun >= _SOON):
            self._between(lambda: echo(f"{name}: {now - begun:.1f} s", err=True))

    def _tell(self, run: str, done: int, total: int, unit: str) -> None:
        """Write the line of a run, where it is time for one."""
        now = time.monotonic()
        line = self._lines.setdefault(run, _Line(now, now, done))
        share = done / total if total else 1.0
        if line.share is None:
            if now - self._begun < _SOON:
                return
            if share < 1:
                echo(f"{run}: {counted(total, unit.removesuffix('s'))}", err=True)
                line.share, line.told = share, now
                return
        if share >= 1:
            if (line.share or 0.0) < 1:
                echo(f"{run}: done, {_clock(now - line.begun)}{_rate(line, now, done, unit)}", err=True)
                line.share = 1.0
            return
        if line.share is not None and share - line.share >= 0.1 and now - line.told >= _SELDOM:
            left = (now - line.begun) * (total - done) / max(done - line.first, 1)
            echo(f"{run}: {share:.0%}{_rate(line, now, done, unit)}, {_clock(left)} left", err=True)
            line.share, line.told = share, now


def _rate(line: _Line, now: float, done: int, unit: str) -> str:
    seconds = now - line.begun
    return f", {_speed((done - line.first) / seconds, unit)}" if seconds > 1 and done > line.first else ""


def _speed(a_second: float, unit: str) -> str:
    """Write a speed such as ``1,200 tokens/s`` or ``20 parts/min``."""
    return f"{a_second:,.0f} {unit}/s" if a_second >= 1 else f"{60 * a_second:,.1f} {unit}/min"


def _clock(seconds: float) -> str:
    """Write a time such as ``0:07`` or ``2:05:10``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _drawn() -> Any:
    """Return the bars of a terminal: the percent and the time left first, the name cut where there is no room."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    console = Console(stderr=True, highlight=False, emoji=False)
    wide = console.width >= _NARROW
    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.percentage:>3.0f}%", markup=False),
        TimeRemainingColumn(),
        *((BarColumn(bar_width=16),) if wide else ()),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        *((TextColumn("{task.fields[rate]}", markup=False, table_column=Column(no_wrap=True)),) if wide else ()),
        console=console,
        transient=True,
        expand=True,
        # Redirected, stdout would be written where the bars are and not to the user's pipe.
        redirect_stdout=False,
        redirect_stderr=False,
    )
