"""What a store and a run say of themselves, as text and in a notebook."""

from collections.abc import Iterable
from html import escape

from biocache.store.keys import RunKey
from biocache.store.text import printable

__all__ = ["as_html", "as_text", "store_facts"]

Facts = list[tuple[str, str]]


def store_facts(keys: Iterable[RunKey]) -> Facts:
    """Describe a store by the values that the parts of its keys have."""
    parts: dict[str, dict[str, None]] = {name: {} for name in RunKey.names()}
    count = 0
    for key in keys:
        count += 1
        for name, value in key.items():
            parts[name][str(value)] = None
    return [("runs", f"{count:,}"), *((name, ", ".join(values)) for name, values in parts.items() if values)]


def as_text(title: str, facts: Facts) -> str:
    """Write facts as lines below a title."""
    width = max(len(name) for name, _ in facts) + 2
    return "\n".join([f"<{printable(title)}>", *(f"  {name:<{width}}{printable(text)}" for name, text in facts)])


def as_html(title: str, facts: Facts) -> str:
    """Write facts as a table below a title."""
    rows = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th><td style="text-align: left">{escape(text)}</td></tr>'
        for name, text in facts
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table></div>"
