"""Functions that tests run inside Dask workers, which import them from here."""

import os

from biocache.engine.extraction import cluster


def load_libraries() -> None:
    """Import what takes seconds, and compute as the tests do."""
    import extractions  # noqa: F401
    import transformers.models.bert.modeling_bert  # noqa: F401


def models_loaded() -> int:
    """Return how many models this worker has loaded."""
    return cluster._model.cache_info().misses


def die_in(name: str) -> None:
    """Make the worker die in a function of the extraction."""

    def die(*_: object, **__: object) -> None:
        os._exit(1)

    setattr(cluster, name, die)
