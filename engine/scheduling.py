"""Which Dask scheduler computes: threads of this process, workers started for the purpose, or a running cluster."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from biocache.store.errors import ResourceError, SettingError

__all__ = ["computing", "connect"]

# Credentials of the clusters that this process has started, by the address of their scheduler: whoever connects to one
# can run any code, so that only those who hold them may.
_CREDENTIALS: dict[str, Any] = {}

_LOOPBACK = "127.0.0.1"
_SETTINGS = {
    # By default workers hand every 64 KiB that they free back to the system, and wait for it again.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**27,
    # Pages of tasks, logs and call stacks, for every user of the machine.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """Connect to a running Dask cluster for the length of a context.

    Parameters
    ----------
    address
        Address of its scheduler, such as ``tls://host:8786``. Certificates of a cluster that others started are taken
        from the settings of Dask.

    Yields
    ------
    distributed.Client
        The connection.

    Raises
    ------
    ResourceError
        If no scheduler answers.
    """
    from distributed import Client, Security

    security = _CREDENTIALS.get(address) or Security()
    if address.startswith("tls:") and security.get_connection_args("client").get("ssl_context") is None:
        raise ResourceError(
            f"the scheduler at {address!r} asks for a certificate, and Dask's settings name none; set "
            "distributed.comm.tls.ca-file, client.cert and client.key, or the variables of these names, "
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE and so on"
        )
    try:
        client = Client(address, timeout="10s", set_as_default=False, security=security)
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


@contextmanager
def computing(workers: int | None, scheduler_address: str | None) -> Iterator[Any | None]:
    """Have what computes ready for the length of a context.

    Parameters
    ----------
    workers
        Worker processes to start on this machine, each with one thread; None for none.
    scheduler_address
        Address of the scheduler of a running cluster; None for none.

    Yields
    ------
    distributed.Client or None
        The connection to the workers; None where threads of this process compute.

    Raises
    ------
    SettingError
        If both are given, or there are less than one worker.
    ResourceError
        If no scheduler answers.
    """
    if workers is not None and scheduler_address is not None:
        raise SettingError("--workers and --scheduler-address exclude each other: a running cluster has its workers")
    if workers is not None and workers < 1:
        raise SettingError(f"{workers} workers compute nothing; pass --workers 1 or more")
    if scheduler_address is not None:
        with connect(scheduler_address) as client:
            yield client
    elif workers is not None:
        with _workers(workers) as client:
            yield client
    else:
        yield None


@contextmanager
def _workers(count: int) -> Iterator[Any]:
    """Start workers that nobody but this process can give work to: TLS with temporary certificates, on loopback."""
    import dask
    from distributed import Client, LocalCluster, Security

    security = Security.temporary()
    with (
        dask.config.set(_SETTINGS),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host=_LOOPBACK,
            security=security,
            # Any free port: the usual one may be that of another cluster.
            dashboard_address=f"{_LOOPBACK}:0",
            worker_dashboard_address=f"{_LOOPBACK}:0",
            scheduler_kwargs={"dashboard": False},
            # A worker that takes long to end is of no interest; one that dies is an error of its own.
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        _CREDENTIALS[cluster.scheduler_address] = security
        try:
            yield client
        finally:
            del _CREDENTIALS[cluster.scheduler_address]
