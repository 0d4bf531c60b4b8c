"""The command line and the lines of Python that are equivalent to a request."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from biocache.engine.request import Request, default_of, settings_of, values_of
from biocache.store.storage import StorePlace

__all__ = ["command_line", "python_lines"]

_LINE = 120


def command_line(command: str, store: StorePlace, request: Request, **more: Any) -> str:
    """Write a command for a shell, on lines of one option each where it is long.

    Parameters
    ----------
    command
        Name of the command.
    store
        Folder of the store.
    request
        The request. Defaults are not written.
    more
        Options that are not part of the request.
    """
    options = [name if value is None else f"{name} {shlex.quote(value)}" for name, value in _options(request, more)]
    words = [f"biocache {command} --store {shlex.quote(str(store))}", *options]
    return (" " if len(" ".join(words)) <= _LINE else " \\\n    ").join(words)


def _options(request: Request, more: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield options with their values as text: None for a flag; several values are joined by commas."""
    given = dict(values_of(request))
    for setting in settings_of(type(request)):
        value = given[setting.name]
        if value is None or value == setting.default:
            continue
        if setting.many:
            texts = [str(part) for part in value]
            # A value with a comma is an option of its own.
            for text in texts if any("," in text for text in texts) else [",".join(texts)]:
                yield setting.flag, text
        else:
            yield setting.flag, None if value is True else f"{value:g}" if isinstance(value, float) else str(value)
    for name, value in more.items():
        yield f"--{name.replace('_', '-')}", str(value)


def python_lines(command: str, store: StorePlace, request: Request) -> str:
    """Write the lines of Python that do what a command does.

    Parameters
    ----------
    command
        Name of the command: that of a function of `biocache.engine` with hyphens, or of an analysis of another package.
    store
        Folder of the store.
    request
        Its request. Defaults are not written.
    """
    kind, function = type(request), command.replace("-", "_")
    own = kind.__module__.startswith("biocache.engine.")
    changed = _changed(request)
    inner = sorted(type(value).__name__ for value in changed.values() if isinstance(value, Request))
    names = ", ".join([*inner, kind.__name__])
    imports = [f"from biocache.engine import {names}, {function}"]
    if not own:
        imports = ["from biocache.engine import compute", f"from {kind.__module__} import {names}"]
    called = f"{function}({str(store)!r}, request)" if own else f"compute({command!r}, {str(store)!r}, request)"
    return "\n".join(
        [
            *imports,
            "",
            f"request = {kind.__name__}(",
            *(f"    {name}={_literal(value)}," for name, value in changed.items()),
            ")",
            f"result = {called}",
        ]
    )


def _changed(request: Request) -> dict[str, Any]:
    """Return the fields that differ from their defaults."""
    values = {each.name: getattr(request, each.name) for each in fields(request)}
    return {each.name: values[each.name] for each in fields(request) if values[each.name] != default_of(each)}


def _literal(value: Any) -> str:
    if isinstance(value, Path):
        return repr(str(value))
    if not isinstance(value, Request):
        return repr(value)
    inner = ", ".join(f"{name}={_literal(part)}" for name, part in _changed(value).items())
    return f"{type(value).__name__}({inner})"
