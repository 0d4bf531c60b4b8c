"""The errors a user of biocache can meet.

Every message holds the value at fault, the place it was found and the next step. Each error also derives
from the builtin that a caller would think of first, so that ``except ValueError`` works as expected.
"""

import re
from collections.abc import Iterator

__all__ = [
    "REMAKE",
    "AmbiguousRunError",
    "BiocacheError",
    "BusyError",
    "DataError",
    "IncompleteRunError",
    "IntegrityError",
    "ModelError",
    "NewerFormatError",
    "ReadOnlyError",
    "ResourceError",
    "RunNotFoundError",
    "SettingError",
    "SpecMismatchError",
    "StorageError",
    "StoreFormatError",
    "TrainingError",
]

# The next step where a run's own metadata is damaged.
REMAKE = "remove the run with `biocache rm` and extract it again, or extract it with --overwrite"


# An option of the command line, with its value where one is written behind it.
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*|C)(?:=(\S*[^\s.,;:)]))?")
_COMMAND = re.compile(r"`biocache ([a-z-]+)([^`]*)`")
_BYTES = re.compile(r"\d+[KMG]")
# Command without a function in `biocache.engine` -> the call that does the same in Python.
_IN_PYTHON = {
    "copy": "copy_run(run, target)",
    "ls": "Store.catalog()",
    "rm": "Store.remove(key)",
    "verify": "Store.verify(repair=True)",
}


class BiocacheError(Exception):
    """Base of all errors that describe a mistake or a state that a user can fix.

    The message, ``args[0]``, is in the words of the command line: options are written ``--option`` or
    ``--option=value``, commands ``biocache command`` between backquotes. As text, an error names parameters and
    functions of Python instead.

    Attributes
    ----------
    parameters
        Option to the parameter of Python that it sets, where that is not the option with underscores.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.parameters: dict[str, str] = {}

    @property
    def message(self) -> str:
        """The message in the words of the command line."""
        return Exception.__str__(self)

    # KeyError would print its message through repr(); every child prints it as it was written.
    def __str__(self) -> str:
        commands = _COMMAND.sub(lambda found: self._function(found[1], found[2]), self.message)
        return _OPTION.sub(lambda found: self._parameter(found[1], found[2]), commands)

    def _parameter(self, name: str, value: str | None) -> str:
        parameter = self.parameters.get(f"--{name}", name.replace("-", "_"))
        return parameter if value is None else f"{parameter}={_literal(value)}"

    def _function(self, command: str, rest: str) -> str:
        if command in _IN_PYTHON:
            return f"`{_IN_PYTHON[command]}`"
        words = rest.split()
        given = ", ".join(self._parameter(word[2:], None) + "=" + _literal(value) for word, value in _paired(words))
        return f"`{command.replace('-', '_')}({given})`"


def _paired(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield options with their values, ``True`` where an option has none."""
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            after = words[place + 1] if place + 1 < len(words) else "--"
            yield name, value if equals else "True" if after.startswith("--") else after


def _literal(value: str) -> str:
    """Write the value of an option as Python would."""
    if _BYTES.fullmatch(value):
        return str(int(value[:-1]) << {"K": 10, "M": 20, "G": 30}[value[-1]])
    parts = value.split(",")
    if len(parts) > 1:
        return f"({', '.join(map(_literal, parts))})"
    try:
        float(value)
    except ValueError:
        return value if value in ("True", "False") else repr(value)
    return value


class SettingError(BiocacheError, ValueError):
    """An option or argument has a value that cannot be used."""


class DataError(BiocacheError, ValueError):
    """A corpus file or dataset is malformed; the message names the file and the line."""


class ModelError(BiocacheError, ValueError):
    """A model or tokenizer cannot be found, loaded whole, or used for this task."""


class ResourceError(BiocacheError, OSError):
    """Memory or disk is short of what the work needs."""


class ReadOnlyError(ResourceError):
    """A place cannot be written to."""


class StoreFormatError(BiocacheError, ValueError):
    """A folder is not a biocache store, or one of a format version this release cannot read."""


class NewerFormatError(StoreFormatError):
    """A store, run or result was written by a newer release of biocache than this one."""


class RunNotFoundError(BiocacheError, KeyError):
    """No run of the store matches a selection."""


class AmbiguousRunError(BiocacheError, LookupError):
    """More than one run of the store matches a selection that must name one."""


class IncompleteRunError(BiocacheError, LookupError):
    """A run still has packs without a commit record."""


class SpecMismatchError(BiocacheError, ValueError):
    """A run exists under this key and was made from other inputs or with other settings."""


class IntegrityError(BiocacheError, OSError):
    """Stored bytes are missing, damaged, or not what their commit record says."""


class BusyError(BiocacheError, RuntimeError):
    """Another process is writing to the run or making the checkpoint."""


class StorageError(BiocacheError):
    """An object store does not answer, or refuses a request.

    No OSError: of what is stored, it says nothing.
    """


class TrainingError(BiocacheError, ArithmeticError):
    """A training diverged: its loss or a weight is NaN or infinite."""
