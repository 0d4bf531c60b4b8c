"""Text for people: escaped, on one line, cut where it is long; sizes in bytes; named facts in lines or HTML."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

__all__ = ["as_html", "as_text", "counted", "format_bytes", "one_line", "printable", "shortened", "shown"]

# Control characters (C0, DEL, C1), line separators, marks of text direction, and lone surrogates, which UTF-8 cannot
# encode.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST_WORD = 300
_LONGEST_LINE = 2000
_LONGEST_SHOWN = 60


def counted(count: int, noun: str) -> str:
    """Write a number of things, such as ``1 run`` or ``2,000 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    r"""Replace characters that control a terminal by escapes, such as ``\x1b``.

    Labels, names and paths come from files that other people wrote.
    """
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def one_line(error: BaseException | str) -> str:
    """Return a message on one printable line; the error's type where it has no message.

    Long words are cut, and so is the middle of a long line: its beginning names the place, its end the next step.
    """
    words = str(getattr(error, "message", error)).split() or [type(error).__name__]
    line = printable(" ".join(word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_SHOWN]}..." for word in words))
    if len(line) > _LONGEST_LINE:
        line = f"{line[: _LONGEST_LINE // 2]} ... {line[-_LONGEST_LINE // 4 :]}"
    return line


def shortened(value: Any) -> str:
    """Write a value in a message; only the beginning of a digest or a long list."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def shown(value: object) -> str:
    """Return a value as a message shows it: quoted, on one line, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def format_bytes(count: float) -> str:
    """Write a number of bytes with a binary unit, such as ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def as_text(title: str, facts: Sequence[tuple[str, str]]) -> str:
    """Write facts as lines below a title."""
    width = max(len(name) for name, _ in facts) + 2
    return "\n".join([f"<{printable(title)}>", *(f"  {name:<{width}}{printable(text)}" for name, text in facts)])


def as_html(title: str, facts: Sequence[tuple[str, str]]) -> str:
    """Write facts as a table below a title."""
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th><td style="text-align: left">{escape(text)}</td></tr>'
        for name, text in facts
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table></div>"
