"""Types of the values of options: lists, sizes in bytes, ranges of layers, paths."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from biocache.store.storage import Storage

__all__ = [
    "BYTES",
    "FOLDER",
    "INTEGERS",
    "LAYERS",
    "LAYER_SETS",
    "NAMES",
    "STORAGE_OPTIONS",
    "STORE",
    "ByteSize",
    "ListOf",
    "OwnChoice",
]

_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:([kmgt])(i?b)?|b)?", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_RANGE = re.compile(r"(\d+)-(\d+)")
_FEW_DIGITS = re.compile(r"\d{1,9}")


class ByteSize(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: ``8G`` and ``8GiB`` are 8 * 1024**3, ``8GB`` is 8 * 1000**3, ``512`` is 512."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes that a text means."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            self.fail(
                f"{value!r} is not a size; write bytes, or a number with K, M, G or T, such as 8G or 1.5GiB", param, ctx
            )
        number, unit, suffix = match.groups()
        base = 1000 if (suffix or "").lower() == "b" else 1024
        size = int(float(number) * base ** _POWERS.get((unit or "").lower(), 0))
        if size < 1:
            self.fail(f"{value!r} is less than one byte", param, ctx)
        return size


class OwnChoice(click.Choice):  # type: ignore[type-arg]
    """One of some names, or ``MODULE:NAME``, code of the user's own, which the request checks."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the names, and how code of one's own is written."""
        return f"[{'|'.join(self.choices)}|MODULE:NAME]"

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Say what would be right."""
        return f"{super().get_invalid_choice_message(value, ctx).removesuffix('.')}, nor MODULE:NAME of your own code."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name, or the text that names the code."""
        return value if ":" in str(value) else super().convert(value, param, ctx)


class ListOf(click.ParamType):  # type: ignore[type-arg]
    """Items separated by commas; an option of this type can also be repeated.

    Parameters
    ----------
    item
        `click.ParamType` of an item.
    ranges
        Whether ``2-5`` means 2, 3, 4 and 5.
    """

    def __init__(self, item: Any, *, ranges: bool = False) -> None:
        self.item = item
        self.ranges = ranges
        self.name = item.name

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the name of the value in the help."""
        if isinstance(self.item, click.Choice):
            return "|".join(self.item.choices) + ",..."
        return f"{self.item.name.upper()},..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return the items of one value."""
        if not isinstance(value, str):
            return tuple(value)
        return tuple(
            self.item.convert(item, param, ctx)
            for text in self._split(value, param, ctx)
            for item in self._expand(text, param, ctx)
        )

    def split_envvar_value(self, rv: str) -> list[str]:
        """Return a variable of the environment as one value, whose items have commas between them."""
        return [rv]

    def _split(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        # A folder may have a comma in its name.
        if os.path.isdir(value.partition("=")[2] or value):  # noqa: PTH112  (Path raises on names too long)
            return [value]
        items = [item.strip() for item in value.split(",")]
        if not all(items):
            self.fail(f"{value!r} has an empty item; write items with one comma between them", param, ctx)
        return items

    def _expand(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> Iterator[str]:
        match = _RANGE.fullmatch(text) if self.ranges else None
        if match is None:
            yield text
            return
        first, last = int(match[1]), int(match[2])
        if not first <= last < first + 10_000:
            self.fail(f"{text!r} is not a range from a smaller number to a larger one, such as 0-12", param, ctx)
        yield from map(str, range(first, last + 1))


class _Name(click.types.StringParamType):
    name = "name"


class _Layers(click.types.StringParamType):
    name = "layer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = super().convert(value, param, ctx)
        return int(text) if _FEW_DIGITS.fullmatch(text) else text


class _Number(click.types.IntParamType):
    name = "n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < 0:
            self.fail(f"{value!r} is not a whole number from 0", param, ctx)
        return number


class _UserPath(click.Path):
    """A path in which ``~`` is the user's home, also where a shell does not expand it: after ``=`` or in quotes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from biocache.store.paths import local_path

        return local_path(value, param.opts[-1] if isinstance(param, click.Option) else "path")


class _StorePlace(click.Path):
    """Where a store is: a folder, or the URL of an object store or of a repository on the Hugging Face hub."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Storage":  # type: ignore[override]
        from biocache.store.paths import is_url
        from biocache.store.storage import open_storage

        options = {} if ctx is None else ctx.meta.get(STORAGE_OPTIONS, {})
        if param is not None and param.name != "store" and not is_url(value):
            # One of two places, of which the other has the options.
            options = {}
        return open_storage(value, options)


#: Where a command keeps the values of ``--storage-option``, which are read before ``--store``.
STORAGE_OPTIONS = "biocache.storage-options"

BYTES = ByteSize()
FOLDER = _UserPath(path_type=Path)
STORE = _StorePlace()
NAMES = ListOf(_Name())
INTEGERS = ListOf(_Number())
LAYERS = ListOf(_Number(), ranges=True)
# Layers of a probe may be joined; its request checks them.
LAYER_SETS = ListOf(_Layers(), ranges=True)
