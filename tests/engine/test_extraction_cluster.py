import shutil
import time

import pytest
import torch
from distributed import Client
from extractions import holdings, request, small_packs
from transformers import AutoModel, AutoTokenizer
from workers import die_in, models_loaded

from biocache.engine import extract
from biocache.engine.extraction import cluster as on_cluster
from biocache.engine.extraction.request import Partition
from biocache.store import Store
from biocache.store.errors import ModelError, ResourceError, SettingError, SpecMismatchError

SETTINGS = {"batch_tokens": 256, "window_tokens": 300, "task": "nli"}


@pytest.fixture(autouse=True)
def _packs(monkeypatch):
    small_packs(monkeypatch, 128)


@pytest.mark.parametrize("family", ["bert", "biogpt"])
def test_a_cluster_makes_the_store_that_one_process_makes(cluster, corpus_folder, checkpoints, tmp_path, family):
    asked = request(corpus_folder, checkpoints[family], **SETTINGS)
    alone = extract(tmp_path / "here", asked)
    seen = []
    shared = extract(tmp_path / "there", asked, scheduler_address=cluster.scheduler_address, on_progress=seen.append)
    assert holdings(tmp_path / "there") == holdings(tmp_path / "here")
    assert shared == alone
    assert all(report.complete and report.packs_written > 3 for report in shared)
    for report in shared:
        done = [progress for progress in seen if progress.run == report.run]
        assert len(done) > 1
        assert [p.tokens_done for p in done] == sorted(p.tokens_done for p in done)
        assert {p.tokens_total for p in done} == {done[-1].tokens_done} == {report.tokens_written}


def test_every_worker_loads_a_model_once(cluster, corpus_folder, checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "m")
    with Client(cluster, set_as_default=False) as client:
        before = client.run(models_loaded)
        extract(
            tmp_path / "s",
            request(corpus_folder, folder, **SETTINGS | {"window_tokens": 1}),
            scheduler_address=cluster.scheduler_address,
        )
        after = client.run(models_loaded)
    assert [after[worker] - before[worker] for worker in after] == [1, 1]


def test_a_cluster_finishes_what_was_begun_here(cluster, corpus_folder, checkpoints, tmp_path):
    begun = extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], partition=Partition(1, 2), **SETTINGS))
    asked = request(corpus_folder, checkpoints["bert"], **SETTINGS)
    seen = []
    ended = extract(tmp_path / "s", asked, scheduler_address=cluster.scheduler_address, on_progress=seen.append)
    for half, rest in zip(begun, ended, strict=True):
        assert half.packs_written > 0
        assert rest.packs_written == rest.packs - half.packs_written
        assert rest.complete
        assert {p.tokens_total for p in seen if p.run == rest.run} <= {rest.tokens_written}
    assert seen
    again = extract(tmp_path / "s", asked, scheduler_address=cluster.scheduler_address)
    assert [report.packs_written for report in again] == [0, 0, 0]
    extract(tmp_path / "whole", asked)
    assert holdings(tmp_path / "s") == holdings(tmp_path / "whole")


def test_a_mistake_that_a_worker_meets_is_told_here(cluster, corpus_folder, checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "m")
    (folder / "model.safetensors").unlink()
    asked = request(corpus_folder, folder, **SETTINGS)
    with pytest.raises(ModelError, match="cannot be loaded from") as caught:
        extract(tmp_path / "s", asked, scheduler_address=cluster.scheduler_address)
    assert "\n" not in str(caught.value)


def test_values_that_do_not_fit_are_told_here(cluster, corpus_folder, checkpoints, tmp_path):
    model = AutoModel.from_pretrained(checkpoints["bert"])
    with torch.no_grad():
        model.encoder.layer[1].output.LayerNorm.weight[3] = 1e6
    model.save_pretrained(tmp_path / "wide")
    AutoTokenizer.from_pretrained(checkpoints["bert"]).save_pretrained(tmp_path / "wide")
    asked = request(corpus_folder, tmp_path / "wide", **SETTINGS)
    with pytest.raises(SettingError, match=r"hidden of layer 2 is not finite"):
        extract(tmp_path / "s", asked, scheduler_address=cluster.scheduler_address)
    assert not any(run.complete for run in Store.open(tmp_path / "s").select())


def test_workers_with_other_weights_are_refused(cluster, corpus_folder, checkpoints, tmp_path, monkeypatch):
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "m")
    plain = on_cluster.fill_runs_on_cluster

    def swapped(client, *arguments):
        # Between the first look at the weights and the work they become others.
        client._connected().run(on_cluster._model.cache_clear)
        with torch.no_grad():
            model = AutoModel.from_pretrained(folder)
            model.embeddings.word_embeddings.weight[7] += 1
            model.save_pretrained(folder)
        return plain(client, *arguments)

    monkeypatch.setattr("biocache.engine.extraction.extract.fill_runs_on_cluster", swapped)
    with pytest.raises(SpecMismatchError, match="a Dask worker loads other weights"):
        extract(tmp_path / "s", request(corpus_folder, folder, **SETTINGS), scheduler_address=cluster.scheduler_address)


def test_partitions_and_clusters_exclude_each_other(corpus_folder, checkpoints, tmp_path):
    asked = request(corpus_folder, checkpoints["bert"], partition=Partition(1, 2))
    with pytest.raises(SettingError, match="partition and scheduler_address exclude each other"):
        extract(tmp_path / "s", asked, scheduler_address="tcp://127.0.0.1:1")
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "tcp://", "", "http://127.0.0.1:9"])
def test_addresses_where_no_scheduler_is_are_refused(corpus_folder, checkpoints, tmp_path, monkeypatch, address):
    monkeypatch.setattr("biocache.engine.executor.ANSWER_TIMEOUT", "1s")
    begin = time.monotonic()
    with pytest.raises(ResourceError, match=r"no Dask scheduler answers at") as caught:
        extract(tmp_path / "s", request(corpus_folder, checkpoints["bert"], limit=2), scheduler_address=address)
    assert time.monotonic() - begin < 15
    assert repr(address) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", ["load_model", "fill_run"])
def test_dying_workers_are_an_error_that_says_so(
    doomed_cluster, corpus_folder, checkpoints, tmp_path, monkeypatch, name
):
    folder = shutil.copytree(checkpoints["bert"], tmp_path / "m")
    asked = request(corpus_folder, folder, **SETTINGS)
    monkeypatch.setattr(doomed_cluster.scheduler, "allowed_failures", 0)
    with Client(doomed_cluster, set_as_default=False) as client:
        client.run(die_in, name)
    with pytest.raises(ResourceError, match=r"workers died .*run the same command again") as caught:
        extract(tmp_path / "s", asked, scheduler_address=doomed_cluster.scheduler_address)
    assert "\n" not in str(caught.value)
