"""Defaults of options from a file of the working folder: `biocache.toml`, or `[tool.biocache]` of `pyproject.toml`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from biocache.store.errors import SettingError
from biocache.store.text import one_line, shown

__all__ = ["Defaults", "Value", "in_force", "read_defaults", "source_of", "with_variables"]

_DEFAULT = re.compile(r"\bdefault: ([^;\]]*)")
_OWN, _PROJECT = "biocache.toml", "pyproject.toml"


@dataclass(frozen=True)
class Defaults:
    """The defaults of a file.

    Attributes
    ----------
    file
        Name of the file; empty where there is none.
    shared
        Values for every command that has such an option, by the names of options.
    commands
        Values for one command.
    """

    file: str = ""
    shared: Mapping[str, Any] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, name: str, command: click.Command) -> dict[str, Any]:
        """Return the defaults of a command, as click takes them.

        Raises
        ------
        SettingError
            If the file names an option that the command has not.
        """
        options = {_key(flag): option for option in _options(command) for flag in option.opts if flag[:2] == "--"}
        own = {_key(key): value for key, value in self.commands.get(name, {}).items()}
        unknown = [key for key in own if key not in options]
        if unknown:
            raise SettingError(f"{self.file}: `biocache {name}` has no option --{unknown[0]}; see its --help")
        found = {_key(key): value for key, value in self.shared.items() if _key(key) in options} | own
        return {str(options[key].name): self._value(name, options[key], value) for key, value in found.items()}

    def _value(self, name: str, option: click.Option, value: Any) -> Any:
        place = f"{self.file}: {option.opts[-1]} of `biocache {name}`"
        if isinstance(value, dict):
            raise SettingError(f"{place} is a table; write a text, a number, true, false or a list")
        if option.is_flag != isinstance(value, bool):
            raise SettingError(f"{place} is {shown(value)}; write {'true or false' if option.is_flag else 'a value'}")
        if option.is_flag:
            return value
        if option.multiple:
            return [str(item) for item in (value if isinstance(value, list) else [value])]
        if isinstance(value, list):
            raise SettingError(f"{place} is a list; write one value")
        return str(value)


def read_defaults(folder: Path) -> Defaults:
    """Read the defaults of a folder: those of `biocache.toml`, else the table `tool.biocache` of `pyproject.toml`.

    Raises
    ------
    SettingError
        If the file is not TOML.
    """
    for name in (_OWN, _PROJECT):
        if not (folder / name).is_file():
            continue
        import tomllib

        try:
            values = tomllib.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            if name == _PROJECT and "tool.biocache" not in _text(folder / name):
                continue
            raise SettingError(f"{name} cannot be read: {one_line(error)}; fix it or remove it") from error
        if name == _PROJECT:
            values = values.get("tool", {}).get("biocache")
            if values is None:
                continue
            name = f"{_PROJECT}, [tool.biocache]"
        commands = {key: value for key, value in values.items() if isinstance(value, dict)}
        return Defaults(name, {key: value for key, value in values.items() if key not in commands}, commands)
    return Defaults()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Value:
    """The value of an option that is in force.

    Attributes
    ----------
    option
        Name of the option.
    value
        The value, as it would be written; None for none.
    source
        Where it is from: ``default``, a variable of the environment, or a file.
    """

    option: str
    value: str | None
    source: str


def in_force(command: click.Command, ctx: click.Context, file: str) -> Iterator[Value]:
    """Yield the value of every option of a command that nothing on the command line names.

    Parameters
    ----------
    command
        The command.
    ctx
        Its context, with the defaults of the file.
    file
        Name of the file.
    """
    for option in _options(command):
        value, source = option.consume_value(ctx, {})
        if source is ParameterSource.DEFAULT_MAP:
            place = file
        elif source is ParameterSource.ENVIRONMENT:
            place = f"variable {option.envvar}"
        else:
            record = option.get_help_record(ctx)
            shown_default = _DEFAULT.search(record[1]) if record else None
            value, place = shown_default[1] if shown_default else None, "default"
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
        yield Value(option.opts[0], None if text is None else str(text), place)


def source_of(option: click.Parameter | None, ctx: click.Context | None, file: str) -> str:
    """Return the file or the variable that a value came from; empty for the command line and for defaults."""
    if ctx is None or not isinstance(option, click.Option) or option.name is None:
        return ""
    source = ctx.get_parameter_source(option.name)
    if source is ParameterSource.DEFAULT_MAP:
        return file
    return f"variable {option.envvar}" if source is ParameterSource.ENVIRONMENT else ""


def with_variables(name: str, command: click.Command) -> None:
    """Let a variable of the environment give each option its value, such as ``BIOCACHE_PROBE_TASK`` for ``--task``."""
    for option in _options(command):
        if option.envvar is None:
            option.envvar = f"BIOCACHE_{name}_{option.opts[0].lstrip('-')}".upper().replace("-", "_")


def _options(command: click.Command) -> list[click.Option]:
    """Return the options of a command that have values to remember."""
    return [
        option
        for option in command.params
        if isinstance(option, click.Option) and option.expose_value and option.name != "help"
    ]


def _key(name: str) -> str:
    return name.lstrip("-").replace("_", "-")
