"""What computes: threads, workers started for the purpose, or a cluster."""

import operator

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
