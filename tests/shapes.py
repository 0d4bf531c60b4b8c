"""JSON of another shape: every value of a document, replaced by values of every other kind."""

import copy
from collections.abc import Iterator
from typing import Any

STRANGE: list[Any] = [
    None, True, -1, 0, 1.5, 10**30, 2**63, "", "x", "\ud800", "\x1b[31m", [], [[]], {}, {"a": {}}, ["x"], [None], [-1],
]  # fmt: skip


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of a value and of all values in it."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield from places(part, (*place, name))


def replaced(value: Any, place: tuple[Any, ...], by: Any) -> Any:
    if not place:
        return by
    changed = copy.deepcopy(value)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = by
    return changed
