"""The command line, and the lines of Python, that ask for what a request asks for."""

import shlex
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

__all__ = ["command_line", "options_of", "python_lines"]

# Where an option is not its field with hyphens for underscores.
_OPTIONS = {
    "tasks": "--task",
    "datasets": "--dataset",
    "models": "--model",
    "training_sizes": "--training-size",
    "run_seeds": "--seed",
    "splits": "--split",
    "views": "--view",
    "attention_splits": "--attention-split",
    "attention_views": "--attention-view",
    "metrics": "--metric",
    "c": "--C",
}
_LINE = 120


def command_line(command: str, store: Path, request: Any, **more: Any) -> str:
    """Write a command for a shell, on lines of one option each where it is long.

    Parameters
    ----------
    command
        Name of the command.
    store
        Folder of the store.
    request
        The request of the function of that name, or a mapping of its fields. What a request has by default is not
        written, but for the task and the training sizes.
    more
        Options that are no part of the request.
    """
    options = [
        name if value is None else f"{name} {shlex.quote(value)}"
        for name, value in [*options_of(request), *options_of(more)]
    ]
    words = [f"biocache {command} --store {shlex.quote(str(store))}", *options]
    return (" " if len(" ".join(words)) <= _LINE else " \\\n    ").join(words)


def options_of(request: Any) -> Iterator[tuple[str, str | None]]:
    """Yield the options of a command that differ from their defaults, with what is written after them.

    Parameters
    ----------
    request
        A request, or a mapping of its fields.

    Yields
    ------
    tuple
        An option, and its value; None for a flag. Several values have commas; a value that has one itself is an option
        of its own.
    """
    for name, value in _changed(request).items():
        if value is None or value is False:
            continue
        if is_dataclass(value):
            yield from options_of(value)
        elif name == "by_label":
            yield "--by", "label"
        elif isinstance(value, tuple):
            texts = [str(part) for part in value]
            for text in texts if any("," in text for text in texts) else [",".join(texts)]:
                yield _option(name), text
        else:
            yield _option(name), None if value is True else f"{value:g}" if isinstance(value, float) else str(value)


def _option(name: str) -> str:
    return _OPTIONS.get(name, f"--{name.replace('_', '-')}")


def _changed(request: Any) -> dict[str, Any]:
    if not is_dataclass(request):
        return dict(request)
    changed = {}
    for field in fields(request):
        value = getattr(request, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        # Sizes are written always: a command's may be another grid by default than a function's.
        if value != default or (field.name == "training_sizes" and value is not None):
            changed[field.name] = value
    return changed


def python_lines(function: str, store: Path, request: Any) -> str:
    """Write the lines of Python that call a function of `biocache.engine`.

    Parameters
    ----------
    function
        Its name.
    store
        Folder of the store.
    request
        Its request. What that has by default is not written, but for the task and the training sizes.
    """
    kind = type(request).__name__
    changed = _changed(request)
    inner = sorted(type(value).__name__ for value in changed.values() if is_dataclass(value))
    return "\n".join(
        [
            f"from biocache.engine import {', '.join([*inner, kind, function])}",
            "",
            f"request = {kind}(",
            *(f"    {name}={_literal(value)}," for name, value in changed.items()),
            ")",
            f"result = {function}({str(store)!r}, request)",
        ]
    )


def _literal(value: Any) -> str:
    if not is_dataclass(value):
        return repr(value)
    inner = ", ".join(f"{name}={_literal(part)}" for name, part in _changed(value).items())
    return f"{type(value).__name__}({inner})"
