"""Checks that the requests of all commands share."""

from collections.abc import Iterable
from typing import Any

from biocache.store.errors import SettingError

__all__ = ["require_known", "require_named", "require_positive", "require_sizes"]


def require_known(what: str, values: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a value that is not one of those that are known.

    Raises
    ------
    SettingError
        If there is one; the message lists what is known.
    """
    names = tuple(known)
    for value in values:
        if value not in names:
            raise SettingError(f"{what} {value!r} is not one of {', '.join(names)}")


def require_named(request: Any, *fields: str) -> None:
    """Refuse a request that names nothing where it must name one or more."""
    for name in fields:
        if not getattr(request, name):
            raise SettingError(f"{name} is empty: name at least one")


def require_positive(request: Any, *fields: str) -> None:
    """Refuse a request in which a count is not positive; None is no count."""
    for name in fields:
        value = getattr(request, name)
        if value is not None and value < 1:
            raise SettingError(f"{name} {value} is not a positive number")


def require_sizes(sizes: Iterable[int]) -> None:
    """Refuse a training size that is no percentage."""
    for size in sizes:
        if not 0 <= size <= 100:
            raise SettingError(f"training size {size} is not a percentage from 0 to 100")
