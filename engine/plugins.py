"""Code of one's own: what ``module:name`` names, and objects given in Python."""

import ast
import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from biocache.store.errors import SettingError
from biocache.store.text import one_line, shown

if TYPE_CHECKING:
    from biocache.engine.request import Setting

__all__ = [
    "NAMED",
    "Given",
    "arguments_of",
    "function_of",
    "is_given",
    "object_of",
    "own_code",
    "place_of",
    "plain_setting",
]

_PLACE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)(?:\((.*)\))?", re.DOTALL)
#: Types of functions and classes, which have a place of their own.
NAMED = (type, FunctionType, BuiltinFunctionType)


@dataclass(frozen=True, eq=False)
class Given:
    """An object that was given in Python, and that no text can make again.

    Attributes
    ----------
    text
        What messages, results and JSON call it: ``module:name(...)``.
    object
        The object.
    """

    text: str
    object: Any

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


def own_code(setting: "Setting", value: Any) -> "str | Given":
    """Return code of the user's own as a request keeps it, without importing it; for `Option.check`.

    Parameters
    ----------
    setting
        The setting.
    value
        ``module:name``, ``module:name(parameter=literal)``, or an object.

    Returns
    -------
    str or Given
        Text, wherever text can name the object.

    Raises
    ------
    SettingError
        If it is text of another form.
    """
    if isinstance(value, Given):
        return value
    if not isinstance(value, str):
        return _given(value)
    if _PLACE.fullmatch(value) is None:
        choices = ", ".join(setting.option.choices)
        raise SettingError(f"{setting.flag} {shown(value)} is not one of {choices}, nor MODULE:NAME of your own code")
    arguments_of(value)
    return value


def plain_setting(value: Any) -> Any:
    """Return the value of a setting as JSON can hold it: an object by what it is called."""
    if isinstance(value, tuple):
        return [plain_setting(part) for part in value]
    return str(value) if isinstance(value, Given) else value


def is_given(value: Any) -> bool:
    """Return whether the value of a setting is, or is the text of, an object that was given in Python."""
    if isinstance(value, tuple | list):
        return any(map(is_given, value))
    match = _PLACE.fullmatch(value) if isinstance(value, str) else None
    return isinstance(value, Given) or (match is not None and match[3] == "...")


def arguments_of(code: str) -> dict[str, Any] | None:
    """Return the arguments that a text ``module:name(parameter=literal)`` has.

    Returns
    -------
    dict or None
        None where it has no parentheses.

    Raises
    ------
    SettingError
        If they are not literals with names.
    """
    match = _PLACE.fullmatch(code)
    written = None if match is None else match[3]
    if written is None or is_given(code):
        return None
    try:
        call = ast.parse(f"f({written})", mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
            raise ValueError("no arguments with names")
        names = [each.arg for each in call.keywords]
        if not all(names) or len(set(names)) < len(names):
            raise ValueError("a name is missing, or there twice")
        return {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise SettingError(
            f"the arguments of {shown(code)} are not names with literals, such as (C=0.5, kernel='linear'); correct "
            "them"
        ) from error


def object_of(code: str, folder: str | None = None) -> Any:
    """Return the object that ``module:name`` names; modules of the working directory are found too.

    Parameters
    ----------
    code
        Its place; arguments are not looked at.
    folder
        A folder whose modules are found; None for the working directory.

    Raises
    ------
    SettingError
        If it cannot be imported, or was an object of another process.
    """
    match = _PLACE.fullmatch(code)
    if match is None:
        raise SettingError(f"{shown(code)} is not MODULE:NAME; correct it")
    if is_given(code):
        raise SettingError(
            f"{shown(code)} was an object given in Python, which no text makes again; give it again in Python, or "
            "write a function that returns it, and name that"
        )
    here = str(Path.cwd()) if folder is None else folder
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(match[1])
        for part in match[2].split("."):
            found = getattr(found, part)
    # Importing a module of the user's runs it.
    except (Exception, SystemExit) as error:
        raise SettingError(
            f"{shown(code)} cannot be imported ({type(error).__name__}: {one_line(error)}); check its name, and that "
            "Python finds the module from this folder"
        ) from error
    return found


def function_of(code: "str | Given", folder: str | None = None) -> Callable[..., Any]:
    """Return the function that ``module:function`` names, or that was given; see `object_of`.

    Raises
    ------
    SettingError
        If there is none.
    """
    if isinstance(code, Given):
        found = code.object
    else:
        match = _PLACE.fullmatch(code)
        if match is None or (match[3] is not None and not is_given(code)):
            raise SettingError(f"{shown(code)} is not MODULE:FUNCTION, such as mylabels:part_of_speech; correct it")
        found = object_of(code, folder)
    if not callable(found):
        raise SettingError(f"{shown(str(code))} is not a function; name one")
    return found  # type: ignore[no-any-return]


def _given(value: Any) -> "str | Given":
    """Return text that names an object, or where there is none the object with what it is called."""
    named = isinstance(value, NAMED)
    kind = value if named else type(value)
    place = place_of(kind)
    again = _imports(kind, place)
    if named and again:
        return place
    written = None if named else _written_arguments(value)
    if again and written is not None:
        return f"{place}({written})"
    return Given(f"{place}(...)", value)


def place_of(named: Any) -> str:
    """Return ``module:name`` of a function or class, also of one that cannot be imported from there."""
    name = re.sub(r"<locals>\.|[<>]", "", getattr(named, "__qualname__", type(named).__name__))
    return f"{getattr(named, '__module__', None) or 'builtins'}:{name}"


def _imports(named: Any, place: str) -> bool:
    """Return whether another process that imports a place finds the same there."""
    module, _, name = place.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return module != "__main__" and found is named and _PLACE.fullmatch(place) is not None


def _written_arguments(value: Any) -> str | None:
    """Write the parameters of an estimator that are not its defaults; None where one is no literal."""
    import inspect

    if not hasattr(value, "get_params"):
        return None
    try:
        parameters = value.get_params(deep=False)
        defaults = {each.name: each.default for each in inspect.signature(type(value)).parameters.values()}
        changed = {
            name: repr(each) for name, each in parameters.items() if repr(each) != repr(defaults.get(name, _NONE))
        }
        for text in changed.values():
            ast.literal_eval(text)
    # What it is, is said where it is used.
    except Exception:
        return None
    return ", ".join(f"{name}={text}" for name, text in changed.items())


#: Stands for a default that there is not.
_NONE = object()
