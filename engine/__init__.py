"""The computations: what fills a store and what is read out of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biocache.engine.attention.comparison import compare_attention
    from biocache.engine.attention.request import AttentionRequest
    from biocache.engine.extraction.extract import extract
    from biocache.engine.extraction.request import ExtractionRequest
    from biocache.engine.finetuning.finetune import finetune
    from biocache.engine.finetuning.request import FinetuneRequest

__all__ = ["AttentionRequest", "ExtractionRequest", "FinetuneRequest", "compare_attention", "extract", "finetune"]

_PLACES = {
    "AttentionRequest": "biocache.engine.attention.request",
    "ExtractionRequest": "biocache.engine.extraction.request",
    "FinetuneRequest": "biocache.engine.finetuning.request",
    "compare_attention": "biocache.engine.attention.comparison",
    "extract": "biocache.engine.extraction.extract",
    "finetune": "biocache.engine.finetuning.finetune",
}


def __getattr__(name: str) -> Any:
    # Those who analyse a store must not pay for, or need, what fills one.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
