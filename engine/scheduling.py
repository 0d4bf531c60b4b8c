"""Which Dask scheduler computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from biocache.store.errors import ResourceError

__all__ = ["connect"]


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """Connect to a running Dask cluster for the length of a context.

    Parameters
    ----------
    address
        Address of its scheduler, such as ``tcp://host:8786``.

    Yields
    ------
    distributed.Client
        The connection.

    Raises
    ------
    ResourceError
        If no scheduler answers.
    """
    from distributed import Client

    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ResourceError(
            f"no Dask scheduler answers at {address!r} ({reason}); start one with `dask scheduler` and `dask worker`, "
            "and pass the address that it prints"
        ) from error
    try:
        yield client
    finally:
        client.close()
