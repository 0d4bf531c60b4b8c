"""Where and how many at once: the answers do not depend on it, and the memory is known before."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from planted import ner_store, nli_store, split_runs, write
from store_factory import chunk_file
from threadpoolctl import threadpool_info

from biocache.engine import ClassifierOptions, Executor, ProbeRequest, executor, probe
from biocache.engine.analyses.probing import classifiers, fitting, planning
from biocache.engine.analyses.probing.fitting import Fit
from biocache.engine.analyses.probing.planning import FitShape, fit_memory
from biocache.engine.analysis import find
from biocache.engine.executor import Plan
from biocache.engine.machine import capped_threads
from biocache.store import Run
from biocache.store.errors import IntegrityError, ResourceError, RunNotFoundError

REQUEST = ProbeRequest(task="ner", label_scheme="bio", control=True, seeds=2)
SHAPE = FitShape(train_rows=10_000, test_rows=2000, features=768, classes=6, block=8192 * 768)


def plan_probe(store: Path, request: ProbeRequest, workers: int | None = None) -> Plan:
    found: Any = find("probe", store, request)
    tasks = found.analysis.tasks(found.store, request, found.runs)
    return Executor(workers).plan(tasks, request.max_memory, found.analysis.lighter)


def comparable(result: xr.Dataset) -> xr.Dataset:
    return result.drop_vars("fit_seconds")


def test_workers_a_cluster_and_threads_give_the_same_answer(tmp_path: Path, cluster: Any) -> None:
    seen: list[tuple[int, int]] = []
    for name in ("threads", "workers", "cluster"):
        ner_store(tmp_path / name)
    threads = probe(tmp_path / "threads", REQUEST)
    workers = probe(tmp_path / "workers", REQUEST, workers=2, on_progress=lambda *at: seen.append(at))
    address = cluster.scheduler_address
    remote = probe(tmp_path / "cluster", REQUEST, scheduler_address=address)
    xr.testing.assert_identical(comparable(threads), comparable(workers))
    xr.testing.assert_identical(comparable(threads), comparable(remote))
    # A fit of the task in each layer, which the seeds share, and one of the control for each seed.
    assert seen == [(done, 9) for done in range(10)]


def test_a_cluster_takes_a_fit_a_worker(tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ner_store(tmp_path)
    plans: list[Plan] = []
    original = Executor.plan
    monkeypatch.setattr(Executor, "plan", lambda *given: plans.append(original(*given)) or plans[-1])
    # This machine has one core, and the cluster two workers.
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"), scheduler_address=cluster.scheduler_address)
    assert [(plan.at_once, plan.threads) for plan in plans] == [(2, 1)]


def test_an_error_of_a_worker_is_the_users(tmp_path: Path, cluster: Any) -> None:
    store = ner_store(tmp_path)
    run = store.run(split="train")
    chunk_file(run, "hidden", 1, 0).unlink()
    with pytest.raises(IntegrityError, match="layer 1 of hidden in pack 0"):
        probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"), scheduler_address=cluster.scheduler_address)


@pytest.mark.slow
def test_an_error_of_a_worker_prints_no_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = ner_store(tmp_path)
    chunk_file(store.run(split="test"), "hidden", 0, 0).unlink()
    with pytest.raises(IntegrityError, match="layer 0 of hidden in pack 0"):
        probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"), workers=1)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_a_run_that_is_removed_meanwhile_is_the_users_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ner_store(tmp_path)
    original = fitting.run_fit

    def removing(root: str, fit: Fit) -> xr.Dataset:
        found = original(root, fit)
        store.remove(store.run(split="train"))
        return found

    monkeypatch.setattr(fitting, "run_fit", removing)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    gone = r"run .*/size-030/seed-42/sentence/train was removed after it was opened; run the same command again"
    with pytest.raises(RunNotFoundError, match=gone):
        probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"))
    assert store.results("probe") == store.results("probe-fit") == []


@pytest.mark.slow
def test_tables_are_read_once_and_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biocache.engine.analyses.probing import fitting

    ner_store(tmp_path)
    opened: list[str] = []
    original = Run.open
    monkeypatch.setattr(fitting.Run, "open", lambda root, key: opened.append(key.split) or original(root, key))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", layers=(0,)))
    opened.clear()
    probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", control=True))
    # Once by what finds the runs, once by all five fits, and once to see that they are still the same.
    assert sorted(opened) == [*["test"] * 3, *["train"] * 3]
    assert fitting._kept.cache_info().currsize == 0


@pytest.mark.slow
def test_each_fit_reads_its_layer_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biocache.store.chunks import Chunks

    store = ner_store(tmp_path)
    seen: list[tuple[str, int, int]] = []
    original = Chunks._stored

    def spy(chunks: Chunks, index: int, pack: int) -> Any:
        seen.append((chunks.run.folder, index, pack))
        return original(chunks, index, pack)

    monkeypatch.setattr(Chunks, "_stored", spy)
    probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"))
    packs = {run.group.folder: run.counts.packs for run in store.select()}
    assert sorted(seen) == sorted(
        (run, layer, pack) for run, count in packs.items() for layer in range(3) for pack in range(count)
    )


@pytest.mark.slow
def test_packs_without_a_drawn_sample_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from biocache.store.chunks import Chunks

    write(tmp_path, [split_runs("train", capacity=12), split_runs("test")])
    seen: list[int] = []
    original = Chunks._stored
    monkeypatch.setattr(
        Chunks, "_stored", lambda chunks, index, pack: seen.append(pack) or original(chunks, index, pack)
    )
    probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio", layers=(0,), max_train_samples=2))
    assert 0 < len(seen) < 12


@pytest.mark.slow
def test_fits_run_side_by_side_with_their_share_of_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ner_store(tmp_path)
    caps: list[set[int]] = []
    original = fitting.run_fit

    def spy(root: str, fit: Fit) -> xr.Dataset:
        found = original(root, fit)
        caps.append({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
        return found

    monkeypatch.setattr(fitting, "run_fit", spy)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3)))
    before = [pool["num_threads"] for pool in threadpool_info()]
    request = ProbeRequest(task="ner", label_scheme="bio")
    assert (plan_probe(tmp_path, request).at_once, plan_probe(tmp_path, request).threads) == (3, 1)
    probe(tmp_path, request)
    assert caps == [{1}] * 3
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_torch_is_capped_where_it_is_loaded() -> None:
    import torch

    before = torch.get_num_threads()
    with capped_threads(before + 2):
        assert torch.get_num_threads() == before + 2
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_memory_decides_how_many_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ner_store(tmp_path)
    request = ProbeRequest(task="ner", label_scheme="bio")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(executor, "used_memory", lambda: 300)
    monkeypatch.setattr(planning, "fit_memory", lambda *_: 1000)
    for allowed, at_once, threads in ((1300, 1, 8), (2300, 2, 4), (3299, 2, 4), (10**6, 3, 2)):
        plan = plan_probe(tmp_path, replace(request, max_memory=allowed))
        assert (plan.at_once, plan.threads) == (at_once, threads)
    assert plan_probe(tmp_path, replace(request, max_memory=10**6), workers=2).at_once == 2
    with pytest.raises(ResourceError) as caught:
        plan_probe(tmp_path, replace(request, max_memory=1299))
    assert str(caught.value) == (
        "one task takes 1000 B beside the 300 B of this process, and max_memory is 1.3 KiB; pass max_memory=1048576 or "
        "more, or max_train_samples"
    )


@pytest.mark.slow
def test_half_of_the_machine_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ner_store(tmp_path)
    monkeypatch.setattr(executor, "used_memory", lambda: 0)
    monkeypatch.setattr(planning, "fit_memory", lambda *_: 1000)
    monkeypatch.setattr(executor, "machine_memory", lambda: 2 * 999)
    with pytest.raises(ResourceError, match="half of the machine is 999 B"):
        plan_probe(tmp_path, ProbeRequest(task="ner", label_scheme="bio"))


@pytest.mark.slow
def test_a_kernel_of_more_words_than_fit_is_refused_with_the_arithmetic(tmp_path: Path) -> None:
    store = ner_store(tmp_path / "ner")
    words = int(store.run(split="train").column("samples/word_count").sum())
    with pytest.raises(ResourceError) as caught:
        probe(tmp_path / "ner", ProbeRequest(task="ner", label_scheme="bio", probe="svc", max_memory=8 * 100**2))
    assert str(caught.value) == (
        f"svc compares all pairs of {words} train words: {words} x {words} x 8 bytes are "
        f"{8 * words**2 / 1024:.1f} KiB, and max_memory is 78.1 KiB, enough for 100; pass max_train_samples, or "
        "probe='linear-svc'"
    )
    nli_store(tmp_path / "nli")
    with pytest.raises(ResourceError, match=r"all pairs of 60 train samples: 60 x 60 x 8 bytes are 28.1 KiB"):
        probe(tmp_path / "nli", ProbeRequest(task="nli", probe="svc", max_memory=1000))


def test_memory_is_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = SHAPE.train_rows * SHAPE.features
    block = 16 * SHAPE.block
    slack = planning._SLACK
    monkeypatch.setattr(classifiers, "fast_svc", lambda: False)
    expected = {
        "logistic": 4 * entries + 8 * 6 * 10_000 * 6,
        "linear-svc": 28 * entries + 8 * 6 * 10_000 * 6,
        "svc": 20 * entries + 200 * 2**20,
    }
    for name, size in expected.items():
        assert fit_memory(SHAPE, ProbeRequest(task="ner"), name) == size + block + slack
    more = replace(SHAPE, train_rows=20_000)
    for name in ("logistic", "linear-svc", "svc", "mlp", "bilstm-crf"):
        request = ProbeRequest(task="ner")
        assert fit_memory(more, request, name) - fit_memory(SHAPE, request, name) >= 4 * entries
    coded, plain = ProbeRequest(task="ner", mdl=True), ProbeRequest(task="ner")
    assert fit_memory(SHAPE, coded, "logistic") > fit_memory(SHAPE, plain, "logistic")


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ImportError(name + " is not to be imported")

sys.meta_path.insert(0, Blocker())
from biocache.engine import ProbeRequest, ClassifierOptions, probe
for name in {names}:
    result = probe({root!r}, ProbeRequest(task="ner", probe=name, options=ClassifierOptions(epochs=1)))
    assert result.accuracy.notnull().all()
assert not [name for name in {blocked} if name in sys.modules]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "blocked"),
    [
        (("logistic", "svc"), ("transformers", "tokenizers", "datasets", "torch", "torchcrf")),
        (("bilstm-crf",), ("transformers", "tokenizers", "datasets")),
    ],
)
def test_no_model_is_loaded_nor_could_be(tmp_path: Path, names: tuple[str, ...], blocked: tuple[str, ...]) -> None:
    ner_store(tmp_path)
    code = BLOCKED.format(blocked=blocked, root=str(tmp_path), names=names)
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_options_of_the_classifier_reach_it(tmp_path: Path) -> None:
    made = classifiers.make_classifier
    labels = split_runs("train").columns["words/label"]
    options = ClassifierOptions(
        c=3.0, gamma=0.2, hidden_size=7, epochs=4, learning_rate=0.1, batch_size=5, max_iterations=9
    )
    wanted = {
        "svc": {"C": 3.0, "gamma": 0.2, "kernel": "rbf"},
        "logistic": {"C": 3.0, "max_iter": 9},
        "linear-svc": {"C": 3.0, "max_iter": 9, "random_state": 1},
        "mlp": {"hidden_layer_sizes": (7,), "max_iter": 4, "learning_rate_init": 0.1, "batch_size": 5},
    }
    for name, expected in wanted.items():
        found = made(name, options, labels, 3, 1)._estimator.get_params()  # type: ignore[attr-defined]
        assert {key: found[key] for key in expected} == expected
