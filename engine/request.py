"""Requests: the settings of a command, and of its function in Python. Each field declares its option."""

import json
import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from biocache.store.errors import BiocacheError, SettingError
from biocache.store.paths import local_path
from biocache.store.text import shown

__all__ = [
    "Option",
    "Request",
    "Setting",
    "build",
    "default_of",
    "in_words_of",
    "option",
    "settings_of",
    "values_of",
]


@dataclass(frozen=True, kw_only=True)
class Option:
    """The option of a field of a request.

    Attributes
    ----------
    help
        Its help on the command line.
    flag
        Name of the option; empty for the field's name with hyphens. ``--a/--b`` is a flag that can be taken back.
    choices
        The texts that are allowed; empty for any.
    low, high
        Bounds of a number, inclusive unless `above` or `below`.
    above, below
        Whether the bounds are exclusive.
    form
        How text is parsed where the type does not decide it: ``bytes``, such as ``8G``; ``ranges``, such as ``0,2-5``.
    metavar
        Name of the value in the help.
    unset
        Meaning of None, for the help.
    repeats
        Whether a list may hold a value twice.
    empty
        Whether a list may be empty.
    decides
        Whether the value decides the numbers of an analysis, so that its result is found by it. Settings that only
        select runs do not: the identities of the runs do.
    check
        Called with the setting and a value that is not among the choices; returns it as the request keeps it, or raises
        SettingError. None where only the choices, or all values of the type, are allowed.
    """

    help: str
    flag: str = ""
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    form: str = ""
    metavar: str = ""
    unset: str = ""
    repeats: bool = False
    empty: bool = False
    decides: bool = True
    check: "Callable[[Setting, Any], Any] | None" = None


def option(default: Any = MISSING, **facts: Any) -> Any:
    """Return a dataclass field with an `Option`; `facts` are its attributes."""
    return field(default=default, metadata={"option": Option(**facts)})


@dataclass(frozen=True)
class Setting:
    """A field of a request with its option and type.

    Attributes
    ----------
    name
        Name of the field.
    option
        Its option.
    type
        Type of the value, or of each of many.
    many
        Whether it is a tuple of values.
    optional
        Whether it may be None.
    default
        Its default; MISSING where it must be given.
    """

    name: str
    option: Option
    type: Any
    many: bool
    optional: bool
    default: Any

    @property
    def flags(self) -> str:
        """Declaration of the option, such as ``--training-size`` or ``--restart/--resume``."""
        return self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def flag(self) -> str:
        """Name of the option, in messages and command lines."""
        return self.flags.partition("/")[0]

    def checked(self, value: Any) -> Any:
        """Return a value as the request keeps it; a list without duplicates, unless it may have them.

        Raises
        ------
        SettingError
            If it is of another type, out of range, or not one of the choices.
        """
        if value is None and self.optional:
            return None
        if not self.many:
            return self._one(value)
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            raise SettingError(f"{self.flag} {shown(value)} is not a list; name each value by itself")
        values = tuple(map(self._one, value))
        if not values and not self.option.empty:
            raise SettingError(f"{self.flag} is empty: name at least one")
        return values if self.option.repeats else tuple(dict.fromkeys(values))

    def _one(self, value: Any) -> Any:
        if self.option.check is not None and not (isinstance(value, str) and value in self.option.choices):
            return self.option.check(self, value)
        if self.type is Path:
            return local_path(value, self.flag)
        if self.type in (int, float):
            return self._number(value)
        if isinstance(value, str) and hasattr(self.type, "parse"):
            return self.type.parse(value)
        if not isinstance(value, self.type):
            wanted = {bool: "True or False", str: "a text"}.get(self.type, f"a {self.type.__name__}")
            raise SettingError(f"{self.flag} {shown(value)} is not {wanted}")
        if self.option.choices and value not in self.option.choices:
            raise SettingError(f"{self.flag} {shown(value)} is not one of {', '.join(self.option.choices)}")
        return value

    def _number(self, value: Any) -> Any:
        kind, known = ("whole number", Integral) if self.type is int else ("number", Real)
        number = self.type(value) if isinstance(value, known) and not isinstance(value, bool) else None
        if number is None or not math.isfinite(number) or not self._within(number):
            given = value if number is not None else shown(value)
            raise SettingError(f"{self.flag} {given} is not a {kind}{self._range()}")
        return number

    def _within(self, number: float) -> bool:
        low, high = self.option.low, self.option.high
        over = low is None or (number > low if self.option.above else number >= low)
        return over and (high is None or (number < high if self.option.below else number <= high))

    def _range(self) -> str:
        low, high = self.option.low, self.option.high
        if low is None:
            return ""
        beginning = f" {'above' if self.option.above else 'from'} {low:g}"
        if high is None:
            return beginning
        return f"{beginning} {'and below' if self.option.below else 'to'} {high:.10g}"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The settings of a command. A subclass is a frozen dataclass whose fields are made by `option`.

    The settings of a field that is itself a `Request` are options of the same command, unless its metadata have
    ``lends`` as False.

    Raises
    ------
    SettingError
        If a value is out of range, or conflicts with another.
    """

    def __post_init__(self) -> None:
        with in_words_of(type(self)):
            for name, part in _parts(type(self)).items():
                if isinstance(part, Setting):
                    object.__setattr__(self, name, part.checked(getattr(self, name)))
            self.check()

    def check(self) -> None:
        """Refuse values that conflict, after each has been checked by itself; for subclasses."""

    def to_json(self) -> str:
        """Return all settings as JSON, from which `from_json` makes an equal request."""
        return json.dumps(dict(values_of(self)), default=str, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the request that `to_json` wrote.

        Raises
        ------
        SettingError
            If the text is not that of such a request.
        """
        try:
            values = json.loads(text)
            return build(cls, {str(name): value for name, value in values.items()})
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise SettingError(f"{shown(text)} is not a {cls.__name__}") from error


_R = TypeVar("_R", bound=Request)


def _parts(request: type[Request]) -> Mapping[str, Any]:
    """Return the fields that have options: name to `Setting`, or to the type of an inner request."""
    return _read_parts(request)  # type: ignore[arg-type]  # mypy takes a class for its instances


@cache
def _read_parts(request: Any) -> Mapping[str, Any]:
    hints, parts = get_type_hints(request), {}
    for each in fields(request):
        if "option" in each.metadata:
            parts[each.name] = _setting(each, hints[each.name])
        elif each.metadata.get("lends", True):
            parts[each.name] = hints[each.name]
    return parts


def default_of(each: Any) -> Any:
    """Return the default of a dataclass field, MISSING where it has none."""
    return each.default if each.default_factory is MISSING else each.default_factory()


def _setting(each: Any, hint: Any) -> Setting:
    union = get_origin(hint) in (Union, types.UnionType)
    kind = next(part for part in get_args(hint) if part is not types.NoneType) if union else hint
    many = get_origin(kind) is tuple
    optional = union and types.NoneType in get_args(hint)
    return Setting(
        each.name, each.metadata["option"], get_args(kind)[0] if many else kind, many, optional, default_of(each)
    )


def settings_of(request: type[Request]) -> tuple[Setting, ...]:
    """Return the settings of a request type in the order of its fields, those of requests in it among them."""
    parts = _parts(request).values()
    return tuple(each for part in parts for each in ([part] if isinstance(part, Setting) else settings_of(part)))


def values_of(request: Request) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each setting; see `settings_of`."""
    for name, part in _parts(type(request)).items():
        value = getattr(request, name)
        if isinstance(part, Setting):
            yield name, value
        else:
            yield from values_of(value)


def build(request: type[_R], values: Mapping[str, Any]) -> _R:
    """Make a request of the values of some settings, by their names."""
    lenders = {name: part for name, part in _parts(request).items() if not isinstance(part, Setting)}
    lent = {name: [own.name for own in settings_of(kind)] for name, kind in lenders.items()}
    inner = {
        name: build(kind, {own: values[own] for own in lent[name] if own in values}) for name, kind in lenders.items()
    }
    others = {name: value for name, value in values.items() if not any(name in names for names in lent.values())}
    return request(**inner, **others)


@contextmanager
def in_words_of(request: type[Request]) -> Iterator[None]:
    """Let errors that are raised in the context name the settings of a request as in Python.

    Messages name options, which `BiocacheError` shows a caller in Python as fields.
    """
    try:
        yield
    except BiocacheError as error:
        for setting in settings_of(request):
            error.parameters.setdefault(setting.flag, setting.name)
        raise
