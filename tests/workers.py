"""Functions that tests run inside Dask workers, which import them from here."""

import os
import signal
from typing import Any

from biocache.engine.extraction import cluster
from biocache.store.errors import DataError


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


def fail(text: str) -> None:
    """Raise a user's error."""
    raise DataError(text)


def die() -> None:
    """End this process as the system does where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


class _Unreadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return fail, ("cannot be read",)


def unreadable() -> Any:
    """Return an object that cannot be unpickled."""
    return _Unreadable()
