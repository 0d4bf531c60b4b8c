"""What tells code of one's own apart: parameters of objects, and the sources of functions and classes, as JSON."""

import hashlib
import math
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from biocache.engine.plugins import NAMED, place_of
from biocache.store.errors import SettingError
from biocache.store.text import one_line, shown

__all__ = ["code_of", "described"]

# A repr that says where an object lies, or leaves a part of it out, tells no two objects apart.
_VAGUE = re.compile(r"\b0x[0-9a-fA-F]{4,}|\.\.\.")


def described(value: Any, of: str) -> Any:
    """Return what decides how an object computes, as JSON: parameters, functions and classes by their code.

    Parameters
    ----------
    value
        An estimator, a function, or one of their parameters.
    of
        What it is, for messages.

    Raises
    ------
    SettingError
        If it can only be told apart by where it lies in memory.
    """
    try:
        return _described(value, of)
    except RecursionError as error:
        raise SettingError(f"{of} holds itself, so that a result cannot be found by it again; simplify it") from error


def _described(value: Any, of: str) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, list | tuple | set | frozenset | Mapping):
        return _of_many(value, of)
    if isinstance(value, partial):
        return {"partial": _described((value.func, value.args, value.keywords), of)}
    if isinstance(value, NAMED):
        return code_of(value, of)
    if hasattr(value, "get_params"):
        own = {name: _described(part, f"{name} of {of}") for name, part in value.get_params(deep=False).items()}
        return {**code_of(type(value), of), "parameters": own}
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        return _of_array(value, of)
    text = repr(value)
    if _VAGUE.search(text):
        raise SettingError(
            f"{of} is {shown(text)}, which does not say what it holds: a result could not be found by it again; "
            "use numbers, text, or a function or class of a module"
        )
    return {"repr": text, "type": place_of(type(value))}


def _of_many(values: Any, of: str) -> Any:
    if isinstance(values, Mapping):
        return {"of": [[_described(key, of), _described(part, f"{of}, {key}")] for key, part in values.items()]}
    found = [_described(part, of) for part in values]
    return {"set": sorted(found, key=repr)} if isinstance(values, set | frozenset) else found


def _of_array(value: Any, of: str) -> Any:
    if value.dtype.hasobject or not value.shape:
        return _described(value.tolist(), of)
    digest = hashlib.sha256(value.tobytes()).hexdigest()
    return {"array": digest, "dtype": str(value.dtype), "shape": list(value.shape)}


def code_of(named: Any, of: str) -> dict[str, Any]:
    """Return the place of a function or class, and the sources that define it, as JSON.

    Parameters
    ----------
    named
        The function or class.
    of
        What it is, for messages.

    Returns
    -------
    dict
        ``place``, and for each module that it, or a class that it derives from, is defined in the version of its
        package and the SHA-256 of its file. What these modules import is not looked at.

    Raises
    ------
    SettingError
        If its source is not found, or has changed since it was imported.
    """
    owners = named.__mro__ if isinstance(named, type) else (named,)
    sources = {owner.__module__ or "builtins": owner for owner in reversed(owners) if owner is not object}
    found = {"place": place_of(named), "sources": {name: _source(name, owner, of) for name, owner in sources.items()}}
    closure = getattr(named, "__closure__", None)
    if closure:
        found["closure"] = [_described(cell.cell_contents, f"a variable of {of}") for cell in closure]
    return found


def _source(module: str, owner: Any, of: str) -> list[str]:
    """Return the version of the package of a module, where it has one, and the SHA-256 of its file."""
    if module in sys.builtin_module_names:
        return [f"python {sys.version_info.major}.{sys.version_info.minor}"]
    loaded = sys.modules.get(module)
    path = getattr(loaded, "__file__", None)
    if loaded is not None and path:
        return [*_version(module, path), _digest_since_import(loaded, path)]
    import inspect

    try:
        return [hashlib.sha256(inspect.getsource(owner).encode()).hexdigest()]
    except (OSError, TypeError) as error:
        raise SettingError(
            f"the source of {of} is not found ({one_line(error)}), so that a result could not be found by it again; "
            "write it to a module"
        ) from error


def _version(module: str, path: str) -> Iterator[str]:
    package = module.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", None)
    if isinstance(version, str):
        yield f"{package} {version}"
    elif {"site-packages", "dist-packages"} & set(Path(path).parts):
        yield from _distributed(package)


@cache
def _distributed(package: str) -> tuple[str, ...]:
    from importlib.metadata import packages_distributions, version

    return tuple(f"{name} {version(name)}" for name in sorted(set(packages_distributions().get(package, ()))))


# Module -> how it was imported, and the digest of its file then. A file that is edited later is not what computes.
_SEEN: dict[str, tuple[Any, str]] = {}


def _digest_since_import(module: Any, path: str) -> str:
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else "absent"
    how, known = _SEEN.setdefault(module.__name__, (module.__spec__, digest))
    if how is not module.__spec__:
        # It was reloaded.
        _SEEN[module.__name__] = (module.__spec__, digest)
    elif known != digest:
        raise SettingError(
            f"{path} has changed since Python imported {module.__name__}; start Python again, or reload the module"
        )
    return digest
