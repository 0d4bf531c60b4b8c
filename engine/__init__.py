"""The computations: what fills a store and what is read out of it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biocache.engine.extraction.extract import extract
    from biocache.engine.extraction.request import ExtractionRequest

__all__ = ["ExtractionRequest", "extract"]


def __getattr__(name: str) -> Any:
    # Those who analyse a store must not pay for, or need, what extracts one.
    if name == "extract":
        from biocache.engine.extraction.extract import extract

        return extract
    if name == "ExtractionRequest":
        from biocache.engine.extraction.request import ExtractionRequest

        return ExtractionRequest
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
