"""What computes: threads, workers started for the purpose, or a cluster."""

import operator
import subprocess
import sys
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import pytest
from distributed import LocalCluster

from biocache.engine.scheduling import computing
from biocache.store.errors import ResourceError, SettingError


def test_threads_of_this_process_need_no_client() -> None:
    with computing(None, None) as client:
        assert client is None


def test_workers_are_processes_of_one_thread_and_end_with_the_context() -> None:
    with computing(2, None) as client:
        assert client is not None
        assert client.submit(operator.add, 1, 2).result() == 3
        workers = client.scheduler_info()["workers"].values()
        assert [worker["nthreads"] for worker in workers] == [1, 1]
    assert client.status == "closed"


def test_a_running_cluster_is_used_and_left_running() -> None:
    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        for _ in range(2):
            with computing(None, cluster.scheduler_address) as client:
                assert client is not None
                assert client.submit(operator.add, 1, 2).result() == 3


def test_what_cannot_compute_is_refused() -> None:
    with pytest.raises(SettingError, match="exclude each other"), computing(1, "tcp://127.0.0.1:1"):
        pass
    with pytest.raises(SettingError, match="0 workers"), computing(0, None):
        pass
    with pytest.raises(ResourceError, match="no Dask scheduler answers"), computing(None, "nonsense://"):
        pass


def listening() -> set[tuple[str, int]]:
    """Return the addresses that this process and its workers listen on."""
    me = psutil.Process()
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in (me, *me.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def answers(port: int) -> int | None:
    """Return the status of what answers to plain HTTP on a port of this machine; None where nothing does."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/info/main/workers.html", timeout=30) as page:
            return page.status
    except HTTPError as error:
        return error.code
    except (OSError, HTTPException):
        return None


def test_nobody_else_reaches_the_workers_that_are_started():
    before = listening()
    with computing(2, None) as client:
        address = client.scheduler.address
        opened = listening() - before
        assert len(opened) >= 5
        assert {ip for ip, _ in opened} == {"127.0.0.1"}
        # What speaks HTTP has no page; what speaks Dask asks for a certificate.
        assert {answers(port) for _, port in opened} == {None, 404}
        assert client.submit(sum, (1, 2)).result() == 3
        assert address.startswith("tls://")
        stranger = "import sys; from distributed import Client, Security\n"
        for security, place in (("None", address.replace("tls", "tcp")), ("Security.temporary()", address)):
            call = f"Client({place!r}, security={security}, timeout='5s')"
            done = subprocess.run([sys.executable, "-c", stranger + call], capture_output=True, text=True, check=False)
            assert done.returncode != 0
            assert "CommClosedError" in done.stderr or "OSError" in done.stderr
        # This process connects again, as a step of the demo does.
        with computing(None, address) as again:
            assert again.submit(sum, (2, 3)).result() == 5
    with pytest.raises(ResourceError, match="asks for a certificate"), computing(None, address):
        pass
    assert listening() <= before
