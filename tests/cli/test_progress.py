"""Progress: bars that show the percent in a narrow terminal, and lines that a log can keep."""

import io
import re
import sys

import pytest

from biocache.cli import progress
from biocache.cli.progress import Bars
from biocache.engine.stages import listening, stage


class Clock:
    """The time, as the test sets it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    monkeypatch.setattr(progress, "_SOON", 2.0)
    return found


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_log_has_a_line_at_the_start_each_tenth_or_minute_and_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bars("tokens") as bars:
        clock.now += 5
        bars.update("run", 0, 1000)
        for done in range(50, 1001, 50):
            clock.now += 20
            bars.update("run", done, 1000)
    # A twentieth each 20 seconds: a minute is later than a tenth.
    assert told(capsys) == [
        "run: 1,000 tokens",
        "run: 15%, 2 tokens/s, 5:40 left",
        "run: 30%, 2 tokens/s, 4:40 left",
        "run: 45%, 2 tokens/s, 3:40 left",
        "run: 60%, 2 tokens/s, 2:40 left",
        "run: 75%, 2 tokens/s, 1:40 left",
        "run: 90%, 2 tokens/s, 0:40 left",
        "run: done, 6:40, 2 tokens/s",
    ]


def test_a_night_has_ten_lines(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bars("tokens") as bars:
        clock.now += 5
        for done in range(0, 100_001, 10):
            bars.update("run", done, 100_000)
            clock.now += 3
    lines = told(capsys)
    assert len(lines) == 11
    assert lines[1] == "run: 10%, 3 tokens/s, 7:30:00 left"


def test_what_was_done_before_does_not_count_as_speed(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bars("steps") as bars:
        clock.now += 5
        bars.update("run", 500, 1000)
        clock.now += 100
        bars.update("run", 700, 1000)
    assert told(capsys) == ["run: 1,000 steps", "run: 70%, 2 steps/s, 2:30 left"]


def test_what_takes_a_moment_has_no_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bars("tokens") as bars:
        with stage("reading the dataset"):
            clock.now += 0.5
        bars.update("run", 0, 10)
        bars.update("run", 5, 10)
        clock.now += 1
        bars.update("run", 10, 10)
    assert told(capsys) == []


def test_a_stage_is_named_when_it_took_long(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Bars("tokens"), stage("loading bert"):
        clock.now += 7.25
    assert told(capsys) == ["loading bert: 7.2 s"]


def test_stages_end_with_their_context() -> None:
    seen: list[tuple[str, bool]] = []
    with listening(lambda name, begins: seen.append((name, begins))):
        with pytest.raises(ValueError, match="stops"), stage("a"):
            raise ValueError("it stops")
        with stage("b"):
            pass
    with stage("nobody listens"):
        pass
    assert seen == [("a", True), ("a", False), ("b", True), ("b", False)]


@pytest.mark.parametrize("width", [60, 100])
def test_percent_and_time_left_are_seen_in_a_narrow_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    run = "ner/jnlpba/biobert/size-100/seed-42/sentence/train"
    with Bars("tokens") as bars:
        assert bars._progress is not None
        with stage("reading the dataset"):
            bars._progress.refresh()
        bars.update(run, 0, 1000)
        bars.update(run, 420, 1000)
        bars._progress.refresh()
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown.getvalue()))
    assert any("reading the dataset" in line for line in lines)
    assert any(re.search(r"42% .*:.*ner/jnlpba/bio", line) for line in lines)
    assert max(map(len, lines)) <= width


def test_quiet_and_verbose(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    import click

    from biocache.cli.render import note, set_loudness

    for loudness, expected in ((-1, []), (0, ["note: told"]), (1, ["short: 0.2 s", "note: told"])):
        with click.Context(click.Command("x")) as ctx:
            set_loudness(ctx, loudness)
            with Bars("tokens"), stage("short"):
                clock.now += 0.2
            note("told")
        assert told(capsys) == expected
