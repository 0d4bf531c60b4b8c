"""Package `__init__` files whose names are imported when they are first used."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package [1]_.

    Parameters
    ----------
    package
        Full name of the package.
    places
        Public name to the module below the package that defines it.

    References
    ----------
    .. [1] PEP 562, "Module __getattr__ and __dir__". https://peps.python.org/pep-0562/
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{places[name]}"), name)

    return get, lambda: sorted(places)
