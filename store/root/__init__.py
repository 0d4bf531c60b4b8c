"""biocache: a feature store for transformer internals in biomedical NLP.

The rooms are `biocache.store`, what is on disk and the xarray views of it, and `biocache.engine`, what fills a store
and analyses it.
"""

from typing import Any

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    """Return the version of the installed package, which takes a while to look up."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("biocache")


def __dir__() -> list[str]:
    return [*__all__, "engine", "store"]
