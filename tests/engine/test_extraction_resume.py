import errno
import itertools
import shutil
from pathlib import Path

import pytest
from extractions import files, forget, holdings, only_run, request, small_packs
from store_factory import chunk_file
from victims import Job, run_jobs

from biocache.engine import extract
from biocache.engine.extraction.request import Partition
from biocache.store import Store, writing
from biocache.store.claims import is_claimed
from biocache.store.errors import IncompleteRunError, ResourceError, RunNotFoundError
from biocache.store.integrity import verify_run

CAPACITY = 128
# Windows of several packs, with batches that mix samples of all of them.
SETTINGS = {"batch_tokens": 256, "window_tokens": 512}

KILLS = [
    Job("", "create_group", 1),
    Job("", "create_group", 4, after=True),
    Job("", "create_column", 12),
    Job("", "put_if_absent", 1),
    Job("", "put_if_absent", 1, after=True),
    Job("", "chunk", 1),
    Job("", "chunk", 5, after=True),
    Job("", "chunk", 23),
    Job("", "record", 1),
    Job("", "record", 1, after=True),
    Job("", "record", 4),
    Job("", "record", 7, after=True),
    # Inside a chunk, between its bytes and its name.
    Job("", "rename", 60),
    Job("", "rename", 75),
    *(Job("", share=share) for share in (0.4, 0.6, 0.8)),
]


def named(job: Job) -> str:
    return f"{job.at}-{job.call}{'-after' * job.after}" if job.at else f"time-{job.share}"


@pytest.fixture(scope="module")
def asked(corpus_folder, checkpoints):
    return request(corpus_folder, checkpoints["bert"], **SETTINGS)


@pytest.fixture(autouse=True)
def _packs(monkeypatch):
    small_packs(monkeypatch, CAPACITY)


@pytest.fixture(scope="module")
def ended(tmp_path_factory, corpus_folder, checkpoints):
    """Where every kind of process has left its store, and how it ended."""
    folder = tmp_path_factory.mktemp("killed")

    def at(job, place, **changes):
        return Job(**{**vars(job), "store": str(folder / place), **changes})

    groups = {"whole": [at(Job(""), "whole")]}
    groups |= {named(job): [at(job, named(job))] for job in KILLS}
    groups |= {f"again-{n}": [at(Job(""), "again", at="record", call=2, after=True)] for n in range(3)}
    groups |= {f"two-{n}": [at(Job(""), f"two-{n}")] * 2 for n in range(3)}
    groups["heir"] = [at(Job(""), "heir", at="record", call=2), at(Job(""), "heir")]
    groups["three"] = [at(Job(""), "three", partition=f"{n}/3") for n in (1, 2, 3)]
    outcomes = run_jobs(list(groups.values()), corpus_folder, checkpoints["bert"], CAPACITY, SETTINGS)
    return folder, dict(zip(groups, outcomes, strict=True))


@pytest.fixture(scope="module")
def whole(ended):
    """What an extraction that nothing interrupted has left."""
    folder, outcomes = ended
    (outcome,) = outcomes["whole"]
    assert not outcome.killed
    assert outcome.packs_written == outcome.packs_done == only_run(folder / "whole").counts.packs > 12
    return holdings(folder / "whole")


def assert_finishes(store: Path, asked, whole: dict[str, bytes]) -> None:
    """Finish a store and assert that just what was missing is computed, and that nothing shows what happened."""
    runs = Store.open(store).select() if (store / "zarr.json").is_file() else []
    kept: dict[str, tuple[int, int]] = {}
    before = 0
    for run in runs:
        before = len(run.committed())
        assert all(problem.message.startswith("not committed") for problem in verify_run(run))
        kept = {name: state for name, state in files(run.path / "packs").items() if "partial" not in name}
        if not run.complete:
            with pytest.raises(IncompleteRunError, match=f"{before} of {run.counts.packs} packs"):
                run.activations("hidden")
    (report,) = extract(store, asked)
    run = only_run(store)
    assert report.complete
    assert report.packs_written == run.counts.packs - before
    assert files(run.path / "packs").items() >= kept.items()
    assert holdings(store) == whole
    assert list(verify_run(run)) == []
    assert not list(store.glob(".partial-*"))
    assert not [name for name in files(run.path) if name.startswith(("hidden", "attention")) and "partial" in name]


@pytest.mark.slow
@pytest.mark.parametrize("job", KILLS, ids=named)
def test_a_killed_extraction_is_finished_as_if_nothing_had_been(ended, asked, whole, job):
    folder, outcomes = ended
    (outcome,) = outcomes[named(job)]
    if job.at:
        assert outcome.killed
    store = folder / named(job)
    assert_finishes(store, asked, whole)


def test_kills_hit_all_stages(ended):
    _, outcomes = ended
    killed = [named(job) for job in KILLS if outcomes[named(job)][0].killed]
    assert len(killed) >= 15


@pytest.mark.slow
def test_an_extraction_killed_again_and_again_goes_on(ended, asked, whole):
    folder, outcomes = ended
    assert all(outcomes[f"again-{n}"][0].killed for n in range(3))
    assert len(only_run(folder / "again").committed()) >= 3
    assert_finishes(folder / "again", asked, whole)


def test_two_processes_share_a_run(ended, whole):
    folder, outcomes = ended
    shares = []
    for n in range(3):
        pair = outcomes[f"two-{n}"]
        assert [outcome.error for outcome in pair] == ["", ""]
        packs = only_run(folder / f"two-{n}").counts.packs
        # Each looks again at what the other held, so that both leave a complete run.
        assert [outcome.packs_done for outcome in pair] == [packs, packs]
        shares.append([outcome.packs_written for outcome in pair])
        assert sum(shares[-1]) == packs
        assert holdings(folder / f"two-{n}") == whole
    assert any(min(pair) > 0 for pair in shares)


def test_what_a_killed_process_held_is_done_by_the_other(ended, whole):
    folder, outcomes = ended
    victim, heir = outcomes["heir"]
    assert heir.error == ""
    assert not heir.killed
    # The heir may have been so quick that its victim never came to a second pack.
    assert victim.killed or heir.packs_written > 0
    assert heir.packs_done == only_run(folder / "heir").counts.packs
    assert holdings(folder / "heir") == whole


def test_three_processes_take_a_third_each(ended, whole):
    folder, outcomes = ended
    assert [outcome.error for outcome in outcomes["three"]] == [""] * 3
    assert all(outcome.packs_written > 0 for outcome in outcomes["three"])
    packs = only_run(folder / "three").counts.packs
    assert sum(outcome.packs_written for outcome in outcomes["three"]) == packs
    assert holdings(folder / "three") == whole


@pytest.mark.slow
@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))), ids=str)
def test_partitions_make_the_same_store_in_any_order(tmp_path, corpus_folder, checkpoints, whole, order):
    written = []
    for index in order:
        asked = request(corpus_folder, checkpoints["bert"], partition=Partition(index, 3), **SETTINGS)
        (report,) = extract(tmp_path / "s", asked)
        written.append(report.packs_written)
        assert report.complete == (len(written) == 3)
    assert all(written)
    assert sum(written) == only_run(tmp_path / "s").counts.packs
    assert holdings(tmp_path / "s") == whole


@pytest.mark.slow
@pytest.mark.parametrize("lost", [[0], [3], [0, 1, 2, 3, 4], [1, 7, 11], "last", "all"], ids=str)
def test_just_the_packs_without_a_record_are_computed(ended, tmp_path, asked, whole, lost):
    shutil.copytree(ended[0] / "whole", tmp_path / "s")
    run = only_run(tmp_path / "s")
    lost = {"last": [run.counts.packs - 1], "all": list(range(run.counts.packs))}.get(str(lost), lost)
    forget(run, lost)
    for pack in lost:
        chunk_file(run, "hidden", 1, pack).write_bytes(b"torn")
        chunk_file(run, "attention", 0, pack).unlink()
    before = files(run.path)
    (report,) = extract(tmp_path / "s", asked)
    assert report.packs_written == len(lost)
    assert report.tokens_written == run.plan.tokens.pack_sizes[lost].sum()
    written = {name for name, state in files(run.path).items() if before.get(name) != state}
    chunks = {
        str(chunk_file(run, name, index, pack).relative_to(run.path))
        for pack in lost
        for name in ("hidden", "attention")
        for index in range(len(run.spec.variable_layers(name)))
    }
    assert written == chunks | {f"packs/record/c/{pack}" for pack in lost}
    assert holdings(tmp_path / "s") == whole


def test_a_finished_run_is_left_alone(ended, tmp_path, asked):
    shutil.copytree(ended[0] / "whole", tmp_path / "s")
    before = files(tmp_path / "s")
    (report,) = extract(tmp_path / "s", asked)
    assert report.complete
    assert (report.packs_written, report.tokens_computed, report.written_bytes) == (0, 0, 0)
    assert files(tmp_path / "s") == before


@pytest.mark.slow
def test_reports_and_progress_say_what_was_done(tmp_path, asked):
    seen = []
    (report,) = extract(tmp_path / "s", asked, on_progress=seen.append)
    run = only_run(tmp_path / "s")
    assert report.run == str(run.key)
    assert report.packs == report.packs_written == report.packs_done == run.counts.packs
    assert report.tokens_written == report.tokens_computed == run.counts.tokens <= report.tokens_padded
    assert report.written_bytes == sum(record.stored_bytes for record in run.records().values())
    chunks = [p for name in ("hidden", "attention") for p in (run.path / name / name / "c").rglob("*") if p.is_file()]
    assert report.written_bytes == sum(path.stat().st_size for path in chunks)
    assert [p.tokens_done for p in seen] == sorted({p.tokens_done for p in seen})
    assert seen[-1].tokens_done == seen[-1].tokens_total == run.counts.tokens
    assert {p.run for p in seen} == {str(run.key)}


def test_progress_of_a_resumed_run_counts_what_it_computes(ended, tmp_path, asked):
    shutil.copytree(ended[0] / "whole", tmp_path / "s")
    forget(only_run(tmp_path / "s"), [2, 3])
    seen = []
    (report,) = extract(tmp_path / "s", asked, on_progress=seen.append)
    assert seen[-1].tokens_done == seen[-1].tokens_total == report.tokens_computed
    assert report.tokens_written < report.tokens_computed < only_run(tmp_path / "s").counts.tokens


@pytest.mark.slow
def test_a_full_disk_is_named_and_what_was_committed_stays(tmp_path, monkeypatch, asked, whole):
    plain, calls = writing.RunWriter._commit, itertools.count()

    def full(*arguments):
        if next(calls) >= 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(writing.RunWriter, "_commit", full)
        with pytest.raises(ResourceError, match="disk is full"):
            extract(tmp_path / "s", asked)
    assert len(only_run(tmp_path / "s").committed()) == 5
    assert_finishes(tmp_path / "s", asked, whole)


@pytest.mark.slow
def test_an_interrupt_gives_up_all_claims(tmp_path, asked, whole):
    def interrupt(progress):
        if progress.tokens_done > progress.tokens_total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path / "s", asked, on_progress=interrupt)
    run = only_run(tmp_path / "s")
    assert not is_claimed(run.group.storage, run.group.folder)
    assert 0 < len(run.committed()) < run.counts.packs
    assert_finishes(tmp_path / "s", asked, whole)


@pytest.mark.slow
def test_a_run_removed_under_way_is_an_error_that_says_so(tmp_path, asked, whole):
    def remove(progress):
        if progress.tokens_done > progress.tokens_total / 2 and not (tmp_path / "aside").exists():
            only_run(tmp_path / "s").path.rename(tmp_path / "aside")

    with pytest.raises(RunNotFoundError, match=r"ner/ner/tiny.* was removed after it was opened") as caught:
        extract(tmp_path / "s", asked, on_progress=remove)
    assert "\n" not in str(caught.value)
    assert_finishes(tmp_path / "s", asked, whole)
